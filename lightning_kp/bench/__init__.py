"""Benchmarks of speed and memory against reference implementations, run by ``python -m lightning_kp.bench``."""
