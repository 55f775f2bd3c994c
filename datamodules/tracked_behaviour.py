"""Behaviour of one's own animals: tracks that ``kp track`` (or SLEAP, DeepLabCut) wrote, and a csv of bouts."""

from collections.abc import Sequence
from pathlib import Path

from lightning_kp.behaviour.bases import BehaviourModule, Split
from lightning_kp.behaviour.recordings import (
    Scored,
    find_recordings,
    label_file,
    read_keypoints,
    select_keypoints,
)
from lightning_kp.behaviour.windows import Recording
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.tracks.table import Tracks


class TrackedBehaviour(BehaviourModule):
    """Windows of your own tracks with the behaviours that somebody scored.

    Args:
        tracks: Folder of the tracks, from ``root``: .csv, .slp, .dlc.h5 or .dlc.csv of one video each, .npz
            (``points`` in pixels), or the .truth.npz of rendered arenas.
        train: Names (patterns like ``day1*``) of the recordings to learn from.
        test: Names of the recordings to be scored, none of them in ``train``.
        labels: Label file of a recording, from ``root``; ``{name}`` stands for its name.  Columns: behaviour,
            start_frame, stop_frame (both included), or start_s, stop_s; video, animal, rater if it serves several.
        behaviours: Those of interest, in this order; empty takes all that the training labels name.
        background: What frames without a bout show; null leaves them out of training and scores.
        animal: Whose behaviour, where the labels tell animals apart.
        rater: Whose labels, or ``majority``, where several raters scored.
        fps: Frame rate, where the tracks do not say it.
        frame_size: Height and width of the video in pixels, where the tracks do not say it.
        keypoints: Use these only; empty uses all.
        features: Of pose, confidence, covariance, speed, acceleration, distances, angles.
        past: Steps of the window before the frame.
        future: Steps after it.
        stride: Frames in a step.
        balance: How much more often rare behaviours are drawn: 0 not at all, 1 all equally often.
        val_fraction: Share at the end of each training recording that validates.
        longest_gap: Missing points are bridged by a line over at most this many frames.
        min_confidence: Points below it count as missing.
        root: Folder that relative paths start from.
        batch_size: Windows in a batch.
        num_workers: Processes that load.
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
        past: int = 100,
        future: int = 100,
        stride: int = 2,
        balance: float = 0.5,
        val_fraction: float = 0.0,
        longest_gap: int = 10,
        min_confidence: float = 0.0,
        root: str = ".",
        batch_size: int = 128,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            features, past, future, stride, balance, val_fraction, longest_gap, min_confidence,
            root, batch_size, num_workers,
        )  # fmt: skip
        if len(frame_size) not in (0, 2):
            raise ConfigurationError(
                f"frame_size is {list(frame_size)}.", remedy="Give height and width: [480,640]."
            )
        self.tracks, self.labels = tracks, labels
        self.train, self.test = list(train), list(test)
        self.wanted, self.empty = tuple(behaviours), background
        self.animal, self.rater, self.fps = animal, rater, fps
        self.frame_size, self.keypoints = tuple(frame_size), tuple(keypoints)

    def read(self, split: Split) -> list[Recording]:
        """The recordings named by ``train`` or ``test``."""
        folder = self.path(self.tracks)
        files = find_recordings(folder, self.train if split == "train" else self.test)
        if split == "test" and (both := sorted(set(files) & set(find_recordings(folder, self.train)))):
            raise ConfigurationError(
                f"{', '.join(both)} would train and be scored.", remedy="Name others in --data.test."
            )
        found = [(name, *self._read_one(path, name)) for name, path in files.items()]
        if split == "train":
            self.behaviours = self._choose({label for _, _, scored in found for label in scored.names})
            self.background = self.empty
        return [
            Recording(name, tracks, scored.labels(self.behaviours, self.background))
            for name, tracks, scored in found
        ]

    def _read_one(self, path: Path, name: str) -> tuple[Tracks, Scored]:
        tracks = read_keypoints(path, self.fps, self.frame_size)
        if self.keypoints:
            tracks = select_keypoints(tracks, self.keypoints)
        labels = label_file(self.root, self.labels, name)
        return tracks, Scored(labels, tracks, video=name, animal=self.animal, rater=self.rater)

    def _choose(self, seen: set[str]) -> tuple[str, ...]:
        """The behaviours of interest and, last, the background."""
        missing = sorted(set(self.wanted) - seen)
        if missing:
            raise DataError(
                f"The training labels have no {', '.join(missing)}; they have {', '.join(sorted(seen))}.",
                remedy="Leave it out of --data.behaviours, or train on other recordings.",
            )
        chosen = self.wanted or tuple(sorted(seen - {self.empty}))
        return (*chosen, *((self.empty,) if self.empty is not None and self.empty not in chosen else ()))
