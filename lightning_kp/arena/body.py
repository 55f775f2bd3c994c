"""Anatomy of the animals in the rendered arena, settings of a video, and its ground truth (NumPy only).

All lengths of the anatomy are in image sides, so that an animal looks the same at every image size.  An animal is a
midline of N nodes from snout to tail tip, each with a radius.  Keypoints, outline and distances follow from the
midline.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import ConfigurationError

Floats = NDArray[np.float64]

KEYPOINT_NAMES = ("snout", "left_ear", "right_ear", "neck", "body", "tail_base", "tail_tip")
EDGES = ((0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (4, 5), (5, 6))
MIRROR = (0, 2, 1, 3, 4, 5, 6)
"""Index of each keypoint's mirror image: left and right ear are exchanged."""
BEHAVIOURS = ("pause", "walk", "turn", "chase", "contact")
PAUSE, WALK, TURN, CHASE, CONTACT = range(len(BEHAVIOURS))
COATS = ("black", "brown", "white", "russet")

WALL = 0.055  # thickness of the arena's wall, in image sides
SNOUT, HEAD, NECK, CHEST, BODY, TAIL_BASE, TAIL_TIP = 0, 1, 2, 3, 4, 7, 12
TRUNK = slice(SNOUT, TAIL_BASE + 1)  # the solid part, which collides; animals walk over tails
# Distances between neighbouring nodes, and radii of the nodes, in image sides.
LINKS = (0.040, 0.035, 0.041, 0.041, 0.041, 0.041, 0.041, 0.042, 0.042, 0.042, 0.042, 0.042)
RADII = (0.011, 0.030, 0.033, 0.040, 0.047, 0.050, 0.045, 0.018, 0.0075, 0.0065, 0.0055, 0.0048, 0.0042)
NODES = len(RADII)
EAR_RADIUS = 0.017
TOUCH = 0.012  # two trunks nearer than this are in contact, in image sides


@dataclass(frozen=True)
class ArenaSettings:
    """Settings of one rendered video; equal settings give equal bytes of every frame.

    Attributes:
        size: Image side in pixels, an even number.
        frames: Number of frames T.
        fps: Frames per second.
        seed: Determines the motion, the coats' texture, the floor and the noise.
        animals: Number of animals I, 1 to 4.
        look_alike: All animals have the same coat.
        shadow: Animals cast shadows.
        flicker: Standard deviation of the brightness over time, relative to its mean.
        shake: Standard deviation of the camera's displacement per axis, in pixels.
        noise: Standard deviation of the sensor noise, relative to full scale.
        drift: Standard deviation of a slow displacement per axis, in pixels; its periods are 33 to 100 seconds.
        shadow_reach: Distance of a shadow from its animal in image sides, 0 to 0.1: the lower the lamp, the farther.

    Raises ConfigurationError for a value out of range.
    """

    size: int = 192
    frames: int = 1200
    fps: float = 25.0
    seed: int = 0
    animals: int = 2
    look_alike: bool = False
    shadow: bool = False
    flicker: float = 0.0
    shake: float = 0.0
    noise: float = 0.02
    drift: float = 0.0
    shadow_reach: float = 0.0256

    def __post_init__(self) -> None:
        def refuse(problem: str, remedy: str) -> None:
            raise ConfigurationError(problem, remedy=remedy)

        if self.size < 32 or self.size % 2:
            refuse(f"The arena's size is {self.size} px.", "Give an even number of at least 32.")
        if self.frames < 1:
            refuse(f"The arena has {self.frames} frames.", "Give at least 1.")
        if not 1 <= self.fps <= 1000:
            refuse(f"The arena runs at {self.fps} frames per second.", "Give 1 to 1000.")
        if not 1 <= self.animals <= len(COATS):
            refuse(f"The arena has {self.animals} animals.", f"Give 1 to {len(COATS)}.")
        if self.seed < 0:
            refuse(f"The arena's seed is {self.seed}.", "Give 0 or more.")
        if self.shadow_reach > 0.1:
            refuse(f"The arena's shadow_reach is {self.shadow_reach}.", "Give 0 to 0.1 of the image side.")
        for name in ("flicker", "shake", "noise", "drift", "shadow_reach"):
            if not 0 <= getattr(self, name) < float("inf"):
                refuse(f"The arena's {name} is {getattr(self, name)}.", "Give 0 or more.")

    @property
    def coats(self) -> tuple[str, ...]:
        """Name of the coat of each animal, (I,)."""
        return (COATS[0],) * self.animals if self.look_alike else COATS[: self.animals]


