"""Labelled animals as the network sees them: types, thinning, joining."""

import hashlib
import os
import warnings
from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from lightning_kp.frames.preprocessing import Preprocessing, Preprocessor, points_in_registered
from lightning_kp.geometry import Placement
from lightning_kp.images.files import Image
from lightning_kp.skeleton import numbered as numbered_names

SHAPE_TOLERANCE = 0.02  # relative difference of aspect ratios that counts as equal (ours)
MARK_BYTES = 8  # of the digest that stands for a labelled frame
T = TypeVar("T")


class LabelledSet(NamedTuple):
    """Labelled images with the points of all animals in one list.

    ``image`` (N, 3, S, S) uint8; ``points`` (N, K, 2), normalised (x, y), NaN = not labelled; ``names`` (K).
    ``shown`` (N, 2, 4), only where squares follow the animal: the region (left, top, right, bottom, in pixels of
    the original) that each square shows, and the one that it would show without following.
    ``animals``: how many animals have their points one after another in the list.
    ``marks`` (N) and ``shown_px`` (N, 2): see LabelledAnimals.
    """

    image: Tensor
    points: Tensor
    names: tuple[str, ...]
    shown: Tensor | None = None
    animals: int = 1
    marks: tuple[tuple[str, ...], ...] = ()
    shown_px: Tensor | None = None

    def only(self, rows: Sequence[int]) -> "LabelledSet":
        """These rows alone, in this order."""
        return self._replace(
            image=self.image[rows], points=self.points[rows], shown=_of(self.shown, rows),
            marks=_chosen(self.marks, rows), shown_px=_of(self.shown_px, rows),
        )  # fmt: skip

    @property
    def share_of_frame(self) -> float:
        """Root mean square, over the images, of a square's side as a share of the whole frame's; 1 if it shows all."""
        if self.shown is None:
            return 1.0
        (left, _, right, _), (frame_left, _, frame_right, _) = self.shown.permute(1, 2, 0)
        return float(((right - left) / (frame_right - frame_left)).square().mean().sqrt())

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
    ``marks`` (N): by which each frame is known again, see :func:`frame_marks`.
    """

    image: Tensor
    points: Tensor
    names: tuple[str, ...]
    sources: tuple[str, ...] = ()
    shown: Tensor | None = None
    inside: Tensor | None = None
    shown_px: Tensor | None = None
    marks: tuple[tuple[str, ...], ...] = ()

    def only(self, rows: Sequence[int]) -> "LabelledAnimals":
        """These rows alone, in this order."""
        return self._replace(
            image=self.image[rows], points=self.points[rows], sources=_chosen(self.sources, rows),
            shown=_of(self.shown, rows), inside=_of(self.inside, rows), shown_px=_of(self.shown_px, rows),
            marks=_chosen(self.marks, rows),
        )  # fmt: skip

    def marks_of(self, rows: Sequence[int]) -> list[str]:
        """Marks of these rows, all in one list, for the memory of a checkpoint."""
        return [mark for marks in _chosen(self.marks, rows) for mark in marks]

    def warn_of_never_labelled(self, rows: Sequence[int], *, in_order: bool = True) -> None:
        """Warn of points that none of these rows labels: a network that trains on them learns nothing of it.

        With ``in_order`` the points of each animal are points of their own, as in :meth:`flat`.
        """
        known = self.points[list(rows)].isfinite().all(dim=-1).any(dim=0)  # (I, K)
        names = self.names
        if in_order:
            names = numbered_names(self.names, len(known))
        is_labelled = known.flatten() if in_order else known.any(dim=0)
        never = [name for name, is_known in zip(names, is_labelled.tolist(), strict=True) if not is_known]
        if not never or not len(rows):
            return
        remedy = "Label it in some of them"
        some = known.any(dim=0).tolist()
        left = [name for name, is_known in zip(self.names, some, strict=True) if is_known]
        if 0 < len(left) < len(self.names):
            remedy += f", or leave it out with --data.names=[{','.join(left)}]"
        warnings.warn(
            f"None of the {len(rows)} labelled frames that train labels {', '.join(never)}: the network learns nothing "
            f"of it, and where it is tracked means nothing. {remedy}.",
            stacklevel=3,
        )

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
        points, animals = self.points.flatten(1, 2), self.points.shape[1]
        return LabelledSet(self.image, points, names, self.shown, animals, self.marks, self.shown_px)


def frame_marks(source: str, image: Image) -> tuple[str, ...]:
    """Digests by which a labelled frame is known again: what its image (H, W, 3) shows, and where it lies.

    The same image is known wherever it was moved to, and a frame of the same file also where another decoder gives
    other pixels.  ``source`` is that of the frame; empty if unknown.

    >>> picture = np.zeros((2, 3, 3), np.uint8)
    >>> frame_marks("/a/1.png", picture)[0] == frame_marks("/moved/1.png", picture)[0]
    True
    >>> len(set(frame_marks("/a/1.png", picture)) | set(frame_marks("/a/1.png", picture + 1)))
    3
    """
    shown = hashlib.blake2b(repr(image.shape).encode(), digest_size=MARK_BYTES)
    shown.update(np.ascontiguousarray(image).data)
    if not source:
        return (shown.hexdigest(),)
    return shown.hexdigest(), hashlib.blake2b(os.fsencode(source), digest_size=MARK_BYTES).hexdigest()


def _of(values: Tensor | None, rows: Sequence[int]) -> Tensor | None:
    return None if values is None else values[rows]


def _chosen(values: tuple[T, ...], rows: Sequence[int]) -> tuple[T, ...]:
    """The values of these rows; none where there are none at all."""
    return tuple(values[row] for row in rows) if values else ()


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
        marks=tuple(marks for part in parts for marks in part.marks),
        inside=None if any(each is None for each in inside) else torch.cat(inside),
        shown_px=None if any(each is None for each in sizes) else torch.cat(sizes),
    )  # fmt: skip


def preprocess_labelled(
    squares: Image,
    points: Tensor,
    placements: Sequence[Placement],
    scenes: Sequence[Hashable],
    settings: Preprocessing,
) -> tuple[Image, Tensor]:
    """Remove shadows from squares and register them; points move along.

    Args:
        squares: Images (N, S, S, 3) uint8, RGB.
        points: Points (N, I, K, 2), normalised (x, y) in [-1, 1], NaN = not labelled.
        placements: How each square was cut out of its image (N).
        scenes: The video, or another name of the background, of each image (N).  Images of one video with
            different placements count as different scenes.
        settings: What to do.

    Returns:
        Squares (N, S, S, 3) uint8 and points (N, I, K, 2), as the network sees them.

    Raises:
        DataError: A scene has fewer than four images.
    """
    if not settings.is_on:
        return squares, points
    done, moved = squares.copy(), points.clone()
    keys = list(zip(scenes, placements, strict=True))
    for key in dict.fromkeys(keys):
        chosen = [i for i, other in enumerate(keys) if other == key]
        preprocessor = Preprocessor.learn(settings, key[1], squares[chosen], str(key[0]))
        done[chosen], transforms = preprocessor(squares[chosen])
        moved[chosen] = points_in_registered(points[chosen].double(), transforms).to(points)
    return done, torch.as_tensor(moved)
