"""Labelled animals as the network sees them: types, thinning, joining."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_kp.skeleton import numbered as numbered_names

SHAPE_TOLERANCE = 0.02  # relative difference of aspect ratios that counts as equal (ours)


class LabelledSet(NamedTuple):
    """Labelled images with the points of all animals in one list.

    ``image`` (N, 3, S, S) uint8; ``points`` (N, K, 2), normalised (x, y), NaN = not labelled; ``names`` (K).
    ``shown`` (N, 2, 4), only where squares follow the animal: the region (left, top, right, bottom, in pixels of
    the original) that each square shows, and the one that it would show without following.
    """

    image: Tensor
    points: Tensor
    names: tuple[str, ...]
    shown: Tensor | None = None

    def in_frame(self, points: Tensor) -> Tensor:
        """Convert points (N, K, 2), normalised to the squares, to the view that does not follow the animal."""
        if self.shown is None:
            return points
        square, frame = self.shown.to(points).unsqueeze(1).unbind(dim=2)
        edges = square[..., :2] + (points + 1) / 2 * (square[..., 2:] - square[..., :2])
        return (edges - frame[..., :2]) / (frame[..., 2:] - frame[..., :2]) * 2 - 1


class LabelledAnimals(NamedTuple):
    """Labelled images with a row of points for each animal.

    ``image`` (N, 3, S, S) uint8; ``points`` (N, I, K, 2), normalised (x, y), NaN = not labelled; ``names`` (K).
    ``sources`` (N): which image each one is, if known; see OpenFrame.  ``shown``: see LabelledSet.
    ``inside`` (N, 4): the part of each square that is not padding (left, top, right, bottom, edges in pixels of the
    square); None if nothing is padding.
    ``shown_px`` (N, 2): height and width of what each square shows, in pixels of the original.
    """

    image: Tensor
    points: Tensor
    names: tuple[str, ...]
    sources: tuple[str, ...] = ()
    shown: Tensor | None = None
    inside: Tensor | None = None
    shown_px: Tensor | None = None

    @property
    def size_px(self) -> tuple[float, float] | None:
        """Height and width in pixels of what the first square shows, used for all squares; None if unknown.

        Warns if other squares show another aspect ratio, since distances in those are then wrong.
        """
        if self.shown_px is None or not len(self.shown_px):
            return None
        shapes = self.shown_px[:, 0] / self.shown_px[:, 1]
        if not torch.allclose(shapes, shapes[:1], rtol=SHAPE_TOLERANCE):
            warnings.warn(
                f"The labelled images differ in aspect ratio (height is {shapes.min():.2f} to {shapes.max():.2f} of "
                "the width). Validation and test of DirectPose measure all of them with the shape of the first; "
                "`kp score` measures each image with its own.",
                stacklevel=2,
            )
        height, width = self.shown_px[0].tolist()
        return height, width

    def flat(self, *, numbered: bool = False) -> LabelledSet:
        """Concatenate the points of all animals to (N, I * K, 2).

        Names get the endings _1, _2, ... if there are several animals, or if ``numbered``.
        """
        names = numbered_names(self.names, self.points.shape[1], always=numbered)
        return LabelledSet(self.image, self.points.flatten(1, 2), names, self.shown)


def thinned(number: int, at_most: int) -> list[int]:
    """Select at most ``at_most`` of ``number`` positions, evenly spread, in order."""
    return (
        sorted({int(i) for i in np.linspace(0, number - 1, min(number, at_most)).round()}) if number else []
    )


def joined(parts: Sequence[LabelledAnimals]) -> LabelledAnimals:
    """Join several sets; frames with fewer animals than others get rows of NaN."""
    most = max(part.points.shape[1] for part in parts)
    points = [
        torch.cat((p, p.new_full((len(p), most - p.shape[1], *p.shape[2:]), torch.nan)), dim=1)
        for p in (part.points for part in parts)
    ]
    inside, sizes = ([getattr(part, name) for part in parts] for name in ("inside", "shown_px"))
    return LabelledAnimals(
        torch.cat([part.image for part in parts]), torch.cat(points), parts[0].names,
        tuple(source for part in parts for source in part.sources),
        inside=None if any(each is None for each in inside) else torch.cat(inside),
        shown_px=None if any(each is None for each in sizes) else torch.cat(sizes),
    )  # fmt: skip
