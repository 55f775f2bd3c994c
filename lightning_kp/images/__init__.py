"""Images as arrays and tensors: read, resized, cut out, augmented, compared and drawn on."""
