"""Label files as labelled animals, and the base classes of datamodules that read them."""
