"""``boxes: follow``: a square that follows each animal of a video or of labelled images, found by its motion.

An animal that is small in its arena has few pixels in an image of the whole arena, and a network can infer its heading
from the walls.  In a square that follows it, the animal fills the image wherever it is.  000, 5.8 uses such crops for
the jellyfish.  Several animals have a square each, and look-alikes share one set of keypoints.  The side is
SIDE_IN_LENGTHS times the animal's length, measured for each video, so that the animal has the same size in the crop
whatever the zoom.
"""

import hashlib
import warnings
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tqdm import tqdm

from lightning_kp.errors import DataError, VideoError
from lightning_kp.files import UNENCODABLE, default_cache_dir, file_fingerprint, writing_cache
from lightning_kp.geometry import Region, pixel_centres, place
from lightning_kp.images.resize import prepare
from lightning_kp.motion.animals import ANALYSED_PX, boxes_in_images, find_boxes
from lightning_kp.motion.background import FrameSampler, learn_background
from lightning_kp.motion.boxes import Box, boxes_to_csv
from lightning_kp.video.opening import open_video

CACHE_VERSION = 3
"""To be raised whenever the same video would give other boxes or another background."""
BACKGROUND_PX = 512
"""Longest side of a background in pixels; crops of it are compared with crops of frames."""
MIN_SCENE_IMAGES = 6
"""Labelled images of one scene that are needed: the background of fewer may show the animal."""


def follow_animals(video: Path, animals: int = 1) -> Path:
    """Return a csv file for ``data.boxes`` with a square that follows each animal, computed once for each video.

    Raises VideoError if nothing moves.
    """
    target = _cache_path(video, "boxes" if animals == 1 else f"boxes{animals}", ".csv")
    if not target.is_file():
        background = reduced_background(video)
        with tqdm(desc=f"follow {video.stem}", unit="frame", delay=2.0, leave=False) as bar:
            try:
                found = find_boxes(video, background, animals, progress=bar.update)
            except DataError as error:
                remedy = "Leave this video out, or train with a fixed box or none (--data.boxes=null)."
                raise VideoError(error.problem, remedy=remedy) from error
        with writing_cache(target) as file:
            file.write(boxes_to_csv([found]).encode(errors=UNENCODABLE))
    return target


def scene_background(video: Path) -> NDArray[np.uint8]:
    """Return the background (h, w, 3), uint8: what is there when no animal is, computed once and cached.

    Its longer side is at most BACKGROUND_PX.  See :mod:`lightning_kp.motion.background`.
    """
    target = _cache_path(video, "background", ".npy")
    if not target.is_file():
        learnt = _learnt(video)
        with writing_cache(target) as file:
            np.save(file, learnt)
    return np.asarray(np.load(target, allow_pickle=False), dtype=np.uint8)


def reduced_background(video: Path) -> NDArray[np.uint8]:
    """The background of a video, (h, w, 3), uint8, at the size at which :func:`find_boxes` analyses frames."""
    background = scene_background(video)
    with open_video(video) as reader:
        placement = place(reader.info.frame_size, ANALYSED_PX)
    height, width = background.shape[:2]
    whole = placement._replace(size=max(placement.content), box=(0, 0, width, height), offset=(0, 0))
    small = prepare(background, whole)
    rows, columns = placement.content
    return small[:rows, :columns]


def cut_background(
    background: NDArray[np.uint8], frame_size: tuple[int, int], regions: Sequence[Region], size: int
) -> NDArray[np.uint8]:
    """Cut N squares out of a background (h, w, 3), uint8, that show the same ``regions`` as crops of frames do.

    ``regions`` are in pixels of frames of ``frame_size`` = (H, W).  Returns (N, size, size, 3), uint8; parts beyond the
    frame are black.
    """
    scene = torch.from_numpy(background).permute(2, 0, 1).unsqueeze(0).float()
    centre = pixel_centres(2 * size, like=scene)  # twice as fine, then averaged: no aliasing
    grid = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), dim=-1).double()
    whole = Region(0, 0, frame_size[1], frame_size[0])
    cuts = []
    for region in regions:
        positions = whole.from_original_px(region.to_original_px(grid)).float().unsqueeze(0)
        # Padding with zeros would darken the frame's last pixels; beyond the frame it is black, as in the squares.
        fine = F.grid_sample(scene, positions, padding_mode="border", align_corners=False)
        fine = fine * (positions.abs() <= 1).all(dim=-1).unsqueeze(1)
        cuts.append(F.avg_pool2d(fine, 2)[0].permute(1, 2, 0).round().to(torch.uint8))
    return torch.stack(cuts).numpy()


