"""Errors against labels: ``kp.score(run, labels=...)``."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from lightning_kp.api.paths import PathLike, Paths, as_list
from lightning_kp.checkpoints import find_checkpoint
from lightning_kp.command.trained import load_for_tracking, warn_trained_on, warn_whole_frames
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.runs.folder import RunFolder
from lightning_kp.scoring import label_file, look_alikes
from lightning_kp.tracks.tracking import output_counts

if TYPE_CHECKING:
    from lightning_kp.frames.view import ViewSettings
    from lightning_kp.method import KeypointMethod
    from lightning_kp.metrics.animals import AnimalMetrics
    from lightning_kp.scoring.activities import ActivityMetrics
    from lightning_kp.scoring.discovered import RegressionMetrics
    from lightning_kp.scoring.look_alikes import LookAlikeMetrics
    from lightning_kp.scoring.whole_animals import WholeAnimalMetrics

MIN_TRACKED_SHARE = 0.5
"""Share of a video's frames that need labels before they count as tracks (ours): single frames show no exchange."""
TRACK_FILES = (".slp", ".truth.npz")
"""Label files that may hold tracks."""
LOOK_ALIKE_HEAD = (
    f"{'':<28}{'identities':<12}{'detected':>9}{'centroid px':>12}{'switches/1000':>15}"
    f"{'own nodes px':>14}{'all nodes px':>14}"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LookAlikeScore:
    """How well a network finds several look-alike animals and keeps them apart, beside the same network untrained.

    Attributes:
        truth: The video and the true points of every frame.
        trained: Metrics of the network.
        untrained: Metrics of the same network before training.
    """

    truth: "look_alikes.Truth"
    trained: "LookAlikeMetrics"
    untrained: "LookAlikeMetrics"

    def as_metrics(self, prefix: str = "animals_") -> dict[str, Any]:
        """Metrics by name, for ``metrics.json``."""
        return {
            f"{prefix}trained": look_alikes.as_metrics(self.trained),
            f"{prefix}untrained": look_alikes.as_metrics(self.untrained),
        }

    def lines(self, name: str) -> list[str]:
        """A table for the terminal; ``name`` is that of the run."""
        frames, animals = self.truth.points_px.shape[:2]
        mean_pose = look_alikes.mean_pose_px(self.truth)
        return [
            f"{self.truth.video.name}: {frames} frames, {animals} animals",
            LOOK_ALIKE_HEAD,
            *_look_alike_rows(name, self.trained),
            *_look_alike_rows(f"{name}, untrained", self.untrained),
            f"{'mean pose':<28}{'':<12}{'':>9}{'':>12}{'':>15}{'':>14}{mean_pose:>14.1f}",
            f"An animal is found when a centroid lies within {self.trained.height.reach_px:.0f} px of its own.",
        ]


@dataclass(frozen=True)
class Score:
    """Errors of one run.

    Attributes:
        run: The run folder or checkpoint, as it was given.
        frames: Number of labelled frames or images.
        labels: Metrics against labelled frames; None where the labels are tracks only.
        animals: Metrics against tracks of several animals; None without such.
    """

    run: str
    frames: int
    labels: "RegressionMetrics | WholeAnimalMetrics | ActivityMetrics | None" = None
    animals: LookAlikeScore | None = None

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def as_metrics(self, prefix: str = "") -> dict[str, Any]:
        """Metrics by name, for ``metrics.json``."""
        found: dict[str, Any] = dict(self.labels.as_metrics(prefix)) if self.labels else {}
        return found | (self.animals.as_metrics(f"{prefix}animals_") if self.animals else {})

    def lines(self) -> list[str]:
        """Tables for a terminal."""
        head = [f"{self.run}: {self.frames} labelled frames"] if self.labels else []
        return [
            *head,
            *(self.labels.lines() if self.labels else []),
            *(self.animals.lines(self.run) if self.animals else []),
        ]


@overload
def score(  # type: ignore[overload-overlap]  # a str is a sequence of str as well
    runs: PathLike, *, labels: PathLike | None = ..., human36m: PathLike | None = ..., stride: int = ...,
    prefix: str = ..., animals: bool | None = ..., video: PathLike | None = ..., device: str = ...,
) -> Score: ...  # fmt: skip
@overload
def score(
    runs: Sequence[PathLike], *, labels: PathLike | None = ..., human36m: PathLike | None = ..., stride: int = ...,
    prefix: str = ..., animals: bool | None = ..., video: PathLike | None = ..., device: str = ...,
) -> list[Score]: ...  # fmt: skip


def score(
    runs: Paths,
    *,
    labels: PathLike | None = None,
    human36m: PathLike | None = None,
    stride: int = 1,
    prefix: str = "",
    animals: bool | None = None,
    video: PathLike | None = None,
    device: str = "auto",
) -> Score | list[Score]:
    """Measure errors against labels and add them to ``metrics.json`` of each run folder.

    Discovered keypoints are scored by regression: labelled points are fitted from them on the first half of the
    labelled frames and compared on the second, beside the same network untrained and the mean pose.  Of a method that
    finds whole animals: the share of the labelled ones that it finds, and how far off their points are.  Where the
    labels are tracks of several animals and the network finds several: also detection, centroid error and identity
    switches.

    Args:
        runs: A run folder or checkpoint, or several, for instance one per seed.
        labels: SLEAP, DeepLabCut or COCO labels, or the ground truth of a rendered arena.
        human36m: In place of ``labels``, a folder of extracted Human3.6M images: errors per activity.
        stride: Of Human3.6M, every n-th image only.
        prefix: Put before the names in ``metrics.json``.
        animals: Whether to score tracks of several animals; by default where labels and network allow it.
        video: The video of labelled tracks, if the file does not lead to it.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.

    Returns:
        One :class:`Score` for one run, a list for a sequence of runs.

    Raises:
        DataError: The labels cannot be used.
        ConfigurationError: Neither or both of ``labels`` and ``human36m`` are given.

    Example:
        score = kp.score("runs/me", labels="new.truth.npz")
        print(score, score.labels.matched)
    """
    found = list(
        score_each(
            as_list(runs), labels=labels, human36m=human36m, stride=stride, prefix=prefix, animals=animals,
            video=video, device=device,
        )
    )  # fmt: skip
    return found[0] if isinstance(runs, str | os.PathLike) else found


def score_each(
    runs: Sequence[str],
    *,
    labels: PathLike | None = None,
    human36m: PathLike | None = None,
    stride: int = 1,
    prefix: str = "",
    animals: bool | None = None,
    video: PathLike | None = None,
    device: str = "auto",
) -> Iterator[Score]:
    """Yield the score of each run as soon as it is known; parameters as in :func:`score`."""
    if (labels is None) == (human36m is None):
        raise ConfigurationError("A score needs one of labels and human36m.", remedy="Use --labels FILE.")
    file = None if labels is None else os.fspath(labels)
    truth = None if file is None or animals is False else _tracked_truth(file, video, is_asked=bool(animals))
    for run in runs:
        checkpoint = find_checkpoint(Path(run))
        method, view = load_for_tracking(checkpoint, device)
        if human36m is not None:
            found = _score_activities(run, method, view, human36m, stride)
        else:
            assert file is not None  # one of the two is given
            found = _score_labels(run, method, view, checkpoint, file, truth, is_asked=bool(animals))
        if Path(run).is_dir():
            RunFolder(Path(run)).add_metrics(found.as_metrics(prefix))
        yield found


def _score_activities(
    run: str, method: "KeypointMethod", view: "ViewSettings", folder: PathLike, stride: int
) -> Score:
    from lightning_kp.datamodules import Human36M
    from lightning_kp.people.human36m import MIRROR
    from lightning_kp.scoring.activities import score_activities

    source = Human36M(os.fspath(folder), size=view.size, fit=view.fit)
    found = score_activities(method, source, MIRROR, stride=stride)
    logger.info("%s: %d images of %s", run, found.images["all"], ", ".join(source.test_subjects))
    return Score(run, found.images["all"], found)


def _score_labels(
    run: str,
    method: "KeypointMethod",
    view: "ViewSettings",
    checkpoint: Path,
    labels: str,
    truth: "look_alikes.Truth | None",
    *,
    is_asked: bool,
) -> Score:
    if method.finds_whole_animals:
        warn_whole_frames(method, checkpoint, "`kp test` scores it on crops.")
        warn_trained_on(labels, checkpoint)
    if truth is not None and not is_asked and not _finds_look_alikes(method, view):
        truth = None
    try:
        metrics, frames = label_file.score_file(method, labels, view)
        found = Score(run, frames, metrics)
    except DataError as error:
        if truth is None:
            raise
        logger.warning("Only the tracks are scored, not labelled frames: %s", error)
        found = Score(run, 0)
    return found if truth is None else replace(found, animals=_score_tracks(method, view, truth))


def _score_tracks(
    method: "KeypointMethod", view: "ViewSettings", truth: "look_alikes.Truth"
) -> LookAlikeScore:
    trained, untrained = look_alikes.track_with([method], truth.video, view)
    return LookAlikeScore(
        truth, look_alikes.score_tracks(trained, truth), look_alikes.score_tracks(untrained, truth)
    )


def _finds_look_alikes(method: "KeypointMethod", view: "ViewSettings") -> bool:
    """Whether a network discovers the keypoints of several animals, which tracking has to keep apart."""
    return not method.finds_whole_animals and output_counts(method, view.size)[0] > 1


def _tracked_truth(labels: str, video: PathLike | None, *, is_asked: bool) -> "look_alikes.Truth | None":
    """The tracks of several animals that a label file holds, None without such.  Raises DataError if they are asked."""
    if not is_asked and not labels.endswith(TRACK_FILES):
        return None
    try:
        truth = look_alikes.read_tracked_truth(Path(labels), Path(video) if video is not None else None)
    except DataError:
        if is_asked:
            raise
        return None
    labelled = np.isfinite(truth.points_px).any(axis=(1, 2, 3)).mean() if len(truth.points_px) else 0.0
    if is_asked or (truth.points_px.shape[1] > 1 and labelled >= MIN_TRACKED_SHARE):
        return truth
    return None


def _look_alike_rows(name: str, metrics: "LookAlikeMetrics") -> list[str]:
    nodes = (_pixels(metrics.nodes_own_px), _pixels(metrics.nodes_all_px))
    return [
        _look_alike_row(name, "assignment", metrics.assignment) + "".join(f"{each:>14}" for each in nodes),
        _look_alike_row("", "by height", metrics.height),
    ]


def _look_alike_row(name: str, rule: str, metrics: "AnimalMetrics") -> str:
    return (
        f"{name[-27:]:<28}{rule:<12}{metrics.detection:>9.1%}{_pixels(metrics.centroid_px):>12}"
        f"{metrics.switches:>15.1f}"
    )


def _pixels(value: float) -> str:
    return f"{value:.1f}" if value == value else "-"
