"""Judges after training, without labels, whether keypoint discovery worked."""