def boxes_by_scene(
    small: Sequence[NDArray[np.uint8]],
    frame_sizes: Sequence[tuple[int, int]],
    scenes: Sequence[Hashable],
    animals: int = 1,
) -> list[list[Box]]:
    """Find a box around each animal of labelled images; images of one scene share a background and a side length.

    ``small`` are grey images (h, w, 1) as :func:`small_grey` makes them, ``frame_sizes`` the (H, W) of the originals in
    pixels, ``scenes`` an identifier of the scene of each.  The boxes are in pixels of the originals.
    """
    boxes: dict[int, list[Box]] = {}
    scene_and_size = list(zip(scenes, frame_sizes, strict=True))
    for group in dict.fromkeys(scene_and_size):
        rows = [i for i, other in enumerate(scene_and_size) if other == group]
        found = boxes_in_images(np.stack([small[i] for i in rows]), group[1], animals)
        for row, each in zip(rows, found.tolist(), strict=True):
            boxes[row] = [(left, top, right, bottom) for left, top, right, bottom in each]
    return [boxes[i] for i in range(len(small))]


def large_scenes(scenes: Sequence[str]) -> list[bool]:
    """Return, for each image, whether its scene has MIN_SCENE_IMAGES images, and warn about the others.

    Raises DataError if no scene has enough.
    """
    counts = Counter(scenes)
    too_small = [scene for scene, number in counts.items() if number < MIN_SCENE_IMAGES]
    if len(too_small) == len(counts):
        raise DataError(
            f"{too_small[0]} has {counts[too_small[0]]} labelled image(s), but finding the animal by its motion "
            f"(boxes: follow) needs at least {MIN_SCENE_IMAGES} per scene.",
            remedy="Give a label file with more labelled frames per video, or set --data.boxes=null.",
        )
    if too_small:
        ignored = sum(counts[scene] for scene in too_small)
        warnings.warn(
            f"{ignored} labelled image(s) of {len(too_small)} scene(s) ({too_small[0]}, ...) are ignored: with fewer "
            f"than {MIN_SCENE_IMAGES} images per scene the background cannot be distinguished from the animal.",
            stacklevel=2,
        )
    return [counts[scene] >= MIN_SCENE_IMAGES for scene in scenes]


def small_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Reduce an image (H, W, 3) to a small grey one (h, w, 1), uint8, as :func:`boxes_by_scene` needs it."""
    placement = place((image.shape[0], image.shape[1]), ANALYSED_PX)
    (height, width), (top, left) = placement.content, placement.offset
    small = prepare(image, placement)[top : top + height, left : left + width]
    return np.asarray(small.mean(axis=-1, keepdims=True), dtype=np.uint8)


def _cache_path(video: Path, kind: str, suffix: str) -> Path:
    """Where the result of ``kind`` is cached; the name changes with the file and with CACHE_VERSION."""
    contents = repr((CACHE_VERSION, file_fingerprint(video, with_time=True)))
    digest = hashlib.sha256(contents.encode()).hexdigest()[:20]
    return default_cache_dir() / f"{video.stem[:40]}-{kind}-{digest}{suffix}"


def _learnt(video: Path) -> NDArray[np.uint8]:
    """Background (h, w, 3) of a video."""
    sampler = FrameSampler()
    with open_video(video) as reader:
        placement = place(reader.info.frame_size, min(BACKGROUND_PX, max(reader.info.frame_size)))
        (height, width), (top, left) = placement.content, placement.offset
        with tqdm(desc=f"background {video.stem}", unit="frame", delay=2.0, leave=False) as bar:
            for frame in reader.decode():
                bar.update()
                if sampler.wants(frame.index):
                    image = frame.prepared(placement)[top : top + height, left : left + width]
                    sampler.add(frame.index, image)
    return learn_background(sampler.images())
