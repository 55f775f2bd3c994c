"""One training's folder, its logs, and what keeps a training going."""
