"""Comparisons of many trainings, each run by ``python -m lightning_kp.studies.NAME``."""
