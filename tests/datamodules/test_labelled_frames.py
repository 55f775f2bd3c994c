"""Datamodules of labelled frames: what trains, what validates, and what a batch holds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentError, ArgumentParser
from PIL import Image

from lightning_kp.arena.recording import ArenaSettings, write_arena
from lightning_kp.batches import LabelledImages, PairsAndLabels
from lightning_kp.datamodules import LabelledFramePairs, LabelledFrames, VideoFramePairs
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.labels.bases import divide
from lightning_kp.labels.reading import read_animals


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of an arena with its truth, which serves as labels."""
    folder = tmp_path_factory.mktemp("arena")
    write_arena(ArenaSettings(size=48, frames=24, animals=1), folder, "arena")
    return folder


def frames(root: Path, **options: object) -> LabelledFrames:
    module = LabelledFrames("arena.truth.npz", size=32, root=str(root), batch_size=4, **options)  # type: ignore[arg-type]
    module.setup("fit")
    return module


def pairs(root: Path, **options: object) -> LabelledFramePairs:
    module = LabelledFramePairs(  # type: ignore[call-arg]
        "arena.mp4", "arena.truth.npz", size=32, gap=2, root=str(root), batch_size=4,
        cache_dir=str(root / "cache"), **options,  # type: ignore[arg-type]
    )  # fmt: skip
    module.prepare_data()
    module.setup("fit")
    return module


def test_batches_of_labelled_frames(root: Path) -> None:
    module = frames(root, val_fraction=0.25)
    batches = list(module.train_dataloader())
    assert all(isinstance(batch, LabelledImages) for batch in batches)
    assert sum(len(batch.image) for batch in batches) == 18
    assert batches[0].image.shape == (4, 3, 32, 32)
    assert batches[0].points.shape == (4, 1, len(module.point_names), 2)
    assert sum(len(batch.image) for batch in module.val_dataloader()) == 6
    assert next(iter(module.predict_dataloader())).index.tolist() == [0, 1, 2, 3]


def test_training_and_validation_have_no_frame_in_common(root: Path) -> None:
    module = frames(root, val_fraction=0.25)
    train, val = (module.datasets[name].rows.tolist() for name in ("train", "val"))  # type: ignore[attr-defined]
    assert not set(train) & set(val)
    assert len(set(train) | set(val)) == 24


def test_fewer_labels_are_among_more_and_a_seed_fixes_them(root: Path) -> None:
    drawn = [
        set(frames(root, train_frames=count, val_fraction=0, seed=3).datasets["train"].rows.tolist())  # type: ignore[attr-defined]
        for count in (2, 5, 5)
    ]
    assert drawn[0] < drawn[1] == drawn[2]
    other = frames(root, train_frames=5, val_fraction=0, seed=4).datasets["train"].rows  # type: ignore[attr-defined]
    assert set(other.tolist()) != drawn[1]


@pytest.mark.parametrize("kind", ["frames", "pairs"])
def test_a_frame_that_two_label_files_hold_is_refused(kind: str, root: Path, tmp_path: Path) -> None:
    """It would train and validate, or pull two ways."""
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(tmp_path / "1.png")
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(tmp_path / "2.png")
    head = "scorer,Me,Me\nbodyparts,nose,nose\ncoords,x,y\n"
    (tmp_path / "first.csv").write_text(f"{head}1.png,3,4\n2.png,3,4\n")
    (tmp_path / "second.csv").write_text(f"{head}2.png,5,6\n")
    files = [str(tmp_path / "first.csv"), str(tmp_path / "second.csv")]
    module = (
        LabelledFrames(files) if kind == "frames" else LabelledFramePairs("arena.mp4", files, root=str(root))
    )  # type: ignore[call-arg]
    with pytest.raises(DataError, match=r"2\.png is labelled in 2 files\. Keep each labelled frame in one"):
        module.setup("fit")
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(tmp_path / "3.png")
    (tmp_path / "second.csv").write_text(f"{head}3.png,5,6\n")
    LabelledFrames(files).setup("fit")


