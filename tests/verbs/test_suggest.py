"""kp suggest: frames worth labelling, in files that SLEAP and DeepLabCut open."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sleap_io as sio
from PIL import Image as Pictures
from tiny_runs import LABELLED_FRAMES, SIZE

from lightning_kp.arena.recording import read_truth
from lightning_kp.cli import main
from lightning_kp.labels.opening import open_labels
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.tracks.stubs import Stub, write_sleap
from lightning_kp.video.opening import open_video


def suggest(run: Path, out: Path, *more: str) -> list[dict[str, str]]:
    assert main(["suggest", str(run), "--count", "5", "--out", str(out), *more]) == 0
    with (out / "suggestions.csv").open() as file:
        return list(csv.DictReader(file))


def check_deeplabcut(out: Path, rows: list[dict[str, str]], names: list[str], folder: Path) -> None:
    """Images of exactly these frames, and a table that both readers open."""
    frames = sorted(int(row["frame"]) for row in rows)
    session = out / "labeled-data" / "arena"
    assert [image.name for image in sorted(session.glob("*.png"))] == [f"img{n:04d}.png" for n in frames]
    shown = np.asarray(Pictures.open(session / f"img{frames[2]:04d}.png"))
    with open_video(folder / "arena.mp4") as reader:
        wanted = next(frame.image for frame in reader if frame.index == frames[2])
    np.testing.assert_array_equal(shown, wanted)
    for table in (session / "CollectedData_kp.csv", session / "CollectedData_kp.h5"):
        assert table.is_file()
    theirs = sio.load_file(str(session / "CollectedData_kp.csv"))
    assert sorted(theirs.skeletons[0].node_names) == sorted(names)
    assert [Path(name).name for name in theirs.videos[0].filename] == [f"img{n:04d}.png" for n in frames]
    assert [frame.frame_idx for frame in theirs.labeled_frames] == list(range(len(frames)))
    kept = pd.read_hdf(session / "CollectedData_kp.h5")
    assert list(kept.index) == [("labeled-data", "arena", f"img{n:04d}.png") for n in frames]
    assert kept.isna().all(axis=None)
    ours = open_labels(session / "CollectedData_kp.csv")
    assert list(ours.names) == names
    assert (ours.frames, ours.problems) == ([], [])  # nothing is labelled yet


def test_stubs_of_a_discovering_run(folder: Path, tmp_path: Path) -> None:
    rows = suggest(folder / "run", tmp_path, "--names", "nose,tail")
    frames = [int(row["frame"]) for row in rows]
    assert len(set(frames)) == 5
    labels = sio.load_slp(str(tmp_path / "suggestions.slp"))
    assert [suggestion.frame_idx for suggestion in labels.suggestions] == frames
    assert Path(labels.suggestions[0].video.filename) == (folder / "arena.mp4").resolve()
    assert labels.suggestions[0].video.shape == (LABELLED_FRAMES, SIZE, SIZE, 3)
    assert labels.skeletons[0].node_names == ["nose", "tail"]
    assert labels.labeled_frames == []
    check_deeplabcut(tmp_path, rows, ["nose", "tail"], folder)


def test_stubs_of_a_named_run_hold_its_predictions(named: Path, folder: Path, tmp_path: Path) -> None:
    rows = suggest(named, tmp_path)
    labels = sio.load_slp(str(tmp_path / "suggestions.slp"))
    tracks = read_tracks(named / "tracks" / "arena.csv")
    by_frame = {frame.frame_idx: frame for frame in labels.labeled_frames}
    for row in rows:
        [instance] = by_frame[int(row["frame"])].predicted_instances
        np.testing.assert_allclose(instance.numpy(), tracks.points_px[int(row["frame"]), 0], atol=1e-3)
    assert not labels.user_labeled_frames  # predictions are no labels
    check_deeplabcut(tmp_path, rows, list(tracks.keypoint_names), folder)


def test_with_labels_predictions_come_over_the_bridge_and_labelled_frames_are_avoided(
    folder: Path, tmp_path: Path
) -> None:
    truth = read_truth(folder / "arena.mp4")
    names = truth.keypoint_names
    heads = (
        ["scorer", *["me"] * 2 * len(names)],
        ["bodyparts", *np.repeat(names, 2)],
        ["coords", *["x", "y"] * len(names)],
    )
    lines = [",".join(head) for head in heads]
    labelled = set(range(0, LABELLED_FRAMES, 2))
    with open_video(folder / "arena.mp4") as reader:
        for frame in reader:
            if frame.index in labelled:
                Pictures.fromarray(frame.image).save(tmp_path / f"{frame.index}.png")
                points = truth.points_px[frame.index, 0].reshape(-1)
                lines.append(f"{frame.index}.png," + ",".join(f"{value:.3f}" for value in points))
    (tmp_path / "CollectedData.csv").write_text("\n".join(lines) + "\n")
    rows = suggest(folder / "run", tmp_path / "out", "--labels", str(tmp_path / "CollectedData.csv"))
    assert not labelled & {int(row["frame"]) for row in rows}
    labels = sio.load_slp(str(tmp_path / "out" / "suggestions.slp"))
    assert labels.skeletons[0].node_names == list(names)
    assert len(labels.labeled_frames) == len(rows)
    for frame in labels.labeled_frames:
        away = frame.predicted_instances[0].numpy() - truth.points_px[frame.frame_idx, 0]
        assert np.linalg.norm(away, axis=-1).mean() < SIZE / 4


def test_a_discovering_run_suggests_its_own_keypoints(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the README has it: without names, the discovered points are there to be corrected."""
    rows = suggest(folder / "run", tmp_path)
    assert "(kp01 to kp03). --names nose,tail gives other points" in capsys.readouterr().out
    tracks = read_tracks(folder / "run" / "tracks" / "arena.csv")
    labels = sio.load_slp(str(tmp_path / "suggestions.slp"))
    assert labels.skeletons[0].node_names == ["kp01", "kp02", "kp03"]
    by_frame = {frame.frame_idx: frame for frame in labels.labeled_frames}
    assert sorted(by_frame) == sorted(int(row["frame"]) for row in rows)
    for number, frame in by_frame.items():
        [instance] = frame.predicted_instances
        np.testing.assert_allclose(instance.numpy(), tracks.points_px[number, 0], atol=1e-3)
    check_deeplabcut(tmp_path, rows, ["kp01", "kp02", "kp03"], folder)


