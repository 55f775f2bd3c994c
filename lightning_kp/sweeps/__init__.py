"""Sweeps: their files, the record of their trials, their tables, and the result file of a trial."""
