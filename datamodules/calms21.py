"""CalMS21, task 1: two mice in a cage, seven keypoints each, one behaviour per frame.

Source: Sun, Karigo et al., The Multi-Agent Behavior Dataset, NeurIPS 2021; data.caltech.edu, record 1991.
Layout of the official files ``calms21_task1_train.json`` and ``calms21_task1_test.json``, and of the .npy files
that the official converter makes of them::

    annotator-id_0 / task1/train/mouse001_task1_annotator1 / keypoints   (frames, 2 mice, x y, 7 points), px
                                                             scores      (frames, 2 mice, 7 points)
                                                             annotations (frames,)
                                                             metadata    {"vocab": {"attack": 0, ...}, ...}
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.behaviour.bases import BehaviourModule, Split
from lightning_kp.behaviour.recordings import find_recordings, read_keypoints, select_keypoints
from lightning_kp.behaviour.safe_pickle import read_object_npy
from lightning_kp.behaviour.windows import Recording
from lightning_kp.errors import DataError
from lightning_kp.tracks.table import TrackInfo, Tracks, make_tracks

PARTS = ("nose", "left_ear", "right_ear", "neck", "left_hip", "right_hip", "tail_base")
MICE = 2  # the resident comes first
FRAME_SIZE = (570, 1024)  # height, width (000, 5.5)
FPS = 30.0  # 000, 5.8
VOCABULARY = ("attack", "investigation", "mount", "other")


class CalMS21(BehaviourModule):
    """Windows of the CalMS21 benchmark, task 1: train on its training split, test on its test split.

    The defaults of the windows are those of the benchmark: pose, 100 steps of 2 frames before and after the frame,
    batches of 128, every frame drawn once, no validation.

    Args:
        train_file: Official training file, .json or .npy; relative paths start from ``root``.
        test_file: Official test file.
        tracks: Folder of tracks that replace the official keypoints: one file for each sequence, named like the last
            part of the sequence's name (``mouse001_task1_annotator1.csv``).
        keypoints: Names of the keypoints to use; empty: all.
        mean_confidence: Use only keypoints whose mean confidence over the training sequences is at least this (000,
            Table 5.6, "20*": of 20 discovered keypoints the 11 that are not on the background).
        windows: Options of the windows; see :class:`lightning_kp.behaviour.bases.BehaviourModule`.
    """

    def __init__(
        self,
        train_file: str = "calms21_task1_train.json",
        test_file: str = "calms21_task1_test.json",
        tracks: str | None = None,
        keypoints: Sequence[str] = (),
        mean_confidence: float = 0.0,
        **windows: Any,
    ) -> None:
        super().__init__(**windows)
        self.train_file, self.test_file, self.tracks = train_file, test_file, tracks
        self.keypoints, self.mean_confidence = tuple(keypoints), mean_confidence
        self._chosen: tuple[str, ...] = ()

    def read(self, split: Split) -> list[Recording]:
        """All sequences of the split's file, in its order."""
        path = self.path(self.train_file if split == "train" else self.test_file)
        recordings = []
        for name, sequence, vocabulary in read_sequences(path):
            if not self.behaviours:
                self.behaviours, self.background = vocabulary, "other" if "other" in vocabulary else None
            if vocabulary != self.behaviours:
                raise _refuse(
                    path, name, "metadata/vocab", f"{vocabulary}, but other sequences have {self.behaviours}"
                )
            recordings.append(self._with_own_tracks(sequence))
        if not (self.keypoints or self.mean_confidence > 0):
            return recordings
        if split == "train":
            self._chosen = self._choose([recording.tracks for recording in recordings])
        return [replace(each, tracks=select_keypoints(each.tracks, self._chosen)) for each in recordings]

    def _choose(self, tracks: Sequence[Tracks]) -> tuple[str, ...]:
        """The keypoints to use.  Raises DataError if none is confident enough."""
        names = self.keypoints or tracks[0].keypoint_names
        sums = [np.nansum(select_keypoints(each, names).confidence, axis=(0, 1)) for each in tracks]
        means = np.sum(sums, axis=0) / sum(len(each) * each.points_px.shape[1] for each in tracks)
        chosen = tuple(name for name, mean in zip(names, means, strict=True) if mean >= self.mean_confidence)
        if not chosen:
            raise DataError(
                f"No keypoint has a mean confidence of {self.mean_confidence:g}; the highest is {means.max():.3f}.",
                remedy="Give a smaller --data.mean_confidence.",
            )
        return chosen

    def _with_own_tracks(self, recording: Recording) -> Recording:
        """The recording with its keypoints replaced by those in the folder ``tracks``, if one was given."""
        if self.tracks is None:
            return recording
        name = recording.name.rsplit("/", 1)[-1]
        path = find_recordings(self.path(self.tracks), [name])[name]
        found = read_keypoints(path, FPS, FRAME_SIZE)
        if len(found) != len(recording):
            raise DataError(
                f"{path} has {len(found)} frames, but the annotations of {recording.name} have {len(recording)}.",
                remedy="Track the video of this sequence.",
            )
        return Recording(recording.name, found, recording.labels)


