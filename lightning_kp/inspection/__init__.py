"""Inspects videos before training: what moves, what may disturb discovery, which settings to start with."""
