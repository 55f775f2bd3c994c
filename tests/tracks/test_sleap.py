"""SLEAP files as tracks: corrections, tracks and videos, each in its place."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import sleap_io as sio

from lightning_kp.errors import DataError
from lightning_kp.tracks.reading import read_tracks

SKELETON = sio.Skeleton(["nose", "tail"])


def film(name: str | list[str] = "one.mp4", frames: int = 4) -> sio.Video:
    first = name if isinstance(name, str) else name[0]
    known: dict[str, Any] = {"filename": first, "shape": [frames, 100, 80, 1], "fps": 25.0}
    known |= {} if isinstance(name, str) else {"type": "ImageVideo", "filenames": name}
    return sio.Video(name, open_backend=False, backend_metadata=known)


def points(x: float) -> np.ndarray:
    return np.array([[x, x], [x + 5, x]])


def guess(x: float, track: Any = None, score: float = 0.75) -> sio.PredictedInstance:
    scores = np.full(2, score)
    return sio.PredictedInstance.from_numpy(
        points(x), skeleton=SKELETON, point_scores=scores, score=score, track=track
    )


def user(x: float, track: Any = None, of: Any = None) -> sio.Instance:
    instance = sio.Instance.from_numpy(points(x), skeleton=SKELETON, track=track)
    instance.from_predicted = of
    return instance


def save(
    path: Path,
    frames: Sequence[Sequence[Any]],
    videos: Sequence[Any] | None = None,
    tracks: Sequence[Any] = (),
) -> Path:
    """Write a file whose n-th frame has the n-th instances; frames are spread evenly over several videos."""
    videos = videos or [film()]
    each = len(frames) // len(videos)
    labelled = [sio.LabeledFrame(videos[n // each], n % each, list(found)) for n, found in enumerate(frames)]
    labels = sio.Labels(labelled, videos=list(videos), skeletons=[SKELETON], tracks=list(tracks))
    sio.save_slp(labels, str(path), verbose=False)
    return path


def noses(path: Path | str) -> list[list[float]]:
    """x of the nose (N, I); NaN as -1."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return np.nan_to_num(read_tracks(Path(path)).points_px[:, :, 0, 0], nan=-1).tolist()


def test_a_correction_takes_the_place_of_its_prediction(tmp_path: Path) -> None:
    first, second = guess(10), guess(30)
    path = save(
        tmp_path / "a.slp", [[guess(1), guess(2)], [first, second, user(50, of=first)], [guess(3), guess(4)]]
    )
    tracks = read_tracks(path)
    assert noses(path) == [[1, 2], [50, 30], [3, 4], [-1, -1]]
    np.testing.assert_array_equal(tracks.confidence[1, :, 0], [1, 0.75])
    np.testing.assert_array_equal(tracks.points_px[1, 0], points(50))
    assert (tracks.frame_size, tracks.fps, tracks.video) == ((100, 80), 25.0, "one.mp4")


def test_a_correction_keeps_the_track_of_its_prediction(tmp_path: Path) -> None:
    a, b = sio.Track("a"), sio.Track("b")
    first, second = guess(10, a), guess(30, b)
    frames = [[second, first, user(50, of=second)], [guess(1, a), user(60, b), guess(2, b)]]
    assert noses(save(tmp_path / "a.slp", frames, tracks=[a, b]))[:2] == [[10, 50], [1, 60]]


def test_one_animal_whose_correction_has_no_link(tmp_path: Path) -> None:
    assert noses(save(tmp_path / "a.slp", [[guess(1)], [guess(2), user(50)]]))[:2] == [[1], [50]]
    assert noses(save(tmp_path / "a.slp", [[guess(1)], [user(50), guess(2)]]))[:2] == [[1], [50]]


def test_what_lies_nearest_to_a_correction_without_link_is_what_it_corrects(tmp_path: Path) -> None:
    frames = [[guess(1), guess(40)], [guess(2), guess(41), user(42)]]
    assert sorted(noses(save(tmp_path / "a.slp", frames))[1]) == [2, 42]


def test_an_instance_without_a_track_overwrites_none(tmp_path: Path) -> None:
    a, b = sio.Track("a"), sio.Track("b")
    frames = [[guess(9), guess(10, a), guess(30, b)], [guess(31, b), guess(11, a)]]
    path = save(tmp_path / "a.slp", frames, tracks=[a, b])
    with pytest.warns(
        UserWarning, match="1 instances have no track. They are animal3 to animal3, after the 2 tracks"
    ):
        tracks = read_tracks(path)
    found = np.nan_to_num(tracks.points_px[:2, :, 0, 0], nan=-1).tolist()
    assert found == [[10, 30, 9], [11, 31, -1]]


def test_two_instances_of_one_track_in_a_frame(tmp_path: Path) -> None:
    a = sio.Track("a")
    path = save(tmp_path / "a.slp", [[guess(1, a, 0.5), guess(2, a, 0.9)]], tracks=[a])
    with pytest.warns(UserWarning, match="1 instances are second ones of their track"):
        assert read_tracks(path).points_px[0, 0, 0, 0] == 2


