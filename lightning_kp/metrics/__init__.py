"""Figures of merit as torchmetrics, and the mathematics behind them."""
