"""One's own tracks with a table of bouts; raters; the truth of an arena; files that do not fit."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from behaviour_sets import write_open_field

from lightning_kp.arena.recording import ArenaSettings, write_arena
from lightning_kp.behaviour.bouts import UNLABELLED
from lightning_kp.behaviour.recordings import find_recordings, read_keypoints
from lightning_kp.datamodules import TrackedBehaviour
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.tracks.table import TrackInfo, make_tracks
from lightning_kp.tracks.writing import write_tracks

OPEN_FIELD = {
    "tracks": ".", "train": ["one"], "test": ["two"], "labels": "{name}_labels_all_raters.csv",
    "frame_size": [576, 928], "past": 3, "future": 3, "stride": 1,
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(("one", "two")):
        write_open_field(tmp_path, name, seed=number)
    return tmp_path


def setup(root: Path, **options: Any) -> TrackedBehaviour:
    data = TrackedBehaviour(root=str(root), **{**OPEN_FIELD, **options})
    data.setup("fit")
    return data


def test_labels_of_one_rater(root: Path) -> None:
    """Jin marks each rear one frame later; the third one is unsupported."""
    data = setup(root, rater="Jin")
    assert data.behaviours == ("Supported", "Unsupported", "other")
    labels = data.recordings["train"][0].labels
    assert np.flatnonzero(labels == 0).tolist() == [*range(11, 21), *range(41, 51)]
    assert np.flatnonzero(labels == 1).tolist() == [*range(71, 81)]
    assert (labels >= 0).all()


def test_the_majority_of_three(root: Path) -> None:
    labels = setup(root, rater="majority").recordings["train"][0].labels
    assert np.flatnonzero(labels == 0).tolist() == [*range(10, 20), *range(40, 50)]


def test_without_a_background_other_frames_are_unlabelled(root: Path) -> None:
    data = setup(root, rater="Jin", background=None)
    assert data.behaviours == ("Supported", "Unsupported")
    assert (data.recordings["train"][0].labels == UNLABELLED).sum() == 90
    assert len(data.datasets["train"]) == 30  # type: ignore[arg-type]
    assert len(data.datasets["predict"]) == 120  # type: ignore[arg-type]


def test_choices_are_checked(root: Path) -> None:
    with pytest.raises(DataError, match="holds the labels of Furkan, Jin, Oliver"):
        setup(root)
    with pytest.raises(DataError, match="no Grooming; they have Supported, Unsupported"):
        setup(root, rater="Jin", behaviours=["Grooming"])
    with pytest.raises(ConfigurationError, match="one would be used for both training and test"):
        setup(root, rater="Jin", test=["o*"])
    with pytest.raises(DataError, match="Did you mean two"):
        setup(root, rater="Jin", test=["twoo"])
    with pytest.raises(DataError, match=r"labels/one\.csv"):
        setup(root, labels="labels/{name}.csv")
    with pytest.raises(DataError, match="Did you mean nose"):
        setup(root, rater="Jin", keypoints=["nosee"])
    with pytest.raises(DataError, match=r"--data.frame_size"):
        setup(root, rater="Jin", frame_size=[])
    with pytest.raises(ConfigurationError, match="height and width"):
        setup(root, frame_size=[5])


def test_some_keypoints_only(root: Path) -> None:
    data = setup(root, rater="Jin", keypoints=["body", "nose"], features=["pose", "distances"])
    assert data.num_features == 5
    assert data.recordings["train"][0].tracks.keypoint_names == ("body", "nose")


def test_an_npz_that_is_none_of_ours(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", points=np.ones((3, 2)))
    with pytest.raises(DataError, match=r"`points` is \(3, 2\)"):
        read_keypoints(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_text("no zip")
    with pytest.raises(DataError, match="cannot be read"):
        read_keypoints(tmp_path / "b.npz")


def test_tracks_of_kp_and_one_table_for_all_videos(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("day1", "day2"):
        arrays = {
            "times_s": np.arange(40) / 20, "points_px": rng.uniform(0, 60, (40, 1, 3, 2)).astype(np.float32),
            "confidence": np.ones((40, 1, 3), np.float32), "covariance_px": np.ones((40, 1, 3, 3), np.float32),
        }  # fmt: skip
        info = TrackInfo(f"{name}.mp4", (64, 64), 20.0, ("a", "b", "c"))
        write_tracks(make_tracks(info, arrays), tmp_path / "tracks" / name)
    (tmp_path / "bouts.csv").write_text(
        "video,behaviour,start_s,stop_s\nday1.mp4,groom,0,0.5\nday2.mp4,groom,1,1.5\nday1.mp4,rest,1,2\n"
    )
    data = TrackedBehaviour(
        train=["day1"], test=["day2"], labels="bouts.csv", root=str(tmp_path), past=2, future=2,
        features=["pose", "confidence", "covariance"],
    )  # fmt: skip
    data.setup("fit")
    assert data.behaviours == ("groom", "rest", "other")
    assert data.num_features == 6 + 3 + 9
    assert np.bincount(data.recordings["train"][0].labels).tolist() == [10, 20, 10]
    assert np.flatnonzero(data.recordings["test"][0].labels == 0).tolist() == list(range(20, 30))
    assert find_recordings(tmp_path / "tracks", ["day*"])["day1"].name == "day1.csv"  # of four formats


def test_the_truth_of_an_arena(tmp_path: Path) -> None:
    for seed in (0, 1):
        settings = ArenaSettings(size=48, frames=60, seed=seed, fps=20)
        write_arena(settings, tmp_path / "arena", f"seed{seed}")
    options: dict[str, Any] = {
        "tracks": "arena", "train": ["seed0"], "test": ["seed1"], "labels": "arena/{name}.truth.npz",
        "root": str(tmp_path), "past": 2, "future": 2, "background": None,
    }  # fmt: skip
    data = TrackedBehaviour(**options)
    data.setup("fit")
    tracks = data.recordings["train"][0].tracks
    assert (tracks.fps, tracks.frame_size, tracks.points_px.shape) == (20, (48, 48), (60, 2, 7, 2))
    assert set(data.behaviours) <= {"pause", "walk", "turn", "chase", "contact"}
    other = TrackedBehaviour(**options, animal="animal2")
    other.setup("fit")
    assert data.recordings["train"][0].labels.tolist() != other.recordings["train"][0].labels.tolist()
    with pytest.raises(DataError, match="no animal called animal3"):
        TrackedBehaviour(**options, animal="animal3").setup("fit")


def test_real_open_field(kp_data: Path) -> None:
    """The first bouts that three raters scored, as frames: agreed on, within a quarter of a second."""
    folder = kp_data / "behaviour" / "oft"
    names = {"train": ["8_01_A_190507134142"], "test": ["12_01_A_190507144429"]}
    data = TrackedBehaviour(
        root=str(folder), **{**OPEN_FIELD, **names, "rater": "majority", "behaviours": ["Supported"]}
    )
    data.setup("fit")
    recording = data.recordings["train"][0]
    with np.load(folder / "8_01_A_190507134142.npz") as stored:
        votes = stored["labels"][:, 0].sum(axis=0) >= 2  # the supported rears that two of three saw
    assert ((recording.labels == 0) == votes).mean() > 0.99
    assert recording.tracks.points_px.shape == (1998, 1, 18, 2)


def write_recording(root: Path, name: str, *bouts: tuple[str, int, int]) -> None:
    np.savez(
        root / f"{name}.npz", points=np.random.default_rng(len(name)).uniform(0, 99, (60, 2, 2)), fps=25.0
    )
    rows = "".join(f"{behaviour},{first},{last}\n" for behaviour, first, last in bouts)
    (root / f"{name}.behaviour.csv").write_text(f"behaviour,start_frame,stop_frame\n{rows}")


def test_behaviours_that_training_does_not_know_are_told(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "root": str(tmp_path), "tracks": ".", "labels": "{name}.behaviour.csv", "train": ["a"], "test": ["bb"],
        "frame_size": [100, 100], "past": 2, "future": 2,
    }  # fmt: skip
    write_recording(tmp_path, "a", ("groom", 5, 20), ("rest", 30, 40))
    write_recording(tmp_path, "bb", ("groom", 5, 20), ("digging", 30, 40))
    with pytest.warns(
        UserWarning, match=r"test labels \(bb\) have digging, which no training recording shows"
    ):
        TrackedBehaviour(**options).setup("fit")
    write_recording(tmp_path, "bb", ("groom", 5, 20), ("rest", 30, 40))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TrackedBehaviour(**options, behaviours=["groom"]).setup("fit")  # rest is left out on purpose
    write_recording(tmp_path, "bb", ("Groom", 5, 20))
    with pytest.raises(DataError, match="call a behaviour both Groom and groom"):
        TrackedBehaviour(**options).setup("fit")


def test_seconds_fall_on_the_times_of_the_tracks(tmp_path: Path) -> None:
    """The camera was off from frame 30 on, for ten seconds."""
    times = np.arange(60) / 25 + 10 * (np.arange(60) >= 30)
    info = TrackInfo("cam.mp4", (100, 100), 25.0, ("nose",), 1)
    arrays = {
        "times_s": times, "points_px": np.full((60, 1, 1, 2), 9, np.float32),
        "confidence": np.ones((60, 1, 1), np.float32), "covariance_px": np.full((60, 1, 1, 3), np.nan, np.float32),
    }  # fmt: skip
    write_tracks(make_tracks(info, arrays), tmp_path / "cam", ["csv"])
    (tmp_path / "cam.behaviour.csv").write_text("behaviour,start_s,stop_s\ngroom,11.4,11.6\n")
    data = TrackedBehaviour(
        root=str(tmp_path),
        tracks=".",
        labels="{name}.behaviour.csv",
        train=["cam"],
        test=[],
        past=1,
        future=1,
    )
    data.setup("fit")
    assert np.flatnonzero(data.recordings["train"][0].labels == 0).tolist() == [35, 36, 37, 38, 39]