@dataclass(frozen=True)
class ArenaTruth:
    """The ground truth of a rendered video.  Position i on the instance axis I is always the same animal.

    Attributes:
        points_px: Keypoints (T, I, K, 2) as (x, y) in pixels; the centre of the top left pixel is (0, 0).
        visible: (T, I, K), False where an animal covers the keypoint.
        behaviour: (T, I), index into ``behaviour_names``.
        gap_px: (T, I), distance in pixels from the animal's outline without tail to the nearest other outline, negative
            where they overlap, infinite for a single animal.
        midline_px: Nodes (T, I, N, 2) from snout to tail tip as (x, y) in pixels, from which the animal is drawn.
        layer: (T, I), order of drawing: the animal with the larger number is on top.
        camera_px: (T, 2), displacement (x, y) of the whole image in pixels.
        coats: Name of the coat of each animal, (I,).
        keypoint_names: (K,).
        edges: Pairs of keypoints that a drawn skeleton connects.
        mirror: (K,), index of each keypoint's mirror image.
        behaviour_names: Names of the behaviours.
    """

    points_px: Floats
    visible: NDArray[np.bool_]
    behaviour: NDArray[np.integer[Any]]
    gap_px: Floats
    midline_px: Floats
    layer: NDArray[np.integer[Any]]
    camera_px: Floats
    coats: tuple[str, ...]
    keypoint_names: tuple[str, ...] = KEYPOINT_NAMES
    edges: tuple[tuple[int, int], ...] = EDGES
    mirror: tuple[int, ...] = MIRROR
    behaviour_names: tuple[str, ...] = BEHAVIOURS


def ears(midline: Floats) -> Floats:
    """Centres (..., 2, 2) of the left and the right ear of midlines (..., N, 2), in image sides."""
    head, forward = midline[..., HEAD, :], head_direction(midline)
    left = np.stack((forward[..., 1], -forward[..., 0]), axis=-1)  # y points down in an image
    root = head - 0.010 * forward
    return np.stack((root + 0.027 * left, root - 0.027 * left), axis=-2)


def head_direction(midline: Floats) -> Floats:
    """Unit vectors (..., 2) from head to snout of midlines (..., N, 2)."""
    forward = midline[..., SNOUT, :] - midline[..., HEAD, :]
    return np.asarray(forward / np.linalg.norm(forward, axis=-1, keepdims=True))


def keypoints(midline: Floats) -> Floats:
    """Keypoints (..., K, 2) of midlines (..., N, 2), in image sides."""
    ordered = [midline[..., SNOUT, :], *np.moveaxis(ears(midline), -2, 0)]
    ordered += [midline[..., node, :] for node in (NECK, BODY, TAIL_BASE, TAIL_TIP)]
    return np.stack(ordered, axis=-2)


def to_px(points: Floats, size: int) -> Floats:
    """Image sides (..., 2) -> pixels (..., 2) that count centres, in an image of ``size`` px.

    The arena imports no torch, so it keeps its own form of :func:`lightning_kp.geometry.from_edges`.
    """
    return points * size - 0.5


def to_sides(points_px: Floats, size: int) -> Floats:
    """Pixels (...) that count centres -> image sides (...); inverts :func:`to_px`."""
    return (points_px + 0.5) / size


def spline_matrix(nodes: slice, *, per_link: int) -> Floats:
    """Catmull-Rom weights (S, N): ``matrix @ midline`` (N, 2) gives S samples of a smooth curve through ``nodes``.

    ``per_link`` is the number of samples per pair of neighbouring nodes.
    """
    first, last = nodes.start, nodes.stop - 1
    rows = []
    for step in range((last - first) * per_link + 1):
        link = min(first + step // per_link, last - 1)
        t = step / per_link - (link - first)
        weights = np.zeros(NODES)
        basis = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
        for offset, weight in zip((-1, 0, 1, 2), basis, strict=True):
            weights[min(max(link + offset, first), last)] += weight / 2
        rows.append(weights)
    return np.array(rows)


def signed_distance(points: Floats, samples: Floats, radii: Floats) -> Floats:
    """Signed distance (T, P) of points (T, P, 2) to the outline of a chain of samples (T, S, 2); negative inside.

    Each link of the chain is a capsule whose radius changes linearly from one sample's to the next one's (``radii``,
    (S,)).  All lengths have the same unit.
    """
    nearest = np.full(points.shape[:2], np.inf)
    for i in range(samples.shape[1] - 1):
        start, link = samples[:, i, None], samples[:, i + 1, None] - samples[:, i, None]
        along = ((points - start) * link).sum(-1) / np.maximum((link**2).sum(-1), 1e-12)
        along = np.clip(along, 0, 1)
        distance = np.linalg.norm(points - start - along[..., None] * link, axis=-1)
        nearest = np.minimum(nearest, distance - radii[i] - along * (radii[i + 1] - radii[i]))
    return nearest
