"""Errors against labels: ``kp.score(run, labels=...)``."""

import inspect
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from lightning_kp.api.paths import PathLike, Paths, as_list
from lightning_kp.checkpoints import data_class, data_settings, find_checkpoint, trained_on
from lightning_kp.command.trained import load_for_tracking, warn_trained_on, warn_whole_frames
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.runs.folder import RunFolder
from lightning_kp.scoring import label_file, look_alikes
from lightning_kp.scoring.results import LookAlikeScore, Score
from lightning_kp.tracks.tracking import output_counts

if TYPE_CHECKING:
    from lightning_kp.frames.view import ViewSettings
    from lightning_kp.method import KeypointMethod
    from lightning_kp.stills.bases import StillsModule

MIN_TRACKED_SHARE = 0.5
"""Share of a video's frames that need labels before they count as tracks (ours): single frames show no exchange."""
TRACK_FILES = (".slp", ".truth.npz")
"""Label files that may hold tracks."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Labels:
    """A label file and what was asked of it; see :func:`score`."""

    file: str
    video: Path | None
    root: Path | None
    animals: bool | None
    include_trained: bool
    predicted: bool
    within_px: float | None


@overload
def score(  # type: ignore[overload-overlap]  # a str is a sequence of str as well
    runs: PathLike, *, labels: PathLike | None = ..., human36m: PathLike | None = ..., stride: int = ...,
    prefix: str = ..., animals: bool | None = ..., video: PathLike | None = ..., root: PathLike | None = ...,
    include_trained: bool = ..., predicted: bool = ..., within_px: float | None = ..., device: str = ...,
) -> Score: ...  # fmt: skip
@overload
def score(
    runs: Sequence[PathLike], *, labels: PathLike | None = ..., human36m: PathLike | None = ..., stride: int = ...,
    prefix: str = ..., animals: bool | None = ..., video: PathLike | None = ..., root: PathLike | None = ...,
    include_trained: bool = ..., predicted: bool = ..., within_px: float | None = ..., device: str = ...,
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
    root: PathLike | None = None,
    include_trained: bool = False,
    predicted: bool = False,
    within_px: float | None = None,
    device: str = "auto",
) -> Score | list[Score]:
    """Measure errors against labels and add them to ``metrics.json`` of each run folder.

    Discovered keypoints are scored by regression: labelled points are fitted from them on the first half of the
    labelled frames and compared on the second, beside the same network untrained and the mean pose.  Named points are
    also compared as they are, in pixels.  Of a method that finds whole animals: the share of the labelled ones that it
    finds, and how far off their points are.  Where the labels are tracks of several animals and the network finds
    several: also detection, centroid error and identity switches.

    Labelled frames that trained the run, or named its points, are left out.

    Args:
        runs: A run folder or checkpoint, or several, for instance one per seed.
        labels: SLEAP, DeepLabCut or COCO labels, or the ground truth of a rendered arena; of a run on still images,
            their folder (such as CUB_200_2011), whose official division says what is fitted and what is scored.
        human36m: In place of ``labels``, a folder of extracted Human3.6M images: errors per activity.
        stride: Of Human3.6M, every n-th image only.
        prefix: Put before the names in ``metrics.json``.
        animals: Whether to score tracks of several animals; by default where labels and network allow it.
        video: The video of labelled tracks, if the file does not lead to it.
        root: Folder below which the images and videos of the labels lie, if they are not where the file says.
        include_trained: Whether to score frames that trained the run, too, apart from the others.
        predicted: Takes the predictions of a SLEAP file for labels; tracks of predictions are scored if ``animals``
            is true, too.
        within_px: Length within which PCK counts a named point as found, in pixels; by default a tenth of the body.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.

    Returns:
        One :class:`Score` for one run, a list for a sequence of runs.

    Raises:
        DataError: The labels cannot be used, or every labelled frame trained the run.
        ConfigurationError: Neither or both of ``labels`` and ``human36m`` are given.

    Example:
        score = kp.score("runs/me", labels="new.truth.npz")
        print(score, score.labelled.matched)
    """
    found = list(
        score_each(
            as_list(runs), labels=labels, human36m=human36m, stride=stride, prefix=prefix, animals=animals,
            video=video, root=root, include_trained=include_trained, predicted=predicted, within_px=within_px,
            device=device,
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
    root: PathLike | None = None,
    include_trained: bool = False,
    predicted: bool = False,
    within_px: float | None = None,
    device: str = "auto",
) -> Iterator[Score]:
    """Yield the score of each run as soon as it is known; parameters as in :func:`score`."""
    if (labels is None) == (human36m is None):
        raise ConfigurationError("A score needs one of labels and human36m.", remedy="Use --labels FILE.")
    given, truth = None, None
    if labels is not None:
        files = os.fspath(labels), _path(video), _path(root)
        given = _Labels(*files, animals, include_trained, predicted, within_px)
        truth = None if animals is False else _tracked_truth(given)
    for run in runs:
        checkpoint = find_checkpoint(Path(run))
        method, view = load_for_tracking(checkpoint, device)
        if given is not None and (kind := _stills_class(checkpoint, given.file)) is not None:
            found = _score_stills(run, method, checkpoint, kind, given.file)
        elif given is not None:
            found = _score_labels(run, method, view, checkpoint, given, truth)
        else:
            assert human36m is not None  # one of the two is given
            found = activity_score(run, method, view, human36m, stride)
        if Path(run).is_dir():
            RunFolder(Path(run)).add_metrics(found.as_metrics(prefix))
        yield found


def _path(given: PathLike | None) -> Path | None:
    return None if given is None else Path(given)


def _stills_class(checkpoint: Path, labels: str) -> "type[StillsModule] | None":
    """The datamodule of a run that trained on still images, where ``labels`` is a folder of such; None otherwise."""
    from lightning_kp.stills.bases import StillsModule

    kind = data_class(checkpoint)
    is_still = kind is not None and issubclass(kind, StillsModule) and Path(labels).is_dir()
    return kind if is_still else None  # type: ignore[return-value]  # checked in the line above


def _score_stills(
    run: str, method: "KeypointMethod", checkpoint: Path, kind: "type[StillsModule]", folder: str
) -> Score:
    """Errors on the images of ``folder``, read with the settings of the run."""
    from lightning_kp.scoring.stills import score_stills

    options = inspect.signature(kind).parameters
    settings = {name: value for name, value in data_settings(checkpoint).items() if name in options}
    found = score_stills(method, kind(**settings | {"root": folder}))
    return Score(run, found.tested, found)


def activity_score(
    run: str, method: "KeypointMethod", view: "ViewSettings", folder: PathLike, stride: int = 1
) -> Score:
    """Errors per activity on extracted images of Human3.6M; ``stride`` uses every n-th image."""
    from lightning_kp.datamodules import Human36M
    from lightning_kp.people.human36m import JOINT_NAMES, MIRROR
    from lightning_kp.scoring.activities import score_activities

    source = Human36M(os.fspath(folder), size=view.size, fit=view.fit)
    found = score_activities(method, source, MIRROR, names=JOINT_NAMES, stride=stride)
    logger.info("%s: %d images of %s", run, found.images["all"], ", ".join(source.test_subjects))
    return Score(run, found.images["all"], found)


def _score_labels(
    run: str,
    method: "KeypointMethod",
    view: "ViewSettings",
    checkpoint: Path,
    given: _Labels,
    truth: "look_alikes.Truth | None",
) -> Score:
    if method.finds_whole_animals:
        warn_whole_frames(method, checkpoint, "`kp test` scores it on crops.")
    if (
        marks := trained_on(checkpoint)
    ) is None:  # the checkpoint does not know its frames, but perhaps its files
        warn_trained_on(given.file, checkpoint)
    if truth is not None and not given.animals and not _finds_look_alikes(method, view):
        truth = None
    try:
        of_file = label_file.score_file(
            method, given.file, view, root=given.root, trained_on=marks or (),
            include_trained=given.include_trained, predicted=given.predicted, within_px=given.within_px,
        )  # fmt: skip
        found = Score.of_file(run, of_file)
    except DataError as error:
        if truth is None:
            raise
        logger.warning("Only the tracks are scored, not labelled frames: %s", error)
        found = Score(run, 0)
    return found if truth is None else replace(found, tracked=_score_tracks(method, view, truth))


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


def _tracked_truth(given: _Labels) -> "look_alikes.Truth | None":
    """The tracks of several animals that a label file holds, None without such.  Raises DataError if they are asked.

    Tracks that a network predicted are none, unless they are asked for.
    """
    if not given.animals and not given.file.endswith(TRACK_FILES):
        return None
    try:
        truth = look_alikes.read_tracked_truth(Path(given.file), given.video, given.root)
        is_predicted = given.file.endswith(".slp") and label_file.holds_predictions(given.file, given.root)
    except DataError:
        if given.animals:
            raise
        return None
    if given.animals:
        return truth
    labelled = np.isfinite(truth.points_px).any(axis=(1, 2, 3)).mean() if len(truth.points_px) else 0.0
    is_usable = truth.points_px.shape[1] > 1 and labelled >= MIN_TRACKED_SHARE
    return truth if is_usable and (given.predicted or not is_predicted) else None
