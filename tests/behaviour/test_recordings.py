"""Files of recordings are found by name, and so is one video of a SLEAP file of several."""

from pathlib import Path

import numpy as np
import pytest
import sleap_io as sio

from lightning_kp.behaviour.recordings import (
    find_recordings,
    read_keypoints,
    recording_name,
    unique_recordings,
)
from lightning_kp.errors import DataError


def write_two_videos(path: Path) -> Path:
    """A file of two videos; the nose is at x = 10 in day1 and at 20 in day2."""
    skeleton, frames = sio.Skeleton(["nose"]), []
    for name, x in (("day1.mp4", 10.0), ("day2.mp4", 20.0)):
        video = sio.Video(
            name, open_backend=False, backend_metadata={"filename": name, "shape": [2, 9, 9, 1]}
        )
        guess = sio.PredictedInstance.from_numpy(
            np.array([[x, 1.0]]), skeleton=skeleton, point_scores=np.ones(1), score=1.0
        )
        frames.append(sio.LabeledFrame(video, 0, [guess]))
    sio.save_slp(sio.Labels(frames), str(path), verbose=False)
    return path


def test_one_video_of_a_file_of_several_is_a_recording(tmp_path: Path) -> None:
    path = write_two_videos(tmp_path / "both.slp")
    found = find_recordings(tmp_path, ["both.slp#day1.mp4", "both.slp#2"])
    assert list(found) == ["both#day1", "both#2"]
    assert [read_keypoints(file).points_px[0, 0, 0, 0] for file in found.values()] == [10, 20]
    with pytest.raises(DataError, match="several videos"):
        read_keypoints(path)
    with pytest.raises(DataError, match=r"has no keypoint file named other\.slp#1"):
        find_recordings(tmp_path, ["other.slp#1"])


def test_videos_of_one_file_are_recordings_of_their_own() -> None:
    files = [Path("a/both.slp#1"), Path("a/both.slp#2"), Path("a/mouse.slp"), Path("a/mouse.csv")]
    assert [recording_name(file) for file in files] == ["both#1", "both#2", "mouse", "mouse"]
    assert unique_recordings(files) == [*files[:2], files[3]]


def test_two_keypoints_of_one_name_in_an_archive_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, points=np.ones((3, 2, 2)), node_names=["paw", "paw"])
    with pytest.raises(DataError, match="several keypoints called paw"):
        read_keypoints(path)
