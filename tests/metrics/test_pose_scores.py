"""The scores of a pose network together: left and right of a joint are joined as in the tables of MPII."""

import pytest
import torch

from lightning_kp.keypoints import Keypoints
from lightning_kp.metrics.pose_scores import PoseScores

NAMES = ("left_wrist", "right_wrist", "head_top", "left_knee", "right_ankle")


def test_left_and_right_joined_by_hand() -> None:
    """Left wrist 1 of 2, right wrist 1 of 1: their mean is 3/4, not the 2/3 of all wrists."""
    scores = PoseScores(NAMES, (1, 0, 2, 3, 4), None, NAMES)
    labelled = Keypoints(torch.zeros(2, 1, 5, 2), torch.tensor([[[1.0] * 5], [[1, 0, 1, 1, 1]]]))
    found = torch.zeros(2, 1, 5, 2)
    found[0, 0, 0] = 0.9  # far off
    heatmaps = torch.rand(2, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    scores.update(heatmaps, Keypoints(found, torch.ones(2, 1, 5)), labelled, range(5))
    figures = scores.compute()
    assert figures["pck_left_wrist"].item() == 0.5
    assert figures["pck_right_wrist"].item() == 1
    assert figures["pck_wrist"].item() == pytest.approx(0.75)
    assert figures["pck"].item() == pytest.approx(8 / 9)
    assert {"pck_knee", "pck_ankle", "pck_head"}.isdisjoint(figures)  # one side alone
