"""What moves in front of a camera at rest: foreground, animals, the squares that follow them."""
