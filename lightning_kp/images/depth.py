"""Images with more than 8 bits: which values are black and white, found from what the images hold.

Cameras of 10, 12 or 14 bits store their values in files of 16 bits, where white would look nearly black.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DEPTHS = (8, 10, 12, 14, 16)
"""Bits of the sensors in use; the smallest one that holds all values counts."""
DARKEST = 63
"""Values that do not exceed this number would be nearly black even in 8 bits; the largest of them becomes white."""


class Span(NamedTuple):
    """The values that become black and white; ``bits`` of the sensor, 0 where the values are of no such kind."""

    black: float
    white: float
    bits: int = 0

    def __str__(self) -> str:
        kind = f"{self.bits}-bit data, " if self.bits else ""
        return f"{kind}{self.black:g} is shown as black and {self.white:g} as white"


def span_of(samples: Iterable[NDArray[Any]]) -> Span | None:
    """Find the span of some images' values (any shape); values that are not finite do not count.

    Returns:
        0 to the largest value of the smallest depth in DEPTHS; 0 to 1 for floats of that range; the values' own range
        where they are negative, exceed 16 bits, or are all tiny.  None without a finite value.

    Example:
        >>> span_of([np.array([300, 3800])])
        Span(black=0.0, white=4095.0, bits=12)
        >>> span_of([np.array([0.0, 0.5])])
        Span(black=0.0, white=1.0, bits=0)
    """
    low, high, is_whole = np.inf, -np.inf, True
    for sample in samples:
        finite = sample[np.isfinite(sample)] if sample.dtype.kind == "f" else sample
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            is_whole = is_whole and sample.dtype.kind != "f"
    if low > high:
        return None
    if low < 0:
        return Span(low, high)
    if not is_whole and high <= 1:
        return Span(0.0, 1.0)
    if high <= DARKEST:
        return Span(0.0, high)
    bits = next((each for each in DEPTHS if high < 1 << each), 0)
    return Span(0.0, float((1 << bits) - 1) if bits else high, bits)


def to_eight_bits(values: NDArray[Any], span: Span) -> NDArray[np.uint8]:
    """Scale values (any shape) to 0 to 255; those outside of ``span`` become black or white, NaN black.

    >>> to_eight_bits(np.array([0, 300, 4095, 5000]), Span(0, 4095)).tolist()
    [0, 18, 255, 255]
    """
    known = np.nan_to_num(values.astype(np.float64), nan=span.black, posinf=span.white, neginf=span.black)
    width = (span.white - span.black) or 1.0
    return np.floor((known.clip(span.black, span.white) - span.black) * 255 / width).astype(np.uint8)
