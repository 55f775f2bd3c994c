"""Images sorted into classes: which are read, which validate, how they are shifted, and what is refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from class_folders import write_folders
from PIL import Image as Pictures
from torchvision.datasets import CIFAR10, CIFAR100

from lightning_kp.batches import ClassifiedImages
from lightning_kp.datamodules import CIFAR, ClassFolders
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.frames.stills import random_region, shift_at_random, split_rows


def data(folder: Path, **options: object) -> ClassFolders:
    return ClassFolders(**{"root": str(folder), "size": 8, "batch_size": 4} | options)  # type: ignore[arg-type]


def reds(found: ClassFolders, stage: str) -> list[tuple[int, int]]:
    return [(int(item.label), int(item.image[0].max())) for item in found.datasets[stage]]  # type: ignore[attr-defined]


@pytest.mark.parametrize("hold_gb", [2.0, 0.0])
def test_folders_are_classes_in_memory_or_not(tmp_path: Path, hold_gb: float) -> None:
    found = data(write_folders(tmp_path), hold_gb=hold_gb, val_fraction=0.0, shift=0)
    found.setup("fit")
    assert found.class_names == ("ant", "bee")
    assert reds(found, "train") == [(c, 10 * i) for c in range(2) for i in range(5)]
    assert reds(found, "test") == [(c, 10 * i + 5) for c in range(2) for i in range(5)]
    assert found.val_dataloader() == []
    batches = list(found.train_dataloader())
    assert [len(batch.label) for batch in batches] == [4, 4]
    assert all(isinstance(batch, ClassifiedImages) and batch.image.dtype == torch.uint8 for batch in batches)
    assert batches[0].image.shape == (4, 3, 8, 8)
    for batch in batches:
        assert torch.equal(batch.image[:, 1, 4, 4], (100 * batch.label).to(torch.uint8))


def test_a_share_of_the_training_images_validates_and_no_other(tmp_path: Path) -> None:
    write_folders(tmp_path)
    found, again, other = (data(tmp_path, val_fraction=0.2, seed=seed, shift=0) for seed in (0, 0, 7))
    for each in (found, again, other):
        each.setup()
    train, val = reds(found, "train"), reds(found, "val")
    assert len(val) == 2
    assert sorted(train + val) == [(c, 10 * i) for c in range(2) for i in range(5)]
    assert reds(again, "val") == val
    assert reds(other, "val") != val
    assert [len(batch.label) for batch in found.val_dataloader()] == [2]


def test_without_test_images_the_validation_is_the_test(tmp_path: Path) -> None:
    found = data(write_folders(tmp_path), test="", val_fraction=0.3)
    found.setup()
    assert reds(found, "test") == reds(found, "val")


def test_images_become_squares(tmp_path: Path) -> None:
    write_folders(tmp_path)
    wide = np.zeros((8, 16, 3), dtype=np.uint8)
    wide[:, 4:12] = 200
    Pictures.fromarray(wide).save(tmp_path / "train" / "ant" / "0.png")
    found = data(tmp_path, val_fraction=0.0, shift=0, flip=False)
    found.setup()
    image = found.datasets["train"][0].image
    assert image.shape == (3, 8, 8)
    assert bool((image == 200).all())  # the middle is cut out


def test_few_images_make_one_batch(tmp_path: Path) -> None:
    found = data(write_folders(tmp_path), batch_size=64)
    found.setup()
    assert [len(batch.label) for batch in found.train_dataloader()] == [9]


def test_an_image_is_shifted_by_at_most_that_many_pixels() -> None:
    image = torch.zeros(3, 9, 9, dtype=torch.uint8)
    image[:, 4, 4] = 255
    torch.manual_seed(0)
    places = {tuple(shift_at_random(image, 2)[0].nonzero()[0].tolist()) for _ in range(400)}
    assert places == {(y, x) for y in range(2, 7) for x in range(2, 7)}
    corner = torch.full((3, 4, 4), 9, dtype=torch.uint8)
    assert {int(shift_at_random(corner, 1).sum()) // 27 for _ in range(100)} == {
        16,
        12,
        9,
    }  # black where nothing was


def test_half_of_the_training_images_are_mirrored_and_none_that_validates(tmp_path: Path) -> None:
    write_folders(tmp_path)
    left = np.zeros((8, 8, 3), dtype=np.uint8)
    left[:, :4] = 200
    for path in (tmp_path / "train").glob("*/*.png"):
        Pictures.fromarray(left).save(path)
    found = data(tmp_path, val_fraction=0.5, shift=0)
    found.setup()
    torch.manual_seed(0)
    mirrored = sum(bool(found.datasets["train"][0].image[0, 0, 7]) for _ in range(400))
    assert 160 < mirrored < 240
    assert not any(bool(item.image[0, 0, 7]) for _ in range(9) for item in found.datasets["val"])  # type: ignore[attr-defined]


@pytest.mark.parametrize(("number", "share"), [(1, 0.5), (0, 0.0)])
def test_nothing_left_to_train_on_is_refused(number: int, share: float) -> None:
    with pytest.raises(DataError, match="leave none to train on"):
        split_rows(number, share, 0)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*train"):
        data(tmp_path).setup()
    (tmp_path / "train" / "ant").mkdir(parents=True)
    with pytest.raises(DataError, match="contains no folder of images"):
        data(tmp_path).setup()
    write_folders(tmp_path / "a")
    (tmp_path / "a" / "test" / "bee").rename(tmp_path / "a" / "test" / "wasp")
    with pytest.raises(DataError, match="not those of the training images; they differ in: bee, wasp"):
        data(tmp_path / "a").setup()
    (tmp_path / "a" / "train" / "ant" / "0.png").write_text("no image")
    with pytest.raises(DataError, match=r"0\.png cannot be read.*Remove or replace it"):
        data(tmp_path / "a").setup()


@pytest.mark.parametrize("options", [{"val_fraction": 1.0}, {"val_fraction": -0.1}, {"shift": -1}])
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="val_fraction is"):
        ClassFolders(**options)  # type: ignore[arg-type]


def write_cifar(folder: Path, kind: type[CIFAR10], names: list[str], labels: str) -> None:
    """Twenty images in the archive's layout; the first value of an image is its number."""
    base = folder / kind.base_folder
    base.mkdir()
    for start, (name, _) in enumerate([*kind.train_list, *kind.test_list]):
        pixels = np.zeros((4, 3072), dtype=np.uint8)
        pixels[:, 0] = range(4 * start, 4 * start + 4)
        (base / name).write_bytes(pickle.dumps({"data": pixels, labels: [0, 1, 1, 0]}))
    (base / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: names}))


