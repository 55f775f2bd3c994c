"""What people look at: overlay videos, plots and the HTML report."""
