"""Poses in the forms of other tools: pandas, movement, SLEAP, files."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sleap_io as sio

import lightning_kp as kp
from lightning_kp.errors import ConfigurationError
from lightning_kp.tracks.table import Tracks


def poses(frames: int = 4, fps: float = 10.0, video: str = "session.2.mp4") -> kp.Poses:
    """Two animals with two keypoints; the second animal is absent in frame 1."""
    points = np.arange(frames * 2 * 2 * 2, dtype=np.float32).reshape(frames, 2, 2, 2)
    confidence = np.full((frames, 2, 2), 0.75, np.float32)
    points[1, 1], confidence[1, 1] = np.nan, 0
    times = np.arange(frames) / (fps or 1) + 0.01
    covariance = np.full((frames, 2, 2, 3), 2.0, np.float32)
    return kp.Poses(Tracks(video, (64, 96), fps, times, points, confidence, covariance, ("nose", "tail")))


def test_tidy_table_is_that_of_the_csv_file(tmp_path: Path) -> None:
    table = poses().to_pandas()
    assert list(table.columns[:7]) == ["frame", "time_s", "animal", "keypoint", "x", "y", "confidence"]
    row = table[(table.frame == 2) & (table.animal == "animal2") & (table.keypoint == "tail")].iloc[0]
    assert (row.x, row.y, row.confidence) == (22.0, 23.0, 0.75)
    poses().save(tmp_path, ["csv"])
    saved = pd.read_csv(tmp_path / "tracks" / "session.2.csv")
    pd.testing.assert_frame_equal(
        saved, table.astype({"animal": str, "keypoint": str}), check_dtype=False, check_exact=False
    )


def test_deeplabcut_table_has_its_column_levels() -> None:
    table = poses().to_pandas("deeplabcut")
    assert table.columns.names == ["scorer", "individuals", "bodyparts", "coords"]
    assert table[("lightning_kp", "animal1", "tail", "y")].tolist() == [3.0, 11.0, 19.0, 27.0]
    with pytest.raises(ConfigurationError, match="Use 'tidy' or 'deeplabcut'"):
        poses().to_pandas("wide")  # type: ignore[arg-type]


def test_movement_reads_the_dataset() -> None:
    datasets = pytest.importorskip("movement.validators.datasets")
    kinematics = pytest.importorskip("movement.kinematics")
    found = poses().to_xarray()
    datasets.ValidPosesInputs.validate(found)
    assert found.position.dims == ("time", "space", "keypoints", "individuals")
    assert found.confidence.dims == ("time", "keypoints", "individuals")
    assert found.attrs == {
        "source_software": "lightning_kp",
        "ds_type": "poses",
        "fps": 10.0,
        "time_unit": "seconds",
    }
    np.testing.assert_allclose(found.time, poses().times_s)
    at = found.sel(individuals="animal2", keypoints="tail", space="y")
    assert at.position.values[2] == 23.0
    assert np.isnan(at.position.values[1])
    assert at.confidence.values[1] == 0
    speed = kinematics.compute_velocity(found.position).sel(
        space="x", individuals="animal1", keypoints="nose"
    )
    np.testing.assert_allclose(speed, 80.0)  # 8 px a frame, 10 frames a second


def test_without_a_frame_rate_time_is_in_frames() -> None:
    pytest.importorskip("movement")
    found = poses(fps=0.0).to_xarray()
    assert found.attrs["time_unit"] == "frames"
    assert found.time.values.tolist() == [0, 1, 2, 3]


def test_without_movement_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("movement"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match=r'pip install "lightning-kp\[analysis\]"'):
        poses().to_xarray()


@pytest.mark.parametrize("video", ["session.2.mp4", ""])
def test_sleap_opens_the_file_and_nothing_beside_it_is_touched(video: str, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("labelled by hand")
    path = poses(video=video).to_sleap(tmp_path / "mine.slp")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["mine.csv", "mine.slp"]
    labels = sio.load_slp(str(path))
    assert [track.name for track in labels.tracks] == ["animal1", "animal2"]
    assert [len(frame.instances) for frame in labels] == [2, 1, 2, 2]
    with pytest.raises(ConfigurationError, match=r"Use .*mine\.slp"):
        poses().to_sleap(tmp_path / "mine.h5")


def test_saved_poses_are_read_back(tmp_path: Path) -> None:
    paths = poses().save(tmp_path)
    assert {path.name for path in paths} == {
        "session.2.slp", "session.2.csv", "session.2.dlc.csv", "session.2.dlc.h5", "session.2.json",
    }  # fmt: skip
    exact = kp.Poses.read(tmp_path / "tracks" / "session.2.csv")
    for name in ("points_px", "confidence", "covariance_px", "times_s"):
        np.testing.assert_array_equal(getattr(exact, name), getattr(poses(), name))
    assert (exact.fps, exact.frame_size, exact.instance_names) == (10.0, (64, 96), ("animal1", "animal2"))
    assert kp.Run(tmp_path).poses("session.2").keypoint_names == ("nose", "tail")
