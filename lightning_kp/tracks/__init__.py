"""Keypoints over time: types, files, tracking, identities, suggestions."""
