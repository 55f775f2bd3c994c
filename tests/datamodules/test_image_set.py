"""Photographs in folders: methods get images, classes or points, whichever they read."""

import json
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from every_method import METHODS, SETTINGS
from PIL import Image as Pictures

from lightning_kp.batches import ClassifiedImages, Images, LabelledImages
from lightning_kp.callbacks import KeypointOverlay
from lightning_kp.contract import offered_batch_types, require_batch_type
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.datamodules import CIFAR, ClassFolders, ImageSet
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.method import Method
from lightning_kp.methods import AnchorClassifier, BKinD


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of several sizes and modes, ten of each of two classes; red tells them apart."""
    for number, name in enumerate(("ant", "bee")):
        (tmp_path / name).mkdir()
        for i in range(10):
            mode = ("RGB", "L", "CMYK", "RGBA")[i % 4]
            picture = Pictures.new("RGB", (16 + i, 20), (100 * number + 10 * i,) * 3)
            picture.convert(mode).save(tmp_path / name / f"{i}.{'tif' if mode == 'CMYK' else 'png'}")
    return tmp_path


def image_set(folder: Path, **options: object) -> ImageSet:
    return ImageSet(**{"root": str(folder), "size": 16, "batch_size": 4, "fit": "crop"} | options)  # type: ignore[arg-type]


def served(data: KeypointDataModule, method: Method) -> KeypointDataModule:
    """The datamodule as a trainer sets it up for a method."""
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.strategy.connect(method)
    data.trainer = trainer
    data.setup("fit")
    return data


def reader_of(kind: type) -> Method:
    name = next(name for name, method in METHODS.items() if method.batch_type is kind)
    return METHODS[name](**SETTINGS[name])


def test_one_folder_serves_images_and_classes(folder: Path) -> None:
    data = image_set(folder, val_fraction=0.2)
    for kind in (Images, ClassifiedImages, Images):  # also one after another
        batch = next(iter(served(data, reader_of(kind)).train_dataloader()))
        assert type(batch) is kind
        assert batch.image.shape == (4, 3, 16, 16)
        assert batch.image.dtype == torch.uint8
    assert data.class_names == ("ant", "bee")
    assert {name: len(rows) for name, rows in data.datasets.items()} == {  # type: ignore[arg-type]
        "train": 16, "val": 4, "test": 4, "predict": 20,
    }  # fmt: skip
    val = served(data, reader_of(ClassifiedImages)).datasets["val"].__getitems__([0, 1, 2, 3])  # type: ignore[attr-defined]
    assert sorted(val.label.tolist()) == [0, 0, 1, 1]
    assert ((val.image[:, 0, 8, 8] >= 100).long() == val.label).all()


@pytest.mark.parametrize("kind", [ClassFolders, CIFAR, ImageSet])
def test_a_datamodule_names_all_that_it_offers(kind: type) -> None:
    assert {Images, ClassifiedImages} <= set(offered_batch_types(kind))
    require_batch_type(AnchorClassifier, kind)
    with pytest.raises(
        ConfigurationError, match=f"BKinD reads FramePairs; {kind.__name__} yields .*Images or "
    ):
        require_batch_type(BKinD, kind)


def test_class_folders_serve_images_alone(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(4):
            Pictures.new("RGB", (8, 8)).save(tmp_path / "train" / name / f"{i}.png")
    data = ClassFolders(root=str(tmp_path), test="", size=8, batch_size=2)
    assert type(next(iter(served(data, reader_of(Images)).train_dataloader()))) is Images
    assert type(next(iter(served(data, reader_of(ClassifiedImages)).train_dataloader()))) is ClassifiedImages


def test_a_table_says_class_and_part(folder: Path) -> None:
    rows = [f"{name}/{i}.{'tif' if i % 4 == 2 else 'png'},c{i % 2},{'test' if i > 6 else 'train'}"
            for name in ("ant", "bee") for i in range(9)]  # fmt: skip
    (folder / "classes.csv").write_text("\n".join(("image,class,split", *rows)))
    with pytest.warns(UserWarning, match=r"2 image\(s\) have no class .*: ant/9\.png, bee/9\.png"):
        data = served(image_set(folder, labels="classes.csv", val_fraction=0.0), reader_of(ClassifiedImages))
    assert data.class_names == ("c0", "c1")  # type: ignore[attr-defined]
    assert len(data.datasets["train"]) == 14  # type: ignore[arg-type]
    assert len(data.datasets["test"]) == 4  # type: ignore[arg-type]
    assert len(served(data, reader_of(Images)).datasets["train"]) == 16  # type: ignore[arg-type]


def test_images_without_any_class_have_the_label_minus_one(folder: Path) -> None:
    data = served(image_set(folder / "ant"), reader_of(ClassifiedImages))
    assert set(data.datasets["train"].__getitems__(range(9)).label.tolist()) == {-1}  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="needs at least 2 classes, got 0"):
        L.Trainer(logger=False, enable_checkpointing=False).fit(
            AnchorClassifier("cifar_resnet8"), datamodule=data
        )


def coco(folder: Path, animals: int = 1) -> Path:
    images = [{"id": i, "file_name": f"ant/{i}.png", "width": 16 + i, "height": 20} for i in (0, 1, 3, 4)]
    marks = [
        {"id": 10 * each["id"] + k, "image_id": each["id"], "category_id": 1, "keypoints": [3, 4, 2, 0, 0, 0],  # type: ignore[operator]
         "num_keypoints": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
        for each in images for k in range(animals)
    ]  # fmt: skip
    kinds = [{"id": 1, "name": "ant", "keypoints": ["left eye", "right eye"], "skeleton": []}]
    path = folder / "points.json"
    path.write_text(json.dumps({"images": images, "annotations": marks, "categories": kinds}))
    return path


def test_labelled_points_are_served_in_the_square_of_a_box(folder: Path) -> None:
    coco(folder)
    (folder / "boxes.csv").write_text("image,left,top,right,bottom\nant/0.png,0,0,16,8\nant/1.png,0,0,16,8\n")
    with pytest.warns(UserWarning, match=r"18 image\(s\) have no box"):
        data = served(
            image_set(folder, points="points.json", boxes="boxes.csv", margin=1.0, val_fraction=0.0),
            reader_of(LabelledImages),
        )
    assert data.part_names == ("left eye", "right eye")
    batch = data.datasets["train"].__getitems__([0, 1])  # type: ignore[attr-defined]
    assert isinstance(batch, LabelledImages)
    # The square is 16 px wide and starts 4 px above the image: (3, 4) is edge (3.5, 8.5) of it.
    expected = np.array([3.5, 8.5]) / 8 - 1
    assert batch.points[:, 0, 0].tolist() == [pytest.approx(expected.tolist())] * 2
    assert batch.confidence.tolist() == [[[1.0, 0.0]]] * 2
    assert data.set.mirror == (1, 0)  # type: ignore[attr-defined]


def test_several_animals_in_an_image_are_refused(folder: Path) -> None:
    coco(folder, animals=2)
    with pytest.raises(DataError, match=r"several animals in 4 image\(s\): ant/0\.png"):
        image_set(folder, points="points.json").setup()


def test_labels_of_other_images_are_refused(folder: Path) -> None:
    coco(folder)
    with pytest.raises(DataError, match=r"labels none of the 10 images, such as 0\.png"):
        image_set(folder, images="bee", points="points.json").setup()


def test_fewer_images_than_a_batch_make_one_and_one_image_is_refused(folder: Path) -> None:
    data = image_set(folder, batch_size=64)
    data.setup()
    assert [len(batch.image) for batch in data.train_dataloader()] == [18]
    with pytest.raises(DataError, match=r"1 image\(s\), 1 of them held out, leave none"):
        image_set(folder, images="ant/0.png").setup()


def test_pictures_of_keypoints_are_drawn_of_any_batch(folder: Path, tmp_path: Path) -> None:
    """KeypointOverlay logs with images of a set as it does with videos."""
    overlay = KeypointOverlay(frames=2)
    drawn: list[int] = []
    name = next(name for name, kind in METHODS.items() if kind.batch_type is Images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "lightning_kp.callbacks.overlay.draw", lambda method, images, columns: drawn.append(len(images))
        )
        patch.setattr("lightning_kp.callbacks.overlay.log_pictures", lambda *_: None)
        L.Trainer(
            accelerator="cpu", max_epochs=1, limit_train_batches=1, callbacks=[overlay],
            default_root_dir=tmp_path, enable_progress_bar=False,
            enable_checkpointing=False, logger=L.pytorch.loggers.CSVLogger(tmp_path), num_sanity_val_steps=0,
        ).fit(METHODS[name](**SETTINGS[name]), datamodule=image_set(folder, size=32, val_fraction=0.2))  # fmt: skip
    assert drawn == [2]
