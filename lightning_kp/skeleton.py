"""Skeletons: the names of keypoints, the edges between them, and which are mirror images of each other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError

Edge = tuple[int, int]


@dataclass(frozen=True)
class Skeleton:
    """``names`` of K keypoints; ``edges`` and ``mirror_pairs`` as positions in ``names``.

    Raises ConfigurationError for a position out of range, a repeated name, an edge from a
    keypoint to itself, or a keypoint with two mirror images.

    >>> body = Skeleton(("nose", "left", "right"), edges=((0, 1), (0, 2)), mirror_pairs=((1, 2),))
    >>> body.mirror
    (0, 2, 1)
    """

    names: tuple[str, ...]
    edges: tuple[Edge, ...] = ()
    mirror_pairs: tuple[Edge, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ConfigurationError(f"Keypoint names must be unique, got {', '.join(self.names)}.")
        for a, b in self.edges + self.mirror_pairs:
            if not (0 <= a < len(self.names) and 0 <= b < len(self.names) and a != b):
                raise ConfigurationError(
                    f"({a}, {b}) does not join two of the {len(self.names)} keypoints.",
                    remedy=f"Use two different numbers from 0 to {len(self.names) - 1}.",
                )
        mirrored = [k for pair in self.mirror_pairs for k in pair]
        if len(set(mirrored)) != len(mirrored):
            raise ConfigurationError(f"A keypoint has two mirror images in {self.mirror_pairs}.")

    @property
    def mirror(self) -> tuple[int, ...]:
        """Position (K,) of each keypoint's mirror image, or its own position without one (see Keypoints.flip)."""
        order = list(range(len(self.names)))
        for a, b in self.mirror_pairs:
            order[a], order[b] = b, a
        return tuple(order)

    def limb_lengths(self, points: Tensor) -> Tensor:
        """Points (..., K, D) -> length (..., E) of every edge, in the unit of the points."""
        ends = torch.tensor(self.edges, dtype=torch.long, device=points.device).reshape(-1, 2)
        lengths: Tensor = torch.linalg.vector_norm(
            points[..., ends[:, 0], :] - points[..., ends[:, 1], :], dim=-1
        )
        return lengths


def numbered(names: Sequence[str], animals: int, *, always: bool = False) -> tuple[str, ...]:
    """Number the point names of several animals: all names with _1, then all names with _2, ...

    A single animal's names stay as they are, unless ``always`` is true.

    >>> numbered(["head", "tail"], animals=2)
    ('head_1', 'tail_1', 'head_2', 'tail_2')
    """
    if animals <= 1 and not always:
        return tuple(names)
    return tuple(f"{name}_{animal + 1}" for animal in range(animals) for name in names)


def distance_variance(points: Tensor) -> Tensor:
    """Points (N, K, D), NaN = absent -> variance (K, K) over N of every pairwise distance.

    A pair that is visible together in fewer than two frames has infinite variance.
    """
    distances = torch.linalg.vector_norm(points.unsqueeze(2) - points.unsqueeze(1), dim=-1)
    seen = ~torch.isnan(distances)
    number = seen.sum(0)
    mean = torch.where(seen, distances, 0).sum(0) / number
    variance = torch.where(seen, (distances - mean) ** 2, 0).sum(0) / number
    return torch.where(number > 1, variance, torch.inf)


def minimum_spanning_tree(cost: Tensor) -> tuple[Edge, ...]:
    """Find the K - 1 edges of least total cost that connect K keypoints; ``cost`` (K, K) is symmetric (Prim 1957).

    Among equal costs the smaller position wins, so that the tree is the same on every machine.

    >>> minimum_spanning_tree(torch.tensor([[0.0, 1.0, 5.0], [1.0, 0.0, 2.0], [5.0, 2.0, 0.0]]))
    ((0, 1), (1, 2))
    """
    keypoints = len(cost)
    nearest = [0] * keypoints  # the member of the tree that is nearest to each keypoint
    price = cost[0].tolist() if keypoints else []
    outside = set(range(1, keypoints))
    edges = []
    while outside:
        new = min(outside, key=lambda k: (price[k], k))
        outside.remove(new)
        edges.append((min(nearest[new], new), max(nearest[new], new)))
        for k in outside:
            if cost[new, k] < price[k]:
                price[k], nearest[k] = float(cost[new, k]), new
    return tuple(sorted(edges))


def rigid_skeleton(points: Tensor, names: Sequence[str]) -> Skeleton:
    """Connect the keypoints whose distances vary least; points (N, K, D) of many frames, NaN = absent.

    Bones are rigid, so the spanning tree over the variance of the pairwise distances follows the
    body (limb variance minimum spanning tree, paper 003, 5.3.1).  Here it also accepts 2-D points and
    has no gradient.
    """
    return Skeleton(tuple(names), minimum_spanning_tree(distance_variance(points)))


def check_mirror(names: Sequence[str], mirror: Sequence[int]) -> None:
    """Raise ConfigurationError unless ``mirror`` holds each keypoint's mirror image and is its own inverse."""
    paired = sorted(mirror) == list(range(len(names)))
    if not (paired and all(mirror[other] == k for k, other in enumerate(mirror))):
        raise ConfigurationError(
            f"mirror {list(mirror)} does not pair {len(names)} keypoints.",
            remedy="Give for each keypoint the number of its mirror image, or its own number where it has none.",
        )


def mirror_from_names(names: Sequence[str]) -> tuple[int, ...]:
    """Find each keypoint's mirror image (K,) by its name, or its own position where there is none.

    Names are compared with left and right exchanged, in any case (``left_eye``, ``LeftEye``), and with L and R
    exchanged where they are words of their own (``L_eye``, ``LEye``, ``eyeL``, ``wing.l``, ``forelegL4``).

    >>> mirror_from_names(["nose", "LeftEye", "RightEye"])
    (0, 2, 1)
    """
    position = {name.lower(): k for k, name in enumerate(names)}
    found = [position.get(_mirrored(name), k) for k, name in enumerate(names)]
    return tuple(other if found[other] == k else k for k, other in enumerate(found))


def _mirrored(name: str) -> str:
    """Exchange left and right in a name and return it in lower case."""
    swap = {"left": "right", "right": "left", "l": "r", "r": "l"}
    # A word ends where anything but a lower-case letter follows; "LEye" is L and Eye.
    words = (
        r"(?i:left|right)|(?<![A-Za-z])[LRlr](?![A-Za-z])|(?<![A-Za-z])[LR](?=[A-Z])|(?<=[a-z])[LR](?![a-z])"
    )
    return re.sub(words, lambda found: swap[found.group().lower()], name).lower()