def test_a_file_of_two_videos_asks_for_one(tmp_path: Path) -> None:
    videos = [film("C:\\lab\\day1.mp4"), film("/lab/day2.mp4")]
    path = save(tmp_path / "both.slp", [[guess(n)] for n in range(8)], videos)
    with pytest.raises(DataError) as told:
        read_tracks(path)
    for part in ("several videos", "1 = day1.mp4, 2 = day2.mp4", f"{path}#day2.mp4 or {path}#2"):
        assert part in str(told.value)
    for asked in ("1", "day1.mp4", "day1"):
        assert noses(f"{path}#{asked}") == [[0], [1], [2], [3]]
    assert noses(f"{path}#2") == [[4], [5], [6], [7]]
    assert read_tracks(Path(f"{path}#2")).video == "/lab/day2.mp4"
    with pytest.raises(DataError, match=r"no single video called day3; its videos are 1 = day1\.mp4"):
        read_tracks(Path(f"{path}#day3"))


def test_videos_of_one_name_are_told_apart_by_number(tmp_path: Path) -> None:
    videos = [film("/day1/a.mp4"), film("/day2/a.mp4")]
    path = save(tmp_path / "both.slp", [[guess(n)] for n in range(8)], videos)
    with pytest.raises(DataError, match=r"no single video called a\.mp4"):
        read_tracks(Path(f"{path}#a.mp4"))
    assert noses(f"{path}#2")[0] == [4]


def test_the_only_video_with_frames_is_meant(tmp_path: Path) -> None:
    videos = [film("day1.mp4"), film("day2.mp4")]
    frames = [sio.LabeledFrame(videos[1], n, [guess(60 + n)]) for n in range(4)]
    path = tmp_path / "second.slp"
    sio.save_slp(sio.Labels(frames, videos=videos, skeletons=[SKELETON]), str(path), verbose=False)
    assert noses(path) == [[60], [61], [62], [63]]
    assert read_tracks(path).video == "day2.mp4"


def test_tracks_of_other_videos_take_no_rows(tmp_path: Path) -> None:
    a, b = sio.Track("a"), sio.Track("b")
    frames = [[guess(1, a)], [guess(2, a)], [guess(3, b)], [guess(4, b)]]
    path = save(tmp_path / "both.slp", frames, [film("1.mp4", 2), film("2.mp4", 2)], tracks=[a, b])
    assert noses(f"{path}#2") == [[3], [4]]


def test_a_frame_that_stands_there_twice_is_one(tmp_path: Path) -> None:
    video, first = film(), guess(1)
    frames = [sio.LabeledFrame(video, 2, [first]), sio.LabeledFrame(video, 2, [user(50)])]
    path = tmp_path / "a.slp"
    sio.save_slp(sio.Labels(frames, videos=[video], skeletons=[SKELETON]), str(path), verbose=False)
    assert noses(path) == [[-1], [-1], [50], [-1]]


def test_images_as_a_video_are_named_by_their_folder(tmp_path: Path) -> None:
    path = save(tmp_path / "a.slp", [[guess(1)]], [film(["/lab/day1/1.png", "/lab/day1/2.png"], 2)])
    assert read_tracks(path).video == "/lab/day1"


@pytest.mark.parametrize("number", [-3, 2**40])
def test_frame_numbers_that_cannot_be(number: int, tmp_path: Path) -> None:
    path = save(tmp_path / "a.slp", [[guess(1)], [guess(2)]])
    with h5py.File(path, "r+") as file:
        rows = file["frames"][()]
        rows["frame_idx"][1] = np.array(number).astype(
            rows.dtype["frame_idx"]
        )  # the file has no sign: -3 is huge
        file["frames"][...] = rows
    with pytest.raises(
        DataError, match=r"a frame with the number -3|last frame has the number \d+,\d+,\d+,\d+"
    ):
        read_tracks(path)


def test_a_length_that_only_the_header_promises_is_not_believed(tmp_path: Path) -> None:
    assert len(noses(save(tmp_path / "a.slp", [[guess(1)], [guess(2)]], [film(frames=2_000_000_000)]))) == 2


def test_another_skeleton_is_refused(tmp_path: Path) -> None:
    wing = sio.Skeleton(["wing"])
    other = sio.Instance.from_numpy(np.array([[1.0, 2.0]]), skeleton=wing)
    labels = sio.Labels([sio.LabeledFrame(film(), 0, [guess(1), other])], skeletons=[SKELETON, wing])
    sio.save_slp(labels, str(tmp_path / "a.slp"), verbose=False)
    with pytest.raises(DataError, match="animals with the points wing and with nose, tail"):
        read_tracks(tmp_path / "a.slp")


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        (
            "frame_idx",
            2**50,
            "its last frame has the number 1,125,899,906,842,624, which 1 x 2 keypoints",
        ),
        ("video", 7, r"it is damaged \(IndexError: list index out of range\)"),
    ],
)
def test_frames_that_cannot_be_are_told_in_one_line(
    column: str, value: int, told: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.slp", [[guess(1)], [guess(2)]])
    with h5py.File(path, "r+") as file:
        rows = file["frames"][()]
        rows[column][1] = value
        file["frames"][...] = rows
    with pytest.raises(DataError, match=told) as refused:
        read_tracks(path)
    assert "\n" not in str(refused.value)
