"""Tracks made better after tracking: exchanged keypoints found and mended, positions smoothed over time."""
