"""Fly vs. Fly in its published layout, and files that are not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from behaviour_sets import FLY_FIELDS, cell, write_fly_tracks, write_movie
from scipy.io import loadmat, savemat

from lightning_kp.datamodules import FlyVsFly
from lightning_kp.errors import ConfigurationError, DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in (1, 2):
        write_movie(tmp_path / "Aggression", number)
    return tmp_path


def setup(root: Path, **options: Any) -> FlyVsFly:
    given: dict[str, Any] = {"train": [1], "test": [2], "min_frames": 1, "past": 5, "future": 5, **options}
    data = FlyVsFly(root=str(root), **given)
    data.setup("fit")
    return data


def test_each_fly_is_a_recording_in_which_it_comes_first(root: Path) -> None:
    data = setup(root)
    assert data.behaviours == ("lunge", "wing threat", "other")
    assert data.background == "other"
    one, two = data.recordings["train"]
    assert (one.name, two.name) == ("movie1/fly1", "movie1/fly2")
    np.testing.assert_array_equal(one.tracks.points_px[:, 0], two.tracks.points_px[:, 1])
    # bouts count from 1 and include their last frame
    assert np.flatnonzero(one.labels == 0).tolist() == [*range(10, 20), *range(40, 50)]
    assert np.flatnonzero(two.labels == 1).tolist() == list(range(30, 36))
    assert set(one.labels.tolist()) == {0, 2}


def test_points_of_the_ellipse_by_hand(root: Path) -> None:
    """Fly 1 in frame 0: centre (20, 40) from 1, heading right, 20 long; so 1 less counted from 0."""
    tracks = setup(root).recordings["train"][0].tracks
    head, body, abdomen, left, right = tracks.points_px[0, 0].tolist()
    assert (head, body, abdomen) == ([29, 39], [19, 39], [9, 39])
    assert (left, right) == ([11, 35], [11, 43])
    assert np.isnan(tracks.points_px[30:33, 1]).all()
    assert (tracks.confidence[30:33, 1] == 0).all()


def test_angles_turn_against_the_clock(root: Path) -> None:
    """A heading of a quarter turn points up, to smaller y."""
    path = root / "Aggression" / "movie1" / "movie1_track.mat"
    struct = loadmat(path)["trk"]
    data = struct["data"][0, 0]
    data[..., FLY_FIELDS.index("ori")] = np.pi / 2
    savemat(path, {"trk": {"names": cell(FLY_FIELDS), "data": data}})
    head, body = setup(root).recordings["train"][0].tracks.points_px[0, 0, :2]
    np.testing.assert_allclose(head - body, [0, -10], atol=1e-5)


def test_features(root: Path) -> None:
    generic = setup(root)
    assert generic.num_features == 10 + 10 + 45 + 120  # 10 points of two flies
    crafted = setup(root, features=["flytracker"])
    assert crafted.num_features == 6
    raw = loadmat(root / "Aggression" / "movie1" / "movie1_feat.mat")["feat"]["data"][0, 0]
    own, other = (recording.features for recording in crafted.recordings["train"])
    assert own is not None
    assert other is not None
    np.testing.assert_allclose(own[7], [*raw[0, 7], *raw[1, 7]], rtol=1e-5)
    np.testing.assert_allclose(own[5, :3], (raw[0, 4] + raw[0, 6]) / 2, rtol=1e-5)  # a gap, bridged
    np.testing.assert_allclose(other[7], [*raw[1, 7], *raw[0, 7]], rtol=1e-5)
    with pytest.raises(ConfigurationError, match="cannot be combined"):
        setup(root, features=["flytracker", "pose"])


def test_tracks_of_two_unnamed_animals_are_matched_with_the_annotated_flies(root: Path) -> None:
    """Animal 1 of the tracks is fly 2 of the annotations, and FlyTracker lost it in frames 30 to 32."""
    for number in (1, 2):
        write_fly_tracks(root / "tracks", number)
    kinds = ["pose", "confidence", "covariance", "speed", "acceleration", "distances", "angles"]
    data = setup(root, tracks="tracks", features=kinds)
    assert (
        data.num_features == 6 * (2 + 1 + 3) + 6 + 6 + 15 + 20
    )  # 6 points of two flies: 15 pairs, 20 triplets
    one, two = (recording.tracks.points_px for recording in data.recordings["train"])
    np.testing.assert_allclose(
        one[7, 0, 1], [27, 40]
    )  # the upper fly lunges, and comes first in its own recording
    np.testing.assert_allclose(two[7, 0, 1], [27, 70])
    # Variances of 4 and 2 px^2 in half sides of a frame of 144 px, and the confidence of the same animal.
    table = data.table(data.recordings["train"][0])
    np.testing.assert_allclose(table[7, 18:21], np.array([4, 2, 1]) / 72**2, rtol=1e-5)
    np.testing.assert_allclose(
        table[7, 12:15], data.recordings["train"][0].tracks.confidence[7, 0], rtol=1e-6
    )


@pytest.mark.parametrize(("frames", "animals"), [(59, 2), (60, 1)])
def test_tracks_of_another_movie_are_refused(root: Path, frames: int, animals: int) -> None:
    write_fly_tracks(root / "tracks", 1, frames, animals)
    told = f"movie1.csv has {frames} frames of {animals} animals, but .*movie1_track.mat has 60 of 2"
    with pytest.raises(DataError, match=told):
        setup(root, tracks="tracks")


def test_the_papers_split_of_the_ten_movies() -> None:
    """1229k and 322k frames: 79 of 100 train, 8 of 10 movies."""
    data = FlyVsFly()
    assert (len(data.train), len(data.test)) == (8, 2)
    assert {*data.train, *data.test} == set(range(1, 11))


def test_behaviours_are_chosen_by_their_frames(root: Path) -> None:
    assert setup(root, min_frames=10).behaviours == ("lunge", "other")
    assert setup(root, behaviours=["wing threat"]).behaviours == ("wing threat", "other")
    with pytest.raises(DataError, match="lunge 20, wing threat 6"):
        setup(root, min_frames=1000)
    with pytest.raises(DataError, match="have no hold"):
        setup(root, behaviours=["hold"])


def test_movies_are_trained_on_or_scored(root: Path) -> None:
    with pytest.raises(ConfigurationError, match="Movie 1 is in both train and test"):
        setup(root, test=[1, 2])


def rewrite(root: Path, kind: str, content: dict[str, Any]) -> str:
    savemat(root / "Aggression" / "movie1" / f"movie1_{kind}.mat", content)
    with pytest.raises(DataError) as error:
        setup(root)
    return str(error.value)


def test_schema_errors_name_file_movie_and_key(root: Path) -> None:
    frames = np.zeros((2, 9, 3))
    cases = [
        ("track", {"x": 1}, "key trk: it is missing; the keys are x"),
        ("track", {"trk": np.ones(3)}, "not a struct with names and data"),
        ("track", {"trk": {"names": cell(["a", "b"]), "data": frames}}, "(2, frames, 2) is needed"),
        ("track", {"trk": {"names": cell(["a", "b", "c"]), "data": frames}}, "pos x is missing"),
        ("actions", {"behs": cell(["lunge"])}, "key bouts: it is missing"),
        ("actions", {"behs": cell(["lunge"]), "bouts": cell([np.ones((1, 3))])}, "(2, 1) is needed"),
    ]
    for kind, content, told in cases:
        message = rewrite(root, kind, content)
        assert f"movie1_{kind}.mat, movie movie1" in message
        assert told in message, message
        write_again(root)
    bouts = np.empty((2, 1), object)
    bouts[0, 0], bouts[1, 0] = np.array([[5.0, 2, 1]]), np.zeros((0, 0))
    assert "bouts, fly 1, lunge: a bout" in rewrite(
        root, "actions", {"behs": cell(["lunge"]), "bouts": bouts}
    )


def write_again(root: Path) -> None:
    for path in (root / "Aggression" / "movie1").iterdir():
        path.unlink()
    (root / "Aggression" / "movie1").rmdir()
    write_movie(root / "Aggression", 1)


def test_missing_and_foreign_files(root: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        setup(root, train=[7])
    (root / "Aggression" / "movie1" / "movie1_track.mat").write_bytes(b"\x89HDF\r\n not a mat file" * 20)
    with pytest.raises(DataError, match=r"movie1_track\.mat (cannot be read|is a MATLAB 7.3 file)"):
        setup(root)
