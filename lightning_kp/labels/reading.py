"""Labelled frames from the files of other tools, as the network sees them.

label_reading.py reads the files of SLEAP, DeepLabCut, Lightning Pose, COCO and Label Studio; the truth of
a rendered arena (.truth.npz) is read beside them.
"""

import warnings
from collections.abc import Hashable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_kp.errors import DataError, did_you_mean
from lightning_kp.frames.placements import Placements
from lightning_kp.frames.preprocessing import NOTHING, Preprocessing, Preprocessor, points_in_registered
from lightning_kp.geometry import Fit, Placement, place
from lightning_kp.images.files import IMAGE_SUFFIXES, Image
from lightning_kp.images.resize import prepare
from lightning_kp.labels.animals import LabelledAnimals, LabelledSet, thinned
from lightning_kp.labels.checks import load_images
from lightning_kp.labels.frames import OpenFrame, OpenLabels
from lightning_kp.labels.opening import open_labels
from lightning_kp.motion.boxes import FOLLOW, Boxes
from lightning_kp.motion.following import boxes_of_labelled, large_scenes, small_grey

MISSED = 0.1  # share of labelled images whose animal may be missed before it is told


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

    Images are cut, resized and preprocessed as in training: ``boxes`` may be one box, or ``follow``.  The points of
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
        found = _read_truth(path, view, at_most=at_most or 600)
        if unknown := [name for name in names or () if name not in found.names]:
            raise DataError(
                f"{path} labels {', '.join(found.names)}; {', '.join(unknown)} is not among them.",
                remedy=did_you_mean(unknown[0], found.names),
            )
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
    boxes: Sequence[int] | str | None
    preprocessing: Preprocessing = NOTHING

    def placements(self, labels: OpenLabels, names: Sequence[str] | None, *, strict: bool) -> list[Placement]:
        """How each labelled image becomes a square; to follow the animal, all have to be looked at first."""
        sizes: list[tuple[int, int]] = []
        small: list[NDArray[np.uint8]] = []

        def look(frame: OpenFrame, image: NDArray[np.uint8]) -> None:
            sizes.append((image.shape[0], image.shape[1]))
            small.append(small_grey(image))

        load_images(labels, look, names=names, strict=strict)
        boxes = boxes_of_labelled(small, sizes, _scenes(labels))
        return [place(size, self.size, self.fit, box) for size, box in zip(sizes, boxes, strict=True)]

    def of(self, image: NDArray[np.uint8]) -> Placement:
        """How an image becomes a square that stays in its place."""
        box = self.boxes
        fixed = None if box is None or isinstance(box, str) else (box[0], box[1], box[2], box[3])
        return place((image.shape[0], image.shape[1]), self.size, self.fit, fixed)


def _view(size: int, fit: Fit, boxes: Boxes, preprocessing: Preprocessing = NOTHING) -> _View:
    if isinstance(boxes, str | Path) and boxes != FOLLOW:
        raise DataError(
            f"Labels cannot be read with a box for each frame ({boxes}).",
            remedy="Train with --data.boxes=follow, or with one box, [left, top, right, bottom], to use labels.",
        )
    return _View(size, fit, FOLLOW if isinstance(boxes, str | Path) else boxes, preprocessing)


def _scenes(labels: OpenLabels) -> list[str]:
    return [scene_of(frame.source or frame.name) for frame in labels.frames]


def _in_view(
    labels: OpenLabels, view: _View, *, names: Sequence[str] | None = None, strict: bool = True
) -> LabelledAnimals:
    follows = view.boxes == FOLLOW
    if follows:
        kept = zip(labels.frames, large_scenes(_scenes(labels)), strict=True)
        labels = labels._replace(frames=[frame for frame, is_kept in kept if is_kept])
    animals = max((len(frame.points_px) for frame in labels.frames), default=0)
    prepared, points, placements, shown = [], [], [], []
    planned = iter(view.placements(labels, names, strict=strict) if follows else ())

    def take(frame: OpenFrame, image: NDArray[np.uint8]) -> None:
        """Keep the square alone: thousands of whole frames of a video do not fit into memory."""
        fixed = view.of(image)
        placement = next(planned, fixed)
        prepared.append(prepare(image, placement))
        placements.append(placement)
        shown.append((placement.region, fixed.region))
        points_px = np.full((animals, len(labels.names), 2), np.nan)
        points_px[: len(frame.points_px)] = frame.points_px
        points.append(placement.region.from_original_px(torch.from_numpy(points_px)))

    load_images(labels, take, names=names, strict=strict)
    if follows:
        _warn_of_missed(torch.stack(points))
    squares, moved = preprocess_labelled(
        np.stack(prepared), torch.stack(points), placements, _scenes(labels), view.preprocessing
    )
    return LabelledAnimals(
        _stack(squares),
        moved.float(),
        labels.names,
        tuple(frame.source for frame in labels.frames),
        torch.tensor(shown, dtype=torch.float64) if follows else None,
        torch.tensor([placement.inside for placement in placements]),
        _sizes(placements),
    )


