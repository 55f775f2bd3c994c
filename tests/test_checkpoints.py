"""Checkpoints: written whole, read without running code, refused with a reason."""

import errno
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import toy
from torch import Tensor

from lightning_kp import __version__
from lightning_kp.checkpoints import (
    AtomicCheckpointIO,
    data_settings,
    find_checkpoint,
    load_method,
    read_checkpoint,
    require_same_method,
    trained_on,
    write_method,
)
from lightning_kp.datamodules import VideoFramePairs
from lightning_kp.errors import CheckpointError
from lightning_kp.method import class_path, plain_settings
from lightning_kp.methods import SupervisedKeypoints


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of Toy with 4 keypoints, trained on images of 8 x 8."""
    folder = tmp_path_factory.mktemp("run")
    trainer = L.Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=folder,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(toy.Toy(keypoints=4), toy.NoiseData(size=8, root=str(folder)))
    path = folder / "checkpoints" / "last.ckpt"
    trainer.save_checkpoint(path)
    return path


def changed(path: Path, target: Path, **entries: Any) -> Path:
    """A copy of a checkpoint with other entries."""
    content = torch.load(path, weights_only=True)
    torch.save(content | entries, target)
    return target


class Dangerous:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


# ---------------------------------------------------------------- reading


def test_the_method_comes_back_as_it_was(trained: Path) -> None:
    method = load_method(trained)
    assert type(method) is toy.Toy
    assert not method.training
    assert method.hparams["keypoints"] == 4
    saved: dict[str, Tensor] = torch.load(trained, weights_only=True)["state_dict"]
    for name, value in method.state_dict().items():
        assert torch.equal(value, saved[name])


def test_the_checkpoint_says_whose_it_is_and_what_the_data_were(trained: Path) -> None:
    note = read_checkpoint(trained)["lightning_kp"]
    assert note["class_path"] == "toy.Toy"
    assert note["data_class_path"] == "toy.NoiseData"
    assert note["version"] == __version__
    settings = data_settings(trained)
    assert settings["size"] == 8
    assert settings["root"] == str(trained.parent.parent)  # a Path there, text here


def test_labelled_frames_are_remembered_through_further_training(trained: Path, tmp_path: Path) -> None:
    assert trained_on(trained) is None  # its data have no labels
    named = tmp_path / "named.ckpt"
    write_method(named, toy.Toy(keypoints=4), {"size": 8}, {"b", "a"})
    assert trained_on(named) == {"a", "b"}

    def fit_from(start: Path | None, marks: list[str] | None, name: str) -> frozenset[str] | None:
        method, data = toy.Toy(keypoints=4), toy.NoiseData(size=8, root=str(tmp_path))
        data.trained_on = marks
        trainer = L.Trainer(
            max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path,
            enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
        )  # fmt: skip
        trainer.fit(method, data, ckpt_path=None if start is None else str(start), weights_only=True)
        trainer.save_checkpoint(tmp_path / name)
        return trained_on(tmp_path / name)

    assert fit_from(None, ["b", "c"], "first.ckpt") == {"b", "c"}
    assert fit_from(tmp_path / "first.ckpt", ["d"], "second.ckpt") == {"b", "c", "d"}
    assert fit_from(tmp_path / "second.ckpt", None, "third.ckpt") == {"b", "c", "d"}


def test_weights_come_from_the_checkpoint_alone(trained: Path, tmp_path: Path) -> None:
    class Pretrained(toy.Toy):
        def __init__(self, pretrained: bool = True, **options: Any) -> None:
            assert not pretrained, "would look for the weights that the checkpoint brings"
            super().__init__(**options)

    path = changed(trained, tmp_path / "x.ckpt", hyper_parameters={"keypoints": 4, "pretrained": True})
    content = torch.load(path, weights_only=True)
    content["lightning_kp"]["class_path"] = f"{__name__}.{Pretrained.__qualname__}"
    torch.save(content, path)
    assert type(load_method(path)) is Pretrained


@pytest.mark.parametrize("place", ["", "checkpoints", "checkpoints/last.ckpt"])
def test_a_run_folder_or_a_file(trained: Path, place: str) -> None:
    assert find_checkpoint(trained.parent.parent / place) == trained


def test_without_a_last_one_the_newest_counts(tmp_path: Path) -> None:
    for age, name in enumerate(("b.ckpt", "a.ckpt")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (100 - age, 100 - age))
    assert find_checkpoint(tmp_path).name == "b.ckpt"


@pytest.mark.parametrize(
    ("name", "message"), [("none", "There is no checkpoint"), ("", "holds no checkpoint")]
)
def test_no_checkpoint(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        find_checkpoint(tmp_path / name)


# ---------------------------------------------------------------- refusing


def test_code_in_a_checkpoint_never_runs(trained: Path, tmp_path: Path) -> None:
    evidence = tmp_path / "it_ran"
    path = changed(trained, tmp_path / "x.ckpt", callbacks=Dangerous(evidence))
    with pytest.raises(CheckpointError, match="holds more than numbers"):
        load_method(path)
    assert not evidence.exists()
    torch.load(path, weights_only=False)
    assert evidence.exists()  # the file is dangerous indeed


def test_a_bare_pickle_is_no_checkpoint(tmp_path: Path) -> None:
    evidence = tmp_path / "it_ran"
    path = tmp_path / "x.ckpt"
    path.write_bytes(pickle.dumps({"state_dict": Dangerous(evidence)}))
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load_method(path)
    assert not evidence.exists()


def test_a_class_path_in_a_checkpoint_imports_nothing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = tmp_path / "it_ran"
    (tmp_path / "evil_module.py").write_text(
        f"import pathlib; pathlib.Path({str(evidence)!r}).touch()\nimport toy\nclass Evil(toy.Toy): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = changed(trained, tmp_path / "x.ckpt", lightning_kp={"class_path": "evil_module.Evil"})
    with pytest.raises(CheckpointError, match=r"evil_module\.Evil, which is not installed here"):
        load_method(path)
    assert not evidence.exists()
    # A path that the user typed is the user's decision.
    assert type(load_method(path, method="evil_module.Evil")).__name__ == "Evil"
    assert evidence.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a checkpoint"),
        (b"any text", "is not a checkpoint"),
        (b"PK\x03\x04 and so on", "cut short"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_method(path)


def test_a_checkpoint_cut_short(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(trained.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cut short"):
        load_method(path)


def test_another_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w") as archive:
        archive.writestr("a.txt", "text")
    with pytest.raises(CheckpointError, match="is damaged"):
        load_method(tmp_path / "x.ckpt")


def test_tensors_that_are_no_method(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="holds no trained method"):
        load_method(tmp_path / "x.ckpt")


def test_another_method(trained: Path) -> None:
    with pytest.raises(CheckpointError, match=r"belongs to toy\.Toy, not to toy\.OtherToy"):
        load_method(trained, method="toy.OtherToy")
    with pytest.raises(CheckpointError, match=r"There is no method toy\.Absent"):
        load_method(trained, method="toy.Absent")


def test_another_number_of_keypoints_is_named(trained: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"trained with keypoints=4 \(here 3\)\. Use --model\.keypoints=4"
    ):
        require_same_method(trained, toy.Toy(keypoints=3))
    require_same_method(trained, toy.Toy(keypoints=4))


def test_shapes_that_no_option_explains(trained: Path, tmp_path: Path) -> None:
    state = torch.load(trained, weights_only=True)["state_dict"]
    wrong = changed(trained, tmp_path / "x.ckpt", state_dict=state | {"net.bias": torch.zeros(9)})
    with pytest.raises(CheckpointError, match=r"net\.bias is \(9,\), not \(4,\)"):
        load_method(wrong)
    short = {name: value for name, value in state.items() if name != "net.bias"}
    with pytest.raises(CheckpointError, match=r"net\.bias is in only one of them"):
        load_method(changed(trained, tmp_path / "y.ckpt", state_dict=short))


def test_options_that_the_class_does_not_have(trained: Path, tmp_path: Path) -> None:
    path = changed(trained, tmp_path / "x.ckpt", hyper_parameters={"keypoints": 4, "tentacles": 8})
    with pytest.raises(CheckpointError, match="tentacles"):
        load_method(path)


def with_data(trained: Path, target: Path, **settings: Any) -> Path:
    """A checkpoint that says it was trained on pairs of frames with these settings."""
    note = read_checkpoint(trained)["lightning_kp"]
    data = {"data_class_path": class_path(VideoFramePairs)}
    return changed(trained, target, lightning_kp=note | data | {"data": {"size": 8} | settings})


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"size": -1}, "its size is -1, and a whole number of pixels from 8 to 4096 is needed."),
        ({"size": 400_000}, "its size is 400000, and a whole number of pixels from 8 to 4096 is needed."),
        ({"size": "abc"}, "its size is 'abc', and a whole number is needed."),
        ({"size": None}, "its size is None, and a whole number is needed."),
        ({"size": True}, "its size is True, and a whole number is needed."),
        ({"size": [96]}, "its size is [96], and a whole number is needed."),
        ({"fit": "abc"}, "its fit is 'abc', and one of pad, crop, squash is needed."),
        ({"boxes": {"a": 1}}, "its boxes is {'a': 1}, and "),
        ({"root": 3}, "its root is 3, and text is needed."),
        ({"batch_size": "many"}, "its batch_size is 'many', and a whole number is needed."),
    ],
)
def test_settings_of_the_data_are_checked_as_options_are(
    settings: dict[str, Any], told: str, trained: Path, tmp_path: Path
) -> None:
    path = with_data(trained, tmp_path / "x.ckpt", **settings)
    with pytest.raises(CheckpointError) as refused:
        data_settings(path)
    assert f"{path} holds settings that cannot be: {told}" in str(refused.value)


@pytest.mark.parametrize("size", [0, 7, 4097, "abc", None, 2.5])
def test_a_size_is_checked_whatever_the_data(size: Any, trained: Path, tmp_path: Path) -> None:
    note = read_checkpoint(trained)["lightning_kp"] | {
        "data_class_path": "unknown.Data",
        "data": {"size": size},
    }
    with pytest.raises(CheckpointError, match="a whole number of pixels from 8 to 4096 is needed"):
        data_settings(changed(trained, tmp_path / "x.ckpt", lightning_kp=note))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"keypoints": "abc"}, "its keypoints is 'abc', and a whole number is needed."),
        ({"keypoints": None}, "its keypoints is None, and a whole number is needed."),
        ({"keypoints": -1}, "Toy needs a keypoint."),
        ([4], "its options are [4], and a mapping is needed."),
    ],
)
def test_options_of_a_method_are_checked(options: Any, told: str, trained: Path, tmp_path: Path) -> None:
    path = changed(trained, tmp_path / "x.ckpt", hyper_parameters=options)
    with pytest.raises(CheckpointError) as refused:
        load_method(path)
    assert f"holds settings that cannot be: {told}" in str(refused.value)


def test_settings_do_not_ask_for_memory(trained: Path, tmp_path: Path) -> None:
    """A network of ten thousand million weights is refused by its shapes, before it is built."""
    path = changed(trained, tmp_path / "x.ckpt", hyper_parameters={"keypoints": 10**9})
    with pytest.raises(CheckpointError, match=r"net.weight is \(4, 3, 3, 3\), not \(1000000000, 3, 3, 3\)"):
        load_method(path)


def test_a_million_names_are_neither_built_nor_printed(tmp_path: Path) -> None:
    named = SupervisedKeypoints(names=["nose", "tail"], encoder="tiny", pretrained=False)
    write_method(tmp_path / "good.ckpt", named, {"size": 32})
    options = {**named.hparams, "names": [f"point {number}" for number in range(1_000_000)]}
    path = changed(tmp_path / "good.ckpt", tmp_path / "x.ckpt", hyper_parameters=options)
    with pytest.raises(CheckpointError, match="does not fit SupervisedKeypoints") as refused:
        load_method(path)
    assert len(str(refused.value)) < 1000


def test_weights_that_are_no_tensors(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no trained method"):
        load_method(changed(trained, tmp_path / "x.ckpt", state_dict={"net.weight": "abc"}))


# ---------------------------------------------------------------- writing


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run" / "last.ckpt"
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"value": torch.ones(1)}, path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*last\.ckpt"):
        writer.save_checkpoint({"value": torch.zeros(1)}, path)
    assert torch.load(path, weights_only=True)["value"].item() == 1
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_settings_become_plain_values() -> None:
    class Data(L.LightningDataModule):
        def __init__(self, size: tuple[int, int], folder: Path, rows: Any, call: Any) -> None:
            super().__init__()
            self.size, self.folder, self.rows, self.call = size, folder, rows, call

    data = Data((4, 6), Path("a/b"), {"x": [1, None, 2.5], "f": print}, print)
    assert plain_settings(data) == {"size": [4, 6], "folder": str(Path("a/b")), "rows": {"x": [1, None, 2.5]}}
