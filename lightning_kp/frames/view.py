"""The settings by which a frame becomes a network image: size, fit, boxes, preprocessing."""

from dataclasses import dataclass

from lightning_kp.frames.preprocessing import NO_PREPROCESSING, Preprocessing
from lightning_kp.geometry import Fit
from lightning_kp.motion.boxes import Boxes


@dataclass(frozen=True)
class ViewSettings:
    """How frames become network images; a checkpoint stores them, so that tracking sees what training saw.

    ``size`` is the side of the square image in pixels; ``fit`` is explained in :func:`lightning_kp.geometry.place`,
    ``boxes`` in :data:`lightning_kp.motion.boxes.Boxes`.
    """

    size: int
    fit: Fit = "pad"
    boxes: Boxes = None
    preprocessing: Preprocessing = NO_PREPROCESSING
