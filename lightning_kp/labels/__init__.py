"""Label files as labelled animals, and the datamodules' bases that read them."""
