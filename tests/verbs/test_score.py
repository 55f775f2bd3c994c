"""kp score: errors by regression, kept by name; tracks of several animals where labels and network have them."""

import json
from pathlib import Path

import numpy as np
import pytest
from trained_networks import checkpoint

import lightning_kp as kp
from lightning_kp.arena.recording import ArenaSettings, read_truth, write_arena
from lightning_kp.cli import main
from lightning_kp.errors import DataError
from lightning_kp.tracks.table import Tracks


def test_scores_are_kept_by_name(run: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    labels = str(videos[1].with_name("b.2.truth.npz"))
    assert main(["score", str(run), "--labels", labels, "--prefix", "b_"]) == 0
    assert "mean pose" in capsys.readouterr().out
    figures = json.loads((run / "metrics.json").read_text())
    assert figures["keypoints"] == 3
    assert 0 < figures["b_linear"] < 100
    assert set(figures["b_matches"].values()) <= {0, 1, 2}
    assert main(["score", str(run), str(run), "--labels", labels]) == 0
    assert "matched over 2 runs: median" in capsys.readouterr().out


@pytest.fixture(scope="module")
def two_animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ground truth of a video of two look-alike animals."""
    settings = ArenaSettings(size=64, frames=24, animals=2, look_alike=True)
    return write_arena(settings, tmp_path_factory.mktemp("two"), "arena").with_suffix(".truth.npz")


def run_folder(name: str, folder: Path) -> Path:
    checkpoint(name, folder)
    return folder


def test_tracks_of_several_animals_are_scored_too(
    two_animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_folder("MultiInstanceBKinD", tmp_path)
    assert main(["score", str(folder), "--labels", str(two_animals), "--prefix", "new_"]) == 0
    printed = capsys.readouterr().out
    assert "matched: " in printed
    assert "arena.mp4: 24 frames, 2 animals" in printed
    assert "switches/1000" in printed
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {"new_linear", "new_animals_trained", "new_animals_untrained"} <= metrics.keys()
    assert set(metrics["new_animals_trained"]) == {"assignment", "height", "nodes_own_px", "nodes_all_px"}


@pytest.mark.parametrize(
    ("name", "options", "has_tracks"),
    [
        ("BKinD", [], False),  # one set of points for all animals
        ("BKinD", ["--animals"], True),
        ("MultiInstanceBKinD", ["--no-animals"], False),
    ],
)
def test_labels_network_and_option_decide_about_tracks(
    name: str, options: list[str], has_tracks: bool, two_animals: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = run_folder(name, tmp_path)
    assert main(["score", str(folder), "--labels", str(two_animals), *options]) == 0
    assert ("switches/1000" in capsys.readouterr().out) == has_tracks
    metrics = json.loads((folder / "metrics.json").read_text())
    assert ("animals_trained" in metrics) == has_tracks
    assert "linear" in metrics


def test_tracks_without_labelled_frames_are_scored_alone(
    two_animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*given: object) -> None:
        raise DataError("There is no labelled frame.")

    monkeypatch.setattr("lightning_kp.scoring.label_file.score_file", refuse)
    folder = run_folder("MultiInstanceBKinD", tmp_path)
    assert main(["score", str(folder), "--labels", str(two_animals)]) == 0
    written = capsys.readouterr()
    assert "switches/1000" in written.out
    assert (
        "kp: warning: Only the tracks are scored, not labelled frames: There is no labelled frame."
        in written.err
    )
    assert json.loads((folder / "metrics.json").read_text()).keys() == {
        "animals_trained",
        "animals_untrained",
    }
    assert main(["score", str(folder), "--labels", str(two_animals), "--no-animals"]) == 2


def test_tracks_of_a_sleap_file_count_where_most_frames_have_them(two_animals: Path, tmp_path: Path) -> None:
    truth = read_truth(two_animals.with_name("arena.mp4"))
    shape = truth.points_px.shape
    points = truth.points_px.astype(np.float32)

    def labels(points_px: np.ndarray, name: str) -> str:
        tracks = Tracks(
            str(two_animals.with_name("arena.mp4")), (64, 64), 25.0, np.arange(24) / 25, points_px,
            np.ones(shape[:3], np.float32), np.full((*shape[:3], 3), np.nan, np.float32), truth.keypoint_names,
        )  # fmt: skip
        return str(kp.Poses(tracks).to_sleap(tmp_path / f"{name}.slp"))

    folder = run_folder("MultiInstanceBKinD", tmp_path)
    score = kp.score(folder, labels=labels(points, "all"), device="cpu")
    assert score.animals is not None
    assert score.animals.truth.points_px.shape == shape
    sparse = points.copy()
    sparse[np.arange(24) % 3 > 0] = np.nan
    assert kp.score(folder, labels=labels(sparse, "sparse"), device="cpu").animals is None


def test_the_old_name_still_works(
    two_animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_folder("MultiInstanceBKinD", tmp_path)
    assert main(["animals", str(folder), "--labels", str(two_animals)]) == 0
    assert "switches/1000" in capsys.readouterr().out
    assert {"animals_trained", "animals_untrained"} <= json.loads(
        (folder / "metrics.json").read_text()
    ).keys()
