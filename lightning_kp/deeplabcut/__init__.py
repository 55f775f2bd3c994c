"""Tables in DeepLabCut's layout, csv and h5, read by the names of their columns and without running code."""
