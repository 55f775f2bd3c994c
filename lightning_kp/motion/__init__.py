"""Motion in front of a camera at rest: foreground masks, moving regions, and squares that follow the animals."""
