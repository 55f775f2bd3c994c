"""Reading video files and folders of images frame by frame."""