def test_names_that_a_named_run_does_not_know(named: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suggest", str(named), "--names", "nose,wing"]) == 2
    assert "not nose, wing" in capsys.readouterr().err


def test_labelled_suggestions_are_never_overwritten(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suggest(folder / "run", tmp_path / "mine", "--names", "nose,tail")
    table = next((tmp_path / "mine").glob("labeled-data/*/CollectedData_*.csv"))
    table.write_text(table.read_text() + "labelled by hand")
    options = ["suggest", str(folder / "run"), "--names", "nose,tail", "--count", "2"]
    assert main([*options, "--out", str(tmp_path / "mine")]) == 2
    assert "perhaps labelled ones. Choose another folder (--out DIR)." in capsys.readouterr().err
    assert table.read_text().endswith("labelled by hand")
    for name in ("suggestions", "suggestions-2", "suggestions-3"):
        assert not (folder / "run" / name).exists()
        assert main(options) == 0
        assert (folder / "run" / name / "suggestions.slp").exists()


def test_tracks_that_were_made_in_another_way_stay(folder: Path, tmp_path: Path) -> None:
    """Of other boxes, say: they would be replaced, and their other formats removed."""
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run, ignore=shutil.ignore_patterns("suggestions*", "tracks"))
    box = f"0,0,{SIZE // 2},{SIZE // 2}"
    assert main(["track", str(run), str(folder / "arena.mp4"), "--boxes", box, "--formats=slp,csv"]) == 0
    before = {path.name: path.read_bytes() for path in (run / "tracks").iterdir()}
    assert {"arena.slp", "arena.csv"} <= before.keys()
    assert main(["suggest", str(run), "--count", "2", "--names", "nose,tail"]) == 0
    assert {path.name: path.read_bytes() for path in (run / "tracks").iterdir()} == before
    assert (run / "suggestions" / "tracks" / "arena.csv").is_file()


def test_frames_of_a_folder_are_numbered_without_the_images_that_cannot_be_read(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(4):
        Pictures.new("RGB", (8, 8)).save(images / f"{number}.png")
    (images / "1.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="images have no time stamps"):
        info = open_video(images).info
    with pytest.warns(UserWarning, match="1.png cannot be read and is skipped"):
        path = write_sleap([Stub(0, 2)], [info], ["nose"], tmp_path / "s.slp")
    (suggested,) = sio.load_slp(str(path)).suggestions
    assert Path(suggested.video.filename[suggested.frame_idx]).name == "3.png"
