"""What a person types for a video of two look-alike animals: each gets a square, and every verb works on the run."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_runs import ONE_EPOCH, TINY

from lightning_kp.arena.recording import ArenaSettings, read_truth, write_arena
from lightning_kp.cli import main
from lightning_kp.frames.placements import Placements
from lightning_kp.geometry import from_edges
from lightning_kp.labels.reading import read_animals
from lightning_kp.motion.boxes import boxes_per_animal
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.video.opening import open_video

FRAMES, SIZE = 200, 128
SMALL = [*TINY, ONE_EPOCH, "--model.decoder_widths=[8,8,8]"]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = ArenaSettings(size=SIZE, frames=FRAMES, fps=8, look_alike=True, noise=0.0, seed=3)  # lively
    return write_arena(settings, tmp_path_factory.mktemp("pair"), "pair")


@pytest.fixture(scope="module")
def run(video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "pair"
    command = ["discover", str(video), "--out", str(folder), "--animals", "2", "--no-overlay", *SMALL]
    assert main(command) == 0
    return folder


def test_each_animal_has_its_square_and_its_track(run: Path, video: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["init_args"]["boxes"] == "follow:2"
    tracks = read_tracks(run / "tracks" / "pair.csv")
    assert tracks.points_px.shape == (FRAMES, 2, 3, 2)
    truth = read_truth(video)
    with open_video(video) as reader:
        squares = [Placements(reader.info, 32, "pad", boxes) for boxes in boxes_per_animal("follow:2")]
    body = truth.midline_px[:, :, 2:8].mean(axis=2)
    middle = np.array(
        [[np.reshape(each(t).box, (2, 2)).mean(axis=0) for each in squares] for t in range(FRAMES)]
    )
    apart = np.linalg.norm(from_edges(middle)[:, :, None] - body[:, None], axis=-1)
    as_numbered = apart[:, 0, 0] + apart[:, 1, 1] < apart[:, 0, 1] + apart[:, 1, 0]
    assert len(set(as_numbered.tolist())) == 1  # no animal takes the other's square
    assert np.sort(apart, axis=-1)[..., 0].max() < 0.2 * SIZE
    assert (run / "report.html").is_file()


def test_labels_belong_to_the_animal_that_a_square_shows(video: Path) -> None:
    animals = read_animals(video.with_suffix(".truth.npz"), 64, boxes="follow:2", at_most=20)
    assert animals.points.shape[1] == 1
    assert 36 <= len(animals.image) <= 40
    assert len(set(animals.sources)) == 20
    trunk = animals.points[:, 0, :6]
    assert (trunk.abs() < 1.3).all()  # both animals of a frame would not fit
    assert trunk.isfinite().all()


def test_every_verb_works_on_the_run(
    run: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = str(video.with_suffix(".truth.npz"))
    assert main(["score", str(run), "--labels", labels]) == 0
    assert json.loads((run / "metrics.json").read_text())["matched"] > 0
    capsys.readouterr()
    assert main(["score", str(run), "--animals", "--labels", labels]) == 0
    assert "switches/1000" in capsys.readouterr().out
    assert main(["name", str(run), labels, "--out", str(tmp_path / "named")]) == 0
    assert (
        main(["track", str(tmp_path / "named"), str(video), "--out", str(tmp_path / "n"), "--formats", "csv"])
        == 0
    )
    named = read_tracks(tmp_path / "n" / "tracks" / "pair.csv")
    assert named.points_px.shape[1] == 2
    assert "snout" in named.keypoint_names
    assert main(["suggest", str(run), "--labels", labels, "--count", "2", "--out", str(tmp_path / "s")]) == 0
    assert (tmp_path / "s" / "suggestions.slp").is_file()
    assert main(["suggest", str(run), "--count", "2", "--out", str(tmp_path / "s2")]) == 0
    # The tracks of the run, with its calibrated confidence, serve again.
    assert not (tmp_path / "s2" / "tracks").exists()
    assert main(["report", str(run), "--judge"]) == 0


def test_another_video_may_have_another_number_of_animals(run: Path, tmp_path: Path) -> None:
    alone = write_arena(ArenaSettings(size=SIZE, frames=80, fps=8, animals=1, noise=0.0), tmp_path, "alone")
    out = tmp_path / "out"
    command = ["track", str(run), str(alone), "--out", str(out), "--formats", "csv"]
    assert main([*command, "--animals", "1"]) == 0
    assert read_tracks(out / "tracks" / "alone.csv").points_px.shape[1] == 1


def test_an_unseen_animal_has_no_points(run: Path, tmp_path: Path) -> None:
    """Of two squares for one animal, one is empty: its rows have no points, not a confident guess on the floor."""
    alone = write_arena(ArenaSettings(size=SIZE, frames=80, fps=8, animals=1, noise=0.0), tmp_path, "one")
    command = ["track", str(run), str(alone), "--out", str(tmp_path / "out"), "--formats", "csv"]
    assert main(command) == 0
    tracks = read_tracks(tmp_path / "out" / "tracks" / "one.csv")
    present = np.isfinite(tracks.points_px).all(axis=-1).any(axis=-1).sum(axis=1)
    assert (present == 1).all()
    with (tmp_path / "out" / "tracks" / "one.csv").open() as file:
        assert {row["animal"] for row in csv.DictReader(file)} <= {"animal1", "animal2"}


def test_animals_and_other_boxes_contradict_each_other(
    run: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["discover", str(video), "--animals", "2", "--data.boxes=[0,0,9,9]"]) == 2
    assert "Leave one of --animals and --data.boxes out" in capsys.readouterr().err
    assert main(["track", str(run), str(video), "--animals", "2", "--boxes", "1,2,30,40"]) == 2
    assert "Leave one of --animals and --boxes out" in capsys.readouterr().err
    assert main(["track", str(run), str(video), "--animals", "400"]) == 2
    assert "Give 1 to 20 animals" in capsys.readouterr().err
