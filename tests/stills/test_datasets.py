"""One set of squares as batches of every type; mirrored images exchange the names of their points."""

import numpy as np
import pytest
import torch

from lightning_kp.batches import ClassifiedImages, Images, LabelledImages
from lightning_kp.errors import DataError
from lightning_kp.stills.datasets import StillDataset, StillFrames, still_set
from lightning_kp.stills.listing import Still
from lightning_kp.stills.store import Squares

ROWS = np.array([0, 2])


def squares(number: int = 3) -> Squares:
    held = torch.zeros(number, 3, 4, 4, dtype=torch.uint8)
    held[:, :, :, 0] = torch.arange(1, number + 1).view(-1, 1, 1).to(torch.uint8)
    regions = np.tile(np.array([2.0, 0.0, 10.0, 8.0]), (number, 1))
    return Squares(4, np.arange(number), regions, np.tile(np.array([8, 12]), (number, 1)), held=held)


def stills(**known: object) -> list[Still]:
    points = np.array([[3.5, 1.5], [np.nan, np.nan]])
    return [Still("", str(row), label, points_px=points, **known) for row, label in enumerate(("b", "", "a"))]  # type: ignore[arg-type]


def test_methods_get_what_they_read() -> None:
    found = still_set(stills(), squares(), mirror=(1, 0))
    assert found.class_names == ("a", "b")
    assert found.label.tolist() == [1, -1, 0]
    alone = StillDataset(found, ROWS, Images).__getitems__([0, 1])
    assert isinstance(alone, Images)
    assert alone.image[:, 0, 0, 0].tolist() == [1, 3]
    classified = StillDataset(found, ROWS, ClassifiedImages)[1]
    assert isinstance(classified, ClassifiedImages)
    assert classified.label == 0
    labelled = StillDataset(found, ROWS, LabelledImages).__getitems__([0])
    assert isinstance(labelled, LabelledImages)
    # pixel 3.5 is edge 4 of a square from 2 to 10: a quarter of the way; pixel 1.5 is edge 2 of 8
    assert labelled.points.tolist() == [[[[-0.5, -0.5], [0.0, 0.0]]]]
    assert labelled.confidence.tolist() == [[[1.0, 0.0]]]


def test_points_of_mirrored_squares_are_mirrored() -> None:
    found = still_set(stills(mirrored=True), squares(), mirror=(1, 0))
    assert found.points is not None
    assert found.points[0, 0, 0].tolist() == [0.5, -0.5]


def test_a_random_mirror_moves_points_and_exchanges_names() -> None:
    found = still_set(stills(), squares(), mirror=(1, 0))
    data = StillDataset(found, ROWS, LabelledImages, flip=True, seed=1)
    epochs = [data[2 * epoch] for epoch in range(100)]  # the first image, in a hundred epochs
    mirrored = [item for item in epochs if item.image[0, 0, 3] > 0]
    assert 30 < len(mirrored) < 70
    for item in mirrored:
        assert item.points[0, 1].tolist() == [0.5, -0.5]
        assert item.confidence.tolist() == [[0.0, 1.0]]
    for item in (item for item in epochs if item.image[0, 0, 0] > 0):
        assert item.points[0, 0].tolist() == [-0.5, -0.5]
        assert item.confidence.tolist() == [[1.0, 0.0]]
    assert torch.equal(data[14].image, StillDataset(found, ROWS, Images, flip=True, seed=1)[14].image)


def test_sets_without_points_serve_no_labelled_images() -> None:
    found = still_set([still._replace(points_px=None) for still in stills()], squares())
    with pytest.raises(DataError, match=r"have no labelled points.*--data\.points"):
        StillDataset(found, ROWS, LabelledImages)


def test_all_squares_are_predicted_by_their_row() -> None:
    frames = StillFrames(squares())
    assert len(frames) == 3
    assert frames.__getitems__([2, 0]).index.tolist() == [2, 0]
    assert frames[1].image[0, 0, 0] == 2
