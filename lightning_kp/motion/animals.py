"""Finding a box around each animal in every frame by its motion, for discovery on crops without any labels.

000, Tables 5.1 and 5.2 mark the methods that need such boxes, and section 5.8 (Jellyfish) finds an animal of 50 pixels
in a frame of a thousand with the SSIM image.  Two sources are offered: ``background`` compares each frame with what
the video shows without animals, and also sees a resting one; ``ssim`` compares each frame with a later one (5.4), for
scenes with a slowly changing background.

All boxes of one video are squares of one size.  A square stays where it is until its animal has left the middle, so
that the crop does not jitter with the outline.  Parts that are thin beside the body (a tail, legs) affect neither the
position nor the size: a tail doubles the length of a mouse.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.geometry import place, to_edges
from lightning_kp.images.differences import ssim_difference
from lightning_kp.motion import foreground as fg
from lightning_kp.motion.background import learn_background
from lightning_kp.motion.bodies import Body, find_bodies
from lightning_kp.motion.boxes import AnimalBoxes
from lightning_kp.motion.one_animal import candidate_regions, choose_path
from lightning_kp.motion.regions import MovingRegions, largest_regions, link_regions, typical_length
from lightning_kp.motion.several_animals import Placed, place_animals
from lightning_kp.motion.squares import SIDE_IN_LENGTHS, SLACK_SHARE, fill_gaps, hold_steady, squares_around
from lightning_kp.motion.threads import in_threads
from lightning_kp.video.opening import open_video

Result = TypeVar("Result")
Source = Literal["background", "ssim"]

ANALYSED_PX = 256
"""Longest side in pixels of the images in which motion is searched."""
BATCH_FRAMES = 64
"""Frames that are compared with the background at once."""
COLOURED, COLOURED_SHARE = 16, 1e-3
"""Difference of two channels that is a colour, and share of the pixels that have one in a coloured video."""
COLOUR_SAMPLES = 8
"""Frames of a batch in which colours are looked for."""
FURTHER_BODIES = 4
"""Moving bodies of a frame that are looked at beyond the number of animals."""
MIN_DISSIMILARITY = 0.25
"""One minus SSIM above which a pixel has changed; compression alone leaves less between two frames."""


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
    """Find a box around each of ``animals`` animals in every frame.

    Animals that differ from the background are followed over the whole video by their usual area and grey value, so
    that something large that is there for a part of the video does not attract a box (one_animal.py,
    several_animals.py).  From the ``ssim`` image, they are the largest regions of each frame.

    Args:
        video: Video file or folder of images.
        background: What the video shows without animals (h, w, C), grey or RGB, uint8, at the size of the analysed
            images; see :func:`~lightning_kp.motion.background.learn_background`.
        animals: Number of animals I.
        source: What shows motion: the difference from the ``background``, or the ``ssim`` image.
        gap: For ``ssim``, the number of frames between the two frames that are compared.
        side_px: Side of the squares in pixels of the video; by default 1.4 times the animals' typical length.
        progress: Called with 1 after each frame.

    Raises ConfigurationError for an unknown source and DataError if nothing moves.
    """
    if source not in get_args(Source):
        raise ConfigurationError(
            f"There is no source of boxes '{source}'.",
            remedy=f"Choose one of: {', '.join(get_args(Source))}.",
        )
    times: list[float] = []
    with open_video(video) as reader:
        placement = place(reader.info.frame_size, ANALYSED_PX)
        (height, width), (top, left) = placement.content, placement.offset

        def small_images() -> Iterator[NDArray[np.uint8]]:
            for frame in reader.decode():
                if progress is not None:
                    progress(1)
                times.append(frame.time_s)
                yield frame.prepared(placement)[top : top + height, left : left + width]

        placed = _placed(small_images(), background, animals, source, gap)
        info = reader.info
    if not np.isfinite(placed.length):
        raise DataError(
            f"Nothing moves in {info.name}, so no animal can be found by its motion.",
            remedy="Look at the video with `kp inspect VIDEO --out DIR`, or give a fixed box with --data.boxes.",
        )
    scale = max(info.frame_size) / ANALYSED_PX
    side = side_px or int(np.ceil(SIDE_IN_LENGTHS * placed.length * scale))
    centre = to_edges(placed.centre) * scale
    boxes = squares_around(hold_steady(fill_gaps(centre), SLACK_SHARE * side), side, info.frame_size)
    found = np.isfinite(centre[..., 0])
    return AnimalBoxes(info, boxes, found, np.asarray(times), centre, placed.covariance * scale**2)


def boxes_in_images(
    small: NDArray[np.uint8], frame_size: tuple[int, int], animals: int = 1
) -> NDArray[np.int64]:
    """Find a box around each animal in each of several images of one scene, which need no order in time.

    ``small`` (N, h, w, 1) are the images in grey, reduced in size; ``frame_size`` = (H, W) is their original size in
    pixels.  Returns squares (N, I, 4) as (left, top, right, bottom) in pixels of the original images, around the
    largest regions of each, in no order.  Raises DataError if all images are alike.
    """
    background = learn_background(small)
    edges = fg.edge_strength(background[..., 0])
    regions = [
        largest_regions(
            fg.without_limbs(fg.without_ghosts(mask, fg.edge_strength(image[..., 0]), edges)), animals
        )
        for image, mask in zip(small, fg.foreground(small, background), strict=True)
    ]
    scale = max(frame_size) / max(small.shape[1:3])
    centres = np.full((len(regions), animals, 2), np.nan)
    for row, each in zip(centres, regions, strict=True):
        row[: len(each.centre)] = each.centre
    areas = [each.area[0] for each in regions if len(each.area)]
    if not areas:
        raise DataError(
            "All labelled images of a scene are alike, so no animal can be found by its motion.",
            remedy="Label frames that show the animal at different positions.",
        )
    length = typical_length(regions, animals, float(np.median(areas)))
    side = int(np.ceil(SIDE_IN_LENGTHS * length * scale))
    return squares_around(fill_gaps(to_edges(centres) * scale), side, frame_size)


def _placed(
    images: Iterable[NDArray[np.uint8]], background: NDArray[np.uint8], animals: int, source: Source, gap: int
) -> Placed:
    """Where the animals are in T images (h, w, 3); their extent is known only where several are followed."""
    if source == "background" and animals > 1:
        return place_animals(list(_bodies(images, background, animals)), animals)
    if source == "background":
        centres, length = choose_path(list(_candidates(images, background)))
        centres = centres[:, None]
    else:  # A change between two frames does not have the shape of the animal: there are no limbs to remove.
        regions = (largest_regions(mask, animals) for mask in _masks_between(images, gap))
        centres, length = link_regions(list(regions), animals)
    return Placed(centres, np.full((*centres.shape[:2], 3), np.nan), length)


def _bodies(
    images: Iterable[NDArray[np.uint8]], background: NDArray[np.uint8], animals: int
) -> Iterator[list[Body]]:
    """The moving bodies of each image (h, w, 3)."""
    return _of_differences(
        images,
        background,
        lambda mask, image, edges: find_bodies(mask, image, edges, animals + FURTHER_BODIES),
    )


def _candidates(
    images: Iterable[NDArray[np.uint8]], background: NDArray[np.uint8]
) -> Iterator[MovingRegions]:
    """The regions of each image (h, w, 3) that may be the one animal."""
    return _of_differences(images, background, candidate_regions)


def _of_differences(
    images: Iterable[NDArray[np.uint8]],
    background: NDArray[np.uint8],
    find: Callable[[fg.Masks, NDArray[np.uint8], fg.Floats], Result],
) -> Iterator[Result]:
    """Yield for each image (h, w, 3) what ``find`` finds where it differs from the background by more than noise.

    ``find`` is given the mask (h, w) of the difference, the image in grey (h, w), and the edges of the background.
    Both are compared in colour from the first batch on that has colours: a brown animal can be as bright as the floor.
    """
    plain = _grey(background)
    edges = fg.edge_strength(plain[..., 0])

    def coloured() -> Iterator[tuple[NDArray[np.uint8], bool]]:
        in_colour = False
        for batch in _batched(images):
            colours = np.stack(batch)
            in_colour = in_colour or (background.shape[-1] == 3 and _has_colours(colours))
            yield colours, in_colour

    def find_all(given: tuple[NDArray[np.uint8], bool]) -> list[Result]:
        colours, in_colour = given
        grey = _grey(colours)
        change = fg.changes(colours, background) if in_colour else fg.changes(grey, plain)
        masks = change.magnitude > change.threshold
        return [find(mask, image, edges) for mask, image in zip(masks, grey[..., 0], strict=True)]

    for found in in_threads(find_all, coloured()):
        yield from found


def _has_colours(images: NDArray[np.uint8]) -> bool:
    """Whether one in a thousand pixels of images (T, h, w, 3) has a colour."""
    red, green, blue = np.moveaxis(images[:: max(1, len(images) // COLOUR_SAMPLES)].astype(np.int16), -1, 0)
    apart = np.maximum(np.abs(red - green), np.abs(green - blue))
    return bool((apart > COLOURED).mean() > COLOURED_SHARE)


def _grey(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of the channels of images (..., C): (..., 1)."""
    if images.shape[-1] != 3:
        return np.asarray(images.mean(axis=-1, keepdims=True), dtype=np.uint8)
    total = sum(images[..., channel : channel + 1].astype(np.uint16) for channel in range(3))
    return np.asarray(total // 3, dtype=np.uint8)  # far faster than a mean over a short axis


def _batched(images: Iterable[NDArray[np.uint8]]) -> Iterator[tuple[NDArray[np.uint8], ...]]:
    iterator = iter(images)
    while batch := tuple(itertools.islice(iterator, BATCH_FRAMES)):
        yield batch


def _masks_between(images: Iterable[NDArray[np.uint8]], gap: int) -> Iterator[fg.Masks]:
    """For each image, yield where it differs from the one ``gap`` later; the last ``gap`` images repeat a mask."""
    waiting: list[NDArray[np.uint8]] = []
    mask: fg.Masks | None = None
    for image in images:
        waiting.append(image)
        if len(waiting) > gap:
            mask = _dissimilar(waiting.pop(0), image)
            yield mask
    blank = np.zeros(waiting[0].shape[:2], dtype=np.bool_) if waiting else np.zeros((1, 1), dtype=np.bool_)
    yield from itertools.repeat(blank if mask is None else mask, len(waiting))


def _dissimilar(now: NDArray[np.uint8], later: NDArray[np.uint8]) -> fg.Masks:
    pair = [torch.from_numpy(each).permute(2, 0, 1).unsqueeze(0).float() / 255 for each in (now, later)]
    return fg.without_specks(ssim_difference(*pair)[0, 0].numpy() > MIN_DISSIMILARITY)
