"""kp discover, from the command line to the files it leaves."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import clips
import pytest
import yaml
from tiny_runs import FRAMES, ONE_EPOCH, TINY, error_line

from lightning_kp.cli import main
from lightning_kp.command.judging import judge
from lightning_kp.command.trained import load_for_tracking
from lightning_kp.runs.folder import RunFolder
from lightning_kp.runs.lock import locked
from lightning_kp.tracks.reading import read_tracks


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
    folder = shutil.copytree(run, tmp_path / "moved")
    more = ["--trainer.max_epochs=2", "--no-overlay"]
    assert main(["discover", *map(str, videos), "--out", str(folder), *TINY, *more]) == 0
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted({row["epoch"] for row in rows if row["val/loss"]}) == ["0", "1"]
    with (run / "metrics.csv").open() as file:
        first = list(csv.DictReader(file))
    assert [row["val/loss"] for row in rows if row["epoch"] == "0"] == [row["val/loss"] for row in first]


def trained_state(folder: Path) -> dict[str, bytes]:
    names = ("config.yaml", "checkpoints/last.ckpt", "tracks/b.2.csv")
    return {name: (folder / name).read_bytes() for name in names}


def test_other_settings_for_a_finished_run_are_told(
    run: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = trained_state(run)
    other = [
        "--model.keypoints=7",
        "--data.gap=0.2s",
        "--trainer.accelerator=cpu",
    ]
    assert main(["discover", *map(str, videos), "--out", str(run), *TINY, ONE_EPOCH, *other]) == 0
    told = capsys.readouterr().err
    assert f"{run} is trained already, with data.gap=2, model.keypoints=3." in told
    assert "Ignored: --data.gap=0.2s --model.keypoints=7." in told
    assert "(--out DIR), or add --again" in told
    assert trained_state(run) == before


def test_another_preset_for_a_finished_run_is_told(
    run: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["discover", *map(str, videos), "--out", str(run), *TINY, ONE_EPOCH]
    assert main([*words, "--preset", "laptop"]) == 0
    assert "Ignored" not in capsys.readouterr().err
    assert main([*words, "--preset", "turning"]) == 0
    assert "--model.rotations=any" in capsys.readouterr().err.partition("Ignored: ")[2]


def test_an_unfinished_training_does_not_go_on_with_other_settings(
    tmp_path: Path, run: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(run, tmp_path / "moved")
    before = trained_state(folder)
    more = ["--data.gap=5", "--trainer.max_epochs=2", "--no-overlay"]
    assert main(["discover", *map(str, videos), "--out", str(folder), *TINY, *more]) == 2
    line = error_line(capsys)
    assert (
        "holds a training with data.gap=2, stopped after 1 epochs, which cannot continue with --data.gap=5"
        in line
    )
    assert "--again" in line
    assert trained_state(folder) == before


def test_a_training_continues_with_its_own_settings(tmp_path: Path, run: Path, videos: list[Path]) -> None:
    """Also where preset or suggestions have changed since, by a new version or on another machine."""
    folder = shutil.copytree(run, tmp_path / "moved")
    inspection = json.loads((folder / "inspection.json").read_text())
    inspection["suggestion"]["gap"]["value"] = 9
    (folder / "inspection.json").write_text(json.dumps(inspection))
    without_gap = [option for option in TINY if not option.startswith("--data.gap")]
    more = ["--trainer.max_epochs=2", "--no-overlay"]
    assert main(["discover", *map(str, videos), "--out", str(folder), *without_gap, *more]) == 0
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["data"]["init_args"]["gap"], config["trainer"]["max_epochs"]) == (2, 2)


def test_again_keeps_the_earlier_run_beside_the_new_one(
    tmp_path: Path, run: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(run, tmp_path / "mine")
    before = trained_state(folder)
    again = ["--again", "--no-overlay", "--model.keypoints=4"]
    assert main(["discover", *map(str, videos), "--out", str(folder), *TINY, ONE_EPOCH, *again]) == 0
    assert f"The earlier run is kept as {tmp_path.resolve() / 'mine-1'}" in capsys.readouterr().out
    assert trained_state(tmp_path / "mine-1") == before
    assert len(json.loads((folder / "diagnostics.json").read_text())["keypoints"]) == 4


def test_two_discoveries_do_not_share_a_folder(
    tmp_path: Path, videos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def attempt() -> None:
        code = f"from lightning_kp.cli import main; main({['discover', *map(str, videos), '--out', str(tmp_path)]})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert f"Another discovery is at work in {tmp_path} already (process {os.getpid()}" in done.stderr

    with locked(tmp_path, "A test"):
        attempt()
    assert not (tmp_path / "inspection.json").exists()


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
        error_line(capsys)
        == "kp: stopped. The training so far is kept; repeat the same command or call to continue."
    )


def test_the_verdict_is_on_pairs_as_in_training(
    run: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning_kp.checkpoints import data_settings
    from lightning_kp.frames import pairs as frame_pairs

    given: dict[str, Any] = {}

    class Recorded(frame_pairs.FramePairsModule):
        def prepare_data(self) -> None:
            given.update(gap=self.gap, size=self.size, batch_size=self.batch_size, videos=self.videos)
            raise InterruptedError

    monkeypatch.setattr(frame_pairs, "FramePairsModule", Recorded)
    settings = data_settings(run / "checkpoints" / "last.ckpt")
    method, _ = load_for_tracking(run / "checkpoints" / "last.ckpt")
    with pytest.raises(InterruptedError):
        judge(method, videos, RunFolder(run), settings)
    assert given == {"gap": 2, "size": 48, "batch_size": 2, "videos": [str(video) for video in videos]}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--trainer.default_root_dir=x"], "Give out (--out DIR)"),
        (["--data.videos=[a.mp4]"], "Give the videos as such"),
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
            "no_text.yaml cannot be read (it is not text). A YAML text file is needed",
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
