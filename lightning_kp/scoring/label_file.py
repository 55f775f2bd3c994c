"""Score a keypoint method against a label file, whatever kind of keypoints it finds."""

from pathlib import Path

from lightning_kp.frames.view import ViewSettings
from lightning_kp.labels.reading import read_animals, read_labels
from lightning_kp.method import KeypointMethod
from lightning_kp.scoring.discovered import RegressionMetrics, score_regression
from lightning_kp.scoring.whole_animals import WholeAnimalMetrics, score_whole_animals

MAX_FRAMES_SCORED = 600  # labelled frames that are read, evenly spread over the file (ours)


def score_file(
    method: KeypointMethod, file: str | Path, view: ViewSettings
) -> tuple[RegressionMetrics | WholeAnimalMetrics, int]:
    """Score whole animals by matching them with the labelled ones, and discovered keypoints by regression.

    Args:
        method: A trained method.
        file: Any file of labels that can be opened.
        view: How the method sees an image.

    Returns:
        The metrics, and the number of labelled frames.

    Raises:
        DataError: The file has no labels, or lacks the points that a method of whole animals finds.
    """
    if method.finds_whole_animals:
        animals = read_animals(
            file, view.size, view.fit, view.boxes,
            names=method.keypoint_names, at_most=MAX_FRAMES_SCORED, preprocessing=view.preprocessing,
        )  # fmt: skip
        return score_whole_animals(method, animals), len(animals.image)
    labels = read_labels(
        file, view.size, view.fit, view.boxes, at_most=MAX_FRAMES_SCORED, preprocessing=view.preprocessing
    )
    return score_regression(method, labels), len(labels.image)
