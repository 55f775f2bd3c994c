"""What can be said about videos before training."""
