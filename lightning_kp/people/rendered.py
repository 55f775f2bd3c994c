"""Rendered crowds: animals of the synthetic arena that overlap, with every keypoint known (numpy only).

The arena's own animals keep out of each other's way; here bodies lie on and beside each other, so that any
two that are linked overlap as a crowd's members do (see :mod:`lightning_kp.people.crowds`).
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lightning_kp.arena.body import (
    BODY,
    COATS,
    LINKS,
    MIRROR,
    NODES,
    RADII,
    TAIL_BASE,
    ArenaSettings,
    Floats,
    keypoints,
)
from lightning_kp.arena.render import COAT_COLOURS, arena_floor, draw_animal, fur
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.people.crowds import Crowd, Person, Picture, Scene, box_overlaps, merged_box

EDITION = 1  # raise it when the same settings give other pictures
FLOORS = 8  # bedding to lie on; rendering it costs more than an animal
PADDING = 0.16  # margin of the picture while it is drawn, in image sides
TRIES = 400  # before a huddle that cannot grow is begun anew
NEAREST, REACH = 0.1, 0.30  # distances of two bodies' middles that make a crowd, in image sides


@dataclass(frozen=True)
class CrowdSettings:
    """Pictures of ``least`` to ``most`` animals each; equal settings give equal bytes.

    ``size``: side of the pictures in px; ``look_alike``: all animals of a picture wear the same coat.
    """

    number: int
    size: int = 128
    least: int = 2
    most: int = 5
    look_alike: bool = False
    noise: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if self.number < 1 or self.size < 32 or not 1 <= self.least <= self.most <= 8:
            raise ConfigurationError(
                f"{self.number} crowds of {self.least} to {self.most} animals in {self.size} px cannot be drawn.",
                remedy="Give at least one crowd, 1 to 8 animals and at least 32 px.",
            )


@dataclass(frozen=True)
class DrawnCrowds:
    """``images`` (N, S, S, 3); ``points`` (N, I, K, 2) and ``boxes`` (N, I, 4) px, NaN where no animal is."""

    images: Picture
    points: Floats
    boxes: Floats

    def crowds(self) -> list[Crowd]:
        """One crowd per picture: the box around its animals."""
        return [self._crowd(row) for row in range(len(self.images))]

    def _crowd(self, row: int) -> Crowd:
        there = np.isfinite(self.boxes[row]).all(axis=-1)
        people = tuple(
            Person((box[0], box[1], box[2], box[3]), points, float(box[2] * box[3]))
            for box, points in zip(self.boxes[row][there].tolist(), self.points[row][there], strict=True)
        )
        size = (self.images.shape[1], self.images.shape[2])
        scene = Scene(lambda: self.images[row], size, people, MIRROR)
        return Crowd(scene, merged_box(self.boxes[row][there]), people)


def draw_crowds(settings: CrowdSettings) -> DrawnCrowds:
    """Draw all pictures of the settings."""
    arenas = [ArenaSettings(size=settings.size, seed=1000 * settings.seed + each) for each in range(FLOORS)]
    pad = round(PADDING * settings.size) + 8
    floors = [arena_floor(each, pad) for each in arenas]
    images = np.zeros((settings.number, settings.size, settings.size, 3), np.uint8)
    points = np.full((settings.number, settings.most, len(MIRROR), 2), np.nan)
    boxes = np.full((settings.number, settings.most, 4), np.nan)
    for row in range(settings.number):
        rng = np.random.default_rng((settings.seed, 11, row))
        midlines = huddle(rng, int(rng.integers(settings.least, settings.most + 1)))
        count = len(midlines)
        points[row, :count] = keypoints(midlines) * settings.size - 0.5
        boxes[row, :count] = body_boxes(midlines) * settings.size
        coats = rng.choice(len(COATS), count) if not settings.look_alike else np.zeros(count, int)
        picture = floors[row % FLOORS].copy()
        for midline, coat in zip(midlines, coats, strict=True):
            texture = fur(int(rng.integers(1 << 30)))
            placed = midline * settings.size - 0.5 + pad
            draw_animal(picture, placed, COAT_COLOURS[COATS[coat]], texture, arenas[0])
        inner = picture[pad : pad + settings.size, pad : pad + settings.size]
        grain = rng.standard_normal((*inner.shape[:2], 1), np.float32) * np.float32(255 * settings.noise)
        images[row] = np.clip(inner + grain + 0.5, 0, 255).astype(np.uint8)
    return DrawnCrowds(images, points, boxes)


def huddle(rng: np.random.Generator, count: int) -> Floats:
    """Midlines (count, N, 2) in image sides of animals each of which overlaps with one before it."""
    while True:
        midlines: list[Floats] = []
        for _ in range(TRIES):
            new = pose(rng, midlines[int(rng.integers(len(midlines)))][BODY] if midlines else None)
            if _fits(new, midlines):
                midlines.append(new)
            if len(midlines) == count:
                return np.stack(midlines)


def pose(rng: np.random.Generator, near: Floats | None) -> Floats:
    """A midline (N, 2) from snout to tail tip: bent a little in the trunk, more in the tail."""
    bend = np.where(np.arange(NODES - 1) < TAIL_BASE, 0.06, 0.16)
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(rng.normal(0, 0.08), bend))
    steps = np.array(LINKS)[:, None] * np.stack((np.cos(angles), np.sin(angles)), axis=-1)
    line = np.concatenate((np.zeros((1, 2)), np.cumsum(steps, axis=0)))
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(NEAREST, REACH)
    middle = rng.uniform(0.3, 0.7, 2)
    if near is not None:
        middle = near + distance * np.array((np.cos(angle), np.sin(angle)))
    return np.asarray(line - line[BODY] + middle)


def _fits(new: Floats, others: list[Floats]) -> bool:
    if new.min() < 0.03 or new.max() > 0.97:
        return False
    if not others:
        return True
    apart = min(float(np.linalg.norm(new[BODY] - other[BODY])) for other in others)
    boxes = body_boxes(np.stack((new, *others)))
    return apart >= NEAREST and bool((box_overlaps(boxes)[0, 1:] >= 0.1).any())


def body_boxes(midlines: Floats) -> Floats:
    """Boxes (I, 4) = left, top, width, height around midlines (I, N, 2) with their radii, in image sides."""
    radii = np.array(RADII)[:, None]
    low, high = (midlines - radii).min(axis=1), (midlines + radii).max(axis=1)
    return np.concatenate((low, high - low), axis=1)


def stored_crowds(settings: CrowdSettings, folder: Path) -> DrawnCrowds:
    """The crowds of the settings, drawn once and kept below ``folder``."""
    fingerprint = json.dumps({"edition": EDITION, **asdict(settings)}, sort_keys=True)
    kind = "alike" if settings.look_alike else "coats"
    path = folder / f"crowds_{kind}_{settings.number}_{settings.size}px_seed{settings.seed}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["settings"]) == fingerprint:
                return DrawnCrowds(stored["images"], stored["points"], stored["boxes"])
    except (OSError, KeyError, ValueError):
        pass  # not there, or of an older edition
    drawn = draw_crowds(settings)
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez_compressed(file, settings=fingerprint, **vars(drawn))
        partial.replace(path)
    except OSError as error:
        raise DataError(
            f"The rendered crowds {path} could not be written: {error}.",
            remedy="Give a folder (data.root) that can be written and has room.",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return drawn
