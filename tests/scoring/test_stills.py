"""Regression of still images by the official division, beside the mean pose, the box's centre and no training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cub_folders import PARTS, write_cub
from still_points import Still as StillPoints
from torch import Tensor

from lightning_kp.cli import main
from lightning_kp.datamodules import CUB
from lightning_kp.errors import DataError
from lightning_kp.method import KeypointMethod
from lightning_kp.metrics.regression import mean_pose_error
from lightning_kp.scoring import stills
from lightning_kp.scoring.stills import score_stills


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_cub(tmp_path / "cub", birds=8)


def birds(folder: Path, **options: Any) -> CUB:
    return CUB(**{"root": str(folder), "size": 16} | options)


def test_points_that_never_move_are_worth_a_mean_pose(folder: Path) -> None:
    data = birds(folder)
    found = score_stills(StillPoints(), data)
    assert (found.fitted, found.tested, found.official) == (12, 12, True)
    assert data.set is not None
    assert data.set.points is not None
    labelled = data.set.points[:, 0].double()
    trains = torch.tensor([still.split == "train" for still in data.stills])
    expected = mean_pose_error(labelled[trains], labelled[~trains]).mean.item()
    assert found.mean_pose == pytest.approx(expected)
    for errors in (found.trained, found.untrained):
        assert errors.linear_bias == pytest.approx(expected, abs=1e-6)  # a constant is the mean pose
        assert errors.matched == pytest.approx(expected, abs=1e-6)
    outside = labelled[~trains].norm(dim=-1).nanmean().item() * 50
    assert found.centre == pytest.approx(outside)


def test_without_a_constant_the_origin_matters(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of points that lie at the centre, a linear map makes the centre; from the corner, they serve as a constant."""
    monkeypatch.setattr(stills, "_found", lambda method, of, rows: torch.zeros(len(rows), 2, 2).double())
    found = score_stills(StillPoints(), birds(folder))
    assert found.trained.linear == pytest.approx(found.centre)
    assert found.trained.linear_corner == pytest.approx(found.mean_pose, abs=1e-4)
    assert found.centre > found.mean_pose + 1


def test_a_network_that_finds_the_labels_has_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(method: KeypointMethod, of: Any, rows: Any) -> Tensor:
        points = of.points[rows, 0].double()
        known = points[:, PARTS.index("back")].unsqueeze(
            1
        )  # all parts move alike, by half a pixel for each bird
        return known.expand(-1, 3, -1) if isinstance(method, StillPoints) else points

    monkeypatch.setattr(stills, "_found", found)
    result = score_stills(StillPoints(), birds(folder))
    assert result.trained.linear_bias < 1e-4
    assert result.trained.matched < 1e-4
    assert result.trained.pck_bias == 100
    assert set(result.matched_per_point) == set(PARTS)


def test_the_reach_is_a_tenth_of_the_box(folder: Path) -> None:
    data = birds(folder, margin=2.0)
    data.setup()
    assert data.set is not None
    # A box of 12 x 6 px in a square of 24 px: its longer side is half of the square, which is 2 long.
    assert stills._box_sides(data, data.set).tolist() == pytest.approx([1.0] * 24)
    whole = birds(folder, crop=False)
    whole.setup()
    assert whole.set is not None
    assert stills._box_sides(whole, whole.set).tolist() == pytest.approx([2.0] * 24, rel=0.03)


def test_sets_without_a_division_are_halved(folder: Path) -> None:
    data = birds(folder)
    data.setup()
    data.stills = [still._replace(split="") for still in data.stills]
    fitted, tested, official = stills._parts(data, np.arange(24), seed=0)
    assert not official
    assert sorted([*fitted, *tested]) == list(range(24))
    assert len(fitted) == 12
    with pytest.raises(DataError, match=r"at least 8 labelled images .* got 2 and 2"):
        stills._parts(data, np.arange(4), seed=0)


def test_runs_on_still_images_are_scored_with_the_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        "--model=WeakDiscovery", "--model.keypoints=2", "--model.class_keypoints=1", "--model.encoder=tiny",
        "--model.pretrained=false", "--model.reconstruction=structural", "--model.pose_width=8",
        "--model.class_width=4", "--model.decoder_widths=[8,8,8,8,8]", "--data=CUB", f"--data.root={folder}",
        "--data.size=32", "--data.batch_size=4", "--trainer.max_epochs=1", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false", "--trainer.num_sanity_val_steps=0",
        f"--trainer.default_root_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    assert main(["fit", *options]) == 0
    capsys.readouterr()
    assert main(["score", str(tmp_path / "run"), "--labels", str(folder), "--device=cpu"]) == 0
    text = capsys.readouterr().out
    assert "12 labelled frames" in text
    assert "fitted to 12 images and scored on 12, by the official division" in text
    assert "untrained network" in text
