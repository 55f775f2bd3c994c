"""Speed and memory against the other side, run by ``python -m lightning_kp.bench``."""