def test_rows_and_repeats(root: Path) -> None:
    module = frames(root, rows=[3, 7], val_fraction=0, repeats=5)
    assert module.val_dataloader() == []
    batches = list(module.train_dataloader())
    assert [len(batch.image) for batch in batches] == [4, 4, 2]
    everything = frames(root, val_fraction=0)
    images = everything.datasets["train"].image  # type: ignore[attr-defined]
    shown = torch.cat([batch.image for batch in batches])
    assert sum(int(torch.equal(image, images[3])) for image in shown) == 5
    assert sum(int(torch.equal(image, images[7])) for image in shown) == 5


@pytest.mark.parametrize("rows", [[], [24], [-1]])
def test_rows_that_do_not_exist(rows: list[int], root: Path) -> None:
    with pytest.raises(ConfigurationError, match="0 to 23"):
        frames(root, rows=rows)


def test_more_labels_than_there_are(root: Path) -> None:
    with pytest.raises(DataError, match="24 labelled"):
        frames(root, train_frames=24, val_fraction=0.1)
    assert len(divide(1, 0, None, 0)[0]) == 1


def test_a_missing_point_has_no_confidence_and_no_nan(tmp_path: Path, root: Path) -> None:
    truth = dict(np.load(root / "arena.truth.npz", allow_pickle=False))
    module = frames(root, val_fraction=0)
    module._animals.points[2, 0, 1] = torch.nan  # type: ignore[union-attr]
    module.setup("fit")
    batch = module.datasets["train"][2]
    assert batch.confidence[0, 1] == 0
    assert batch.confidence.sum() == batch.confidence.numel() - 1
    assert torch.isfinite(batch.points).all()
    assert truth  # the file has arrays


def test_labels_beside_pairs(root: Path) -> None:
    module = pairs(root, labelled_per_batch=6, train_frames=4, label_val_fraction=0.25)
    batch = next(iter(module.train_dataloader()))
    assert isinstance(batch, PairsAndLabels)
    assert batch.frame.shape == (4, 3, 32, 32)
    assert batch.image.shape == (6, 3, 32, 32)
    assert len({image.numpy().tobytes() for image in batch.image}) == 4  # all of them, some twice
    held_out = next(iter(module.val_dataloader()))
    trained = {image.numpy().tobytes() for image in batch.image}
    assert not trained & {image.numpy().tobytes() for image in held_out.image}


def test_a_resumed_batch_has_the_same_labels(root: Path) -> None:
    module = pairs(root, labelled_per_batch=3)
    first, again, other = (module.datasets["train"].__getitems__(rows) for rows in ([1, 2], [1, 2], [2, 3]))  # type: ignore[attr-defined]
    assert torch.equal(first.image, again.image)
    assert not torch.equal(first.points, other.points)


def test_without_held_out_labels_validation_has_none(root: Path) -> None:
    module = pairs(root, label_val_fraction=0)
    assert len(next(iter(module.val_dataloader())).image) == 0
    one = module.datasets["train"][0]
    assert one.frame.shape == (3, 32, 32)
    assert one.image.shape == (8, 3, 32, 32)


def test_labels_are_checked_before_the_video_is_decoded(root: Path, tmp_path: Path) -> None:
    module = LabelledFramePairs(
        "arena.mp4", str(tmp_path / "none.csv"), root=str(root), cache_dir=str(tmp_path / "c")
    )
    with pytest.raises(DataError, match="no label file"):
        module.prepare_data()
    assert not (tmp_path / "c").exists()


def test_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("scorer,me,me\nbodyparts,nose,nose\ncoords,x,y\n" + f"{name}.png,1,2\n")
    with pytest.raises(DataError) as caught:
        LabelledFrames(["a.csv", "none.csv", "b.csv"], root=str(tmp_path)).setup("fit")
    for part in ("a.csv.png is missing", "b.csv.png is missing", "There is no label file"):
        assert part in str(caught.value)


def test_impossible_numbers() -> None:
    with pytest.raises(ConfigurationError, match="repeats is 0"):
        LabelledFrames("x", repeats=0)
    with pytest.raises(ConfigurationError, match="labelled_per_batch is 0"):
        LabelledFramePairs("x", "y", labelled_per_batch=0)


