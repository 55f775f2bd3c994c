"""discover, track, score, report and demo, from the command line to the files they leave."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clips
import lightning  # noqa: F401  (before a test captures the stream that it logs to)
import pytest
import torch
import yaml
from PIL import Image as Pictures

from lightning_kp.arena.recording import ArenaSettings, write_arena
from lightning_kp.checkpoints import write_method
from lightning_kp.cli import main
from lightning_kp.command.arguments import VerbParser, flattened, positive, split, typed
from lightning_kp.datamodules import LabelledFrames, SyntheticArena
from lightning_kp.errors import ConfigurationError
from lightning_kp.method import class_path
from lightning_kp.methods import BKinD
from lightning_kp.runs.folder import RunFolder
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.verbs import discover, report, track

FRAMES = 30
TINY = [
    "--model.encoder=tiny", "--model.keypoints=3", "--model.pose_width=8", "--data.size=48",
    "--data.batch_size=2", "--data.gap=2", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1",
    "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
]  # fmt: skip
ONE_EPOCH = "--trainer.max_epochs=1"


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KP_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _plain_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KP_DEBUG", raising=False)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two videos with awkward names."""
    folder = tmp_path_factory.mktemp("videos")
    settings = [ArenaSettings(size=48, frames=FRAMES, animals=1, seed=seed) for seed in (0, 1)]
    return [write_arena(each, folder, name) for each, name in zip(settings, ("it's", "b.2"), strict=True)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, videos: list[Path]) -> Path:
    """The folder of a finished discovery of one epoch."""
    folder = tmp_path_factory.mktemp("run")
    assert main(["discover", *map(str, videos), "--out", str(folder), *TINY, ONE_EPOCH]) == 0
    return folder


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr().err
    assert "Traceback" not in told
    lines = [line for line in told.splitlines() if line.startswith("kp: ")]
    assert len(lines) == 1, told
    return lines[0]


# ---------------------------------------------------------------- discover


def test_discovery_leaves_a_whole_run_folder(run: Path, videos: list[Path]) -> None:
    for name in ("config.yaml", "checkpoints/last.ckpt", "metrics.csv", "inspection.png", "report.html"):
        assert (run / name).is_file(), name
    for name in ("it's", "b.2"):
        assert (run / "overlays" / f"{name}.mp4").is_file()
        assert (run / "tracks" / f"{name}.slp").is_file()
        tracks = read_tracks(run / "tracks" / f"{name}.csv")
        assert len(tracks) == FRAMES
        assert tracks.frame_size == (48, 48)
    diagnosis = json.loads((run / "diagnostics.json").read_text())
    assert len(diagnosis["keypoints"]) == 3
    assert json.loads((run / "metrics.json").read_text())["verdict"] == diagnosis["verdict"]
    assert "it&#x27;s" in (run / "report.html").read_text()


def test_what_was_typed_is_what_ran(run: Path, videos: list[Path]) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    data, model = config["data"]["init_args"], config["model"]["init_args"]
    assert (data["gap"], data["size"], model["keypoints"], model["encoder"]) == (2, 48, 3, "tiny")
    assert data["videos"] == [str(video) for video in videos]
    assert config["ckpt_path"] is None


