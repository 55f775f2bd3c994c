"""The study of confidence: right and wrong points by labels, and the figures that it prints."""

from pathlib import Path

import numpy as np
import pytest

from lightning_kp.studies.confidence import Judged, body_length, draw, figures, judge_tracks, lines

FRAMES, LENGTH = 200, 20.0


def animal() -> np.ndarray:
    """True points (T, 1, 3, 2) of an animal of length 20 that turns."""
    angle = np.linspace(0, 6, FRAMES)
    along = np.stack((np.cos(angle), np.sin(angle)), axis=-1)
    return 50 + np.stack([share * LENGTH * along for share in (0.0, 0.4, 1.0)], axis=1)[:, None]


def judged() -> Judged:
    """Two keypoints; the second is wrong in every fourth frame, and its confidence says so."""
    truth = animal()
    points = np.stack((truth[:, :, 0], truth[:, :, 1]), axis=2)
    points[::4, 0, 1] += 3 * LENGTH
    points[1::4, 0, 1, 0] += 0.08 * LENGTH  # close enough
    confidence = np.full((FRAMES, 1, 2), 0.95)
    confidence[::4, 0, 1] = 0.05
    return judge_tracks(points, confidence, np.full((FRAMES, 1, 2), 0.2), truth)


def test_points_far_from_where_they_belong_are_wrong() -> None:
    confidence, peak, right = judged().points()
    assert right.sum() == 1.75 * FRAMES
    assert right[confidence < 0.5].sum() == 0
    assert set(peak.tolist()) == {0.2}
    assert body_length(animal()) == pytest.approx(LENGTH)


def test_the_figures_by_hand() -> None:
    confidence, peak, right = judged().points()
    row = figures(confidence, right)
    assert (row.points, row.right, row.right_stay, row.wrong_go) == (2 * FRAMES, 0.875, 1, 1)
    assert row.error == pytest.approx(0.05)
    # Right in 87.5 %, said to be in 20 %; all of them go.
    assert figures(peak, right)[2:4] == (pytest.approx(0.675), 0)
    assert figures(*judged().of([0]).points()[::2]).right == 1


def test_points_that_labels_do_not_judge_are_left_out() -> None:
    truth = animal()
    truth[:10, 0, 2] = np.nan
    points = truth[:, :, :2].copy()
    one = np.ones((FRAMES, 1, 2))
    assert len(judge_tracks(points, one, one, truth).points()[0]) == 2 * (FRAMES - 10)


def test_table_and_diagram(tmp_path: Path) -> None:
    table = lines(judged(), [0])
    assert table[1].split() == [
        "all",
        "keypoints,",
        "confidence",
        "400",
        "87.5%",
        "0.050",
        "100.0%",
        "100.0%",
    ]
    assert table[3].split()[:4] == ["found", "keypoints,", "confidence", "200"]
    draw(judged(), tmp_path / "diagram.png", "a title")
    assert (tmp_path / "diagram.png").read_bytes()[:4] == b"\x89PNG"
