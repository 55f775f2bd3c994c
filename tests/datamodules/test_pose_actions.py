"""PoseActions: cameras by hand, windows, subjects, and the error that stands for a network's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pose_files import write_poses

from lightning_kp.datamodules import PoseActions
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.people.pose_actions import View, with_error


def module(root: Path, **options: Any) -> PoseActions:
    settings = {"poses": "poses.npz", "length": 4, "starts": 3, "views": [0.0, 90.0]}
    return PoseActions(root=str(root), **settings | options)


def test_a_camera_by_hand() -> None:
    # From (5000, 0, 900) towards -x: y of the world goes to the right, z up; the focal length is 1145 px of 1000.
    view = View(0, distance_mm=5000, height_mm=900, target_mm=900)
    points = view.project(np.array([[[0, 0, 900.0], [0, 500, 900], [0, 0, 1400], [1000, 400, 500]]]))
    scale = 1145 / 500
    expected = [[0, 0], [scale / 10, 0], [0, -scale / 10], [scale / 10, scale / 10]]
    np.testing.assert_allclose(points[0], expected, atol=1e-6)


def test_a_raised_camera_sees_its_target_in_the_middle() -> None:
    assert np.abs(View(30).project(np.array([[[0, 0, 900.0]]]))).max() < 1e-6


def test_windows_and_their_actions(tmp_path: Path) -> None:
    data = module(write_poses(tmp_path), val=["S8"])
    data.setup()
    assert data.class_names == ("sitting", "walking")
    assert {name: len(each) for name, each in data.datasets.items()} == {"train": 4, "val": 12, "test": 24}  # type: ignore[arg-type]
    batch = next(iter(data.test_dataloader()))
    assert batch.window.shape == (24, 4, data.num_features)
    assert batch.behaviour.tolist() == ([0] * 6 + [1] * 6) * 2
    assert batch.video.tolist() == [track for track in range(8) for _ in range(3)]
    assert batch.index.tolist() == [0, 12, 24] * 8  # 40 frames hold windows of 3 * 5 + 1 from 0 to 24
    assert (batch.window[..., :2] == 0).all()  # the root
    away = batch.window[0, :, 3]  # joint 1 rises by 5 frames, 5 mm, from pose to pose
    torch.testing.assert_close(away.diff(), (away[1] - away[0]).expand(3), atol=1e-4, rtol=0)


def test_training_windows_start_anew_in_every_epoch_and_repeat_with_the_seed(tmp_path: Path) -> None:
    write_poses(tmp_path)
    first, second = module(tmp_path), module(tmp_path)
    for each in (first, second):
        each.setup()
    starts = [
        [first.datasets["train"][epoch * 8 + row].index.item() for row in range(8)] for epoch in range(3)
    ]
    assert starts[0] != starts[1]
    assert starts[1] == [second.datasets["train"][8 + row].index.item() for row in range(8)]
    assert all(0 <= start <= 24 for row in starts for start in row)


def test_the_mean_distance_is_the_error_that_was_asked_for() -> None:
    points = np.zeros((4000, 5, 2), np.float32)
    moved = with_error(points, 0.04, np.random.default_rng(0))
    assert np.linalg.norm(moved, axis=-1).mean() / 2 == pytest.approx(0.04, rel=0.01)
    assert with_error(points, 0, np.random.default_rng(0)) is points


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"test": ["S7"]}, DataError, "no subject S7; it has S1, S11, S8, S9"),
        ({"poses": "none.npz"}, DataError, "There is no file"),
        ({"length": 60}, ConfigurationError, "spans 296 frames; the shortest track has 40"),
        ({"distance_mm": 50.0, "height_mm": 900.0}, DataError, "in front of the camera"),
        ({"val": ["S9"]}, ConfigurationError, "other subjects for validation"),
        ({"error": -1.0}, ConfigurationError, "error of at least 0"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    write_poses(tmp_path)
    with pytest.raises(error, match=message):
        module(tmp_path, **options).setup()


def test_a_file_without_poses(tmp_path: Path) -> None:
    np.savez(tmp_path / "poses.npz", positions=np.zeros((1, 2, 3)))
    with pytest.raises(DataError, match="lacks sequence_id, sequence_names, subject, fps"):
        module(tmp_path).setup()
