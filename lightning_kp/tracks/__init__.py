"""Keypoints over time: types, files, tracking, identities, and suggestions of frames to label."""
