"""MNIST and FashionMNIST from idx files as torchvision reads them."""

from pathlib import Path

import numpy as np
import pytest
from still_sets import write_digits, write_idx

from lightning_kp.datamodules import IdxImages
from lightning_kp.errors import ConfigurationError, DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty training and eight test images; each is as bright as its number, and its class is the number modulo 10."""
    return write_digits(tmp_path)


def digits(folder: Path, **options: object) -> IdxImages:
    data = IdxImages(**{"root": str(folder), "val_fraction": 0.0} | options)  # type: ignore[arg-type]
    data.setup()
    return data


def test_images_are_grey_in_three_channels_and_keep_their_classes(folder: Path) -> None:
    data = digits(folder)
    batch = data.datasets["train"].__getitems__([3, 13])  # type: ignore[attr-defined]
    assert batch.image.shape == (2, 3, 28, 28)
    assert batch.image[:, :, 5, 5].tolist() == [[3] * 3, [13] * 3]
    assert batch.label.tolist() == [3, 3]
    assert data.class_names[3] == "3 - three"
    assert data.datasets["test"].__getitems__([7]).image[0, 0, 0, 0] == 7  # type: ignore[attr-defined]
    assert len(data.datasets["test"]) == 8  # type: ignore[arg-type]


def test_some_images_are_drawn_by_the_seed(folder: Path) -> None:
    drawn = [[still.name for still in digits(folder, train_images=5, seed=seed).stills] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len([name for name in drawn[0] if name.startswith("train/")]) == 5
    data = digits(folder, train_images=10, val_fraction=0.2)
    assert [len(data.datasets[name]) for name in ("train", "val", "test")] == [8, 2, 8]  # type: ignore[arg-type]


def test_other_sizes_are_resized(folder: Path) -> None:
    image = digits(folder, size=32).datasets["train"].__getitems__([9]).image  # type: ignore[attr-defined]
    assert image.shape == (1, 3, 32, 32)
    assert (image == 9).all()


def test_files_that_are_missing_or_cut_off_are_told(folder: Path) -> None:
    with pytest.raises(DataError, match=r"FashionMNIST.raw has no file train-images-idx3-ubyte"):
        digits(folder / "elsewhere", kind="fashionmnist")
    with pytest.raises(ConfigurationError, match="train_images is 0"):
        digits(folder, train_images=0)
    images = folder / "MNIST" / "raw" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged or cut off"):
        digits(folder)


def test_fewer_labels_than_images_are_told(folder: Path) -> None:
    write_idx(folder / "MNIST" / "raw" / "train-labels-idx1-ubyte", np.zeros(19, np.uint8))
    with pytest.raises(DataError, match="has 20 images and 19 labels"):
        digits(folder)


@pytest.mark.parametrize(("kind", "numbers"), [("mnist", (60000, 10000)), ("fashionmnist", (20000, 4443))])
def test_real_files(kp_data: Path, kind: str, numbers: tuple[int, int]) -> None:
    if not (kp_data / "MNIST").is_dir():
        pytest.skip("needs KP_DATA/MNIST")
    data = digits(kp_data, kind=kind)
    assert tuple(len(data.datasets[name]) for name in ("train", "test")) == numbers  # type: ignore[arg-type]
    assert data.datasets["test"].__getitems__([0]).label == {"mnist": 7, "fashionmnist": 9}[kind]  # type: ignore[attr-defined]
