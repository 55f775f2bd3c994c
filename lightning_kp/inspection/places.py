"""Places in a frame, in words."""

from collections.abc import Sequence


def place_in_words(centre: Sequence[float], size: tuple[int, ...]) -> str:
    """The third of the frame in each direction that holds a ``centre`` (x, y), in pixels of a frame of ``size`` (h, w).

    >>> place_in_words((10, 90), (100, 200)), place_in_words((100, 50), (100, 200))
    ('bottom left', 'middle')
    """
    row = ("top", "middle", "bottom")[min(2, int(3 * centre[1] / size[0]))]
    column = ("left", "middle", "right")[min(2, int(3 * centre[0] / size[1]))]
    return "middle" if row == column else " ".join(word for word in (row, column) if word != "middle")
