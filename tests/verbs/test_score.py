"""kp score: errors by regression, kept by name; tracks of several animals where labels and network have them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures
from tiny_runs import error_line
from trained_networks import checkpoint

import lightning_kp as kp
from lightning_kp.arena.recording import ArenaSettings, read_truth, write_arena
from lightning_kp.cli import main
from lightning_kp.errors import DataError
from lightning_kp.tracks.table import Tracks
from lightning_kp.verbs import score


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
    def refuse(*given: object, **options: object) -> None:
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
    everything = labels(points, "all")
    with pytest.raises(DataError, match="predictions of a network"):
        kp.score(folder, labels=everything, device="cpu")
    score = kp.score(folder, labels=everything, predicted=True, device="cpu")
    assert score.tracked is not None
    assert score.tracked.truth.points_px.shape == shape
    sparse = points.copy()
    sparse[np.arange(24) % 3 > 0] = np.nan
    few = kp.score(folder, labels=labels(sparse, "sparse"), predicted=True, device="cpu")
    assert few.tracked is None
    asked = kp.score(folder, labels=everything, animals=True, device="cpu")
    assert asked.tracked is not None
    assert asked.labelled is None


def test_the_old_name_still_works(
    two_animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_folder("MultiInstanceBKinD", tmp_path)
    assert main(["animals", str(folder), "--labels", str(two_animals)]) == 0
    assert "switches/1000" in capsys.readouterr().out
    assert {"animals_trained", "animals_untrained"} <= json.loads(
        (folder / "metrics.json").read_text()
    ).keys()


def labelled_images(folder: Path, images: Path, *, count: int = 10) -> Path:
    """A table of labelled noise, beside or away from its images."""
    for each in (folder, images):
        each.mkdir(parents=True, exist_ok=True)
    rows = ["scorer,me,me,me,me", "bodyparts,snout,snout,tail_base,tail_base", "coords,x,y,x,y"]
    rng = np.random.default_rng(0)
    for number in range(count):
        Pictures.fromarray(rng.integers(0, 255, (48, 48, 3), np.uint8)).save(images / f"p{number}.png")
        rows.append(f"p{number}.png,{10 + number},20,{30 + number},20")
    table = folder / "CollectedData_me.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def test_labelled_images_are_looked_for_below_the_root(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = labelled_images(tmp_path / "tables" / "of" / "me", tmp_path / "images")
    assert main(["score", str(run), "--labels", str(table)]) == 2
    assert "`kp score`" in capsys.readouterr().err
    assert main(["score", str(run), "--labels", str(table), "--root", str(tmp_path / "images")]) == 0
    assert "10 labelled frames" in capsys.readouterr().out


def test_frames_that_named_the_points_are_no_measure(
    named: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = str(folder / "arena.truth.npz")
    assert main(["score", str(named), "--labels", labels]) == 2
    assert "--include-trained" in error_line(capsys)
    assert main(["score", str(named), "--labels", labels, "--include-trained", "--prefix", "own_"]) == 0
    printed = capsys.readouterr().out
    assert "24 of 24 labelled frames trained this run or named its points" in printed
    assert "PCK: share of labelled points found within 10 % of the body" in printed
    kept = json.loads((named / "metrics.json").read_text())
    assert kept["own_trained_named_mean_px"] > 0
    assert "own_named_mean_px" not in kept


def test_named_points_are_scored_as_they_are(
    named: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = labelled_images(tmp_path, tmp_path)
    assert main(["score", str(named), "--labels", str(table), "--prefix", "new_"]) == 0
    printed = capsys.readouterr().out
    assert "this run" in printed
    assert "% of the frame's side" in printed
    assert "left out" not in printed
    kept = json.loads((named / "metrics.json").read_text())
    assert set(kept["new_named_per_point"]) == {"snout", "tail_base"}
    assert 0 <= kept["new_named_pck"] <= 1
    assert kept["new_matched"] >= 0


@pytest.mark.parametrize(
    ("given", "px"),
    [
        (["--within=12px"], 12.0),
        (["--within=5mm", "--px-per-mm=1.8"], 9.0),
        (["--within=0.5 mm", "--px-per-mm=10"], 5.0),
        ([], None),
    ],
)
def test_the_reach_of_pck_in_pixels_or_millimetres(given: list[str], px: float | None) -> None:
    found = score._within_px(score._parser().parse_args(["run", "--labels=a.csv", *given]))
    assert found == (None if px is None else pytest.approx(px))


@pytest.mark.parametrize("given", ["--within=5mm", "--within=0px", "--within=5cm", "--within=-3px"])
def test_a_reach_without_a_scale_is_refused(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "run", "--labels=a.csv", given]) == 2
    assert "--within 5mm --px-per-mm 1.8" in capsys.readouterr().err
