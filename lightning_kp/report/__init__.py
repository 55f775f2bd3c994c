"""What people look at: overlays, plots, the HTML report."""
