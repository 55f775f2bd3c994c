"""Still images: which belong to a set, their tables of classes and boxes, their squares, and batches of them."""
