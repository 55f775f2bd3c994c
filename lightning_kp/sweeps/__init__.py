"""Sweep files, the memory of a sweep, its tables, and what a trial leaves behind."""
