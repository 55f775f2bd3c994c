"""Self-supervised tasks that keypoints of still images have to solve (003, 4.4 and 4.5): networks, losses, figures."""
