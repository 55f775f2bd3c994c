"""Scores of a trained method against labels or ground truth."""
