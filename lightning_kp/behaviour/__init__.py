"""What tracks say about behaviour: features, bouts, windows, results."""
