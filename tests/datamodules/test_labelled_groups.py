"""Groups of animals: archives, who trains and who tests, unlabelled frames, pasted animals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pictures

from lightning_kp.arena.recording import ArenaSettings, write_arena
from lightning_kp.batches import LabelledAndUnlabelled, LabelledImages
from lightning_kp.datamodules import GroupsAndUnlabelled, LabelledGroups
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.geometry import to_pixels
from lightning_kp.labels.animals import LabelledAnimals
from lightning_kp.labels.cut_and_paste import cut_and_paste
from lightning_kp.labels.datasets import LabelledDataset, divide_groups
from lightning_kp.labels.opening import open_labels

NAN = float("nan")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Six grey images of 40 x 20, the shade is the number; two animals of three parts, one part missing."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(6):
        Pictures.new("RGB", (40, 20), (30 * number, 0, 0)).save(folder / f"{number}.png")
    points = np.full((6, 4, 3, 2), np.nan)
    points[:, :2] = np.array([[[5, 5], [8, 5], [11, 5]], [[20, 10], [24, 10], [28, 10]]])
    points[0, 1, 2] = np.nan
    np.savez(
        tmp_path / "labels.npz", points=points, path=[f"{n}.png" for n in range(6)], node_names=["a", "b", "c"],
        split=["train"] * 4 + ["test"] * 2,
    )  # fmt: skip
    other = tmp_path / "unlabelled"
    other.mkdir()
    for number in range(3):
        Pictures.new("RGB", (40, 20), (0, 50 + number, 0)).save(other / f"{number}.png")
    return tmp_path / "labels.npz"


def groups(archive: Path, **options: Any) -> LabelledGroups:
    data = LabelledGroups("labels.npz#train", "labels.npz#test", root=str(archive.parent), size=32, **options)
    data.setup()
    return data


def test_an_arena_is_labels_too(tmp_path: Path) -> None:
    video = write_arena(ArenaSettings(size=48, frames=30, animals=2), tmp_path, "arena")
    data = LabelledGroups("arena.truth.npz", root=str(tmp_path), size=32, at_most=10, test_frames=2)
    data.setup()
    assert len(data.datasets["predict"]) == 10  # type: ignore[arg-type]
    assert (data.shown_px, data.animals) == ((48, 48), 2)
    with pytest.raises(DataError, match="has no point called wing"):
        LabelledGroups("arena.truth.npz", names=["wing"], root=str(video.parent), size=32).setup()


def test_a_part_of_an_archive(archive: Path) -> None:
    found = open_labels(f"{archive}#test")
    assert found.names == ("a", "b", "c")
    assert [frame.name for frame in found.frames] == ["4.png", "5.png"]
    assert found.frames[0].points_px.shape == (2, 3, 2)
    assert found.frames[1].read()[0, 0].tolist() == [150, 0, 0]
    assert len(open_labels(archive).frames) == 6


def test_what_an_archive_may_lack(archive: Path) -> None:
    with pytest.raises(DataError, match=r"no part dev.*Its parts are: test, train"):
        open_labels(f"{archive}#dev")
    np.savez(archive.with_name("bare.npz"), points=np.zeros((1, 1, 1, 2)))
    with pytest.raises(DataError, match="no path, node_names"):
        open_labels(archive.with_name("bare.npz"))
    (archive.parent / "images" / "3.png").unlink()
    assert open_labels(archive).problems == ["3.png is missing"]


def test_points_lie_where_the_image_shows_them(archive: Path) -> None:
    data = groups(archive)
    batch = next(iter(data.test_dataloader()))
    assert type(batch) is LabelledImages
    assert batch.points.shape == (2, 2, 3, 2)
    # 40 x 20 becomes 32 x 16, padded by 8 rows above.
    expected = torch.tensor([[5.5, 5.5], [8.5, 5.5], [11.5, 5.5]]) * 0.8 + torch.tensor([0, 8])
    torch.testing.assert_close(batch.points[0, 0], expected / 16 - 1)
    assert data.shown_px == (40, 40)
    assert groups(archive, fit="squash").shown_px == (20, 40)
    assert data.part_names == ("a", "b", "c")


def test_an_epoch_has_as_many_batches_with_few_frames_as_with_many(archive: Path) -> None:
    for number in (1, 4):
        data = groups(archive, train_frames=number, batches=7, batch_size=2)
        shades = [float(image[0].max()) for batch in data.train_dataloader() for image in batch.image]
        assert len(shades) == 14
        assert len(set(shades)) == number
        counts = [shades.count(shade) for shade in set(shades)]
        assert max(counts) - min(counts) <= 1


def test_more_frames_than_an_epoch_holds_are_trained_on_in_later_ones() -> None:
    """Two batches of one of seven frames: four epochs see them all, and in a new order each time."""
    data = LabelledDataset(shaded(7), np.arange(7), length=2, only_in_view=True)
    sampler = LabelledGroups.sampler_type(len(data), seed=0)
    seen = []
    for epoch in range(8):
        sampler.set_epoch(epoch)
        seen.append([float(data[index].image.max()) for index in sampler])
    assert {shade for epoch in seen[:4] for shade in epoch} == set(range(7))
    assert all(len(epoch) == 2 for epoch in seen)


def shaded(number: int) -> LabelledAnimals:
    """Images of a shade of their own, with one point each."""
    image = torch.arange(number, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    return LabelledAnimals(image, torch.zeros(number, 1, 1, 2), ("head",))


def test_missing_parts_have_no_confidence(archive: Path) -> None:
    data = groups(archive, batches=4, batch_size=1)
    seen = {int(batch.confidence.sum()) for batch in data.train_dataloader()}
    assert seen == {5, 6}


def test_division_is_drawn_once() -> None:
    few = divide_groups(100, 20, 10, 5, seed=3)
    many = divide_groups(100, 20, 10, 40, seed=3)
    assert [len(part) for part in few] == [5, 10, 20, 65]
    assert [len(part) for part in many] == [40, 10, 20, 30]
    assert set(few[0]) < set(many[0])
    assert np.array_equal(few[1], many[1])
    assert np.array_equal(few[2], many[2])
    assert not set(few[2]) & set(divide_groups(100, 0, 0, None, 3)[3])
    assert sorted(np.concatenate(few)) == list(range(100))


def test_left_out_frames_join_the_unlabelled(archive: Path) -> None:
    options: dict[str, Any] = {"train_frames": 2, "batches": 9, "size": 32, "unlabelled_per_batch": 2}
    data = GroupsAndUnlabelled(
        "labels.npz#train", ["unlabelled"], test_labels="labels.npz#test", root=str(archive.parent), **options
    )
    data.setup()
    batches = list(data.train_dataloader())
    assert all(type(batch) is LabelledAndUnlabelled and len(batch.unlabelled) == 2 for batch in batches)
    labelled = {tuple(image.amax(dim=(1, 2)).tolist()) for batch in batches for image in batch.image}
    without = {tuple(image.amax(dim=(1, 2)).tolist()) for batch in batches for image in batch.unlabelled}
    assert len(labelled) == 2
    assert not labelled & without
    assert {green for _, green, _ in without} >= {50, 51, 52}
    assert len({red for red, green, _ in without if not green}) == 2
    again = list(data.train_dataloader())
    assert all(
        torch.equal(one.unlabelled, other.unlabelled) for one, other in zip(batches, again, strict=True)
    )
    assert len(next(iter(data.val_dataloader())).unlabelled) == 0


def test_no_unlabelled_frames(archive: Path) -> None:
    data = GroupsAndUnlabelled("labels.npz", root=str(archive.parent), size=32)
    with pytest.raises(DataError, match="no unlabelled frames"):
        data.setup()


def test_too_many_are_asked_for(archive: Path) -> None:
    with pytest.raises(DataError, match="There are 4 labelled frames, but 6 are needed"):
        groups(archive, train_frames=5, val_frames=1)


def whole_and_partial() -> LabelledAnimals:
    """Image 0: a red whole animal; image 1: a blue one that lacks a part."""
    image = torch.zeros(2, 3, 40, 40, dtype=torch.uint8)
    image[0, 0, 10:13, 10:21] = 200
    image[1, 2, 30:33, 5:16] = 200
    points_px = torch.tensor([[[[10.0, 11], [20, 11]]], [[[5.0, 31], [NAN, NAN]]]])
    from lightning_kp.geometry import normalise

    return LabelledAnimals(image, normalise(points_px, (40, 40)), ("head", "tail"))


def test_whole_animals_are_pasted() -> None:
    made = cut_and_paste(whole_and_partial(), images=5, animals=3, border=0.0)
    assert made.image.shape == (5, 3, 40, 40)
    pixels = to_pixels(made.points, (40, 40))
    for image, points in zip(made.image, pixels, strict=True):
        known = ~torch.isnan(points).any(dim=-1)
        assert known.any()
        for animal, seen in zip(points, known, strict=True):
            for (x, y), there in zip(animal.tolist(), seen.tolist(), strict=True):
                if there:
                    assert int(image[:, round(y), round(x)].max()) == 200  # every label lies on an animal


def test_a_covered_part_counts_as_missing() -> None:
    torch.manual_seed(0)
    made = cut_and_paste(whole_and_partial(), images=40, animals=8, border=0.3)
    known = ~torch.isnan(made.points).any(dim=-1)
    partial = known.any(dim=-1) & ~known.all(dim=-1)
    assert partial.any()
    assert (known.all(dim=-1).sum(dim=1) >= 1).all()  # the last one that was laid is whole


def test_nothing_whole_to_paste() -> None:
    labelled = whole_and_partial()
    with pytest.raises(
        DataError,
        match=r"No animal in the 1 training images .* in view \(head, tail\)",
    ):
        cut_and_paste(LabelledAnimals(labelled.image[1:], labelled.points[1:], labelled.names), 3)


def test_training_on_pasted_images(archive: Path) -> None:
    data = groups(archive, pasted=3, pasted_animals=2, batches=3)
    batch = next(iter(data.train_dataloader()))
    assert batch.points.shape[1] >= 2
    assert len(data.test_dataloader().dataset) == 2


def test_animals_are_laid_on_the_picture_and_not_on_its_padding(archive: Path) -> None:
    data = groups(archive, pasted=30, pasted_animals=10)
    image, points, confidence = data.datasets["train"].__getitems__(range(30))  # type: ignore[attr-defined]
    # Pictures of 40 x 20 are rows 8 to 24 of 32, and shades of red there.
    rows = to_pixels(points, (32, 32))[..., 1][confidence > 0]
    assert len(rows) > 300
    assert ((rows > 7.5) & (rows < 23.5)).all()
    assert not image[:, :, :8].any()
    assert not image[:, :, 24:].any()


def test_an_animal_too_large_for_a_background_is_not_laid_there() -> None:
    labelled = whole_and_partial()
    made = cut_and_paste(
        labelled._replace(inside=torch.tensor([[0, 0, 40, 40], [0, 20, 8, 40]])), 20, 3, border=0.0
    )
    animals = (~torch.isnan(made.points).any(dim=-1)).any(dim=-1).sum(dim=1)
    assert (animals == 1).any()  # the narrow background's own, a part of one
    assert (animals > 1).any()


@pytest.mark.parametrize(
    "wrong", [{"pasted_animals": 0}, {"pasted_animals": -2}, {"size": 0}, {"boxes": [0, 0, 10]}]
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        LabelledGroups("labels.npz", **wrong)


def test_what_is_laid_over_an_animal_hides_its_parts() -> None:
    labelled = whole_and_partial()
    one = LabelledAnimals(labelled.image[:1], labelled.points[:1], labelled.names)
    made = cut_and_paste(one, images=60, animals=1, border=0.3)
    known = ~torch.isnan(made.points).any(dim=-1)
    # Only covering takes parts away here: sometimes one of the first animal's two, sometimes none.
    assert (known.sum(dim=(1, 2)) == 3).any()
    assert (known.sum(dim=(1, 2)) == 4).any()


def test_animals_out_of_view_are_not_pasted() -> None:
    """Image 1 was cropped: of one of its animals the crop shows nothing, of the other a part."""
    labelled = whole_and_partial()
    points = torch.full((2, 2, 2, 2), NAN)
    points[0, :1] = labelled.points[0]
    points[1] = torch.tensor([[[-1.9, 0.0], [-1.6, 0.0]], [[-1.2, 0.3], [-0.8, 0.3]]])
    image = labelled.image.clone()
    image[1] = 0
    made = cut_and_paste(LabelledAnimals(image, points, labelled.names), images=20, animals=2, border=0.0)
    for shown, animals in zip(made.image, to_pixels(made.points, (40, 40)), strict=True):
        for x, y in animals.reshape(-1, 2).tolist():
            if x == x and 0 <= x < 40:
                on_animal = int(shown[:, round(y), round(x)].max()) == 200
                assert on_animal or (x, y) == pytest.approx(
                    (3.5, 25.5)
                )  # the background's own, which shows nothing


def test_animals_out_of_view_are_neither_trained_on_nor_missed() -> None:
    points = torch.tensor([[[[0.0, 0.0], [0.5, 0.0]], [[1.5, 0.0], [0.9, 0.0]], [[1.5, 0], [1.7, 0]]]])
    image = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    data = LabelledDataset(LabelledAnimals(image, points, ("head", "tail")), np.arange(1), only_in_view=True)
    assert data[0].confidence.tolist() == [[1, 1], [0, 1], [0, 0]]
