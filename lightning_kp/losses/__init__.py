"""Pure loss functions, one file per idea; no network, no Lightning, no data."""
