"""Readout: from heatmaps and network outputs to the keypoints of one or several instances."""
