"""Speed of behaviour: features against a loop over frames, training against the network on a ready batch."""

import math
import os
from collections.abc import Callable
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F

from lightning_kp.batches import LabelledWindows
from lightning_kp.behaviour.features import feature_table
from lightning_kp.behaviour.windows import BalancedShuffle, WindowDataset, WindowSettings
from lightning_kp.bench.measuring import Row, compare, medians
from lightning_kp.loading import ResumableLoader
from lightning_kp.methods.behaviour import BehaviourClassifier
from lightning_kp.tracks.table import Tracks

FRAMES, KEYPOINTS = 100_000, 20
KINDS = ("pose", "confidence", "covariance", "speed", "acceleration", "distances", "angles")
LITERAL_FRAMES = 200  # a loop over all frames would take minutes; its time grows with their number
BATCH_SIZE = 128


def rows(*, quick: bool = False) -> list[Row]:
    """Rows for all kinds of features of a long recording, and for training on the windows of CalMS21's benchmark."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return [
        *feature_rows(FRAMES // 10 if quick else FRAMES, 1 if quick else 3),
        training_row(1 if quick else 3),
    ]


def feature_rows(frames: int, repeats: int) -> list[Row]:
    """Rows for all features with gaps filled (100,000 frames against 10 s), and for angles against a loop."""
    tracks, few = random_tracks(frames), random_tracks(LITERAL_FRAMES)
    seconds = medians({"ours": lambda: feature_table(tracks, KINDS)}, repeats=repeats)["ours"]
    loop = medians({"loop": lambda: literal_angles(few)}, repeats=1)["loop"]
    angles = medians({"ours": lambda: feature_table(tracks, ("angles",))}, repeats=1)["ours"]
    name = f"features, {KEYPOINTS} keypoints"
    return [
        compare(f"{name}: all kinds, 100,000 frames / 10 s", seconds * FRAMES / frames, 10.0, "<= 1"),
        compare(
            f"{name}: angles / loop over frames", frames / angles, LITERAL_FRAMES / loop, ">= 10", "frames/s"
        ),
    ]


def random_tracks(frames: int) -> Tracks:
    """Tracks with points (T, 1, 20, 2) all over a frame of 500 x 500 px, one in twenty missing."""
    rng = np.random.default_rng(0)
    shape = (frames, 1, KEYPOINTS)
    points = rng.uniform(0, 500, (*shape, 2)).astype(np.float32)
    points[rng.random(shape) < 0.05] = np.nan
    names = tuple(f"kp{k + 1:02d}" for k in range(KEYPOINTS))
    return Tracks(
        "random", (500, 500), 25.0, np.arange(frames) / 25, points, np.ones(shape, np.float32),
        np.ones((*shape, 3), np.float32), names,
    )  # fmt: skip


def literal_angles(tracks: Tracks) -> list[list[float]]:
    """Angles in [0, π] computed frame by frame and triplet by triplet."""
    found = []
    for points in np.nan_to_num(tracks.points_px[:, 0]).astype(float):
        row = []
        for i, j, k in combinations(range(len(points)), 3):
            one, two = points[i] - points[j], points[k] - points[j]
            row.append(abs(math.atan2(one[0] * two[1] - one[1] * two[0], one @ two)))
        found.append(row)
    return found


def training_row(repeats: int) -> Row:
    """Row for frames per second of training, with windows cut and shuffled, against equal steps on one batch."""
    rng = np.random.default_rng(0)
    batches = 6
    frames = batches * BATCH_SIZE
    table, labels = rng.normal(size=(frames, 28)).astype(np.float32), rng.integers(0, 4, frames)
    data = WindowDataset([table], [labels], WindowSettings())
    sampler = BalancedShuffle(data.behaviour, 0, 0.5)
    loader = ResumableLoader(data, sampler=sampler, batch_size=BATCH_SIZE, drop_last=True)
    step = training_step()
    batch: LabelledWindows = next(iter(loader))

    def epoch() -> None:
        for each in loader:
            step(each)

    def bare() -> None:
        for _ in range(batches):
            step(batch)

    times = medians({"training": epoch, "network": bare}, repeats=repeats)
    name = f"behaviour, window of {data.window.length}: training / network alone"
    return compare(name, frames / times["training"], frames / times["network"], ">= 0.8", "frames/s")


def training_step() -> Callable[[LabelledWindows], None]:
    """Return a function that trains the classifier for one step on a batch."""
    method = BehaviourClassifier(28, WindowSettings().length, ("a", "b", "c", "other")).train()
    optimizer = method.default_optimizer()

    def step(batch: LabelledWindows) -> None:
        optimizer.zero_grad()
        F.cross_entropy(method(batch.window), batch.behaviour).backward()
        optimizer.step()

    return step
