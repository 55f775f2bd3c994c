"""Writes frames that are worth labelling to files for labelling in SLEAP and DeepLabCut.

SLEAP: one ``suggestions.slp`` with the videos, the skeleton and a list of suggested frames; points that can already be
predicted are included as predictions to be corrected.  DeepLabCut: a folder ``labeled-data/<video>`` with the images
and an empty CollectedData table (csv and h5), in which each of several animals has its own columns.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from lightning_kp.errors import DataError
from lightning_kp.files import replacing, write_whole, writing
from lightning_kp.tracks.table import animal_names
from lightning_kp.tracks.writing import DLC_KEY, refuse_torn_hdf5
from lightning_kp.video.image_folder import ImageFolderReader
from lightning_kp.video.opening import open_video
from lightning_kp.video.reader import VideoInfo

HDF5_BYTES = 8192
"""Room that the files take at least (ours)."""


class Stub(NamedTuple):
    """A frame to be labelled.

    Attributes:
        video: Number of the video.
        frame: Number of the frame.
        points_px: Predicted points (I, L, 3) = (x, y, confidence) of its animals, x and y in pixels, or None.  NaN if
            absent; an animal without any point is ignored.
    """

    video: int
    frame: int
    points_px: NDArray[np.float64] | None = None


def write_sleap(stubs: Sequence[Stub], videos: Sequence[VideoInfo], names: Sequence[str], path: Path) -> Path:
    """Write the .slp file and return its path.  Videos have absolute paths, so that SLEAP finds them from anywhere."""
    import sleap_io as sio

    skeleton = sio.Skeleton(list(names), name="labels")
    described = [_video(info) for info in videos]
    frames = [
        sio.LabeledFrame(
            video=described[stub.video],
            frame_idx=stub.frame,
            instances=[_instance(each, skeleton) for each in _present(stub.points_px)],
        )
        for stub in stubs
    ]
    labels = sio.Labels(
        videos=described,
        skeletons=[skeleton],
        labeled_frames=[frame for frame in frames if frame.instances],
        suggestions=[sio.SuggestionFrame(described[stub.video], stub.frame) for stub in stubs],
    )
    with replacing(path, room=HDF5_BYTES) as temporary:
        sio.save_slp(labels, str(temporary), verbose=False)
        refuse_torn_hdf5(temporary)
    return path


def _video(info: VideoInfo) -> Any:
    import sleap_io as sio

    height, width = info.frame_size
    path = info.path.resolve()
    if path.is_dir():
        # Decodes all images, because SLEAP counts every listed image, but a reader only those that can be read.
        names = [str(frame.path) for frame in ImageFolderReader(path).decode()]
        if len(set(names)) < len(names):
            raise DataError(
                f"{path} holds files of several pictures, of which SLEAP would show the first only.",
                remedy="Save each picture as a file of its own, and track these.",
            )
        return sio.Video.from_filename(names)
    known = {"filename": str(path), "shape": [info.n_frames, height, width, 3], "fps": info.fps}
    return sio.Video(filename=str(path), backend_metadata=known, open_backend=False)


def _present(animals: NDArray[np.float64] | None) -> Sequence[NDArray[np.float64]]:
    return () if animals is None else [each for each in animals if np.isfinite(each).all(axis=-1).any()]


def _instance(points: NDArray[np.float64], skeleton: Any) -> Any:
    import sleap_io as sio

    return sio.PredictedInstance.from_numpy(
        points[:, :2], skeleton=skeleton, point_scores=points[:, 2], score=float(np.nanmean(points[:, 2]))
    )


def write_deeplabcut(
    stubs: Sequence[Stub],
    videos: Mapping[str, Path],
    names: Sequence[str],
    scorer: str,
    folder: Path,
    animals: int = 1,
) -> list[Path]:
    """Write images and empty tables below ``folder/labeled-data``; returns the paths of the csv tables.

    Args:
        stubs: Frames to be labelled.
        videos: Path of each video by the name of its folder, in the order of their numbers.
        names: Names of the points to label.
        scorer: Name of the annotator.
        folder: DeepLabCut project, or a new folder.
        animals: Number of animals; each of several has its own columns (animal1 and so on).
    """
    tables = []
    for number, (name, path) in enumerate(videos.items()):
        wanted = sorted({stub.frame for stub in stubs if stub.video == number})
        if not wanted:
            continue
        target = folder / "labeled-data" / name
        target.mkdir(parents=True, exist_ok=True)
        images = _extract(path, wanted, target)
        tables.append(
            _write_table([f"labeled-data/{name}/{image}" for image in images], names, scorer, target, animals)
        )
    return tables


def _extract(path: Path, wanted: Sequence[int], target: Path) -> list[str]:
    """Save frames as PNG files named as in DeepLabCut; frame numbers count displayed frames, as in tracks."""
    width = max(4, len(str(wanted[-1])))
    saved = []
    with open_video(path) as reader:
        frames = reader.decode()
        for frame in frames:
            if frame.index in wanted:
                saved.append(f"img{frame.index:0{width}d}.png")
                with writing(target / saved[-1]) as file:
                    Pictures.fromarray(frame.rgb()).save(file, format="PNG")
            if frame.index >= wanted[-1]:
                break
        frames.close() if hasattr(frames, "close") else None
    return saved


def _write_table(
    images: Sequence[str], names: Sequence[str], scorer: str, target: Path, animals: int
) -> Path:
    import pandas as pd

    individuals = {"individuals": list(animal_names(animals))} if animals > 1 else {}
    levels = {"scorer": [scorer], **individuals, "bodyparts": list(names), "coords": ["x", "y"]}
    columns = pd.MultiIndex.from_product(list(levels.values()), names=list(levels))
    # Rows by folder, video and image, as DeepLabCut keeps them since 2.2.
    index = pd.MultiIndex.from_tuples([tuple(image.split("/")) for image in images])
    table = pd.DataFrame(np.nan, index, columns)
    path = target / f"CollectedData_{scorer}.csv"
    # pandas reads a first row of empty cells as the names of the index, so they are written explicitly.
    write_whole(path, table.rename_axis(["folder", "video", "image"]).to_csv())
    with replacing(path.with_suffix(".h5"), room=HDF5_BYTES) as temporary:
        table.to_hdf(temporary, key=DLC_KEY, mode="w")
        refuse_torn_hdf5(temporary)
    return path
