"""The ground truth of a rendered arena as one more kind of label file."""

from pathlib import Path

import numpy as np
import pytest

from lightning_kp.arena.body import ArenaSettings
from lightning_kp.arena.recording import read_truth, write_arena
from lightning_kp.errors import DataError
from lightning_kp.labels.opening import open_labels
from lightning_kp.labels.reading import MAX_VIDEO_FRAMES, read_animals
from lightning_kp.labels.truth import is_truth, open_truth
from lightning_kp.video.opening import open_video


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_arena(ArenaSettings(size=48, frames=9, animals=2), tmp_path, "arena")


def test_every_frame_is_labelled(video: Path) -> None:
    path = video.with_name("arena.truth.npz")
    labels, truth = open_labels(path), read_truth(video)
    assert is_truth(path) and not is_truth(video) and not is_truth("labels.npz")  # noqa: PT018
    assert labels.names == truth.keypoint_names
    assert labels.problems == []
    assert labels.video is not None
    assert labels.video.path == video
    np.testing.assert_array_equal(np.stack([frame.points_px for frame in labels.frames]), truth.points_px)
    assert [frame.number for frame in labels.frames] == list(range(9))
    assert labels.frames[3].source == f"{path.resolve()} frame 3"


def test_images_are_those_of_the_frames_in_any_order(video: Path) -> None:
    with open_video(video) as reader:
        images = [frame.image for frame in reader]
    labels = open_truth(video.with_name("arena.truth.npz"))
    for number in (0, 1, 5, 2, 2, 8, 0, 0):
        np.testing.assert_array_equal(labels.frames[number].read(), images[number])


def test_names_choose_and_order(video: Path) -> None:
    path = video.with_name("arena.truth.npz")
    everything = read_animals(path, 24)
    chosen = read_animals(path, 24, names=["tail_tip", "snout"], at_most=3)
    assert chosen.names == ("tail_tip", "snout")
    assert chosen.points.shape == (3, 2, 2, 2)
    order = [everything.names.index(name) for name in chosen.names]
    assert chosen.points.equal(everything.points[[0, 4, 8]][:, :, order])
    with pytest.raises(DataError, match=r"has no point called nose; its points are snout, .*tail_tip"):
        read_animals(path, 24, names=["nose"])


def test_long_videos_are_thinned(tmp_path: Path) -> None:
    write_arena(ArenaSettings(size=32, frames=MAX_VIDEO_FRAMES + 30, animals=1), tmp_path, "long")
    assert len(read_animals(tmp_path / "long.truth.npz", 8).image) == MAX_VIDEO_FRAMES


def test_another_video_or_none(video: Path) -> None:
    path, moved = video.with_name("arena.truth.npz"), video.with_name("moved.mp4")
    video.rename(moved)
    assert len(open_truth(path, moved).frames) == 9
    with pytest.raises(DataError, match=r"arena\.mp4"):
        open_labels(path)
    short = write_arena(ArenaSettings(size=48, frames=4, animals=2), video.parent, "short")
    with pytest.raises(DataError, match=r"short\.mp4 ends before frame 6"):
        open_truth(path, short).frames[6].read()