def read_sequences(path: Path) -> list[tuple[str, Recording, tuple[str, ...]]]:
    """Read an official file: (name, recording, behaviours in the order of the labels) for each sequence.

    Raises DataError, with file, sequence and key, if the file differs from the official layout.
    """
    content = _load(path)
    found = []
    for annotator, sequences in content.items():
        if not isinstance(sequences, Mapping) or not sequences:
            raise _refuse(path, annotator, "", "it has no sequences")
        for name, sequence in sequences.items():
            if not isinstance(sequence, Mapping):
                raise _refuse(path, name, "", f"it is a {type(sequence).__name__}, not a mapping of keys")
            found.append((str(name), *_recording(path, str(name), sequence)))
    return found


def _load(path: Path) -> Mapping[str, Any]:
    try:
        content: Any
        if path.suffix == ".npy":
            content = read_object_npy(path)
        else:
            with path.open(encoding="utf-8") as file:
                content = json.load(file)
    except FileNotFoundError as error:
        raise DataError(
            f"There is no file {path}.",
            remedy="Download task 1 of CalMS21 (data.caltech.edu, record 1991), and set --data.root to its folder.",
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.", remedy="Download it again.") from error
    if not isinstance(content, Mapping) or not content:
        raise DataError(f"{path} has no annotators.", remedy="Give an official file of task 1.")
    return content


def _recording(path: Path, name: str, sequence: Mapping[str, Any]) -> tuple[Recording, tuple[str, ...]]:
    keypoints = _array(path, name, sequence, "keypoints", (None, MICE, 2, len(PARTS)))
    frames = len(keypoints)
    scores = _array(path, name, sequence, "scores", (frames, MICE, len(PARTS)))
    labels = _array(path, name, sequence, "annotations", (frames,)).astype(np.int64)
    metadata = sequence.get("metadata")
    vocab = metadata.get("vocab") if isinstance(metadata, Mapping) else None
    if not isinstance(vocab, Mapping) or sorted(vocab.values()) != list(range(len(vocab))):
        raise _refuse(path, name, "metadata/vocab", f"{vocab}, but names numbered from 0 are needed")
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(vocab):
        raise _refuse(
            path,
            name,
            "annotations",
            f"numbers {labels.min()} to {labels.max()} for {len(vocab)} behaviours",
        )
    info = TrackInfo(name, FRAME_SIZE, FPS, PARTS, MICE)
    arrays = {
        "times_s": np.arange(frames) / FPS,
        "points_px": np.moveaxis(keypoints, 2, 3).astype(np.float32),
        "confidence": scores.astype(np.float32),
        "covariance_px": np.full((frames, MICE, len(PARTS), 3), np.nan, np.float32),
    }
    tracks: Tracks = make_tracks(info, arrays)
    return Recording(name, tracks, labels), tuple(sorted(vocab, key=lambda each: int(vocab[each])))


def _array(
    path: Path, name: str, sequence: Mapping[str, Any], key: str, shape: tuple[int | None, ...]
) -> NDArray[np.float64]:
    """Values of a key as an array of ``shape``, in which None stands for any length."""
    if key not in sequence:
        raise _refuse(path, name, key, f"it is missing; the keys are {', '.join(map(str, sequence))}")
    try:
        values = np.asarray(sequence[key], np.float64)
    except (ValueError, TypeError) as error:
        raise _refuse(path, name, key, str(error)) from error
    fits = values.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, values.shape, strict=True))
    if not fits:
        needed = tuple("frames" if n is None else n for n in shape)
        raise _refuse(path, name, key, f"shape {values.shape}, but {needed} is needed")
    if not np.isfinite(values).all():
        raise _refuse(path, name, key, "it has a value that is not finite")
    return values


def _refuse(path: Path, sequence: str, key: str, problem: str) -> DataError:
    location = f"{path}, sequence {sequence}" + (f", key {key}" if key else "")
    return DataError(f"{location}: {problem}.", remedy="Give an official file of CalMS21, task 1.")
