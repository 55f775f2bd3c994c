"""Confidence as a probability: that a point lies where its keypoint belongs, to a stated distance."""
