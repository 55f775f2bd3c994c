"""From video frames and still images to the squares that a network sees: placement, preprocessing, cache, pairs."""
