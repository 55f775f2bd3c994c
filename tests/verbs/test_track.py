"""kp track: discovered keypoints and networks for several labelled animals, boxes, broken videos, what it refuses."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sleap_io as sio
from every_method import build
from PIL import Image as Pictures
from tiny_runs import FRAMES, error_line
from trained_networks import checkpoint

from lightning_kp.arena.recording import ArenaSettings, write_arena
from lightning_kp.cli import main
from lightning_kp.command.trained import load_for_tracking
from lightning_kp.datamodules import COCOCrowd
from lightning_kp.method import class_path
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.video.opening import open_video

ANIMAL_FRAMES = 12


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_arena(ArenaSettings(size=64, frames=ANIMAL_FRAMES, animals=2), tmp_path, "arena")


@pytest.mark.parametrize("name", ["DirectPose", "SemiMultiPose", "PersonParser"])
def test_animals_have_rows_of_their_own_an_overlay_and_a_list_of_meetings(
    name: str, video: Path, tmp_path: Path
) -> None:
    file = checkpoint(name, tmp_path)
    assert main(["track", str(file), str(video), "--out", str(tmp_path), "--overlay", "--device=cpu"]) == 0
    tracks = read_tracks(tmp_path / "tracks" / "arena.csv")
    method = build(name)
    instances = int(method.hparams["instances"])
    assert tracks.points_px.shape == (ANIMAL_FRAMES, instances, len(method.keypoint_names), 2)  # type: ignore[arg-type]
    seen = tracks.confidence > 0
    assert seen.any()
    assert np.array_equal(np.isfinite(tracks.points_px).all(-1) & seen, seen), "what is seen has a place"
    assert (tmp_path / "overlays" / "arena.mp4").is_file()
    assert "suspected_swaps" in json.loads((tmp_path / "tracks" / "arena.swaps.json").read_text())


def test_unsure_animals_are_left_out(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = checkpoint("DirectPose", tmp_path)
    track = ["track", str(file), str(video), "--out", str(tmp_path), "--device=cpu", "--formats=csv"]
    assert main(track) == 0
    everybody = read_tracks(tmp_path / "tracks" / "arena.csv").confidence
    scores = everybody.sum(axis=-1) / np.maximum(1, (everybody > 0).sum(axis=-1))
    cut = float(np.median(scores[scores > 0]))
    assert main([*track, "--threshold", str(cut)]) == 0
    kept = read_tracks(tmp_path / "tracks" / "arena.csv").confidence.mean(axis=-1)
    assert np.sort(kept[kept > 0]) == pytest.approx(np.sort(scores[scores >= cut]), abs=1e-4)
    assert main([*track, "--least", "2"]) == 2
    assert "needs a number from 0 to 1, got 2" in capsys.readouterr().err


def test_every_frame_has_the_discovered_points(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = checkpoint("BKinD", tmp_path)
    assert main(["track", str(file), str(video), "--out", str(tmp_path), "--least", "0.5"]) == 2
    assert "Leave --threshold out" in capsys.readouterr().err


def test_a_network_of_crops_says_that_it_sees_whole_frames(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = checkpoint("PersonParser", tmp_path, class_path(COCOCrowd))
    track = ["track", str(file), str(video), "--out", str(tmp_path), "--formats=csv"]
    assert main(track) == 0
    assert "was trained on crops around each instance" in capsys.readouterr().err
    whole = read_tracks(tmp_path / "tracks" / "arena.csv").points_px
    assert main([*track, "--boxes", "40,40,64,64"]) == 0
    assert "crops" not in capsys.readouterr().err
    cut_out = read_tracks(tmp_path / "tracks" / "arena.csv").points_px
    seen = np.isfinite(cut_out)
    assert seen.any()
    assert cut_out[seen].min() >= 39.5
    assert np.nanmin(whole) < 39.5


@pytest.mark.parametrize("wrong", ["none.csv", "1,2,3", "a,b,c,d"])
def test_wrong_boxes_are_refused(
    wrong: str, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = checkpoint("DirectPose", tmp_path)
    assert main(["track", str(file), str(video), "--boxes", wrong]) == 2
    assert "Use --boxes follow (follow:2 for two animals), --boxes FILE.csv" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["DirectPose", "PersonParser"])
def test_suggested_frames_hold_every_animal(name: str, video: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "out", checkpoint(name, tmp_path)
    suggest = ["suggest", str(file), "--videos", str(video), "--count", "3"]
    assert main([*suggest, "--out", str(out), "--device=cpu"]) == 0
    tracks = read_tracks(file.parent / "tracks" / "arena.csv")
    seen = np.isfinite(tracks.points_px).all(-1).any(-1)
    labels = sio.load_slp(str(out / "suggestions.slp"))
    assert labels.labeled_frames
    for frame in labels.labeled_frames:
        found = np.stack([each.numpy() for each in frame.predicted_instances])
        rows = tracks.points_px[frame.frame_idx][seen[frame.frame_idx]]
        np.testing.assert_allclose(found, rows, atol=1e-3)
    assert max(len(frame.predicted_instances) for frame in labels.labeled_frames) > 1
    columns = pd.read_hdf(out / "labeled-data" / "arena" / "CollectedData_kp.h5").columns
    assert columns.names == ["scorer", "individuals", "bodyparts", "coords"]
    animals = [f"animal{number + 1}" for number in range(seen.sum(axis=1).max())]
    assert list(columns.get_level_values("individuals").unique()) == animals
    theirs = sio.load_file(str(out / "labeled-data" / "arena" / "CollectedData_kp.csv"))
    assert set(theirs.skeletons[0].node_names) == set(tracks.keypoint_names)
    scores = tracks.confidence.mean(axis=-1)
    cut = f"{float(np.median(scores[seen])):.4f}"
    assert main([*suggest, "--out", str(tmp_path / "surer"), "--device=cpu", "--least", cut]) == 0
    surer = sio.load_slp(str(tmp_path / "surer" / "suggestions.slp"))
    assert 0 < sum(len(frame.predicted_instances) for frame in surer.labeled_frames) < seen.sum()


def test_labelled_frames_of_many_animals_are_avoided(video: Path, tmp_path: Path) -> None:
    """What is labelled is compared in no order; twelve frames are less than a second, so that poses alone count."""
    file = checkpoint("DirectPose", tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    assert main(["track", str(file), str(video), "--out", str(tmp_path / "t"), "--device=cpu"]) == 0
    points = read_tracks(tmp_path / "t" / "tracks" / "arena.csv").points_px[:, ::-1]
    with open_video(video) as reader:
        for frame in reader:
            Pictures.fromarray(frame.image).save(images / f"{frame.index}.png")
    half = range(0, ANIMAL_FRAMES, 2)
    names = build("DirectPose").keypoint_names
    np.savez(
        tmp_path / "labels.npz", points=points[half], path=[f"{n}.png" for n in half], node_names=list(names)
    )  # type: ignore[arg-type]
    suggest = ["suggest", str(file), "--videos", str(video), "--labels", str(tmp_path / "labels.npz")]
    assert main([*suggest, "--count=6", "--out", str(tmp_path / "out"), "--device=cpu"]) == 0
    rows = (tmp_path / "out" / "suggestions.csv").read_text().splitlines()[1:]
    assert {int(row.split(",")[1]) % 2 for row in rows} == {1}


def test_no_module_runs_because_a_checkpoint_names_it(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted.py").write_text(
        "from pathlib import Path\nPath('ran').touch()\nclass Data: cropped = True\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    file = checkpoint("DirectPose", tmp_path, "planted.Data")
    assert main(["track", str(file), str(video), "--out", str(tmp_path), "--formats=csv"]) == 0
    assert main(["report", str(tmp_path), "--judge"]) == 2
    assert not Path("ran").exists()


def test_tracking_new_videos(
    run: Path, videos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "track",
        str(run),
        str(videos[1]),
        "--out",
        str(tmp_path),
        "--formats=csv,dlc_csv",
        "--overlay",
    ]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert f"b.2: {FRAMES} frames in " in told
    assert " fps (network " in told
    assert {path.name for path in (tmp_path / "tracks").iterdir()} == {
        "b.2.csv", "b.2.dlc.csv", "b.2.flips.json", "b.2.json",
    }  # fmt: skip
    assert (tmp_path / "overlays" / "b.2.mp4").is_file()
    assert read_tracks(tmp_path / "tracks" / "b.2.csv").points_px.shape == (FRAMES, 1, 3, 2)
    assert main(command) == 0
    assert "b.2: already done" in capsys.readouterr().out


def test_tracks_are_smoothed_if_asked_for_and_found_again_without(
    run: Path, videos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    track = ["track", str(run), str(videos[0]), "--out", str(tmp_path), "--formats=csv", "--no-mend"]

    def tracked(*options: str) -> tuple[np.ndarray, str]:
        assert main([*track, *options]) == 0
        return read_tracks(tmp_path / "tracks" / "it's.csv").points_px, capsys.readouterr().out

    raw, _ = tracked()
    smooth, told = tracked("--smooth")
    assert "it's: smoothed; noise of a keypoint" in told
    roughness = [np.square(np.diff(each, 2, axis=0)).mean() for each in (raw, smooth)]
    assert roughness[1] < roughness[0]
    assert "already done" in tracked("--smooth")[1]
    again, told = tracked()
    assert "already done" not in told
    np.testing.assert_array_equal(again, raw)


def test_a_broken_video_does_not_keep_the_others_waiting(
    run: Path, videos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    given = [str(tmp_path / "a.mp4"), str(videos[0])]
    assert main(["track", str(run), *given, "--out", str(tmp_path), "--formats=csv"]) == 2
    assert (tmp_path / "tracks" / "it's.csv").is_file()
    line = error_line(capsys)
    assert "a.mp4" in line
    assert "1 of 2 videos were left out" in line


def test_frames_of_a_folder_of_images_are_known_by_name(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "session 1"
    folder.mkdir()
    for name in ("img2.png", "img10.png"):
        Pictures.new("RGB", (48, 48)).save(folder / name)
    (folder / "img9.png").write_bytes((folder / "img2.png").read_bytes()[:50])  # no frame
    with pytest.warns(UserWarning, match="images have no time stamps"):
        assert main(["track", str(run), str(folder), "--out", str(tmp_path / "out")]) == 0
    told = (tmp_path / "out" / "tracks" / "session 1.images.txt").read_text()
    assert told == "frame\timage\n0\timg2.png\n1\timg10.png\n"
    assert len(read_tracks(tmp_path / "out" / "tracks" / "session 1.csv")) == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--formats=csv,slb"], "--formats has 'slb'. Choose from slp,csv,dlc_csv,dlc_h5."),
        (["--formats=,"], "--formats is empty"),
        (["--device=abacus"], "no device 'abacus'"),
        (["--batch-size=0"], "at least 1"),
        (
            ["--device=cpu", "--out=/dev/null/run"],
            "The run folder /dev/null/run cannot be written: Not a directory",
        ),
    ],
)
def test_what_track_refuses(
    options: list[str], told: str, run: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["track", str(run), str(videos[0]), *options]) == 2
    assert told in error_line(capsys)


def test_boxes_are_looked_for_where_training_found_them(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning_kp import checkpoints

    settings = {"size": 48, "fit": "crop", "boxes": "boxes.csv", "root": str(tmp_path)}
    monkeypatch.setattr(checkpoints, "data_settings", lambda path: settings)
    _, view = load_for_tracking(run / "checkpoints" / "last.ckpt", "cpu")
    assert (view.size, view.fit, view.boxes) == (48, "crop", tmp_path / "boxes.csv")


def test_engines_write_the_same_points(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    file = checkpoint("BKinD", tmp_path)
    found = {}
    for engine in ("torch", "onnx", "auto"):  # auto finds the graph that onnx has left
        out = tmp_path / engine
        arguments = ["track", str(file), str(video), "--out", str(out), "--formats=csv", "--device=cpu"]
        assert main([*arguments, "--engine", engine]) == 0
        assert ("Computed with ONNX Runtime" in capsys.readouterr().out) == (engine != "torch")
        found[engine] = read_tracks(out / "tracks" / "arena.csv").points_px
    np.testing.assert_allclose(found["onnx"], found["torch"], atol=0.02)
    np.testing.assert_allclose(found["auto"], found["torch"], atol=0.02)


def test_an_engine_that_is_not_installed_is_one_error_line(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    arguments = ["track", str(checkpoint("BKinD", tmp_path)), str(video), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--engine=onnx"]) == 2
    line = error_line(capsys)
    assert "The engine onnx needs onnxruntime. Install them: pip install 'lightning-kp[onnx]'." in line
    assert not (tmp_path / "out" / "tracks").exists()
    assert main([*arguments, "--engine=fast"]) == 2
    assert "invalid choice: 'fast'" in error_line(capsys)
