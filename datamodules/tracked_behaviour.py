"""Behaviour of your own animals: tracks from ``kp track``, SLEAP or DeepLabCut, and csv files of bouts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_kp.behaviour.bases import BehaviourModule, Split
from lightning_kp.behaviour.recordings import (
    RaterLabels,
    check_spelling,
    find_recordings,
    label_file,
    read_keypoints,
    select_keypoints,
    warn_of_unknown,
)
from lightning_kp.behaviour.windows import Recording
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.tracks.table import Tracks


class TrackedBehaviour(BehaviourModule):
    """Windows of your own tracks, with annotated behaviours.

    Args:
        tracks: Folder of the tracks: .csv, .slp, .dlc.h5 or .dlc.csv, one file for each video; .npz (``points`` in
            pixels); or the .truth.npz of rendered arenas.  Relative paths start from ``root``.
        train: Names, or patterns such as ``day1*``, of the recordings to train on.
        test: Names or patterns of the recordings to test on; none of them may be in ``train``.
        labels: Path of the label files, in which ``{name}`` stands for the name of a recording.  Columns: behaviour,
            start_frame, stop_frame (both included), or start_s, stop_s; and video, animal or rater, if one file has
            the labels of several.
        behaviours: Behaviours of interest, in this order; empty: all behaviours in the training labels.
        background: Behaviour of frames outside of bouts; null excludes these frames from training and scores.
        animal: The animal whose behaviour is used, if the labels distinguish animals.
        rater: The rater whose labels are used, or ``majority``, if there are several raters.
        fps: Frame rate, if the tracks do not contain it.
        frame_size: Height and width of the video in pixels, if the tracks do not contain them.
        keypoints: Names of the keypoints to use; empty: all.
        features: Any of pose, confidence, covariance, speed, acceleration, distances, angles.
        balance: How much more often rare behaviours are drawn: 0 as often as they occur, 1 all behaviours equally
            often.
        windows: Other options of the windows; see :class:`lightning_kp.behaviour.bases.BehaviourModule`.
    """

    def __init__(
        self,
        tracks: str = "tracks",
        train: Sequence[str] = ("train*",),
        test: Sequence[str] = ("test*",),
        labels: str = "labels/{name}.behaviour.csv",
        behaviours: Sequence[str] = (),
        background: str | None = "other",
        animal: str = "",
        rater: str = "",
        fps: float = 0.0,
        frame_size: Sequence[int] = (),
        keypoints: Sequence[str] = (),
        features: Sequence[str] = ("pose", "confidence"),
        balance: float = 0.5,
        **windows: Any,
    ) -> None:
        super().__init__(features=features, balance=balance, **windows)
        if len(frame_size) not in (0, 2):
            raise ConfigurationError(
                f"frame_size is {list(frame_size)}.",
                remedy="Give height and width, such as --data.frame_size=[480,640].",
            )
        self.tracks, self.labels = tracks, labels
        self.train, self.test = list(train), list(test)
        self._seen: set[str] = set()
        self.wanted, self.empty = tuple(behaviours), background
        self.animal, self.rater, self.fps = animal, rater, fps
        self.frame_size, self.keypoints = tuple(frame_size), tuple(keypoints)

    def read(self, split: Split) -> list[Recording]:
        """The recordings that ``train`` or ``test`` selects."""
        folder = self.path(self.tracks)
        files = find_recordings(folder, self.train if split == "train" else self.test)
        if split == "test" and (both := sorted(set(files) & set(find_recordings(folder, self.train)))):
            raise ConfigurationError(
                f"{', '.join(both)} would be used for both training and test.",
                remedy="Choose other recordings with --data.test.",
            )
        found = [(name, *self._read_one(path, name)) for name, path in files.items()]
        if split == "train":
            self._seen = {label for _, _, scored in found for label in scored.names}
            check_spelling({*self._seen, *self.wanted})
            self.behaviours = self._choose(self._seen)
            self.background = self.empty
        else:
            warn_of_unknown(
                {name: scored.names for name, _, scored in found}, {*self._seen, *self.behaviours}
            )
        return [
            Recording(name, tracks, scored.labels(self.behaviours, self.background))
            for name, tracks, scored in found
        ]

    def _read_one(self, path: Path, name: str) -> tuple[Tracks, RaterLabels]:
        tracks = read_keypoints(path, self.fps, self.frame_size)
        if self.keypoints:
            tracks = select_keypoints(tracks, self.keypoints)
        labels = label_file(self.root, self.labels, name)
        return tracks, RaterLabels(labels, tracks, video=name, animal=self.animal, rater=self.rater)

    def _choose(self, seen: set[str]) -> tuple[str, ...]:
        """The behaviours of interest, followed by the background."""
        missing = sorted(set(self.wanted) - seen)
        if missing:
            raise DataError(
                f"The training labels have no {', '.join(missing)}; they have {', '.join(sorted(seen))}.",
                remedy="Remove them from --data.behaviours, or train on other recordings.",
            )
        chosen = self.wanted or tuple(sorted(seen - {self.empty}))
        return (*chosen, *((self.empty,) if self.empty is not None and self.empty not in chosen else ()))
