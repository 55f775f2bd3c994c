"""A keypoint method against a label file, whatever kind of keypoints it finds."""

from pathlib import Path

from lightning_kp.frames.view import ViewSettings
from lightning_kp.labels.reading import read_animals, read_labels
from lightning_kp.method import KeypointMethod
from lightning_kp.scoring.discovered import RegressionFigures, score_regression
from lightning_kp.scoring.whole_animals import GroupFigures, score_groups

AT_MOST = 600  # labelled frames that are looked at, evenly thinned (ours)


def score_file(
    method: KeypointMethod, file: str | Path, view: ViewSettings
) -> tuple[RegressionFigures | GroupFigures, int]:
    """Figures, and the number of labelled frames: of whole animals by pairing, else by regression.

    Raises DataError for a file without labels, or without the points that a method of whole animals finds.
    """
    if method.finds_whole_animals:
        animals = read_animals(
            file, view.size, view.fit, view.boxes,
            names=method.keypoint_names, at_most=AT_MOST, preprocessing=view.preprocessing,
        )  # fmt: skip
        return score_groups(method, animals), len(animals.image)
    labels = read_labels(
        file, view.size, view.fit, view.boxes, at_most=AT_MOST, preprocessing=view.preprocessing
    )
    return score_regression(method, labels), len(labels.image)
