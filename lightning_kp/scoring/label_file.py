"""Score a keypoint method against a label file, whatever kind of keypoints it finds.

Frames that trained the network, or named its points, tell how well they were learnt, not how well others are found.
They are left out, and scored apart if they are asked for.
"""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from lightning_kp.errors import DataError
from lightning_kp.frames.view import ViewSettings
from lightning_kp.labels.animals import LabelledAnimals, LabelledSet
from lightning_kp.labels.opening import open_labels
from lightning_kp.labels.reading import read_animals, read_labels
from lightning_kp.method import KeypointMethod
from lightning_kp.scoring.discovered import MIN_FRAMES, RegressionMetrics, score_regression
from lightning_kp.scoring.named import NamedMetrics, score_named
from lightning_kp.scoring.whole_animals import WholeAnimalMetrics, score_whole_animals

MAX_FRAMES_SCORED = 600  # labelled frames that are read, evenly spread over the file (ours)
Metrics = RegressionMetrics | WholeAnimalMetrics


class FileScore(NamedTuple):
    """Errors against the labelled frames of a file.

    Attributes:
        metrics: Errors of whole animals, or by regression; None for named points in fewer than
            :data:`lightning_kp.scoring.discovered.MIN_FRAMES` frames, and where every frame trained the network.
        frames: Number of labelled frames scored.
        named: Errors of the points that the network names, if it names some of the labelled ones.
        trained: The same of the frames that trained the network, if they are asked for.
        left_out: Number of frames that trained the network.
    """

    metrics: Metrics | None
    frames: int
    named: NamedMetrics | None = None
    trained: "FileScore | None" = None
    left_out: int = 0


def score_file(
    method: KeypointMethod,
    file: str | Path,
    view: ViewSettings,
    *,
    root: Path | None = None,
    trained_on: Collection[str] = (),
    include_trained: bool = False,
    predicted: bool = False,
    within_px: float | None = None,
) -> FileScore:
    """Score whole animals by matching them with the labelled ones, named points by name, and others by regression.

    Args:
        method: A trained method.
        file: Any file of labels that can be opened.
        view: How the method sees an image.
        root: Folder below which images are looked for, too.
        trained_on: Marks of the labelled frames that trained the method, see
            :func:`lightning_kp.labels.animals.frame_marks`.
        include_trained: Whether to score these frames, too, apart from the others.
        predicted: Whether to take the predictions of a SLEAP file for labels.
        within_px: Length within which PCK counts a named point as found, in pixels of the original images.

    Raises:
        DataError: The file has no labels, lacks the points that a method of whole animals finds, or holds no frame
            that did not train the method, unless ``include_trained``.
    """
    labelled = _read(method, file, view, root, predicted=predicted)
    marks = set(trained_on)
    known = [not marks.isdisjoint(each) for each in labelled.marks]
    if not any(known):
        return _score(method, labelled, within_px)
    held_out = [row for row, is_known in enumerate(known) if not is_known]
    trained = [row for row, is_known in enumerate(known) if is_known]
    if not held_out and not include_trained:
        raise DataError(
            f"All {len(known)} labelled frames of {file} trained this run or named its points: errors on them do not "
            "show how it does on new frames.",
            remedy="Label other frames; or score these all the same: --include-trained.",
        )
    apart = _score(method, labelled.only(trained), within_px) if include_trained else None
    scored = _score(method, labelled.only(held_out), within_px) if held_out else FileScore(None, 0)
    return scored._replace(trained=apart, left_out=len(trained))


def holds_predictions(file: str | Path, root: Path | None = None) -> bool:
    """Whether a label file holds only the predictions of a network."""
    return open_labels(file, root).predicted


def _read(
    method: KeypointMethod, file: str | Path, view: ViewSettings, root: Path | None, *, predicted: bool
) -> LabelledAnimals | LabelledSet:
    if method.finds_whole_animals:
        return read_animals(
            file, view.size, view.fit, view.boxes, names=method.keypoint_names, root=root,
            at_most=MAX_FRAMES_SCORED, preprocessing=view.preprocessing, predicted=predicted,
        )  # fmt: skip
    return read_labels(
        file, view.size, view.fit, view.boxes, root=root,
        at_most=MAX_FRAMES_SCORED, preprocessing=view.preprocessing, predicted=predicted,
    )  # fmt: skip


def _score(
    method: KeypointMethod, labelled: LabelledAnimals | LabelledSet, within_px: float | None
) -> FileScore:
    number = len(labelled.image)
    if isinstance(labelled, LabelledAnimals):
        return FileScore(score_whole_animals(method, labelled), number)
    named = score_named(method, labelled, within_px) if method.keypoint_names else None
    if named is not None and number < MIN_FRAMES:
        return FileScore(None, number, named)
    return FileScore(score_regression(method, labelled), number, named)
