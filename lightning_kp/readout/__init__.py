"""From heatmaps and branches to the keypoints of one or many instances."""
