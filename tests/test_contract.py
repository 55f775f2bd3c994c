"""Every method for labelled images with every kind of labels: matching points train, others are refused before."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from archives import NAMES, archive
from every_method import METHODS, SETTINGS
from PIL import Image as Pictures

from lightning_kp.batches import LabelledImages
from lightning_kp.cli import main
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.datamodules import GroupsAndUnlabelled, LabelledFrames, LabelledGroups
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.keypoints import Keypoints
from lightning_kp.method import KeypointMethod
from lightning_kp.methods import DirectPose

BY_NAME = ("LinearBridge", "StackedHourglass", "SupervisedKeypoints")
READ_LABELS = ("DirectPose", *BY_NAME)


def fit(method: str, data: KeypointDataModule, folder: Path, **options: Any) -> KeypointMethod:
    """One step of training, and the test."""
    torch.manual_seed(0)
    made = METHODS[method](**SETTINGS[method] | options)
    trainer = L.Trainer(
        default_root_dir=folder, accelerator="cpu", logger=False, max_steps=1, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(made, datamodule=data)
    trainer.test(made, datamodule=data, verbose=False)
    assert isinstance(made, KeypointMethod)
    return made


def groups(folder: Path, labels: str, **options: Any) -> LabelledGroups:
    return LabelledGroups(labels, test_frames=2, batches=1, size=32, root=str(folder), **options)


def test_all_methods_that_read_labelled_images_are_tried_here() -> None:
    assert {name for name, kind in METHODS.items() if kind.batch_type is LabelledImages} == set(READ_LABELS)


@pytest.mark.parametrize("method", READ_LABELS)
def test_one_animal_trains_from_frames_and_from_groups(method: str, tmp_path: Path) -> None:
    labels = archive(tmp_path, animals=1)
    for data in (LabelledFrames(labels, size=32, root=str(tmp_path)), groups(tmp_path, labels)):
        assert fit(method, data, tmp_path).keypoint_names == NAMES
        assert data.part_names == data.point_names == NAMES


def test_two_animals_train_whole_or_by_number(tmp_path: Path) -> None:
    frames = LabelledFrames(archive(tmp_path, animals=2), size=32, root=str(tmp_path))
    assert fit("DirectPose", frames, tmp_path).keypoint_names == NAMES
    assert frames.point_names == ("nose_1", "tail_1", "nose_2", "tail_2")
    found = fit("StackedHourglass", frames, tmp_path, names=[], mirror_pairs=[])
    assert found.keypoint_names == frames.point_names


@pytest.mark.parametrize("method", BY_NAME)
def test_animals_in_no_order_are_no_named_points(method: str, tmp_path: Path) -> None:
    data = groups(tmp_path, archive(tmp_path, animals=2))
    with pytest.raises(ConfigurationError, match=r"up to 2 animals in no fixed order.*--model=DirectPose"):
        fit(method, data, tmp_path)


@pytest.mark.parametrize("names", [("tail", "nose"), ("nose",), ("nose", "tail", "wing")])
@pytest.mark.parametrize("method", ["DirectPose", "LinearBridge", "SupervisedKeypoints"])
@pytest.mark.parametrize("kind", ["frames", "groups"])
def test_other_names_are_told_before_training(
    kind: str, method: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    labels = archive(tmp_path, 1, names)
    data = (
        groups(tmp_path, labels) if kind == "groups" else LabelledFrames(labels, size=32, root=str(tmp_path))
    )
    with pytest.raises(ConfigurationError, match=rf"--model.names=\[{','.join(names)}\]"):
        fit(method, data, tmp_path)


def test_figures_say_how_they_were_read(tmp_path: Path) -> None:
    given = [
        "--model=DirectPose", "--model.names=[nose,tail]", "--model.encoder=tiny", "--model.pretrained=false",
        "--model.stride=4", "--model.width=8", "--model.convolutions=1", "--model.each=4", "--data=LabelledGroups",
        f"--data.labels={archive(tmp_path, 2)}", "--data.test_frames=2", f"--data.root={tmp_path}", "--data.size=32",
        "--data.batches=1", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
    ]  # fmt: skip
    run = tmp_path / "run"
    assert main(["fit", *given, "--trainer.max_epochs=1", f"--trainer.default_root_dir={run}"]) == 0
    for more in ([], ["--model.placement=proposals", "--model.sigma=0.3"]):
        assert main(["test", *given, *more, f"--ckpt_path={run}"]) == 0
    kept = json.loads((run / "metrics.json").read_text())
    assert (kept["test/placement"], kept["test/sigma"]) == ("maps", 1.0)
    assert (kept["test-proposals/placement"], kept["test-proposals/sigma"]) == ("proposals", 0.3)
    assert {"test/ap", "test-proposals/ap"} <= kept.keys()


@pytest.mark.parametrize("kind", ["frames", "groups"])
def test_squashed_images_are_scored_in_their_own_shape(kind: str, tmp_path: Path) -> None:
    labels = archive(tmp_path, animals=1)
    for number in range(6):
        Pictures.new("RGB", (64, 32), (30 * number, 0, 0)).save(tmp_path / "images" / f"{number}.png")
    options: dict[str, Any] = {"size": 32, "fit": "squash", "root": str(tmp_path)}
    data = (
        LabelledFrames(labels, **options)
        if kind == "frames"
        else LabelledGroups(labels, test_frames=2, **options)
    )
    data.setup()
    assert data.shown_px == (32, 64)
    Pictures.new("RGB", (32, 32)).save(tmp_path / "images" / "3.png")
    data = (
        LabelledFrames(labels, **options)
        if kind == "frames"
        else LabelledGroups(labels, test_frames=2, **options)
    )
    with pytest.warns(UserWarning, match=r"differ in aspect ratio \(height is 0.50 to 1.00 of the width\)"):
        data.setup()


def test_more_animals_than_are_looked_for_are_told(tmp_path: Path) -> None:
    data = groups(tmp_path, archive(tmp_path, animals=3))
    with pytest.warns(UserWarning, match="up to 3 animals.*looks for 2. Add --model.instances=3"):
        fit("DirectPose", data, tmp_path, instances=2)


def test_pasted_animals_count_too(tmp_path: Path) -> None:
    data = groups(tmp_path, archive(tmp_path, animals=1), pasted=2, pasted_animals=4)
    data.setup()
    assert data.animals > 1


def test_what_a_crop_leaves_out_is_neither_learnt_nor_missed(tmp_path: Path) -> None:
    """The second animal lies outside the box, so a method that finds only the first one has missed none."""
    labels = archive(tmp_path, animals=2)
    data = LabelledFrames(labels, size=32, boxes=[0, 0, 10, 10], root=str(tmp_path))
    method = fit("DirectPose", data, tmp_path)
    assert isinstance(method, DirectPose)
    (batch,) = data.test_dataloader()
    batch = batch._replace(image=batch.image / 255)
    assert batch.confidence.tolist() == [[[1, 1], [1, 1]]] * len(batch.image)
    alone = batch._replace(confidence=batch.confidence * torch.tensor([[1.0], [0.0]]))
    terms, of_one = (method.eval().terms(each) for each in (batch, alone))
    for name in ("keypoints", "boxes", "vectors"):
        torch.testing.assert_close(terms[name], of_one[name])
    logged: dict[str, float] = {}
    method.log_dict = logged.update  # type: ignore[method-assign, assignment]
    method._weighted_sum = lambda batch, stage: None  # type: ignore[method-assign, assignment, return-value]
    method.forward = lambda image: Keypoints(batch.points[:, :1], batch.confidence[:, :1])  # type: ignore[method-assign]
    with torch.inference_mode():  # as the test before, which left its states so
        method.test_step(batch, 0)
        method.on_test_epoch_end()
    assert logged["test/ap"] == 1


# ---------------------------------------------------------------- frames that are given twice


def test_frames_that_train_and_test_are_told(tmp_path: Path) -> None:
    archive(tmp_path, animals=2)
    apart = LabelledGroups("labels.npz#train", "labels.npz#test", root=str(tmp_path), size=32)
    apart.setup()
    assert len(apart.datasets["test"]) == 2  # type: ignore[arg-type]
    for kind in (LabelledGroups, GroupsAndUnlabelled):
        with pytest.raises(DataError, match=r"2 frame\(s\) are in both labels and test_labels: .*4.png"):
            kind("labels.npz", test_labels="labels.npz#test", root=str(tmp_path), size=32).setup()


def test_a_file_given_twice_is_told(tmp_path: Path) -> None:
    labels = archive(tmp_path, animals=1)
    with pytest.raises(DataError, match="is labelled in 2 files"):
        LabelledGroups([labels, labels], root=str(tmp_path), size=32, test_frames=1).setup()
