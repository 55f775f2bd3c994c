"""Keypoints in images and behaviour videos with no, weak or few labels."""

__version__ = "0.1.0"
