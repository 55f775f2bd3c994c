"""Measures how far a camera moves, by phase correlation of its frames with their background."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SHAKE_FRAMES = 60  # frames compared with the background
SHAKE_GAIN = 0.7  # undoing a true shift leaves less than this share of the difference at edges
MAX_SHAKE = 0.004  # share of the frame's longer side that is no trouble yet: one pixel of a 256 px image
MAX_SHIFT_PX = 16  # pixels in each direction


def camera_shift(images: NDArray[np.uint8], background: NDArray[np.uint8]) -> float:
    """Shift in pixels of grey images (T, h, w) against their background (h, w), in the worst tenth of the images."""
    chosen = np.unique(np.linspace(0, len(images) - 1, SHAKE_FRAMES).round().astype(int))
    lengths = [_true_shift(images[each], background) for each in chosen]
    return float(np.quantile(lengths, 0.9))


def _true_shift(image: NDArray[np.uint8], background: NDArray[np.uint8]) -> float:
    """Length of the shift; 0 if undoing it does not align the background's edges, because then an animal moved."""
    x, y = shift_between(image, background)
    edges = ndimage.gaussian_gradient_magnitude(background.astype(np.float32), 1.0)
    edges = edges >= np.quantile(edges, 0.9)
    undone = ndimage.shift(image.astype(np.float32), (-y, -x), order=1, mode="nearest")
    # Clipped, so that an animal, which differs strongly in few pixels, does not dominate.
    before, after = (
        np.abs(each[edges] - background[edges]).clip(0, 30).mean() for each in (image * 1.0, undone)
    )
    return float(np.hypot(x, y)) if after < SHAKE_GAIN * before else 0.0


def shift_between(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Shift (x, y) in pixels of ``image`` (h, w) against ``reference`` (h, w), exact to about 0.1 px.

    Computed by phase correlation; at most ``MAX_SHIFT_PX`` pixels in each direction.
    """
    height, width = reference.shape
    window = np.hanning(height)[:, None] * np.hanning(width)
    spectra = [np.fft.rfft2((each - each.mean()) * window) for each in (image, reference)]
    cross = spectra[0] * np.conj(spectra[1])
    # High frequencies are mostly noise; a Gaussian of one pixel keeps what a camera resolves.
    frequency = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.rfftfreq(width) ** 2
    smooth = np.exp(-2 * np.pi**2 * frequency)
    surface = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-9) * smooth, s=(height, width))
    reach = min(MAX_SHIFT_PX, (min(height, width) - 3) // 2)
    near = np.roll(surface, (reach + 1, reach + 1), axis=(0, 1))[: 2 * reach + 3, : 2 * reach + 3]
    row, column = np.unravel_index(np.argmax(near[1:-1, 1:-1]), (2 * reach + 1, 2 * reach + 1))
    y = row - reach + _vertex(near[row : row + 3, column + 1])
    x = column - reach + _vertex(near[row + 1, column : column + 3])
    return np.array((x, y))


def _vertex(values: NDArray[np.float64]) -> float:
    """Position of the maximum of a parabola through three values at -1, 0 and 1."""
    before, middle, after = values
    bend = before - 2 * middle + after
    return float(0.5 * (before - after) / bend) if bend < 0 else 0.0
