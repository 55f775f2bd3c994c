"""LSP and MPII in their official layouts, and people cut out of pictures."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from people_sets import SIZE, mpii_row, write_lsp, write_mpii_json, write_mpii_mat, write_pictures
from scipy.io import loadmat, savemat

from lightning_kp.batches import LabelledImages
from lightning_kp.datamodules import LSP, MPII
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.images.patches import Patch
from lightning_kp.keypoints import Keypoints
from lightning_kp.metrics.protocols import reference_lengths
from lightning_kp.people.lsp import read_lsp
from lightning_kp.people.mpii import read_json, read_official, to_placed
from lightning_kp.people.person_data import (
    ImageMemory,
    PersonAugmentation,
    PersonDataset,
    PlacedPerson,
    augmented_patch,
    scale_colours,
    square_around,
)
from lightning_kp.studies.mean_pose import mean_pose, mean_pose_scores

# Crops


def test_the_crop_around_labelled_points_by_hand() -> None:
    # Pixels 10 to 30 and 20 to 25: the middle of their centres is (20.5, 23) between edges; 1.5 * 20 = 30.
    points = np.array([[10.0, 20.0], [30.0, 25.0], [np.nan, np.nan]])
    assert square_around(points, (60, 80), 1.5) == ((20.5, 23.0), 30.0)
    assert square_around(points[[0, 2]], (60, 80), 1.5) == ((40.0, 30.0), 80.0)


def person(folder: Path) -> PlacedPerson:
    write_pictures(folder, ["a.jpg"])
    points = np.array([[30.0, 20.0], [50.0, 20.0], [40.0, 40.0], [np.nan, np.nan]])
    return PlacedPerson(folder / "a.jpg", points, (40.5, 30.5), 40.0)


def test_a_crop_shows_what_it_says(tmp_path: Path) -> None:
    each = person(tmp_path)
    data = PersonDataset([each], (1, 0, 2, 3), 40, ImageMemory(0.1))
    image, points, confidence = data[0]
    assert image.dtype == torch.uint8
    picture = torch.from_numpy(ImageMemory(0.0).read(each.image)).permute(2, 0, 1)
    # The square reaches from edge 20.5 to 60.5; it is rounded to whole pixels.
    left = round(40.5 - 20)
    torch.testing.assert_close(image, picture[:, round(30.5 - 20) :, left:][:, :40, :40])
    assert confidence.tolist() == [[1, 1, 1, 0]]
    pixels = (points[0, :3] + 1) * 40 / 2 - 0.5 + torch.tensor([left, round(30.5 - 20)])
    torch.testing.assert_close(pixels, torch.from_numpy(each.points_px[:3]).float())


def test_flipping_exchanges_mirror_joints(tmp_path: Path) -> None:
    each = person(tmp_path)
    only_flips = PersonAugmentation(turn_deg=0, scale=0, colour=0)
    data = PersonDataset([each], (1, 0, 2, 3), 40, ImageMemory(0.1), only_flips)
    plain = PersonDataset([each], (1, 0, 2, 3), 40, ImageMemory(0.1))[0]
    seen = [data[epoch] for epoch in range(8)]
    flipped = [item for item in seen if not torch.equal(item.image, plain.image)]
    assert 0 < len(flipped) < 8
    expected = Keypoints(plain.points[None], plain.confidence[None]).flip(torch.tensor([1, 0, 2, 3]))
    for item in flipped:
        assert torch.equal(item.image, plain.image.flip(-1))
        torch.testing.assert_close(item.points[0, :3], expected.points[0, 0, :3])


def test_changes_depend_on_epoch_and_row_alone_and_keep_to_their_bounds(tmp_path: Path) -> None:
    each, change = person(tmp_path), PersonAugmentation(shift=0.1)
    data = PersonDataset([each, each], (1, 0, 2, 3), 24, ImageMemory(0.1), change, seed=3)
    again = PersonDataset([each, each], (1, 0, 2, 3), 24, ImageMemory(0.1), change, seed=3)
    batch = data.__getitems__([0, 1, 2])
    assert isinstance(batch, LabelledImages)
    assert not torch.equal(batch.image[0], batch.image[1])
    assert not torch.equal(batch.image[0], batch.image[2])
    for number in range(3):
        assert torch.equal(batch.image[number], again[number].image)
        assert torch.equal(batch.points[number], again[number].points)
    for seed in range(30):
        view = augmented_patch(Patch((40.0, 30.0), 40.0), change, np.random.default_rng(seed))
        assert abs(math.degrees(view.angle)) <= 30
        assert 30 <= view.side <= 50
        assert max(abs(view.centre[0] - 40), abs(view.centre[1] - 30)) <= 0.1 * view.side


def test_distances_are_those_of_the_picture_whatever_the_view(tmp_path: Path) -> None:
    each = person(tmp_path)
    change = PersonAugmentation(scale=0)
    data = PersonDataset([each], (1, 0, 2, 3), 32, ImageMemory(0.1), change)
    for epoch in range(6):
        points = data[epoch].points[0]
        assert (points[0] - points[1]).norm().item() == pytest.approx(20 / 40 * 2, rel=0.05)


def test_colours_are_multiplied_and_stay_bytes() -> None:
    image = torch.tensor([100, 200, 10], dtype=torch.uint8).view(3, 1, 1)
    assert scale_colours(image, np.array([1.2, 1.5, 0.5])).flatten().tolist() == [120, 255, 5]


def test_augmentation_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="turn_deg is 200"):
        PersonAugmentation(turn_deg=200)


# LSP


def test_lsp_joints_are_read_as_they_stand(tmp_path: Path) -> None:
    for extended in (False, True):
        folder = tmp_path / str(extended)
        points = write_lsp(folder, extended=extended)
        people, is_lsp = read_lsp(folder, margin=1.3)
        assert is_lsp is not extended
        for number, each in enumerate(people):
            assert each.image.stem == f"im{number + 1:0{5 if extended else 4}d}"
            assert np.isnan(each.points_px[0]).all() == extended
            np.testing.assert_array_equal(each.points_px[1:], points[number, 1:])


def test_a_crop_of_no_extent_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"margin is 0\.0"):
        LSP(margin=0.0)


def test_the_official_split_tests_on_the_second_half_of_lsp(tmp_path: Path) -> None:
    write_lsp(tmp_path / "lspet", 5, extended=True)
    write_lsp(tmp_path / "lsp", 4)
    data = LSP(["lspet", "lsp"], val_fraction=0.0, size=16, root=str(tmp_path))
    data.setup()
    names = {
        stage: [f"{each.image.parts[-3]}/{each.image.stem}" for each in data.datasets[stage].people]  # type: ignore[attr-defined]
        for stage in ("train", "test")
    }
    assert names["test"] == ["lsp/im0003", "lsp/im0004"]
    assert len(names["train"]) == 7
    assert data.val_dataloader() == []
    batch = next(iter(data.train_dataloader()))
    assert batch.points.shape == (7, 1, 14, 2)


def test_a_drawn_split_is_a_function_of_the_seed(tmp_path: Path) -> None:
    write_lsp(tmp_path, 10, extended=True)
    with pytest.raises(ConfigurationError, match="no test people"):
        LSP(root=str(tmp_path)).setup()

    def parts(seed: int) -> dict[str, set[str]]:
        data = LSP(split="drawn", val_fraction=0.25, size=16, seed=seed, root=str(tmp_path))
        data.setup()
        return {
            stage: {each.image.stem for each in data.datasets[stage].people}  # type: ignore[attr-defined]
            for stage in ("train", "val", "test")
        }

    first = parts(0)
    assert {stage: len(each) for stage, each in first.items()} == {"train": 6, "val": 2, "test": 2}
    assert len(set.union(*first.values())) == 10
    assert parts(0) == first
    assert parts(1) != first


def test_what_is_wrong_with_lsp_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"joints\.mat cannot be read"):
        read_lsp(tmp_path, 1.3)
    savemat(tmp_path / "joints.mat", {"points": np.zeros(3)})
    with pytest.raises(DataError, match=r"joints\.mat has no key joints; its keys are points"):
        read_lsp(tmp_path, 1.3)
    savemat(tmp_path / "joints.mat", {"joints": np.zeros((14, 2, 5))})
    with pytest.raises(DataError, match=r"key joints has shape \(14, 2, 5\)"):
        read_lsp(tmp_path, 1.3)
    write_lsp(tmp_path, 4, extended=True)
    (tmp_path / "images" / "im00003.jpg").unlink()
    with pytest.raises(DataError, match="row 2: there is no image 3"):
        read_lsp(tmp_path, 1.3)
    write_lsp(tmp_path, 4, extended=True)
    values = loadmat(tmp_path / "joints.mat")["joints"]
    values[5, 0, 1] = np.nan
    savemat(tmp_path / "joints.mat", {"joints": values})
    with pytest.raises(DataError, match="key joints, row 1: a labelled joint has no position"):
        read_lsp(tmp_path, 1.3)


def test_the_real_extension_is_read(kp_data: Path) -> None:
    folder = kp_data / "lsp_extended"
    if not folder.is_dir():
        pytest.skip("needs lsp_extended in KP_DATA")
    people, is_lsp = read_lsp(folder, 1.3)
    assert not is_lsp
    with np.load(folder / "lsp_extended_labels.npz") as known:
        found = np.stack([each.points_px for each in people])
        np.testing.assert_allclose(found, known["points"], atol=1e-4)


# MPII


def test_mpii_counts_from_one_and_lowers_the_crop(tmp_path: Path) -> None:
    points = write_mpii_json(tmp_path)
    found = to_placed(read_json(tmp_path / "train.json")[0], tmp_path / "images")
    np.testing.assert_allclose(found.points_px[:15], points[0, :15] - 1)
    assert np.isnan(found.points_px[15:]).all()  # one joint, and no head box beside train.json
    # Pixel (41, 26) of Matlab is (40, 25): 40.5 between edges, 25.5 + 15 * 0.2 lower; 200 * 1.25 * 0.2.
    assert found.centre == pytest.approx((40.5, 28.5))
    assert found.side == pytest.approx(50.0)


def test_mpii_folder_of_json_with_head_boxes(tmp_path: Path) -> None:
    write_mpii_json(tmp_path)
    data = MPII(".", root=str(tmp_path), size=32, batch_size=2)
    data.setup()
    batch = next(iter(data.test_dataloader()))
    assert batch.points.shape == (2, 1, 18, 2)
    labelled = Keypoints(batch.points, batch.confidence)
    # The box has sides 6 and 8, diagonal 10; 0.6 of it in a crop of 50 px that is 2 wide.
    found = reference_lengths(labelled, data.point_names, data.protocol.rulers)
    torch.testing.assert_close(found, torch.full((2, 1), 0.6 * 10 * 2 / 50))


def test_mpii_without_head_boxes_is_measured_by_its_head(tmp_path: Path) -> None:
    write_mpii_json(tmp_path)
    (tmp_path / "gt_valid.mat").unlink()
    data = MPII(".", root=str(tmp_path), size=32, batch_size=2)
    data.setup()
    batch = next(iter(data.val_dataloader()))
    names = data.point_names
    neck, top = (batch.points[:, :, names.index(name)] for name in ("upper_neck", "head_top"))
    found = reference_lengths(Keypoints(batch.points, batch.confidence), names, data.protocol.rulers)
    torch.testing.assert_close(found, (neck - top).norm(dim=-1))


def test_mpii_as_published(tmp_path: Path) -> None:
    write_mpii_mat(tmp_path / "mpii.mat")
    people = read_official(tmp_path / "mpii.mat")
    assert [each.image for each in people] == [f"{n:09d}.jpg" for n in range(4)]
    for each in people:
        assert (each.scale, each.centre.tolist()) == (0.2, [41.0, 26.0])
        assert np.isfinite(each.points[:15]).all()
        assert np.isnan(each.points[15]).all()
        assert each.points[16:].tolist() == [[31.0, 11.0], [37.0, 19.0]]
    (tmp_path / "val.txt").write_text("000000002.jpg\n")
    data = MPII("mpii.mat", val_images="val.txt", size=16, root=str(tmp_path))
    data.setup()
    held: Any = data.datasets["val"]
    assert [each.image.name for each in held.people] == ["000000002.jpg"]
    assert len(data.datasets["train"]) == 3  # type: ignore[arg-type]


def test_what_is_wrong_with_mpii_is_named(tmp_path: Path) -> None:
    good = mpii_row("a.jpg", np.zeros((16, 2)))
    path = tmp_path / "train.json"
    for change, message in (
        ({"centre": good["center"], "center": None}, "row 1, key center"),
        ({"joints": [[0, 0]] * 15}, r"row 1, key joints: it has shape \(15, 2\)"),
        ({"joints_vis": ["yes"] * 16}, "row 1, key joints_vis: it has values that are not numbers"),
    ):
        path.write_text(json.dumps([good, good | change]))
        with pytest.raises(DataError, match=message):
            read_json(path)
    path.write_text(json.dumps([{key: value for key, value in good.items() if key != "scale"}]))
    with pytest.raises(DataError, match=r"train\.json, row 0: scale is missing"):
        read_json(path)
    path.write_text(json.dumps([good]))
    with pytest.raises(DataError, match=r"1 people, but gt_valid\.mat has the head boxes of 2"):
        read_json(path, np.zeros((2, 2, 2)))
    with pytest.raises(DataError, match=r"has no a\.jpg, the image of row 0"):
        MPII("train.json", val_fraction=0.0, root=str(tmp_path)).setup()
    savemat(tmp_path / "a.mat", {"RELEASE": {"annolist": np.zeros(1)}})
    with pytest.raises(DataError, match=r"no key RELEASE\.img_train"):
        read_official(tmp_path / "a.mat")


def test_the_sample_of_a_conversion_is_read(kp_data: Path) -> None:
    folder = kp_data / "format_samples" / "mpii"
    if not folder.is_dir():
        pytest.skip("needs format_samples/mpii in KP_DATA")
    data = MPII("test_mpii.json", images=".", val_fraction=0.4, size=64, root=str(folder))
    data.setup()
    assert {stage: len(data.datasets[stage]) for stage in ("train", "val")} == {"train": 3, "val": 2}  # type: ignore[arg-type]
    joints = torch.cat([batch.points[:, 0, :16] for batch in data.test_dataloader()])
    assert (joints.abs() <= 1).all()  # the crop holds the whole person


def test_pictures_are_held_until_memory_is_full(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a.jpg", "b.jpg"])
    bytes_each = SIZE[0] * SIZE[1] * 3
    pictures = ImageMemory(1.5 * bytes_each / 1e9)
    for name in ("a.jpg", "b.jpg"):
        pictures.read(tmp_path / name)
    assert [path.name for path in pictures.held] == ["a.jpg"]


def test_the_mean_pose_by_hand(tmp_path: Path) -> None:
    # Joint 0 at 0.2 and 0.4, joint 1 labelled once.
    points = torch.tensor([[[[0.2, 0.0], [0.5, 0.5]]], [[[0.4, 0.2], [0.0, 0.0]]]])
    seen = torch.tensor([[[1.0, 1.0]], [[1.0, 0.0]]])
    found = mean_pose(LabelledImages(torch.empty(0), points, seen))
    torch.testing.assert_close(found, torch.tensor([[[0.3, 0.1], [0.5, 0.5]]]))
    write_lsp(tmp_path, 6, extended=True)
    data = LSP(split="drawn", val_fraction=0.0, size=16, root=str(tmp_path))
    data.setup()
    scored = mean_pose_scores(data)
    assert 0 <= scored["pck"] <= 1
    assert math.isnan(scored["pck_right_ankle"])  # nobody's is labelled
