"""How a frame becomes the network's square: size, fit, boxes, preprocessing."""

from dataclasses import dataclass

from lightning_kp.frames.preprocessing import NOTHING, Preprocessing
from lightning_kp.geometry import Fit
from lightning_kp.motion.boxes import Boxes


@dataclass(frozen=True)
class ViewSettings:
    """How frames become network images: the same as in training, read from the checkpoint."""

    size: int
    fit: Fit = "pad"
    boxes: Boxes = None
    preprocessing: Preprocessing = NOTHING
