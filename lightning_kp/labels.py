"""Labelled frames from the files of other tools, as the network sees them.

label_reading.py reads the files of SLEAP, DeepLabCut, Lightning Pose, COCO and Label Studio; the truth of
a rendered arena (.truth.npz) is read beside them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_kp.boxes import Boxes
from lightning_kp.errors import DataError
from lightning_kp.geometry import Fit, Placement, place
from lightning_kp.label_checks import load_images
from lightning_kp.label_frames import OpenFrame, OpenLabels
from lightning_kp.label_reading import open_labels
from lightning_kp.label_scenes import preprocess_labelled, scene_of
from lightning_kp.preprocessing import NOTHING, Preprocessing
from lightning_kp.resize import prepare


class LabelledSet(NamedTuple):
    """``image`` (N, 3, S, S) uint8, ``points`` (N, L, 2) normalised, NaN = unlabelled, ``names`` (L)."""

    image: Tensor
    points: Tensor
    names: tuple[str, ...]


class LabelledAnimals(NamedTuple):
    """``image`` (N, 3, S, S) uint8, ``points`` (N, I, L, 2) normalised, NaN = unlabelled, ``names`` (L).

    ``sources`` (N) say which image each is, where a label file told; see OpenFrame.
    """

    image: Tensor
    points: Tensor
    names: tuple[str, ...]
    sources: tuple[str, ...] = ()

    def flat(self, *, numbered: bool = False) -> LabelledSet:
        """The points of all animals one after another; name_1 and so on, where several or ``numbered``."""
        animals = self.points.shape[1]
        names = tuple(f"{name}_{animal + 1}" for animal in range(animals) for name in self.names)
        return LabelledSet(
            self.image, self.points.flatten(1, 2), names if animals > 1 or numbered else self.names
        )


def read_labels(
    path: str | Path,
    size: int,
    fit: Fit = "pad",
    boxes: Boxes = None,
    *,
    at_most: int = 600,
    preprocessing: Preprocessing = NOTHING,
) -> LabelledSet:
    """Read a label file and its images, in frame order; ``at_most`` frames, evenly thinned.

    Images are cut, resized and preprocessed as in training: ``boxes`` may be one box.  The points of
    several animals are put one after another in the file's order.  Raises DataError for a file without
    labels or images.
    """
    path = Path(path)
    view = _view(size, fit, boxes, preprocessing)
    if path.name.endswith(".truth.npz") and path.exists():
        return _read_truth(path, view, at_most).flat(numbered=True)
    labels = open_labels(path)
    chosen = labels._replace(frames=[labels.frames[i] for i in thinned(len(labels.frames), at_most)])
    return _in_view(chosen, view, strict=False).flat()


def read_animals(
    path: str | Path,
    size: int,
    fit: Fit = "pad",
    boxes: Boxes = None,
    *,
    names: Sequence[str] | None = None,
    root: Path | None = None,
    at_most: int | None = None,
    preprocessing: Preprocessing = NOTHING,
) -> LabelledAnimals:
    """Read all labelled frames of a file for training; ``names`` chooses and orders the points.

    ``at_most`` frames, evenly thinned; of the others no image is read.  Raises
    DataError that lists everything that is wrong with the file (see label_checks.py).
    """
    path = Path(path)
    view = _view(size, fit, boxes, preprocessing)
    if path.name.endswith(".truth.npz") and path.exists():
        found = _read_truth(path, view, at_most=600)
    else:
        labels = open_labels(path, root)
        if at_most is not None:
            chosen = thinned(len(labels.frames), at_most)
            labels = labels._replace(frames=[labels.frames[i] for i in chosen])
        found = _in_view(labels, view, names=names)
    if names is None:
        return found
    order = [found.names.index(name) for name in names]
    return found._replace(points=found.points[:, :, order], names=tuple(names))


class _View(NamedTuple):
    size: int
    fit: Fit
    box: Sequence[int] | None
    preprocessing: Preprocessing = NOTHING

    def of(self, image: NDArray[np.uint8]) -> Placement:
        box = None if self.box is None else (self.box[0], self.box[1], self.box[2], self.box[3])
        return place((image.shape[0], image.shape[1]), self.size, self.fit, box)


def _view(size: int, fit: Fit, boxes: Boxes, preprocessing: Preprocessing = NOTHING) -> _View:
    if isinstance(boxes, str | Path):
        raise DataError(
            f"Labels cannot be read with a box for each frame ({boxes}).",
            remedy="Train with one box, [left, top, right, bottom], to use labels.",
        )
    return _View(size, fit, boxes, preprocessing)


def _in_view(
    labels: OpenLabels, view: _View, *, names: Sequence[str] | None = None, strict: bool = True
) -> LabelledAnimals:
    animals = max((len(frame.points_px) for frame in labels.frames), default=0)
    prepared, points, placements = [], [], []

    def take(frame: OpenFrame, image: NDArray[np.uint8]) -> None:
        """Keep the square alone: thousands of whole frames of a video do not fit into memory."""
        placement = view.of(image)
        prepared.append(prepare(image, placement))
        placements.append(placement)
        points_px = np.full((animals, len(labels.names), 2), np.nan)
        points_px[: len(frame.points_px)] = frame.points_px
        points.append(placement.region.from_original_px(torch.from_numpy(points_px)))

    load_images(labels, take, names=names, strict=strict)
    scenes = [scene_of(frame.source or frame.name) for frame in labels.frames]
    squares, moved = preprocess_labelled(
        np.stack(prepared), torch.stack(points), placements, scenes, view.preprocessing
    )
    return LabelledAnimals(
        _stack(squares), moved.float(), labels.names, tuple(frame.source for frame in labels.frames)
    )


def _read_truth(path: Path, view: _View, at_most: int) -> LabelledAnimals:
    from lightning_kp.arena import read_truth
    from lightning_kp.video import open_video

    truth = read_truth(path)
    wanted = set(thinned(len(truth.points_px), at_most))
    images, points, placements = [], [], []
    with open_video(path.with_name(path.name.replace(".truth.npz", ".mp4"))) as reader:
        for frame in reader.decode():
            if frame.index not in wanted:
                continue
            image = frame.rgb()
            placement = view.of(image)
            images.append(prepare(image, placement))
            placements.append(placement)
            truth_px = torch.from_numpy(np.asarray(truth.points_px[frame.index], np.float64))
            points.append(placement.region.from_original_px(truth_px))
    squares, moved = preprocess_labelled(
        np.stack(images), torch.stack(points), placements, [path] * len(images), view.preprocessing
    )
    sources = tuple(f"{path.resolve()} frame {index}" for index in sorted(wanted))
    return LabelledAnimals(_stack(squares), moved.float(), tuple(truth.keypoint_names), sources)


def thinned(number: int, at_most: int) -> list[int]:
    """At most ``at_most`` of ``number`` positions, evenly spread, in order."""
    return (
        sorted({int(i) for i in np.linspace(0, number - 1, min(number, at_most)).round()}) if number else []
    )


def _stack(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)
