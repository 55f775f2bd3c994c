"""CUB-200-2011 in its official layout: species, parts, and birds that look to one side."""

from pathlib import Path

import pytest
import torch
from cub_folders import CLASSES, PARTS, write_cub

from lightning_kp.batches import LabelledImages
from lightning_kp.datamodules import CUB
from lightning_kp.errors import ConfigurationError, DataError

TEN = ("back", "beak", "breast", "left eye", "left leg", "left wing", "nape", "right leg", "tail", "throat")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_cub(tmp_path)


def birds(folder: Path, **options: object) -> CUB:
    data = CUB(**{"root": str(folder), "size": 16, "val_fraction": 0.0} | options)  # type: ignore[arg-type]
    data.setup()
    return data


def labelled(data: CUB, stage: str) -> LabelledImages:
    data.batch_type = LabelledImages  # type: ignore[assignment, misc]  # of this one only
    data.setup()
    rows = data.datasets[stage]
    return rows.__getitems__(range(len(rows)))  # type: ignore[attr-defined, arg-type, no-any-return]


def test_official_parts_of_the_set_and_species(folder: Path) -> None:
    data = birds(folder)
    assert data.class_names == tuple(CLASSES.values())
    assert data.part_names == PARTS
    assert [len(data.datasets[name]) for name in ("train", "test")] == [6, 6]  # type: ignore[arg-type]
    assert data.datasets["test"].__getitems__(range(6)).label.tolist() == [0, 0, 1, 1, 2, 2]  # type: ignore[attr-defined]
    assert "val" not in data.datasets
    assert len(birds(folder, val_fraction=0.3).datasets["val"]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("wanted", [[4], ["4"], ["004.Groove_billed_Ani"], ["Groove_billed_Ani"]])
def test_species_by_number_or_name(folder: Path, wanted: list[int | str]) -> None:
    assert birds(folder, classes=wanted).class_names == ("004.Groove_billed_Ani",)


def test_points_lie_in_the_square_of_the_box(folder: Path) -> None:
    batch = labelled(birds(folder, margin=1.5), "train")
    # The box is 12 x 6 px at (2, 4): a square of 18 px about (8, 7), from (-1, -2) on.
    first = batch.points[0, 0, 0]  # the back of bird 0, pixel (2, 3), edge (2.5, 3.5)
    assert first.tolist() == pytest.approx([2 * 3.5 / 18 - 1, 2 * 5.5 / 18 - 1], abs=1e-6)
    hidden = [PARTS.index("right eye"), PARTS.index("right wing")]
    assert batch.confidence[0, 0, hidden].tolist() == [0, 0]
    assert batch.confidence[0, 0].sum() == 13
    assert not (batch.points[batch.confidence > 0] == -1).any()  # nothing at the corner


def test_birds_that_look_to_the_same_side(folder: Path) -> None:
    strict = birds(folder, aligned="strict")
    assert strict.part_names == TEN
    assert strict.class_names == tuple(CLASSES.values())[1:]  # the albatross is a seabird
    assert [len(strict.datasets[name]) for name in ("train", "predict")] == [2, 2]  # type: ignore[arg-type]
    both = birds(folder, aligned="mirrored")
    assert [len(both.datasets[name]) for name in ("train", "test")] == [4, 2]  # type: ignore[arg-type]
    batch = labelled(both, "train")
    plain = labelled(birds(folder, classes=[4, 9]), "train")
    left_eye, right_eye = TEN.index("left eye"), PARTS.index("right eye")
    assert torch.equal(batch.image[0], plain.image[0])
    assert torch.equal(batch.image[1], plain.image[1].flip(-1))
    mirrored = plain.points[1, 0, right_eye] * torch.tensor([-1, 1])
    assert torch.equal(batch.points[1, 0, left_eye], mirrored)
    leg, other_leg = TEN.index("left leg"), PARTS.index("right leg")
    assert batch.points[1, 0, leg, 1] == plain.points[1, 0, other_leg, 1]
    assert batch.confidence[1].all()


def test_faults_are_named(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ConfigurationError, match="no class 201"):
        birds(folder, classes=[201])
    with pytest.raises(DataError, match="None of the 0 birds can be aligned"):
        birds(folder, classes=[1], aligned="strict")
    with pytest.raises(DataError, match=r"classes\.txt cannot be read.*--data\.root"):
        birds(tmp_path_factory.mktemp("none"))
    (folder / "images" / CLASSES[4] / "bird_0.jpg").unlink()
    with pytest.warns(UserWarning, match=r"1 of 12 images are missing: 004.*bird_0\.jpg"):
        birds(folder)
    (folder / "bounding_boxes.txt").write_text("1 2.0 3.0\n")
    with pytest.raises(DataError, match=r"Line 1 of .*bounding_boxes\.txt has not 5 columns"):
        birds(folder)


def test_the_real_birds(kp_data: Path) -> None:
    """Numbers of images that the definition of the aligned set leaves of the sixteen classes."""
    folder = kp_data / "CUB_200_2011"
    if not folder.is_dir():
        pytest.skip("needs KP_DATA/CUB_200_2011")
    for aligned, expected in (("mirrored", (252, 237)), ("strict", (65, 65)), (None, (480, 415))):
        found = CUB(root=str(folder), aligned=aligned).read()  # type: ignore[arg-type]
        assert tuple(sum(bird.split == part for bird in found) for part in ("train", "test")) == expected