def _warn_of_missed(points: Tensor) -> None:
    """Of squares (N) that most of the labelled points (N, I, L, 2) lie outside of: another thing was followed."""
    known = points.isfinite().all(dim=-1)
    outside = (known & (points.abs() > 1).any(dim=-1)).sum(dim=(1, 2)) > known.sum(dim=(1, 2)) / 2
    if outside.double().mean() > MISSED:
        warnings.warn(
            f"In {int(outside.sum())} of {len(points)} labelled images the square that follows the animal leaves most "
            "labelled points out. Images of several videos in one folder have no common background: keep them apart.",
            stacklevel=2,
        )


def _read_truth(path: Path, view: _View, at_most: int) -> LabelledAnimals:
    from lightning_kp.arena.recording import read_truth
    from lightning_kp.video.opening import open_video

    truth = read_truth(path)
    wanted = set(thinned(len(truth.points_px), at_most))
    images, points, placements, shown = [], [], [], []
    with open_video(path.with_name(path.name.replace(".truth.npz", ".mp4"))) as reader:
        planned = Placements(reader.info, view.size, view.fit, view.boxes)
        for frame in reader.decode():
            if frame.index not in wanted:
                continue
            image = frame.rgb()
            placement = planned(frame.index)
            shown.append((placement.region, view.of(image).region))
            images.append(prepare(image, placement))
            placements.append(placement)
            truth_px = torch.from_numpy(np.asarray(truth.points_px[frame.index], np.float64))
            points.append(placement.region.from_original_px(truth_px))
    squares, moved = preprocess_labelled(
        np.stack(images), torch.stack(points), placements, [path] * len(images), view.preprocessing
    )
    sources = tuple(f"{path.resolve()} frame {index}" for index in sorted(wanted))
    regions = torch.tensor(shown, dtype=torch.float64) if view.boxes == FOLLOW else None
    inside = torch.tensor([placement.inside for placement in placements])
    names = tuple(truth.keypoint_names)
    return LabelledAnimals(
        _stack(squares), moved.float(), names, sources, regions, inside, _sizes(placements)
    )


def _sizes(placements: Sequence[Placement]) -> Tensor:
    """Height and width (N, 2) of the regions that are shown, in pixels of the originals."""
    regions = [placement.region for placement in placements]
    return torch.tensor([[each.bottom - each.top, each.right - each.left] for each in regions])


def _stack(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def preprocess_labelled(
    squares: Image,
    points: Tensor,
    placements: Sequence[Placement],
    scenes: Sequence[Hashable],
    settings: Preprocessing,
) -> tuple[Image, Tensor]:
    """Squares (N, S, S, 3) uint8 and points (N, I, L, 2) as the network is to see them.

    ``scenes`` (N) names the video of each image; images of one video that were placed differently
    are different scenes too.  Raises DataError for a scene of fewer than four images.
    """
    if not settings.is_on:
        return squares, points
    done, moved = squares.copy(), points.clone()
    keys = list(zip(scenes, placements, strict=True))
    for key in dict.fromkeys(keys):
        chosen = [i for i, other in enumerate(keys) if other == key]
        preprocessor = Preprocessor.learn(settings, key[1], squares[chosen], str(key[0]))
        done[chosen], transforms = preprocessor(squares[chosen])
        moved[chosen] = points_in_registered(points[chosen].double(), transforms).to(points)
    return done, torch.as_tensor(moved)


def scene_of(name: str) -> str:
    """The video, or the folder of images, that a labelled frame's name (``a/img3.png``, ``a.mp4 frame 3``) is of."""
    path = PurePath(name.replace("\\", "/"))
    return (
        str(path.parent) if path.suffix.lower() in IMAGE_SUFFIXES else name.rpartition(" frame ")[0] or name
    )
