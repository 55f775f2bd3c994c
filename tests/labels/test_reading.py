"""Labels of other tools, brought into the network's view."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pictures

from lightning_kp.arena.recording import ArenaSettings, read_truth, write_arena
from lightning_kp.errors import DataError
from lightning_kp.labels.animals import thinned
from lightning_kp.labels.reading import read_animals, read_labels
from lightning_kp.motion.boxes import FOLLOW

HEIGHT, WIDTH = 20, 40
POINTS = {1: ((5.0, 3.0), (30.0, 10.0)), 2: ((6.0, 4.0), None), 10: ((9.0, 9.0), (31.0, 11.0))}


def write_images(folder: Path) -> list[Path]:
    """An image for each number; its grey value is ten times the number."""
    folder.mkdir(parents=True)
    paths = []
    for number in POINTS:
        paths.append(folder / f"img{number:03d}.png")
        Pictures.fromarray(np.full((HEIGHT, WIDTH), 10 * number, np.uint8)).save(paths[-1])
    return paths


@pytest.fixture
def deeplabcut(tmp_path: Path) -> Path:
    """A DeepLabCut project of three images with two points, one of them unlabelled once."""
    folder = tmp_path / "labeled-data" / "session"
    write_images(folder)
    lines = ["scorer,Me,Me,Me,Me", "bodyparts,nose,nose,tail,tail", "coords,x,y,x,y"]
    for number, (nose, tail) in POINTS.items():
        values = ",".join("" if value is None else str(value) for value in (*nose, *(tail or (None, None))))
        lines.append(f"labeled-data/session/img{number:03d}.png,{values}")
    path = folder / "CollectedData_Me.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_deeplabcut_labels_by_hand(deeplabcut: Path) -> None:
    labels = read_labels(deeplabcut, size=40)
    assert labels.names == ("nose", "tail")
    assert labels.image.shape == (3, 3, 40, 40)
    assert labels.image.dtype == torch.uint8
    # 20 x 40 pixels in the middle of 40 x 40: ten black rows above and below.
    assert labels.image[:, 0, 20, 20].tolist() == [10, 20, 100]
    assert labels.image[:, :, 9].max() == 0
    assert labels.points[0, 0].tolist() == pytest.approx([(2 * 5 + 1) / 40 - 1, (2 * 13 + 1) / 40 - 1])
    assert labels.points[0, 1].tolist() == pytest.approx([(2 * 30 + 1) / 40 - 1, (2 * 20 + 1) / 40 - 1])
    assert torch.isnan(labels.points[1, 1]).all()
    assert torch.isfinite(labels.points).all(dim=-1).sum() == 5


def test_squashed_and_cropped_labels(deeplabcut: Path) -> None:
    squashed = read_labels(deeplabcut, size=20, fit="squash")
    assert squashed.points[0, 0].tolist() == pytest.approx([11 / 40 * 2 - 1 - 0.275, 7 / 20 - 1])
    cropped = read_labels(deeplabcut, size=20, fit="crop")  # columns 10 to 29
    assert cropped.points[0, 1].tolist() == pytest.approx([(2 * 20 + 1) / 20 - 1, (2 * 10 + 1) / 20 - 1])
    boxed = read_labels(deeplabcut, size=10, boxes=(4, 2, 14, 12))
    assert boxed.points[0, 0].tolist() == pytest.approx([(2 * 1 + 1) / 10 - 1, (2 * 1 + 1) / 10 - 1])
    assert boxed.image.shape == (3, 3, 10, 10)


def test_sleap_labels(tmp_path: Path) -> None:
    import sleap_io as sio

    images = write_images(tmp_path / "images")
    skeleton = sio.Skeleton(["nose", "tail"])
    video = sio.Video.from_filename([str(path) for path in images])
    frames = []
    for index in (2, 0):  # out of order, and one image without labels
        points = np.array([[index + 1.0, 2.0], [3.0, np.nan]])
        points[1] = np.nan
        animals = [sio.Instance.from_numpy(points + shift, skeleton=skeleton) for shift in (0, 4)]
        frames.append(sio.LabeledFrame(video=video, frame_idx=index, instances=animals))
    labels = sio.Labels(videos=[video], skeletons=[skeleton], labeled_frames=frames)
    sio.save_slp(labels, str(tmp_path / "labels.slp"), verbose=False)

    read = read_labels(tmp_path / "labels.slp", size=40)
    assert read.names == ("nose_1", "tail_1", "nose_2", "tail_2")
    assert read.image[:, 0, 20, 20].tolist() == [10, 100]
    assert read.points[:, 0, 0].tolist() == pytest.approx([(2 * 1 + 1) / 40 - 1, (2 * 3 + 1) / 40 - 1])
    assert read.points[:, 2, 0].tolist() == pytest.approx([(2 * 5 + 1) / 40 - 1, (2 * 7 + 1) / 40 - 1])
    assert torch.isnan(read.points[:, 1]).all()


def test_predictions_are_labels_only_where_they_are_asked_for(tmp_path: Path) -> None:
    import sleap_io as sio

    images = write_images(tmp_path / "images")
    skeleton, video = sio.Skeleton(["nose"]), sio.Video.from_filename([str(path) for path in images])
    points = np.array([[3.0, 2.0]])
    guess = sio.PredictedInstance.from_numpy(points, skeleton=skeleton, point_scores=np.ones(1), score=1.0)
    corrected = sio.Instance.from_numpy(points + 1, skeleton=skeleton)
    for name, second in (("guessed.slp", guess), ("mixed.slp", corrected)):
        frames = [
            sio.LabeledFrame(video=video, frame_idx=index, instances=[animal])
            for index, animal in enumerate((guess, second))
        ]
        labels = sio.Labels(videos=[video], skeletons=[skeleton], labeled_frames=frames)
        sio.save_slp(labels, str(tmp_path / name), verbose=False)
    for read in (read_labels, read_animals):
        with pytest.raises(DataError, match=r"guessed\.slp holds the predictions of a network.*--predicted"):
            read(tmp_path / "guessed.slp", 40)
        with pytest.warns(UserWarning, match=r"predictions in .*guessed\.slp are taken for labels"):
            assert len(read(tmp_path / "guessed.slp", 40, predicted=True).image) == 2
        assert len(read(tmp_path / "mixed.slp", 40).image) == 1


def test_frames_are_marked_by_what_they_show_and_where_they_lie(deeplabcut: Path, tmp_path: Path) -> None:
    animals = read_animals(deeplabcut, 40)
    everything = animals.marks_of(range(3))
    assert len(set(everything)) == 6
    assert animals.marks_of([2]) == everything[4:]
    assert animals.only([2, 0]).marks_of([1]) == everything[:2]
    assert read_labels(deeplabcut, 40).marks == animals.marks
    moved = (tmp_path / "labeled-data").rename(tmp_path / "moved") / "session" / deeplabcut.name
    moved.write_text(moved.read_text().replace("labeled-data/session/", ""))
    again = read_animals(moved, 20).marks_of(range(3))
    assert again[::2] == everything[::2]
    assert not set(again[1::2]) & set(everything)


@pytest.mark.parametrize("read", [read_labels, read_animals])
def test_problems_of_a_file_come_before_the_search_for_its_animal(read: Any, deeplabcut: Path) -> None:
    (deeplabcut.parent / "img002.png").write_text("no image")
    with pytest.raises(DataError, match=r"img002\.png cannot be read"):
        read(deeplabcut, 40, boxes=FOLLOW)
    for number in POINTS:
        (deeplabcut.parent / f"img{number:03d}.png").unlink()
    with pytest.raises(DataError, match=r"img001\.png is missing.*img010\.png is missing"):
        read(deeplabcut, 40, boxes=FOLLOW)
    deeplabcut.write_text("\n".join(deeplabcut.read_text().splitlines()[:3]) + "\n")
    with pytest.raises(DataError, match="has no labelled frame"):
        read(deeplabcut, 40, boxes=FOLLOW)


def test_labelled_images_below_a_root(deeplabcut: Path, tmp_path: Path) -> None:
    table = tmp_path / "elsewhere" / "tables" / "deep" / "CollectedData_Me.csv"
    table.parent.mkdir(parents=True)
    deeplabcut.rename(table)
    with pytest.raises(DataError, match=r"img001\.png is missing"):
        read_labels(table, 40)
    assert len(read_labels(table, 40, root=tmp_path).image) == 3


def test_truth_of_the_arena(tmp_path: Path) -> None:
    video = write_arena(ArenaSettings(size=48, frames=6, animals=1), tmp_path, "arena")
    labels = read_labels(tmp_path / "arena.truth.npz", size=24, at_most=3)
    truth = read_truth(video)
    assert labels.names == tuple(f"{name}_1" for name in truth.keypoint_names)
    wanted = (2 * torch.as_tensor(truth.points_px[[0, 2, 5], 0]) + 1) / 48 - 1
    assert torch.allclose(labels.points, wanted.float(), atol=1e-6)
    assert labels.image.shape == (3, 3, 24, 24)


@pytest.mark.parametrize(
    ("number", "at_most", "places"),
    [(0, 5, []), (3, 5, [0, 1, 2]), (5, 5, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (7, 1, [0])],
)
def test_thinned(number: int, at_most: int, places: list[int]) -> None:
    assert thinned(number, at_most) == places


def test_what_cannot_be_read(deeplabcut: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no label file"):
        read_labels(tmp_path / "none.csv", size=40)
    (tmp_path / "text.slp").write_text("no labels")
    with pytest.raises(DataError, match=r"text\.slp cannot be read as labels"):
        read_labels(tmp_path / "text.slp", size=40)
    with pytest.raises(DataError, match="boxes for each frame"):
        read_labels(deeplabcut, size=40, boxes="boxes.csv")
    (deeplabcut.parent / "img002.png").unlink()
    with pytest.raises(DataError, match=r"img002\.png is missing"):
        read_labels(deeplabcut, size=40)


def test_labels_without_a_frame(tmp_path: Path) -> None:
    import sleap_io as sio

    sio.save_slp(sio.Labels(skeletons=[sio.Skeleton(["nose"])]), str(tmp_path / "empty.slp"), verbose=False)
    with pytest.raises(DataError, match="has no labelled frame"):
        read_labels(tmp_path / "empty.slp", size=40)


def test_the_open_field_mouse(kp_data: Path) -> None:
    found = sorted((kp_data / "mouse_openfield").rglob("CollectedData*.csv"))
    if not found:
        pytest.skip("needs mouse_openfield's labels in KP_DATA")
    labels = read_labels(found[0], size=32)
    assert labels.points.shape == (116, 4, 2)
    assert set(labels.names) == {"snout", "leftear", "rightear", "tailbase"}
    present = labels.points[torch.isfinite(labels.points)]
    assert present.abs().max() < 1
    # The mouse is dark before a bright floor: under its ears it is darker than the picture's middle value.
    ears = labels.points[:, labels.names.index("leftear")]
    seen = torch.isfinite(ears).all(dim=1)
    spot = torch.nn.functional.grid_sample(
        labels.image[seen].float(), ears[seen][:, None, None], align_corners=False
    ).mean(dim=(1, 2, 3))
    middle = labels.image[seen].float().flatten(1).median(dim=1).values
    assert (spot < middle).float().mean() > 0.9
