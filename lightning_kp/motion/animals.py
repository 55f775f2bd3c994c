"""A box around each animal in every frame, from what moves: crops for discovery without any label.

000, Table 5.1 and 5.2 mark methods that need such boxes, and 5.8 (Jellyfish) finds an animal of 50 pixels in
a frame of a thousand by the SSIM image.  ``background`` compares each frame with the median of the video and
also sees a resting animal; ``ssim`` compares a frame with the one a gap later (5.4), for scenes
whose background changes slowly.  Boxes of one video are squares of one size.  They stay where they are
until the animal has left their middle, so that the crop does not tremble with the outline.  What is thin beside
the body (a tail, legs) counts neither for a box's place nor for its size: a mouse's tail doubles its length.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from lightning_kp.errors import DataError
from lightning_kp.geometry import place
from lightning_kp.images.differences import ssim_difference
from lightning_kp.motion import foreground as fg
from lightning_kp.motion.boxes import AnimalBoxes, Floats
from lightning_kp.motion.squares import (
    MARGIN,
    MIDDLE,
    _filled,
    _follow,
    _squares,
    _steady,
    _Things,
    _usual_length,
)
from lightning_kp.video.opening import open_video

Source = Literal["background", "ssim"]

LOOKED_AT_PX = 256  # longest side at which motion is looked for
TOGETHER = 64  # frames compared at a time
THIN = 0.5  # of the body's greatest inner radius: parts that are thinner are limbs or a tail
DISSIMILAR = 0.25  # of one minus SSIM: beyond what compression leaves between two frames


def find_boxes(
    video: Path,
    background: NDArray[np.uint8],
    animals: int,
    *,
    source: Source = "background",
    gap: int = 5,
    side_px: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> AnimalBoxes:
    """Boxes of the ``animals`` largest moving things; ``background`` (h, w, C) as inspection measured it.

    ``gap`` frames for ``ssim``; ``side_px`` fixes the side of the squares.  Raises DataError where nothing moves.
    """
    with open_video(video) as reader:
        info = reader.info
        placement = place(info.frame_size, LOOKED_AT_PX)
        (height, width), (top, left) = placement.content, placement.offset

        def small() -> Iterator[NDArray[np.uint8]]:
            for frame in reader.decode():
                if progress is not None:
                    progress(1)
                yield frame.prepared(placement)[top : top + height, left : left + width]

        # What changes between two frames has not the animal's shape, and nothing that could be taken off.
        seen = _against(small(), background) if source == "background" else _between(small(), gap)
        masks = map(body_of, seen) if source == "background" else seen
        things = [_things(mask, animals) for mask in masks]
        info = reader.info
    scale = max(info.frame_size) / LOOKED_AT_PX
    centres, length = _follow(things, animals)
    if not np.isfinite(length):
        raise DataError(
            f"Nothing moves in {info.name}, so that there is nothing to put a box around.",
            remedy="Look at it with `kp inspect --out DIR`; give a box by hand with --data.boxes.",
        )
    side = side_px or int(np.ceil(MARGIN * length * scale))
    steady = _steady(_filled((centres + 0.5) * scale), MIDDLE * side)
    return AnimalBoxes(
        info, _squares(steady, side, info.frame_size), np.isfinite(centres[..., 0]).mean(axis=0)
    )


def boxes_in_images(small: NDArray[np.uint8], frame_size: tuple[int, int]) -> NDArray[np.int64]:
    """Boxes (N, 4) around the animal in small grey images (N, h, w, 1) of one scene, ``frame_size`` = (H, W) px.

    As :func:`find_boxes` has them, without any order in time.  Raises DataError where no image differs.
    """
    background = fg.median_background(small)
    edges = _edges(background[..., 0])
    things = [
        _things(body_of(without_ghosts(mask, _edges(image[..., 0]), edges)), 1)
        for image, mask in zip(small, fg.foreground(small, background), strict=True)
    ]
    scale = max(frame_size) / max(small.shape[1:3])
    unseen = np.full((1, 2), np.nan)
    centres = np.stack([each.centre[:1] if len(each.centre) else unseen for each in things])
    areas = [each.area[0] for each in things if len(each.area)]
    if not areas:
        raise DataError(
            "All labelled images of a scene are alike: there is nothing to put a box around.",
            remedy="Label frames in which the animal is at different places.",
        )
    side = int(np.ceil(MARGIN * _usual_length(things, 1, float(np.median(areas))) * scale))
    return _squares(_filled((centres + 0.5) * scale), side, frame_size)[:, 0]


def _against(images: Iterable[NDArray[np.uint8]], background: NDArray[np.uint8]) -> Iterator[fg.Masks]:
    """Where each image differs from the background by more than noise, (h, w)."""
    edges = _edges(background[..., 0])
    for batch in _batched(images):
        grey = np.stack(batch).mean(axis=-1, keepdims=True).astype(np.uint8)
        for image, mask in zip(grey[..., 0], fg.changed(fg.changes(grey, background)), strict=True):
            yield without_ghosts(mask, _edges(image), edges)


def _edges(image: NDArray[np.uint8]) -> Floats:
    return np.asarray(ndimage.gaussian_gradient_magnitude(image.astype(np.float32), 1.0))


def without_ghosts(mask: fg.Masks, here: Floats, behind: Floats) -> fg.Masks:
    """A mask (h, w) without what has left: regions whose outline is an edge of the background, not of the image.

    An animal that rests through half of a video is part of its median, and where it was differs ever after.
    ``here`` and ``behind``: edge strengths (h, w) of image and background.
    """
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count == 0:
        return mask
    outline = labels * (mask & ~ndimage.binary_erosion(mask, iterations=2))
    numbers = np.arange(1, count + 1)
    now, before = (ndimage.sum_labels(each, outline, numbers) for each in (here, behind))
    return np.asarray(np.isin(labels, numbers[now >= before]), dtype=np.bool_)


def _batched(images: Iterable[NDArray[np.uint8]]) -> Iterator[tuple[NDArray[np.uint8], ...]]:
    iterator = iter(images)
    while batch := tuple(itertools.islice(iterator, TOGETHER)):
        yield batch


def _between(images: Iterable[NDArray[np.uint8]], gap: int) -> Iterator[fg.Masks]:
    """Where an image is unlike the one ``gap`` later; the last ``gap`` repeat what was seen last."""
    waiting: list[NDArray[np.uint8]] = []
    mask: fg.Masks | None = None
    for image in images:
        waiting.append(image)
        if len(waiting) > gap:
            mask = _unlike(waiting.pop(0), image)
            yield mask
    blank = np.zeros(waiting[0].shape[:2], dtype=np.bool_) if waiting else np.zeros((1, 1), dtype=np.bool_)
    yield from itertools.repeat(blank if mask is None else mask, len(waiting))


def _unlike(now: NDArray[np.uint8], later: NDArray[np.uint8]) -> fg.Masks:
    pair = [torch.from_numpy(each).permute(2, 0, 1).unsqueeze(0).float() / 255 for each in (now, later)]
    return fg.without_specks(ssim_difference(*pair)[0, 0].numpy() > DISSIMILAR)


def body_of(mask: fg.Masks) -> fg.Masks:
    """A mask (h, w) without what is thin beside its thickest part: opened by a disc of THIN its inner radius."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return mask
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inner = ndimage.distance_transform_edt(np.pad(mask[part], 1))
    radius = THIN * inner.max()
    core = inner > radius
    opened = np.zeros_like(mask)
    opened[part] = (ndimage.distance_transform_edt(~core) <= radius)[1:-1, 1:-1] & mask[part]
    return opened


def _things(mask: fg.Masks, animals: int) -> _Things:
    """The ``animals`` largest connected regions; with their pixels where several animals may touch."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    slices = ndimage.find_objects(labels)
    area = np.bincount(labels.ravel(), minlength=count + 1)[1:].astype(np.float64)
    order = np.argsort(-area, kind="stable")[:animals].tolist()
    table = np.empty((len(order), 4))
    for row, region in zip(table, order, strict=True):
        rows, columns = slices[region]
        y, x = np.nonzero(labels[rows, columns] == region + 1)
        length = max(rows.stop - rows.start, columns.stop - columns.start)
        row[:] = area[region], columns.start + x.mean(), rows.start + y.mean(), length
    return _Things(table, np.argwhere(mask)[:, ::-1].astype(np.float64) if animals > 1 else None)