def test_a_second_call_has_nothing_left_to_do(
    run: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [
        run / "checkpoints/last.ckpt",
        run / "overlays/b.2.mp4",
        run / "tracks/b.2.slp",
        run / "inspection.png",
    ]
    before = [path.stat().st_mtime_ns for path in kept]
    assert main(["discover", *map(str, videos), "--out", str(run), *TINY, ONE_EPOCH]) == 0
    told = capsys.readouterr().out
    assert "Training is complete (1 epochs)" in told
    assert told.count("already done") == 2
    assert [path.stat().st_mtime_ns for path in kept] == before


def test_more_epochs_go_on_from_the_last(tmp_path: Path, run: Path, videos: list[Path]) -> None:
    import shutil

    folder = shutil.copytree(run, tmp_path / "moved")
    more = ["--trainer.max_epochs=2", "--no-overlay"]
    assert main(["discover", *map(str, videos), "--out", str(folder), *TINY, *more]) == 0
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted({row["epoch"] for row in rows if row["val/loss"]}) == ["0", "1"]
    with (run / "metrics.csv").open() as file:
        first = list(csv.DictReader(file))
    assert [row["val/loss"] for row in rows if row["epoch"] == "0"] == [row["val/loss"] for row in first]


def test_other_videos_are_refused(run: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["discover", str(videos[0]), "--out", str(run), *TINY]) == 2
    line = error_line(capsys)
    assert "holds a run on other videos (it's.mp4, b.2.mp4)" in line
    assert "--out" in line
    assert "kp track" in line


def test_ctrl_c_says_how_to_go_on(
    run: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lightning_kp.command import training

    def stopped(verb: str, options: list[str]) -> int:
        assert f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}" in options
        raise KeyboardInterrupt("Kept: a.ckpt. Continue with --ckpt_path a.ckpt")

    monkeypatch.setattr(training, "run", stopped)
    arguments = ["discover", *map(str, videos), "--out", str(run), *TINY, "--trainer.max_epochs=9"]
    assert main(arguments) == 130
    assert (
        error_line(capsys) == "kp: stopped. What was trained is kept; type the same command again to go on."
    )


def test_the_verdict_is_on_pairs_as_in_training(
    run: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning_kp.checkpoints import data_settings
    from lightning_kp.frames import pairs as frame_pairs
    from lightning_kp.runs.folder import RunFolder

    given: dict[str, Any] = {}

    class Recorded(frame_pairs.FramePairsModule):
        def prepare_data(self) -> None:
            given.update(gap=self.gap, size=self.size, batch_size=self.batch_size, videos=self.videos)
            raise InterruptedError

    monkeypatch.setattr(frame_pairs, "FramePairsModule", Recorded)
    settings = data_settings(run / "checkpoints" / "last.ckpt")
    method, _ = track.load_for_tracking(run / "checkpoints" / "last.ckpt")
    with pytest.raises(InterruptedError):
        discover.judge(method, videos, RunFolder(run), settings)
    assert given == {"gap": 2, "size": 48, "batch_size": 2, "videos": [str(video) for video in videos]}


# ---------------------------------------------------------------- what wins: preset, suggestion, user


def plan(*overrides: str, preset: Path | None = None, **suggested: Any) -> discover.Plan:
    suggestions = {name.replace("_", ".", 1): value for name, value in suggested.items()}
    return discover.Plan(preset or discover.preset_path("laptop"), suggestions, overrides)


def test_suggestions_replace_a_shipped_preset_only() -> None:
    options = plan("--data.init_args.gap=3", data_gap=6, data_size=96, model_keypoints=9).options()
    assert options[1:] == ["--data.size=96", "--model.keypoints=9", "--data.init_args.gap=3"]
    assert plan(data_boxes=[1, 2, 30, 40]).options()[1:] == ["--data.boxes=[1, 2, 30, 40]"]


def test_the_paper_decides_its_size_and_weights() -> None:
    suggestions = {"data.gap": 4, "data.size": 96, "model.keypoints": 8, **discover.ALONE}
    given = discover.Plan(discover.preset_path("paper"), suggestions, ())
    assert given.options()[1:] == ["--data.gap=4", "--model.keypoints=8"]
    assert given.chosen()["data.size"] == 256


def test_a_small_lone_animal_is_followed_by_the_preset_for_it() -> None:
    suggestions = {"data.gap": 6, "data.size": 96, "data.boxes": "follow", **discover.ALONE}
    follow = discover.Plan(discover.preset_path("follow"), suggestions, ())
    assert follow.options()[1:] == ["--data.gap=6"]
    assert follow.chosen()["data.boxes"] == "follow"
    whole = ["--data.gap=6", *(f"--{name}={value}" for name, value in discover.ALONE.items())]
    assert discover.Plan(discover.preset_path("laptop"), suggestions, ()).options()[1:] == whole
    assert discover.Plan(discover.preset_path("paper"), suggestions, ()).options()[1:] == whole[:1]
    typed_in = discover.Plan(discover.preset_path("laptop"), suggestions, ("--data.boxes=[0,0,64,64]",))
    assert typed_in.options()[1:] == [*whole, "--data.boxes=[0,0,64,64]"]


def test_a_preset_of_ones_own_wins_over_suggestions(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("data:\n  init_args:\n    gap: 4\nmodel:\n  keypoints: 5\ntrainer: {max_epochs: 7}\n")
    given = plan(preset=own, data_gap=6, data_size=96, model_keypoints=9)
    assert given.options() == [f"--config={own}", "--data.size=96"]
    # Weights are suggested for the method of the shipped presets; another one may not have such terms.
    alone = discover.Plan(own, dict(discover.ALONE), ())
    assert alone.options() == [f"--config={own}"]
    assert given.max_epochs == 7
    assert plan("--trainer.max_epochs=3", preset=own).max_epochs == 3
    assert plan("--trainer.max_epochs=-1", preset=own).max_epochs is None
    own.write_text("data: [")
    with pytest.raises(ConfigurationError, match=r"own\.yaml cannot be read"):
        plan(preset=own, data_gap=6).options()


def test_sizes_for_a_computer_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert discover._bearable(plan(data_size=192))["data.size"] == 128
    assert "too slow without a GPU" in capsys.readouterr().out
    assert discover._bearable(plan(data_size=96))["data.size"] == 96
    assert discover._bearable(plan("--data.size=224", data_size=192))["data.size"] == 192
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert discover._bearable(plan(data_size=192))["data.size"] == 192


def test_arguments_are_divided() -> None:
    own, rest = split(
        ["a.mp4", "--data.gap", "0.2s", "--out", "x", "--model=B", "--trainer.callbacks+=C", "b.mp4"]
    )
    assert own == ["a.mp4", "--out", "x", "b.mp4"]
    assert rest == ["--data.gap=0.2s", "--model=B", "--trainer.callbacks+=C"]
    assert typed(["--data.gap=3", "--data.init_args.gap=5"]) == {"data.gap": "5"}
    nested = {"data": {"class_path": "V", "init_args": {"gap": 3}}, "seed_everything": 0}
    assert flattened(nested) == {"data.class_path": "V", "data.gap": 3, "seed_everything": 0}


def test_mistakes_of_the_verbs_are_one_line() -> None:
    parser = VerbParser("try", "")
    parser.add_argument("--frames", type=positive)
    parser.add_argument("video")
    for given, told in {
        "a.mp4 --frame=3": r"--frame=3 is not an option of kp try\. Did you mean --frames\?",
        "a.mp4 --modl.keypoints=3": r"Did you mean --model\.keypoints\?",
        "a.mp4 --zzzz": "`kp try --help` lists all",
        "--frames=3": "kp try: missing video",
        "a.mp4 --frames=0": "at least 1, got 0",
        "a.mp4 --frames=x": r"--frames: needs a whole number of at least 1, got x\.",
    }.items():
        with pytest.raises(ConfigurationError, match=told):
            parser.parse_args(given.split())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--trainer.default_root_dir=x"], "Use --out DIR"),
        (["--data.videos=[a.mp4]"], "Name the videos without an option"),
        (["--preset=none"], "There is no preset 'none'. Use follow, laptop"),
        (["--outt=x"], "Did you mean --out?"),
        # Before the videos are looked at: there is no run folder yet.
        (["--model.keypoint=5"], "Did you mean --model.keypoints?"),
        (["--data.gap=0.2s", "--trainer.maxx_epochs=5"], "Did you mean --trainer.max_epochs?"),
        (["--trainer.max_epoch=1"], "Did you mean --trainer.max_epochs?"),
        (["--log=wandbb"], "Did you mean --log=wandb?"),
        (["--data.batch_size=0"], "batch_size is 0; a batch needs at least 1."),
        (["--data.num_workers=-1"], "num_workers is -1;"),
        (
            ["--preset=no_text.yaml"],
            "no_text.yaml cannot be read (it is no text). A YAML text file is needed",
        ),
        (
            ["--model=StackedHourglass"],
            "StackedHourglass reads LabelledImages; VideoFramePairs yields FramePairs.",
        ),
    ],
)
def test_what_discover_refuses(
    options: list[str],
    told: str,
    videos: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("no_text.yaml").write_bytes(b"\x00\x9d\xff")
    assert main(["discover", str(videos[0]), "--out", str(tmp_path / "run"), *options]) == 2
    assert told in error_line(capsys)
    assert not (tmp_path / "run").exists()


def test_discover_refuses_videos_of_a_few_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = [str(clips.write_numbered(tmp_path / f"{frames}.mp4", frames)) for frames in (1, 3)]
    assert main(["discover", *few, "--out", str(tmp_path / "run"), *TINY, ONE_EPOCH]) == 2
    assert "at least 4 frames; the longest of these, 3.mp4, has 3. Name longer videos." in error_line(capsys)
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- track, score, report


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
    assert {path.name for path in (tmp_path / "tracks").iterdir()} == {"b.2.csv", "b.2.dlc.csv", "b.2.json"}
    assert (tmp_path / "overlays" / "b.2.mp4").is_file()
    assert read_tracks(tmp_path / "tracks" / "b.2.csv").points_px.shape == (FRAMES, 1, 3, 2)
    assert main(command) == 0
    assert "b.2: already done" in capsys.readouterr().out


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
    with pytest.warns(UserWarning, match="images carry no times"):
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
    _, view = track.load_for_tracking(run / "checkpoints" / "last.ckpt", "cpu")
    assert (view.size, view.fit, view.boxes) == (48, "crop", tmp_path / "boxes.csv")


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


def test_report_is_written_anew(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert main(["report", str(tmp_path)]) == 2
    assert "is not a run folder" in error_line(capsys)


def test_a_fitted_run_is_judged_like_a_discovery(
    run: Path, videos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`kp fit` leaves what it learnt; with --judge its folder has the shape of every run's."""
    fitted = tmp_path / "fitted"
    (fitted / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "metrics.csv", "checkpoints/last.ckpt"):
        shutil.copy(run / name, fitted / name)
    assert main(["report", str(fitted), "--judge"]) == 0
    assert "Discovery:" in capsys.readouterr().out
    for name in ("tracks/it's.csv", "overlays/b.2.mp4", "diagnostics.json", "metrics.json", "report.html"):
        assert (fitted / name).is_file(), name


def test_videos_that_a_datamodule_makes_are_judged_too(tmp_path: Path) -> None:
    made = {
        "root": str(tmp_path),
        "frames": 12,
        "test_frames": 4,
        "frame_px": 48,
        "videos": ["elsewhere.mp4"],
    }
    data = {"settings": made, "class": class_path(SyntheticArena)}
    checkpoint = torch.load(_arena_checkpoint(tmp_path, data), weights_only=True)
    assert checkpoint["lightning_kp"]["data_class_path"] == data["class"]
    paths = report._videos_of(RunFolder(tmp_path))
    assert len(paths) == 2
    assert all(path.is_file() for path in paths)


def test_a_run_on_labels_has_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"settings": {}, "class": class_path(LabelledFrames)}
    _arena_checkpoint(tmp_path, data)
    assert main(["report", str(tmp_path), "--judge"]) == 2
    assert "kp track" in error_line(capsys)


def _arena_checkpoint(folder: Path, data: dict[str, Any]) -> Path:
    """A checkpoint that says with which data it was trained."""
    path = folder / "checkpoints" / "last.ckpt"
    write_method(path, BKinD(keypoints=2, encoder="tiny", pretrained=False, reconstruction="structural"), {})
    content = torch.load(path, weights_only=True)
    content["lightning_kp"] |= {"data_class_path": data["class"], "data": data["settings"]}
    torch.save(content, path)
    return path


@pytest.mark.slow
def test_the_demo_compares_with_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo"
    assert main(["demo", "--out", str(folder), "--frames=60", "--epochs=1", *TINY]) == 0
    told = capsys.readouterr().out
    assert "Against the truth" in told
    assert "same, untrained" in told
    figures = json.loads((folder / "metrics.json").read_text())
    assert {"linear", "matched", "untrained_matched", "mean_pose", "found"} <= figures.keys()
    assert "the same, untrained" in (folder / "report.html").read_text()
