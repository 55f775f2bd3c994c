"""``boxes: follow``: a square that goes with the one animal of a video or of labelled images, found from what moves.

An animal that is small in its arena has few pixels in a picture of all of it, and walls to read its heading from;
in a square that goes with it, it fills the picture wherever it is.  000, 5.8 has such crops for the jellyfish.
The side is MARGIN times the animal's own length, video by video, so that another zoom makes no other size.
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
from lightning_kp.files import default_cache_dir, file_mark, writing
from lightning_kp.geometry import Region, place
from lightning_kp.images.resize import prepare
from lightning_kp.motion import foreground as fg
from lightning_kp.motion.animals import LOOKED_AT_PX, boxes_in_images, find_boxes
from lightning_kp.motion.boxes import Box, as_table
from lightning_kp.video.opening import open_video

FORMAT = 1
"""Raised whenever the same video would give other boxes or another background."""
SAMPLED = 101  # frames at least that the background is the median of, where the video has them
BACKGROUND_PX = 512  # longest side of a background: crops of it are compared with crops of frames
LEAST_IMAGES = 6  # of one scene: the median of fewer may show the animal


def followed(video: Path) -> Path:
    """A csv file for ``data.boxes`` with the square that follows the animal; found once for each video.

    Raises VideoError where nothing moves.
    """
    target = _kept(video, "boxes", ".csv")
    if not target.is_file():
        background = scene_background(video)
        with open_video(video) as reader:
            plan = place(reader.info.frame_size, LOOKED_AT_PX)
        height, width = background.shape[:2]
        small = prepare(
            background, plan._replace(size=max(plan.content), box=(0, 0, width, height), offset=(0, 0))
        )
        grey = small[: plan.content[0], : plan.content[1]].mean(axis=-1, keepdims=True).astype(np.uint8)
        with tqdm(desc=f"follow {video.stem}", unit="frame", delay=2.0, leave=False) as bar:
            try:
                found = find_boxes(video, grey, 1, progress=bar.update)
            except DataError as error:
                remedy = "Leave it out, or train with one box or none (--data.boxes=null)."
                raise VideoError(error.problem, remedy=remedy) from error
        with writing(target) as file:
            file.write(as_table([found]).encode())
    return target


def scene_background(video: Path) -> NDArray[np.uint8]:
    """The median (h, w, 3) of frames spread over a video, at most BACKGROUND_PX long; kept on disk."""
    target = _kept(video, "background", ".npy")
    if not target.is_file():
        median = _median(video)
        with writing(target) as file:
            np.save(file, median)
    return np.asarray(np.load(target, allow_pickle=False), dtype=np.uint8)


def cut_out(
    background: NDArray[np.uint8], frame_size: tuple[int, int], regions: Sequence[Region], size: int
) -> NDArray[np.uint8]:
    """What a background (h, w, 3) shows in ``regions`` of frames of ``frame_size`` = (H, W): (N, size, size, 3)."""
    scene = torch.from_numpy(background).permute(2, 0, 1).unsqueeze(0).float()
    centre = (torch.arange(2 * size) + 0.5) / size - 1  # twice as fine, then averaged: no aliasing
    grid = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), dim=-1).double()
    whole = Region(0, 0, frame_size[1], frame_size[0])
    cuts = []
    for region in regions:
        places = whole.from_original_px(region.to_original_px(grid)).float().unsqueeze(0)
        # Zeros would shine into the frame's last pixels; beyond the frame there is black, as in the squares.
        fine = F.grid_sample(scene, places, padding_mode="border", align_corners=False)
        fine = fine * (places.abs() <= 1).all(dim=-1).unsqueeze(1)
        cuts.append(F.avg_pool2d(fine, 2)[0].permute(1, 2, 0).round().to(torch.uint8))
    return torch.stack(cuts).numpy()


def boxes_of_labelled(
    small: Sequence[NDArray[np.uint8]],
    frame_sizes: Sequence[tuple[int, int]],
    scenes: Sequence[Hashable],
) -> list[Box]:
    """A box around the animal of each labelled image; images of one scene share the background and the side.

    ``small`` as :func:`small_grey` makes them.
    """
    boxes: dict[int, Box] = {}
    keys = list(zip(scenes, frame_sizes, strict=True))
    for key in dict.fromkeys(keys):
        rows = [i for i, other in enumerate(keys) if other == key]
        found = boxes_in_images(np.stack([small[i] for i in rows]), key[1])
        for row, box in zip(rows, found.tolist(), strict=True):
            boxes[row] = (box[0], box[1], box[2], box[3])
    return [boxes[i] for i in range(len(small))]


def large_scenes(scenes: Sequence[str]) -> list[bool]:
    """Which images are of scenes that have LEAST_IMAGES; warns of the others.  Raises DataError where none is."""
    counts = Counter(scenes)
    small = [scene for scene, number in counts.items() if number < LEAST_IMAGES]
    if len(small) == len(counts):
        raise DataError(
            f"{small[0]}: {counts[small[0]]} labelled image(s); to find the animal by what changes from one to the "
            f"next, {LEAST_IMAGES} of a scene are needed.",
            remedy="Give a file with more labelled frames of a video.",
        )
    if small:
        left_out = sum(counts[scene] for scene in small)
        warnings.warn(
            f"{left_out} labelled image(s) of {len(small)} scene(s) ({small[0]}, ...) are left out: with fewer than "
            f"{LEAST_IMAGES} of a scene it is not known what the background is.",
            stacklevel=2,
        )
    return [counts[scene] >= LEAST_IMAGES for scene in scenes]


def small_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (H, W, 3) as :func:`boxes_of_labelled` looks at it, (h, w, 1)."""
    plan = place((image.shape[0], image.shape[1]), LOOKED_AT_PX)
    (height, width), (top, left) = plan.content, plan.offset
    small = prepare(image, plan)[top : top + height, left : left + width]
    return np.asarray(small.mean(axis=-1, keepdims=True), dtype=np.uint8)


def _kept(video: Path, what: str, suffix: str) -> Path:
    key = hashlib.sha256(repr((FORMAT, file_mark(video, with_time=True))).encode()).hexdigest()[:20]
    return default_cache_dir() / f"{video.stem[:40]}-{what}-{key}{suffix}"


def _median(video: Path) -> NDArray[np.uint8]:
    """Every second kept frame goes whenever too many have come: nobody need know how many there will be."""
    kept: list[NDArray[np.uint8]] = []
    every = 1
    with open_video(video) as reader:
        plan = place(reader.info.frame_size, min(BACKGROUND_PX, max(reader.info.frame_size)))
        (height, width), (top, left) = plan.content, plan.offset
        with tqdm(desc=f"background {video.stem}", unit="frame", delay=2.0, leave=False) as bar:
            for frame in reader.decode():
                bar.update()
                if frame.index % every:
                    continue
                kept.append(frame.prepared(plan)[top : top + height, left : left + width].copy())
                if len(kept) == 2 * SAMPLED:
                    kept, every = kept[::2], 2 * every
    return fg.median_background(np.stack(kept), at_most=2 * SAMPLED)
