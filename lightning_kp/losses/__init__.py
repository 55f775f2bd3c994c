"""Pure loss functions and their targets, one file per idea; without networks, Lightning or data sets."""
