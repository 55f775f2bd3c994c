"""Crowd regions: which instances of an image overlap, and statistics of a data set.

000, section 3.4: two instances overlap when the intersection over union of their boxes is at least 0.1;
linked pairs are merged into one region, and instances without an overlap are left out.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.files import replacing
from lightning_kp.images.files import Image

TITLES = (
    "Images by number of instances",
    "Crowds by number of instances",
    "Instances by number of overlaps",
)

Floats = NDArray[np.float64]
OVERLAP = 0.1


@dataclass(frozen=True)
class Person:
    """An instance in an image: ``box`` (left, top, width, height) and ``points`` (K, 2) in pixels, NaN = not labelled.

    ``area`` in px^2, from the data set.  ``outline``: a COCO segmentation (polygons or run lengths), or None to use the
    box instead.  ``facts``: the annotation that it was read from.
    """

    box: tuple[float, float, float, float]
    points: Floats
    area: float
    outline: Any = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def is_labelled(self) -> bool:
        """Whether any keypoint is labelled."""
        return bool(np.isfinite(self.points).all(axis=-1).any())


@dataclass(frozen=True)
class Scene:
    """An image with its instances: ``read()`` returns RGB (H, W, 3) uint8; ``size`` is (height, width).

    ``mirror`` (K,): the counterpart of each keypoint in a mirrored image.  ``facts``: the entry of the image.
    """

    read: Callable[[], Image]
    size: tuple[int, int]
    people: tuple[Person, ...]
    mirror: tuple[int, ...]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Crowd:
    """A region of a scene: ``box`` (left, top, width, height) in pixels, and the ``people`` to find in it.

    ``others`` are further instances of the scene, which are neither missed nor false positives.
    """

    scene: Scene
    box: tuple[float, float, float, float]
    people: tuple[Person, ...]
    others: tuple[Person, ...] = ()

    @property
    def mirror(self) -> tuple[int, ...]:
        """Counterpart (K,) of each keypoint in a mirrored image."""
        return self.scene.mirror


def box_overlaps(boxes: Floats) -> Floats:
    """Intersection over union (N, N) of all pairs of boxes (N, 4) = left, top, width, height.

    >>> box_overlaps(np.array([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 4.0]])).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    shared = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    inner = np.maximum(shared, 0).prod(axis=-1)
    area = boxes[:, 2:].prod(axis=-1)
    return np.asarray(inner / np.maximum(area[:, None] + area[None] - inner, 1e-9))


def linked_sets(boxes: Floats, overlap: float = OVERLAP) -> list[list[int]]:
    """Rows of boxes (N, 4) that are linked by overlaps: sets of two or more, each sorted, ordered by first row."""
    linked = box_overlaps(boxes) >= overlap if len(boxes) else np.zeros((0, 0), bool)
    left, found = set(range(len(boxes))), []
    while left:
        todo = [min(left)]
        left.discard(todo[0])
        members = []
        while todo:
            member = todo.pop()
            members.append(member)
            near = {int(other) for other in np.flatnonzero(linked[member])} & left
            left -= near
            todo += near
        if len(members) > 1:
            found.append(sorted(members))
    return found


def crowds_of(scene: Scene, overlap: float = OVERLAP) -> list[Crowd]:
    """Crowd regions of a scene; unlabelled instances are neither linked nor counted as people of a region."""
    labelled = [person for person in scene.people if person.is_labelled]
    boxes = np.array([person.box for person in labelled], dtype=np.float64).reshape(-1, 4)
    found = []
    for members in linked_sets(boxes, overlap):
        people = tuple(labelled[member] for member in members)
        others = tuple(each for each in scene.people if all(each is not person for person in people))
        found.append(Crowd(scene, merged_box(boxes[members]), people, others))
    return found


def merged_box(boxes: Floats) -> tuple[float, float, float, float]:
    """The smallest box around boxes (N, 4) = left, top, width, height."""
    low, high = boxes[:, :2].min(axis=0), (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    (left, top), (width, height) = low.tolist(), (high - low).tolist()
    return left, top, width, height


@dataclass(frozen=True)
class CrowdStatistics:
    """Counts as in Figure 3.3 of 000: how many (values) have which number (keys).

    ``per_image``: images by number of labelled instances (a); ``per_crowd``: crowds by number of instances (b);
    ``per_instance``: instances of crowds by number of instances that they overlap with (c).
    """

    per_image: dict[int, int]
    per_crowd: dict[int, int]
    per_instance: dict[int, int]

    def table(self) -> str:
        """The counts as a Markdown table."""
        counts = sorted({*self.per_image, *self.per_crowd, *self.per_instance} - {0})
        head = "| number | images with this many instances | crowds of this many | instances that overlap this many |"
        lines = [head, "|---|---|---|---|"]
        kinds = (self.per_image, self.per_crowd, self.per_instance)
        lines += [f"| {n} | " + " | ".join(str(kind.get(n, 0)) for kind in kinds) + " |" for n in counts]
        total = sum(number * count for number, count in self.per_crowd.items())
        lines.append(f"\n{sum(self.per_crowd.values())} crowds with {total} instances.")
        return "\n".join(lines)


def statistics(scenes: Sequence[Scene], crowds: Sequence[Crowd], overlap: float = OVERLAP) -> CrowdStatistics:
    """Count instances per image, instances per crowd, and overlaps per instance."""
    per_image = Counter(sum(person.is_labelled for person in scene.people) for scene in scenes)
    per_instance: Counter[int] = Counter()
    for crowd in crowds:
        linked = box_overlaps(np.array([person.box for person in crowd.people])) >= overlap
        per_instance.update((linked.sum(axis=1) - 1).tolist())
    return CrowdStatistics(
        dict(sorted(per_image.items())),
        dict(sorted(Counter(len(crowd.people) for crowd in crowds).items())),
        dict(sorted(per_instance.items())),
    )


def draw_statistics(statistics: CrowdStatistics, path: Path) -> None:
    """Draw three bar charts side by side into an image file."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 2.8), layout="constrained")
    kinds = (statistics.per_image, statistics.per_crowd, statistics.per_instance)
    for position, (title, counts) in enumerate(zip(TITLES, kinds, strict=True), start=1):
        axes = figure.add_subplot(1, 3, position)
        shown = {number: count for number, count in counts.items() if number > 0}
        bars = axes.bar(list(shown), list(shown.values()), color="#4477aa")
        axes.bar_label(bars, fontsize=8)
        axes.set_title(title, fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
