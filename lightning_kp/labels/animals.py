"""Labelled animals as the network sees them: types, thinning, joining."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_kp.skeleton import numbered as numbered_names

OTHER_SHAPE = 0.02  # from which relative difference on images differ in shape (ours)


class LabelledSet(NamedTuple):
    """``image`` (N, 3, S, S) uint8, ``points`` (N, L, 2) normalised, NaN = unlabelled, ``names`` (L).

    ``shown`` (N, 2, 4), where squares follow the animal: the region of each, and that of the whole frame.
    """

    image: Tensor
    points: Tensor
    names: tuple[str, ...]
    shown: Tensor | None = None

    def in_frame(self, points: Tensor) -> Tensor:
        """Points (N, P, 2), normalised to the squares -> normalised to the whole frames, as a fixed view has them."""
        if self.shown is None:
            return points
        square, frame = self.shown.to(points).unsqueeze(1).unbind(dim=2)
        edges = square[..., :2] + (points + 1) / 2 * (square[..., 2:] - square[..., :2])
        return (edges - frame[..., :2]) / (frame[..., 2:] - frame[..., :2]) * 2 - 1


class LabelledAnimals(NamedTuple):
    """``image`` (N, 3, S, S) uint8, ``points`` (N, I, L, 2) normalised, NaN = unlabelled, ``names`` (L).

    ``sources`` (N) say which image each is, where a label file told; see OpenFrame.  ``shown`` as LabelledSet's.
    ``inside`` (N, 4): where the picture is in its square (left, top, right, bottom, edges in its pixels); None for all.
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
        """Height and width of what the first square shows, which stands for all; None if not known.

        Warns where others have another shape: figures of a squashed square are then off for those.
        """
        if self.shown_px is None or not len(self.shown_px):
            return None
        shapes = self.shown_px[:, 0] / self.shown_px[:, 1]
        if not torch.allclose(shapes, shapes[:1], rtol=OTHER_SHAPE):
            warnings.warn(
                f"The labelled images differ in shape (height is {shapes.min():.2f} to {shapes.max():.2f} of the "
                "width). Validation and test of DirectPose measure all as if they were like the first; `kp score` "
                "measures each.",
                stacklevel=2,
            )
        height, width = self.shown_px[0].tolist()
        return height, width

    def flat(self, *, numbered: bool = False) -> LabelledSet:
        """The points of all animals one after another; name_1 and so on, where several or ``numbered``."""
        names = numbered_names(self.names, self.points.shape[1], always=numbered)
        return LabelledSet(self.image, self.points.flatten(1, 2), names, self.shown)


def thinned(number: int, at_most: int) -> list[int]:
    """At most ``at_most`` of ``number`` positions, evenly spread, in order."""
    return (
        sorted({int(i) for i in np.linspace(0, number - 1, min(number, at_most)).round()}) if number else []
    )


def joined(parts: Sequence[LabelledAnimals]) -> LabelledAnimals:
    """Several sets as one; frames with fewer animals are filled up with missing ones."""
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
