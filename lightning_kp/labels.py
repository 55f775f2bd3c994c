"""Labelled frames from the files of other tools, as the network sees them.

sleap-io reads SLEAP (.slp, .pkg.slp), DeepLabCut (CollectedData csv and h5), COCO and more; the
truth of a rendered arena (.truth.npz) is read beside them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_kp.boxes import Boxes
from lightning_kp.errors import DataError
from lightning_kp.geometry import Fit, Placement, place
from lightning_kp.resize import prepare


class LabelledFrames(NamedTuple):
    """``image`` (N, 3, S, S) uint8, ``points`` (N, L, 2) normalised, NaN = unlabelled, ``names`` (L)."""

    image: Tensor
    points: Tensor
    names: tuple[str, ...]


def read_labels(
    path: str | Path, size: int, fit: Fit = "pad", boxes: Boxes = None, *, at_most: int = 600
) -> LabelledFrames:
    """Read a label file and its images, in frame order; ``at_most`` frames, evenly thinned.

    Images are cut and resized as in training: ``boxes`` may be one box.  The points of several
    animals are put one after another in the file's order.  Raises DataError for a file without
    labels or images.
    """
    path = Path(path)
    if isinstance(boxes, str | Path):
        raise DataError(
            f"Labels cannot be read with a box for each frame ({boxes}).",
            remedy="Train with one box, [left, top, right, bottom], to score against labels.",
        )
    view = _View(size, fit, boxes)
    if not path.exists():
        raise DataError(
            f"There is no label file {path}.", remedy="Give a SLEAP, DeepLabCut or COCO label file."
        )
    if path.name.endswith(".truth.npz"):
        return _read_truth(path, view, at_most)
    return _read_with_sleap_io(path, view, at_most)


class _View(NamedTuple):
    size: int
    fit: Fit
    box: Sequence[int] | None

    def of(self, image: NDArray[np.uint8]) -> Placement:
        box = None if self.box is None else (self.box[0], self.box[1], self.box[2], self.box[3])
        return place((image.shape[0], image.shape[1]), self.size, self.fit, box)


def _read_with_sleap_io(path: Path, view: _View, at_most: int) -> LabelledFrames:
    import sleap_io as sio

    if path.suffix == ".h5" and path.with_suffix(".csv").exists():
        path = path.with_suffix(".csv")  # DeepLabCut writes both; sleap-io reads its csv only
    try:
        labels = sio.load_file(str(path))
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as labels ({type(error).__name__}: {error}).",
            remedy="Give a SLEAP, DeepLabCut or COCO label file.",
        ) from error
    videos = {id(video): number for number, video in enumerate(labels.videos)}
    frames = [frame for frame in labels.labeled_frames if frame.instances]
    frames.sort(key=lambda frame: (videos.get(id(frame.video), 0), frame.frame_idx))
    frames = [frames[i] for i in thinned(len(frames), at_most)]
    if not frames:
        raise DataError(f"{path} holds no labelled frame.", remedy="Label some frames first.")
    animals = max(len(frame.instances) for frame in frames)
    nodes = [node.name for node in labels.skeletons[0].nodes]
    images, points = [], []
    for frame in frames:
        image, points_px = _rgb(frame, path), np.full((animals, len(nodes), 2), np.nan)
        for animal, instance in enumerate(frame.instances):
            points_px[animal] = instance.numpy()[:, :2]
        placement = view.of(image)
        images.append(prepare(image, placement))
        points.append(placement.region.from_original_px(torch.from_numpy(points_px.reshape(-1, 2))))
    names = [name if animals == 1 else f"{name}_{animal + 1}" for animal in range(animals) for name in nodes]
    return LabelledFrames(_stack(images), torch.stack(points).float(), tuple(names))


def _read_truth(path: Path, view: _View, at_most: int) -> LabelledFrames:
    from lightning_kp.arena import read_truth
    from lightning_kp.video import open_video

    truth = read_truth(path)
    wanted = set(thinned(len(truth.points_px), at_most))
    images, points = [], []
    with open_video(path.with_name(path.name.replace(".truth.npz", ".mp4"))) as reader:
        for frame in reader.decode():
            if frame.index not in wanted:
                continue
            image = frame.rgb()
            placement = view.of(image)
            images.append(prepare(image, placement))
            truth_px = torch.from_numpy(np.asarray(truth.points_px[frame.index], np.float64).reshape(-1, 2))
            points.append(placement.region.from_original_px(truth_px))
    animals = truth.points_px.shape[1]
    names = tuple(f"{name}_{animal + 1}" for animal in range(animals) for name in truth.keypoint_names)
    return LabelledFrames(_stack(images), torch.stack(points).float(), names)


def thinned(number: int, at_most: int) -> list[int]:
    """At most ``at_most`` of ``number`` positions, evenly spread, in order."""
    return (
        sorted({int(i) for i in np.linspace(0, number - 1, min(number, at_most)).round()}) if number else []
    )


def _rgb(frame: Any, path: Path) -> NDArray[np.uint8]:
    try:
        image = frame.image
    except Exception as error:  # noqa: BLE001  (each of sleap-io's readers has its own kinds)
        image, reason = None, f" ({type(error).__name__}: {error})"
    else:
        reason = ""
    if image is None:
        raise DataError(
            f"The image of frame {frame.frame_idx} that {path} labels cannot be read{reason}.",
            remedy="Keep the images or the video where the label file looks for them.",
        )
    pixels: NDArray[np.uint8] = np.asarray(image, np.uint8)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else np.ascontiguousarray(pixels[..., :3])


def _stack(images: list[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
