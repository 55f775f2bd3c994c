"""Images as arrays and tensors: read, resized, cut out, changed at random, compared, drawn on."""
