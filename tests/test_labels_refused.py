"""What a label archive, a crowd file or a used run folder must not be taken for."""

import json
from pathlib import Path

import numpy as np
import pytest
import sleap_io as sio
from archives import archive
from repository import ROOT

from lightning_kp.cli import main
from lightning_kp.command.training import launch
from lightning_kp.datamodules import GroupsAndUnlabelled, LabelledGroups
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.labels.archives import open_npz
from lightning_kp.methods import DirectPose, PersonParser

GOOD = {
    "points": np.full((2, 1, 2, 2), 3.0),
    "path": np.array(["a.png", "b.png"]),
    "node_names": np.array(["head", "tail"]),
    "split": np.array(["train", "test"]),
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"node_names": np.array(["head", "tail"], dtype=object)}, "holds an array that cannot be read"),
        ({"points": np.zeros(3)}, r"points of shape \(3,\)"),
        ({"points": np.full((2, 1, 2, 2), np.nan)}, "no labelled point in part train"),
        ({"split": np.array(["train"])}, "its split has 1 entries"),
    ],
)
def test_archives_that_are_none(change: dict[str, np.ndarray], told: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "labels.npz", **(GOOD | change))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=told):
        open_npz(tmp_path / "labels.npz", "train", [])


@pytest.mark.parametrize("content", [b"no archive", b"PK\x03\x04cut"])
def test_files_that_are_no_archives(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "labels.npz").write_bytes(content)
    with pytest.raises(DataError, match="is not a numpy archive"):
        open_npz(tmp_path / "labels.npz", "", [])


@pytest.mark.parametrize("wrong", [{"train_frames": -1}, {"at_most": -1}, {"at_most": 0}])
def test_numbers_of_frames_that_are_none(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        LabelledGroups("labels.npz", **wrong)


@pytest.mark.parametrize("wrong", [{"unlabelled_frames": -1}, {"unlabelled_per_batch": -1}])
def test_numbers_of_unlabelled_frames_that_are_none(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="unlabelled"):
        GroupsAndUnlabelled("labels.npz", **wrong)


@pytest.mark.parametrize("method", [DirectPose, PersonParser])
def test_a_name_given_twice_is_told_before_training(method: type[DirectPose | PersonParser]) -> None:
    with pytest.raises(ConfigurationError, match="names must be unique"):
        method(["head", "head"], encoder="tiny", pretrained=False)


@pytest.mark.parametrize("out", ["mine.json", "crowds.md"])
def test_crowds_never_take_the_place_of_labels(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.json").write_text(json.dumps({"images": []}))
    assert main(["crowds", "mine.json", "--out", out]) == 2
    assert "--out crowds.json" in capsys.readouterr().err
    assert json.loads(Path("mine.json").read_text()) == {"images": []}


@pytest.mark.parametrize("folder", ["plain", "my frame 1"])
def test_a_missing_video_is_told_once(folder: str, tmp_path: Path) -> None:
    skeleton = sio.Skeleton(["a"])
    videos = [sio.Video(filename=str(tmp_path / folder / f"{n}.mp4"), open_backend=False) for n in (1, 2)]
    point = sio.Instance.from_numpy(np.array([[1.0, 2.0]]), skeleton=skeleton)
    frames = [
        sio.LabeledFrame(video=video, frame_idx=n, instances=[point]) for video in videos for n in range(3)
    ]
    sio.save_slp(
        sio.Labels(labeled_frames=frames, videos=videos, skeletons=[skeleton]), str(tmp_path / "l.slp")
    )
    with pytest.raises(DataError) as told:
        LabelledGroups("l.slp", root=str(tmp_path)).setup()
    assert "2 problems" in str(told.value)
    assert str(told.value).count("1.mp4 is missing") == 1


def test_a_refused_training_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        "--model=DirectPose", "--model.names=[head,wing]", "--model.encoder=tiny", "--model.pretrained=false",
        "--model.stride=4", "--data=LabelledGroups", f"--data.labels={archive(tmp_path, animals=1)}",
        f"--data.root={tmp_path}", "--data.size=32", "--trainer.accelerator=cpu",
    ]  # fmt: skip
    assert main(["fit", *given, f"--trainer.default_root_dir={tmp_path / 'run'}"]) == 2
    assert "--model.names=[nose,tail]" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_second_training_does_not_replace_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KP_CACHE_DIR", str(tmp_path / "cache"))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.write_bytes(b"trained")
    given = [
        f"--config={ROOT}/experiments/bkind_arena.yaml", f"--data.root={tmp_path}",
        f"--trainer.default_root_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    assert main(["fit", *given]) == 2
    assert f"--ckpt_path {last}" in capsys.readouterr().err
    assert last.read_bytes() == b"trained"
    assert launch("fit", given, start=False).datamodule is not None  # a killed trial renders its data again
