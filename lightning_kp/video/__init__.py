"""A video file or a folder of images as displayed frames."""