@pytest.mark.parametrize(("kind", "reader"), [("cifar10", CIFAR10), ("cifar100", CIFAR100)])
def test_the_files_of_cifar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, reader: type[CIFAR10]
) -> None:
    found = CIFAR(kind, root=str(tmp_path), batch_size=2, shift=0, flip=False)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"has no folder cifar-10.*Unpack cifar-10.*\.tar\.gz there"):
        found.setup()
    write_cifar(tmp_path, reader, ["cat", "dog"], "labels" if kind == "cifar10" else "fine_labels")
    with pytest.raises(DataError, match="differ from the original"):
        found.setup()
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    found.setup()
    assert found.class_names == ("cat", "dog")
    train = 4 * len(reader.train_list)
    rows = {int(item.image[0, 0, 0]): int(item.label) for s in ("train", "val") for item in found.datasets[s]}  # type: ignore[attr-defined]
    assert rows == {i: [0, 1, 1, 0][i % 4] for i in range(train)}
    assert reds(found, "test") == [(label, train + i) for i, label in enumerate([0, 1, 1, 0])]
    assert found.datasets["train"][0].image.shape == (3, 32, 32)


def test_real_images(kp_data: Path) -> None:
    folder = kp_data / "cifar10"
    if not folder.is_dir():
        pytest.skip("needs KP_DATA/cifar10")
    found = ClassFolders(root=str(folder), train="test", test="", val_fraction=0.1, hold_gb=0.0)
    found.setup()
    assert len(found.class_names) == 10
    assert [len(found.datasets[stage]) for stage in ("train", "val")] == [1800, 200]  # type: ignore[arg-type]
    image = found.datasets["val"][17].image
    assert image.shape == (3, 32, 32)
    assert image.float().std() > 5


@pytest.mark.parametrize("hold_gb", [2.0, 0.0])
def test_random_regions_of_the_training_images(tmp_path: Path, hold_gb: float) -> None:
    """A ramp from left to right: a region is brighter or darker on average, and steeper than half, never steeper."""
    for name in ("train/ramp", "test/ramp"):
        (tmp_path / name).mkdir(parents=True)
        ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (60, 1))
        Pictures.fromarray(ramp).save(tmp_path / name / "a.png")
    options = {
        "size": 32,
        "shift": 0,
        "flip": False,
        "val_fraction": 0.0,
        "share": [0.25, 0.25],
        "hold_gb": hold_gb,
    }
    found = data(tmp_path, **options)
    found.setup("fit")
    torch.manual_seed(0)
    drawn = torch.stack([found.datasets["train"][0].image[0].float() for _ in range(40)])  # type: ignore[index]
    assert drawn.shape == (40, 32, 32)
    means, span = drawn.mean(dim=(1, 2)), drawn[:, 16, -1] - drawn[:, 16, 0]
    assert means.std() > 10
    # A quarter of the area has a side of 0.43 to 0.58 of the image (aspect 3:4 to 4:3), so that much of the ramp.
    assert 0.38 * 236 < span.min() < span.max() < 0.6 * 236
    tested = found.datasets["test"][0].image[0].float()  # type: ignore[index]
    assert tested[16, -1] - tested[16, 0] > 0.95 * 236


def test_regions_stay_in_the_image_and_have_their_share() -> None:
    torch.manual_seed(0)
    for _ in range(100):
        left, top, right, bottom = random_region(300, 400, [0.08, 1.0])
        assert 0 <= left < right <= 400
        assert 0 <= top < bottom <= 300
        assert 0.075 <= (right - left) * (bottom - top) / (300 * 400) <= 1


@pytest.mark.parametrize("share", [[0.5], [0.0, 1.0], [0.6, 0.5], [0.5, 1.5]])
def test_shares_that_cannot_be(share: list[float]) -> None:
    with pytest.raises(ConfigurationError, match=r"share is .*--data.share=\[0.08,1.0\]"):
        ClassFolders(share=share)
