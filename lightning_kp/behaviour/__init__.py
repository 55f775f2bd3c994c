"""Behaviour from tracks: features, bouts, windows, results, and measurements of pulse and wind."""
