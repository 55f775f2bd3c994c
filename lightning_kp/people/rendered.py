"""Rendered crowds: overlapping animals of the synthetic arena, with the ground truth of every keypoint (NumPy only).

In the arena, animals avoid each other.  Here their bodies lie on and beside each other, so that their boxes overlap
like those of the people of a crowd (see :mod:`lightning_kp.people.crowds`).
"""

import json
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
from lightning_kp.files import writing
from lightning_kp.geometry import from_edges
from lightning_kp.images.files import Image
from lightning_kp.people.crowds import Crowd, Person, Scene, box_overlaps, merged_box

EDITION = 1  # increase it when the same settings give other images
FLOORS = 8  # different floors, shared by all images: rendering one takes longer than an animal
PADDING = 0.16  # margin of an image while it is drawn, in image sides
TRIES = 400  # after which a crowd that is not complete is started again
NEAREST, REACH = 0.1, 0.30  # range of the distance between neighbouring bodies of a crowd, in image sides


@dataclass(frozen=True)
class CrowdSettings:
    """Settings of ``number`` images with ``least`` to ``most`` animals each; equal settings give equal bytes.

    ``size``: side of the images in pixels; ``look_alike``: all animals of an image have the same coat; ``noise``:
    standard deviation of the sensor noise, as a fraction of full scale.
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
                f"{self.number} crowds of {self.least} to {self.most} animals cannot be rendered in images of "
                f"{self.size} pixels.",
                remedy="Give at least 1 crowd, 1 to 8 animals (least at most as many as most), and at least 32 pixels.",
            )


@dataclass(frozen=True)
class RenderedCrowds:
    """``images`` (N, S, S, 3) uint8, ``points`` (N, I, K, 2) and ``boxes`` (N, I, 4) in pixels, NaN = padding.

    Boxes are left, top, width, height.
    """

    images: Image
    points: Floats
    boxes: Floats

    def crowds(self) -> list[Crowd]:
        """One crowd for each image, with the box around its animals."""
        return [self._crowd(row) for row in range(len(self.images))]

    def _crowd(self, row: int) -> Crowd:
        present = np.isfinite(self.boxes[row]).all(axis=-1)
        people = tuple(
            Person((box[0], box[1], box[2], box[3]), points, float(box[2] * box[3]))
            for box, points in zip(self.boxes[row][present].tolist(), self.points[row][present], strict=True)
        )
        size = (self.images.shape[1], self.images.shape[2])
        scene = Scene(lambda: self.images[row], size, people, MIRROR)
        return Crowd(scene, merged_box(self.boxes[row][present]), people)


def render_crowds(settings: CrowdSettings) -> RenderedCrowds:
    """Render all images of the settings."""
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
        points[row, :count] = from_edges(keypoints(midlines) * settings.size)
        boxes[row, :count] = body_boxes(midlines) * settings.size
        coats = rng.choice(len(COATS), count) if not settings.look_alike else np.zeros(count, int)
        image = floors[row % FLOORS].copy()
        for midline, coat in zip(midlines, coats, strict=True):
            texture = fur(int(rng.integers(1 << 30)))
            placed = from_edges(midline * settings.size) + pad
            draw_animal(image, placed, COAT_COLOURS[COATS[coat]], texture, arenas[0])
        inner = image[pad : pad + settings.size, pad : pad + settings.size]
        grain = rng.standard_normal((*inner.shape[:2], 1), np.float32) * np.float32(255 * settings.noise)
        images[row] = np.clip(inner + grain + 0.5, 0, 255).astype(np.uint8)
    return RenderedCrowds(images, points, boxes)


def huddle(rng: np.random.Generator, count: int) -> Floats:
    """Draw midlines (count, N, 2), in image sides, of animals that each overlap with an earlier one."""
    while True:
        midlines: list[Floats] = []
        for _ in range(TRIES):
            new = pose(rng, midlines[int(rng.integers(len(midlines)))][BODY] if midlines else None)
            if _fits(new, midlines):
                midlines.append(new)
            if len(midlines) == count:
                return np.stack(midlines)


def pose(rng: np.random.Generator, near: Floats | None) -> Floats:
    """Draw a midline (N, 2) from snout to tail tip, in image sides: slightly bent in the trunk, more in the tail.

    ``near`` (2,): the middle of the body that it should lie beside; None for a random position.
    """
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
    """Whether a midline (N, 2) lies inside the image, not too near to others, and overlaps with one of them."""
    if new.min() < 0.03 or new.max() > 0.97:
        return False
    if not others:
        return True
    apart = min(float(np.linalg.norm(new[BODY] - other[BODY])) for other in others)
    boxes = body_boxes(np.stack((new, *others)))
    return apart >= NEAREST and bool((box_overlaps(boxes)[0, 1:] >= 0.1).any())


def body_boxes(midlines: Floats) -> Floats:
    """Boxes (I, 4) = left, top, width, height around bodies with midlines (I, N, 2), all in image sides."""
    radii = np.array(RADII)[:, None]
    low, high = (midlines - radii).min(axis=1), (midlines + radii).max(axis=1)
    return np.concatenate((low, high - low), axis=1)


def stored_crowds(settings: CrowdSettings, folder: Path) -> RenderedCrowds:
    """Return the crowds of the settings, which are rendered once and kept below ``folder``.

    Raises DataError if they cannot be written.
    """
    fingerprint = json.dumps({"edition": EDITION, **asdict(settings)}, sort_keys=True)
    kind = "alike" if settings.look_alike else "coats"
    path = folder / f"crowds_{kind}_{settings.number}_{settings.size}px_seed{settings.seed}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["settings"]) == fingerprint:
                return RenderedCrowds(stored["images"], stored["points"], stored["boxes"])
    except (OSError, KeyError, ValueError):
        pass  # missing, or of an older edition
    rendered = render_crowds(settings)
    try:
        with writing(path, several_writers=True) as file:
            np.savez_compressed(file, settings=fingerprint, **vars(rendered))
    except OSError as error:
        raise DataError(
            f"The rendered crowds {path} could not be written: {error}.",
            remedy="Give a folder that can be written and has free space: --data.root=FOLDER.",
        ) from error
    return rendered
