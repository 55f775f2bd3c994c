"""Metrics of keypoints, poses, instances, classes and behaviours, and the mathematics behind them."""
