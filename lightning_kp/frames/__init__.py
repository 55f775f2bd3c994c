"""From frames and stills to the squares that a network sees."""
