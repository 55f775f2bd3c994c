"""Human3.6M (Ionescu et al. 2014): sequences of images with 2-D poses, from three common extractions.

* ``fetch``: ``S1/Waiting-1/imageSequence/54138969/img_000001.jpg`` with ``S1/Waiting-1/annot.h5`` (keys
  ``pose/2d``, ``frame``, ``camera``; 32 joints), also below ``processed/``: what B-KinD was trained on.
* ``simplified``: ``S1/WithBackground/Waiting 1.54138969/1.jpg`` with ``S1/Landmarks/Waiting 1.54138969/1.mat``
  (``keypoints_2d``: 32 joints as (y, x) in parts of the image), also below ``human_images/``: Simplified
  Human3.6M (Zhang et al. 2018), six activities, images already cropped around the person.
* ``table``: ``S1/S1_Waiting_1.54138969/S1_Waiting_1.54138969_000001.jpg`` (also below ``images/``) with
  ``*.npz`` tables (``imgname``, ``part``; 17 joints), as MMPose and others read it.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.geometry import from_edges
from lightning_kp.images.files import natural_key

Floats = NDArray[np.float64]
TRAIN_SUBJECTS = ("S1", "S5", "S6", "S7", "S8")
TEST_SUBJECTS = ("S9", "S11")
SIX_ACTIVITIES = ("Waiting", "Posing", "Greeting", "Directions", "Discussion", "Walking")
"""Activities of Simplified Human3.6M, in the order of 000, Table 5.3."""
JOINT_NAMES = (
    "right_hip", "right_knee", "right_foot", "left_hip", "left_knee", "left_foot", "spine", "thorax",
    "neck", "head", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
)  # fmt: skip
"""The 16 keypoints that are regressed, in the order of all arrays of this module."""
MIRROR = (3, 4, 5, 0, 1, 2, 6, 7, 8, 9, 13, 14, 15, 10, 11, 12)
OF_32 = [1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
OF_17 = list(range(1, 17))
MAX_NAMED = 8  # sequences named in one message (ours)
REMEDY = "Give the folder that holds S1, S5, ..., with the layout of one of the three supported extractions."


@dataclass(frozen=True)
class PoseSequence:
    """Images of one subject, action and camera in time order.

    ``points_px(i, frame_size)`` returns the joints (16, 2) of image ``i`` in pixels, with the centre of the top left
    pixel at (0, 0); ``frame_size`` is its (height, width).  ``is_cropped``: the images are already cropped around the
    person.
    """

    subject: str
    activity: str
    name: str
    images: tuple[Path, ...]
    points_px: Callable[[int, tuple[int, int]], Floats]
    is_cropped: bool = False


def find_sequences(
    root: Path, subjects: Sequence[str], activities: Sequence[str] | None = None
) -> list[PoseSequence]:
    """Find the sequences of some subjects and activities (None: all) below ``root``, in natural order.

    Raises DataError if there are none, or if an annotation does not match its layout.
    """
    if not root.is_dir():
        raise DataError(f"There is no folder {root}.", remedy=REMEDY)
    for read in (_fetched, _simplified, _tabulated):
        found = list(read(root))
        if not found:
            continue
        chosen = [each for each in found if each.subject in subjects]
        chosen = [each for each in chosen if activities is None or each.activity in activities]
        if not chosen:
            has = sorted(
                {f"{each.subject} {each.activity}" for each in found},
                key=lambda name: natural_key(Path(name)),
            )
            raise DataError(
                f"{root} has no sequence of {', '.join(subjects)} in {', '.join(activities or ('any activity',))}.",
                remedy=f"It has: {', '.join(has[:MAX_NAMED])}{', ...' if len(has) > MAX_NAMED else ''}.",
            )
        return sorted(chosen, key=lambda each: natural_key(Path(each.name)))
    raise DataError(f"{root} has no Human3.6M images with poses.", remedy=REMEDY)


def activity_of(name: str) -> str:
    """Return the activity of an action's name.

    >>> [activity_of(name) for name in ("Waiting-1", "Waiting 1.54138969", "S1_Waiting_1.54138969")]
    ['Waiting', 'Waiting', 'Waiting']
    """
    bare = re.sub(r"^S\d+_", "", name)
    found = re.match(r"[A-Za-z]+", bare)
    return found[0] if found else bare


def _fetched(root: Path) -> Iterator[PoseSequence]:
    import h5py

    for file in sorted({*root.glob("S*/*/annot.h5"), *root.glob("processed/S*/*/annot.h5")}):
        folder = file.parent
        with h5py.File(file, "r") as annotation:
            for key in ("pose/2d", "frame", "camera"):
                if key not in annotation:
                    raise DataError(f"{file} has no key '{key}'.", remedy="Extract this action again.")
            poses, frames = np.asarray(annotation["pose/2d"], np.float64), np.asarray(annotation["frame"])
            cameras = np.asarray(annotation["camera"])
        if poses.ndim != 3 or poses.shape[1:] != (32, 2) or not len(poses) == len(frames) == len(cameras):
            raise DataError(
                f"{file}: 'pose/2d' has shape {poses.shape}, with {len(frames)} frames and {len(cameras)} cameras.",
                remedy="Its shape must be (frames, 32, 2), with one frame number and one camera for each pose.",
            )
        for camera in np.unique(cameras).tolist():
            rows = np.flatnonzero(cameras == camera)
            images = folder / "imageSequence" / str(camera)
            paths = tuple(images / f"img_{frame:06d}.jpg" for frame in frames[rows].tolist())
            name = f"{folder.parent.name}/{folder.name}/{camera}"
            yield _sequence(folder.parent.name, folder.name, name, paths, poses[rows][:, OF_32])


def _simplified(root: Path) -> Iterator[PoseSequence]:
    folders = {*root.glob("S*/WithBackground/*"), *root.glob("human_images/S*/WithBackground/*")}
    for folder in sorted(path for path in folders if path.is_dir()):
        subject = folder.parent.parent
        landmarks = subject / "Landmarks" / folder.name
        if not landmarks.is_dir():
            raise DataError(f"{folder} has no landmarks: {landmarks} is missing.", remedy=REMEDY)
        paths = tuple(sorted(folder.glob("*.jpg"), key=natural_key))
        name = f"{subject.name}/{folder.name}"
        activity = activity_of(folder.name)
        yield PoseSequence(
            subject.name, activity, name, paths, _landmarks_of(paths, landmarks), is_cropped=True
        )


def _landmarks_of(paths: Sequence[Path], folder: Path) -> Callable[[int, tuple[int, int]], Floats]:
    """A function that reads the joints of an image: there are too many small files to read all of them first."""

    def points_px(i: int, frame_size: tuple[int, int]) -> Floats:
        from scipy.io import loadmat

        file = folder / f"{paths[i].stem}.mat"
        try:
            parts = np.asarray(loadmat(file)["keypoints_2d"], np.float64)
        except (OSError, KeyError, ValueError, NotImplementedError) as error:
            raise DataError(f"{file} has no readable 'keypoints_2d' ({error}).", remedy=REMEDY) from error
        if parts.shape != (32, 2):
            raise DataError(
                f"{file}: 'keypoints_2d' has shape {parts.shape}, but (32, 2) is needed.", remedy=REMEDY
            )
        return from_edges(parts[OF_32][:, ::-1] * (frame_size[1], frame_size[0]))

    return points_px


def _tabulated(root: Path) -> Iterator[PoseSequence]:
    rows: dict[str, dict[str, Floats]] = defaultdict(dict)
    tables = [path for pattern in ("*.npz", "*/*.npz", "*/*/*.npz") for path in root.glob(pattern)]
    for table in sorted(tables):
        for name, points in _rows(table):
            rows[Path(name).name.rpartition("_")[0]][Path(name).name] = points
    folders = (root, root / "images")
    for stem in sorted(rows):
        subject = stem.partition("_")[0]
        names = sorted(rows[stem], key=lambda name: natural_key(Path(name)))
        folder = next((each / subject / stem for each in folders if (each / subject / stem).is_dir()), None)
        if folder is None:
            raise DataError(
                f"The folder of the images of {stem} is missing: {root / subject / stem}.", remedy=REMEDY
            )
        poses = np.stack([rows[stem][name] for name in names])
        yield _sequence(subject, stem, f"{subject}/{stem}", tuple(folder / name for name in names), poses)


def _rows(table: Path) -> Iterator[tuple[str, Floats]]:
    """Image names and joints (16, 2) of a table; nothing if it has no such poses."""
    try:
        with np.load(table, allow_pickle=False) as stored:
            if "imgname" not in stored or "part" not in stored:
                return
            names, parts = stored["imgname"], np.asarray(stored["part"], np.float64)
    except (OSError, ValueError) as error:
        raise DataError(f"{table} cannot be read as a table of poses ({error}).", remedy=REMEDY) from error
    if parts.ndim != 3 or parts.shape[1] != 17:
        return  # a table of the 24 joints of a body model, which some folders also hold
    points = np.where(parts[:, OF_17, 2:3] > 0, parts[:, OF_17, :2], np.nan)
    yield from zip(map(str, names), points, strict=True)


def _sequence(subject: str, action: str, name: str, images: tuple[Path, ...], poses: Floats) -> PoseSequence:
    def points_px(i: int, frame_size: tuple[int, int]) -> Floats:
        pose: Any = poses[i]
        return np.array(pose)

    return PoseSequence(subject, activity_of(action), name, images, points_px)
