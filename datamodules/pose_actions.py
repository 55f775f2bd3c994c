"""Windows of 2-D poses with actions, from 3-D poses seen by chosen cameras (003, 4.6.4.4)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightning_kp.batches import LabelledWindows
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.loading import EpochRows
from lightning_kp.people.pose_actions import (
    Floats,
    PoseSequence,
    PoseWindows,
    View,
    read_pose_sequences,
    with_error,
)


class PoseActions(KeypointDataModule):
    """Windows (B, T, 2 K) of normalised 2-D poses and the action of each.

    Training windows start anywhere, anew in every epoch; validation and test windows at fixed frames of each track. A
    track is one recording seen by one camera.

    Args:
        poses: File of the 3-D poses (.npz), see :func:`lightning_kp.people.pose_actions.read_pose_sequences`.
        test: Subjects to test on (Human3.6M: S9 and S11).
        val: Subjects to validate on; empty: no validation.
        views: Directions of the cameras around the origin, in degrees.
        distance_mm: Distance of the cameras from the origin.
        height_mm: Height of the cameras.
        centred: Subtract the first joint, the root, from every pose.
        length: Poses in a window (003: 32).
        step_s: Seconds from one pose to the next (003: 20 frames at 50 Hz, 0.4).
        starts: Windows of a track in validation and test.
        error: Mean distance, as a share of the image side, by which points are moved at random, for the error of a
            network that would find them.
        seed: Decides about random starts and errors; the order of training follows ``--seed_everything``.
        root: Folder where ``poses`` starts.
        batch_size: Windows in a batch.
        num_workers: Processes that load data; 0 is fast enough.
    """

    batch_type = LabelledWindows
    sampler_type = EpochRows

    def __init__(
        self,
        poses: str = "h36m_17j_12.5fps.npz",
        test: Sequence[str] = ("S9", "S11"),
        val: Sequence[str] = (),
        views: Sequence[float] = (45, 135, 225, 315),
        distance_mm: float = 5000.0,
        height_mm: float = 1500.0,
        centred: bool = True,
        length: int = 32,
        step_s: float = 0.4,
        starts: int = 5,
        error: float = 0.0,
        seed: int = 0,
        root: str = ".",
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        super().__init__(root, batch_size, num_workers)
        if not views or min(length, starts) < 1 or not step_s > 0 or not error >= 0 or set(test) & set(val):
            raise ConfigurationError(
                f"PoseActions needs a view, a length and starts of at least 1, a step above 0, an error of at least 0, "
                f"and other subjects for validation than for tests; got views={list(views)}, length={length}, "
                f"starts={starts}, step_s={step_s}, error={error}, test={list(test)}, val={list(val)}.",
                remedy="Leave the options out to use those of the paper.",
            )
        self.save_hyperparameters(logger=False)
        self.poses, self.test, self.val = poses, tuple(test), tuple(val)
        self.views = [View(degrees, distance_mm, height_mm) for degrees in views]
        self.centred, self.length, self.step_s, self.starts = centred, length, step_s, starts
        self.error, self.seed = error, seed
        self.class_names: tuple[str, ...] = ()
        self.num_features = 0

    def setup(self, stage: str | None = None) -> None:
        """Read the poses, once, and divide them by subject.  Raises DataError for a subject that is not there."""
        if self.datasets:
            return
        path: Path = self.path(self.poses)
        sequences = read_pose_sequences(path)
        subjects = {sequence.subject for sequence in sequences}
        if missing := sorted({*self.test, *self.val} - subjects):
            raise DataError(
                f"{path.name} has no subject {', '.join(missing)}; it has {', '.join(sorted(subjects))}.",
                remedy="Choose others with --data.test and --data.val.",
            )
        self.class_names = tuple(sorted({sequence.action for sequence in sequences}))
        parts = {"train": subjects - {*self.test, *self.val}, "val": {*self.val}, "test": {*self.test}}
        for part, members in parts.items():
            chosen = [each for each in sequences if each.subject in members]
            if chosen:
                self.datasets[part] = self._windows(chosen, starts=0 if part == "train" else self.starts)

    def _windows(self, sequences: Sequence[PoseSequence], starts: int) -> PoseWindows:
        number = {name: position for position, name in enumerate(self.class_names)}
        tracks = [self._track(each, view) for each in sequences for view in range(len(self.views))]
        action = [number[each.action] for each in sequences for _ in self.views]
        self.num_features = tracks[0][0].size
        step = max(1, round(self.step_s * sequences[0].fps))
        return PoseWindows(tracks, action, self.length, step, starts, self.seed)

    def _track(self, sequence: PoseSequence, view: int) -> Floats:
        """Points (N, K, 2) of a recording seen by one camera."""
        points = self.views[view].project(sequence.positions_mm)
        draw = [self.seed, view, *sequence.name.encode()]
        points = with_error(points, self.error, np.random.default_rng(draw))
        return points - points[:, :1] if self.centred else points
