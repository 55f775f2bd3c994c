"""Labelled frames as the network sees them: resized to squares, preprocessed, points normalised.

``opening`` reads the files of SLEAP, DeepLabCut, Lightning Pose, COCO, Label Studio and the rendered arena.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_kp.errors import DataError
from lightning_kp.frames.placements import Placements, Square
from lightning_kp.frames.preprocessing import NO_PREPROCESSING, Preprocessing
from lightning_kp.frames.view import ViewSettings
from lightning_kp.geometry import Fit, Placement, place
from lightning_kp.images.files import IMAGE_SUFFIXES, Image
from lightning_kp.labels.animals import (
    LabelledAnimals,
    LabelledSet,
    frame_marks,
    preprocess_labelled,
    thinned,
)
from lightning_kp.labels.checks import load_images
from lightning_kp.labels.frames import OpenFrame, OpenLabels
from lightning_kp.labels.opening import open_labels
from lightning_kp.motion.boxes import Boxes, boxes_per_animal, followed_animals
from lightning_kp.motion.following import boxes_by_scene, large_scenes, small_grey
from lightning_kp.motion.squares import animals_in_squares
from lightning_kp.video.opening import open_video

MAX_VIDEO_FRAMES = 600  # read of a video whose frames are all labelled: neighbours look alike (ours)
MAX_MISSED = 0.1  # share of labelled images whose animal may lie outside its square without a warning (ours)


def read_labels(
    path: str | Path,
    size: int,
    fit: Fit = "pad",
    boxes: Boxes = None,
    *,
    root: Path | None = None,
    at_most: int = MAX_VIDEO_FRAMES,
    preprocessing: Preprocessing = NO_PREPROCESSING,
    predicted: bool = False,
) -> LabelledSet:
    """Read a label file and its images, in frame order: at most ``at_most`` frames, evenly thinned.

    Images are cropped to squares of ``size`` pixels and preprocessed as in training; ``boxes`` is None, one box
    (left, top, right, bottom) in pixels, or ``follow``.  Points of several animals are concatenated in the file's
    order.  Images are also looked for below ``root``.  Raises DataError for a file without labels or images, and for
    one that holds only the predictions of a network, unless ``predicted`` takes them for labels.
    """
    view = _view(size, fit, boxes, preprocessing)
    labels = _thinned(_opened(path, root, predicted=predicted), at_most)
    return _in_view(labels, view, strict=False).flat(numbered=labels.video is not None)


def read_animals(
    path: str | Path,
    size: int,
    fit: Fit = "pad",
    boxes: Boxes = None,
    *,
    names: Sequence[str] | None = None,
    root: Path | None = None,
    at_most: int | None = None,
    preprocessing: Preprocessing = NO_PREPROCESSING,
    predicted: bool = False,
) -> LabelledAnimals:
    """Read all labelled frames of a file for training; ``names`` selects and orders the points.

    With ``at_most``, frames are evenly thinned to that number, and no other image is read; a video whose frames are
    all labelled is always thinned, to 600 by default.  Raises DataError, which lists every problem of the file
    (see ``labels.checks``), and for a file that holds only the predictions of a network, unless ``predicted`` takes
    them for labels.
    """
    view = _view(size, fit, boxes, preprocessing)
    labels = _opened(path, root, predicted=predicted)
    if labels.video is not None:
        at_most = at_most or MAX_VIDEO_FRAMES
    if at_most is not None:
        labels = _thinned(labels, at_most)
    # True points may lie outside the image, where a shaking camera leaves them.
    found = _in_view(labels, view, names=names, strict=labels.video is None)
    if names is None:
        return found
    order = [found.names.index(name) for name in names]
    return found._replace(points=found.points[:, :, order], names=tuple(names))


def _opened(path: str | Path, root: Path | None, *, predicted: bool) -> OpenLabels:
    labels = open_labels(path, root)
    if labels.predicted and not predicted:
        raise DataError(
            f"{path} holds the predictions of a network, and no label that somebody set or corrected.",
            remedy="Correct some frames and save them; or take the predictions for labels: `kp score` and `kp name` "
            "with --predicted.",
        )
    if labels.predicted:
        warnings.warn(f"The predictions in {path} are taken for labels.", stacklevel=3)
    return labels


def _thinned(labels: OpenLabels, at_most: int) -> OpenLabels:
    return labels._replace(frames=[labels.frames[i] for i in thinned(len(labels.frames), at_most)])


def _view(size: int, fit: Fit, boxes: Boxes, preprocessing: Preprocessing) -> ViewSettings:
    if isinstance(boxes, str | Path) and not followed_animals(boxes):
        raise DataError(
            f"Labels cannot be used with a file of boxes for each frame ({boxes}).",
            remedy="Train with --data.boxes=follow (follow:N for N animals), or with one box, "
            "--data.boxes=[LEFT,TOP,RIGHT,BOTTOM].",
        )
    return ViewSettings(size, fit, boxes, preprocessing)


def _fixed_placement(image: Image, view: ViewSettings) -> Placement:
    """How an image (H, W, 3) becomes a square that does not follow the animal."""
    box = view.boxes
    fixed = None if box is None or isinstance(box, str | Path) else (box[0], box[1], box[2], box[3])
    return place((image.shape[0], image.shape[1]), view.size, view.fit, fixed)


def _following_placements(
    labels: OpenLabels, view: ViewSettings, names: Sequence[str] | None, *, strict: bool
) -> list[list[Square]]:
    """How each labelled image becomes a square for each followed animal; all images have to be read once for it."""
    animals = followed_animals(view.boxes)
    if _are_of_videos(labels):
        return _squares_in_videos(labels, view)
    sizes: list[tuple[int, int]] = []
    small: list[NDArray[np.uint8]] = []

    def look(frame: OpenFrame, image: Image) -> None:
        sizes.append((image.shape[0], image.shape[1]))
        small.append(small_grey(image))

    load_images(labels, look, names=names, strict=strict)
    boxes = boxes_by_scene(small, sizes, _scenes(labels), animals)
    return [
        [Square(place(size, view.size, view.fit, box)) for box in each]
        for size, each in zip(sizes, boxes, strict=True)
    ]


def _frame_of_video(labels: OpenLabels, frame: OpenFrame) -> tuple[Path, int] | None:
    """The video and the number of a labelled frame; None for an image."""
    if labels.video is not None and frame.number is not None:
        return labels.video.path, frame.number
    name, separator, number = frame.source.rpartition(" frame ")
    path = Path(name)
    is_video = separator and path.suffix.lower() not in (*IMAGE_SUFFIXES, ".slp") and path.is_file()
    return (path, int(number)) if is_video and number.isdigit() else None


def _are_of_videos(labels: OpenLabels) -> bool:
    """Whether all labelled frames are frames of videos, in which squares follow the animals over time."""
    return bool(labels.frames) and all(_frame_of_video(labels, frame) for frame in labels.frames)


def _squares_in_videos(labels: OpenLabels, view: ViewSettings) -> list[list[Square]]:
    """The squares that tracking would see, for each labelled frame those of all animals that are seen in it."""
    by_video: dict[Path, list[Placements]] = {}
    squares = []
    for video, number in filter(None, (_frame_of_video(labels, frame) for frame in labels.frames)):
        if video not in by_video:
            with open_video(video) as reader:
                by_video[video] = [
                    Placements(reader.info, view.size, view.fit, boxes)
                    for boxes in boxes_per_animal(view.boxes)
                ]
        several = len(by_video[video]) > 1
        seen = [each for each in by_video[video] if each.seen(number) or not several]
        squares.append([Square(each(number), number, each) for each in seen])
    return squares


def _scenes(labels: OpenLabels) -> list[str]:
    return [scene_of(frame.source or frame.name) for frame in labels.frames]


def _in_view(
    labels: OpenLabels, view: ViewSettings, *, names: Sequence[str] | None = None, strict: bool = True
) -> LabelledAnimals:
    follows = followed_animals(view.boxes) > 0
    if follows and not _are_of_videos(labels):
        labels = _of_large_scenes(labels, names, strict=strict)
    animals = max((len(frame.points_px) for frame in labels.frames), default=0)
    is_one_each = followed_animals(view.boxes) > 1
    prepared, points, placements, shown, marks, sources, scenes = [], [], [], [], [], [], []
    planned = iter(_following_placements(labels, view, names, strict=strict) if follows else ())

    def keep_squares(frame: OpenFrame, image: Image) -> None:
        """Keep the squares only: thousands of whole video frames would not fit into memory."""
        fixed = _fixed_placement(image, view)
        squares = next(planned, [Square(fixed)])
        points_px = np.full((animals, len(labels.names), 2), np.nan)
        points_px[: len(frame.points_px)] = frame.points_px
        boxes = [square.placement.box for square in squares]
        whose = animals_in_squares(points_px, boxes) if is_one_each else [points_px]
        for square, inside in zip(squares, whose, strict=True):
            if inside is None:
                continue
            prepared.append(square.cut(image))
            marks.append(frame_marks(frame.source, image))
            sources.append(frame.source)
            scenes.append(scene_of(frame.source or frame.name))
            placements.append(square.placement)
            shown.append((square.placement.region, fixed.region))
            points.append(square.placement.region.from_original_px(torch.from_numpy(inside)))

    load_images(labels, keep_squares, names=names, strict=strict)
    if not points:
        raise DataError(
            f"None of the squares that follow {followed_animals(view.boxes)} animals shows a labelled animal in "
            f"{len(labels.frames)} labelled frames.",
            remedy="Check that the labels belong to these videos, or train with one view of the whole frame "
            "(--data.boxes=null).",
        )
    if follows and not is_one_each and not _are_of_videos(labels):
        _warn_of_missed(torch.stack(points))
    squares, moved = preprocess_labelled(
        np.stack(prepared), torch.stack(points), placements, scenes, view.preprocessing
    )
    return LabelledAnimals(
        torch.from_numpy(squares).permute(0, 3, 1, 2),
        moved.float(),
        labels.names,
        tuple(sources),
        torch.tensor(shown, dtype=torch.float64) if follows else None,
        torch.tensor([placement.inside for placement in placements]),
        _sizes(placements),
        tuple(marks),
    )


def _of_large_scenes(labels: OpenLabels, names: Sequence[str] | None, *, strict: bool) -> OpenLabels:
    """The frames of scenes with enough images to find their animal by its motion; problems of the file come first."""
    if labels.problems or not labels.frames:
        load_images(labels, _ignore, names=names, strict=strict)  # raises
    try:
        kept = zip(labels.frames, large_scenes(_scenes(labels)), strict=True)
    except DataError:
        load_images(labels, _ignore, names=names, strict=strict)
        raise
    return labels._replace(frames=[frame for frame, is_kept in kept if is_kept])


def _ignore(frame: OpenFrame, image: Image) -> None:
    """For images that are only checked."""


def _warn_of_missed(points: Tensor) -> None:
    """Warn if most labelled points (N, I, K, 2) lie outside many squares: something else was followed."""
    known = points.isfinite().all(dim=-1)
    outside = (known & (points.abs() > 1).any(dim=-1)).sum(dim=(1, 2)) > known.sum(dim=(1, 2)) / 2
    if outside.double().mean() > MAX_MISSED:
        warnings.warn(
            f"In {int(outside.sum())} of {len(points)} labelled images, most labelled points lie outside the square "
            "that follows the animal. Images of several videos in one folder have no common background: put each "
            "video's images into a folder of their own.",
            stacklevel=2,
        )


def _sizes(placements: Sequence[Placement]) -> Tensor:
    """Height and width (N, 2) of the regions that are shown, in pixels of the originals."""
    regions = [placement.region for placement in placements]
    return torch.tensor([[each.bottom - each.top, each.right - each.left] for each in regions])


def scene_of(name: str) -> str:
    """Return the video or the image folder of a labelled frame.

    >>> scene_of("a.mp4 frame 3"), scene_of("session/img3.png")
    ('a.mp4', 'session')
    """
    path = PurePath(name.replace("\\", "/"))
    return (
        str(path.parent) if path.suffix.lower() in IMAGE_SUFFIXES else name.rpartition(" frame ")[0] or name
    )