def test_the_options_of_pairs_keep_their_flat_names() -> None:
    """Users' YAML files and checkpoints name them; only ``boxes`` differs: labels cannot follow boxes of a file."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(LabelledFramePairs, "data")
    alone = ArgumentParser(exit_on_error=False)
    alone.add_class_arguments(VideoFramePairs, "data")
    own = {"labels", "names", "rows", "labelled_per_batch", "label_val_fraction", "train_frames"}
    assert set(parser.get_defaults().data.as_dict()) == set(alone.get_defaults().data.as_dict()) | own
    data = LabelledFramePairs("a.mp4", "b.csv", gap=3, boxes=[0, 0, 9, 9])
    hidden = {
        "preprocessing"
    }  # kept by the attribute, since a dataclass in a checkpoint cannot be read safely
    assert set(data.hparams) == set(parser.get_defaults().data.as_dict()) - hidden
    assert (data.hparams["gap"], data.hparams["size"], data.hparams["boxes"]) == (3, 128, [0, 0, 9, 9])
    with pytest.raises(ArgumentError):
        parser.parse_args(["--data.videos=a.mp4", "--data.labels=b.csv", "--data.boxes=follow"])


@pytest.mark.parametrize("kind", ["frames", "pairs"])
def test_the_frames_that_train_are_remembered(kind: str, root: Path) -> None:
    marks = read_animals(root / "arena.truth.npz", 32)
    if kind == "frames":
        module: LabelledFrames | LabelledFramePairs = frames(root, val_fraction=0.25)
        rows = module.datasets["train"].rows.tolist()  # type: ignore[attr-defined]
    else:
        module = pairs(root, label_val_fraction=0.25)
        rows = module.datasets["train"].labelled.rows.tolist()  # type: ignore[attr-defined]
    assert len(rows) == 18
    assert module.trained_on == marks.marks_of(rows)
    held_out = sorted(set(range(24)) - set(rows))
    assert not set(marks.marks_of(held_out)) & set(module.trained_on)


def test_chosen_rows_are_remembered_alone(root: Path) -> None:
    marks = read_animals(root / "arena.truth.npz", 32)
    assert frames(root, rows=[3, 7], val_fraction=0).trained_on == marks.marks_of([3, 7])


def partly_labelled(folder: Path) -> Path:
    """Ten pictures: the nose is labelled in all, the whisker in the first, the tail in none."""
    rows = []
    for number in range(10):
        Image.new("RGB", (32, 32), (20 * number, 0, 0)).save(folder / f"p{number}.png")
        rows.append(f"p{number}.png,{10 + number},20,{'5,6' if number == 0 else ','},,\n")
    head = (
        "scorer" + ",me" * 6 + "\nbodyparts,nose,nose,whisker,whisker,tail,tail\ncoords" + ",x,y" * 3 + "\n"
    )
    (folder / "CollectedData_me.csv").write_text(head + "".join(rows))
    return folder / "CollectedData_me.csv"


def test_points_that_no_training_frame_labels_are_told(tmp_path: Path) -> None:
    table = partly_labelled(tmp_path)
    with pytest.warns(UserWarning, match="None of the 10 labelled frames that train labels tail") as told:
        LabelledFrames(str(table), size=32, val_fraction=0).setup("fit")
    assert str(told[0].message).endswith("or leave it out with --data.names=[nose,whisker].")
    # The only label of the whisker may be held out, or not chosen.
    with pytest.warns(UserWarning, match="None of the 9 labelled frames that train labels whisker, tail"):
        LabelledFrames(str(table), size=32, val_fraction=0, rows=list(range(1, 10))).setup("fit")


def test_points_that_some_frame_labels_are_no_news(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    module = LabelledFrames(
        str(partly_labelled(tmp_path)), size=32, val_fraction=0, names=["nose", "whisker"]
    )
    module.setup("fit")
    assert not [each for each in recwarn if "labelled frames that train" in str(each.message)]
