"""CalMS21 in its official layout, as json and as npy; and files that are not."""

import json
import os
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from behaviour_sets import as_npy, write_calms21
from jsonargparse import ArgumentError, ArgumentParser

from lightning_kp.behaviour.bases import BehaviourModule
from lightning_kp.behaviour.bouts import Bout
from lightning_kp.datamodules import CalMS21, FlyVsFly, TrackedBehaviour
from lightning_kp.errors import DataError
from lightning_kp.tracks.table import make_tracks
from lightning_kp.tracks.writing import write_tracks

TRAIN = "calms21_task1_train.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_calms21(tmp_path)


def setup(root: Path, **options: Any) -> CalMS21:
    data = CalMS21(root=str(root), **options)
    data.setup("fit")
    return data


def test_the_official_json(root: Path) -> None:
    data = setup(root)
    assert data.behaviours == ("attack", "investigation", "mount", "other")
    assert data.background == "other"
    assert data.window_length == 201
    assert data.num_features == 28  # 2 mice x 7 points x 2
    train = data.recordings["train"]
    assert [r.name for r in train] == [f"task1/train/mouse00{i}_task1_annotator1" for i in (1, 2)]
    assert [len(r) for r in train] == [60, 61]
    raw = json.loads((root / TRAIN).read_text())["annotator-id_0"][train[0].name]
    points = np.array(raw["keypoints"])
    np.testing.assert_allclose(train[0].tracks.points_px[7, 1, 3], points[7, 1, :, 3], rtol=1e-6)
    np.testing.assert_allclose(train[0].tracks.confidence, raw["scores"], rtol=1e-6)
    assert train[0].labels.tolist() == raw["annotations"]
    assert train[0].tracks.frame_size == (570, 1024)
    assert len(data.datasets["train"]) == 121  # type: ignore[arg-type]
    assert len(data.recordings["test"]) == 2


def test_the_middle_of_the_frame_is_0(root: Path) -> None:
    """The benchmark scales x by 1024 and y by 570 to [-1, 1]; ours counts pixel centres."""
    data = setup(root, past=0, future=0)
    point = data.recordings["train"][0].tracks.points_px[0, 0, 0]
    item = data.datasets["train"][0]
    np.testing.assert_allclose(
        item.window[0, :2], [(point[0] + 0.5) / 512 - 1, (point[1] + 0.5) / 285 - 1], rtol=1e-5
    )


def test_npy_holds_the_same(root: Path) -> None:
    names = {
        f"{split}_file": as_npy(root / f"calms21_task1_{split}.json").name for split in ("train", "test")
    }
    ours, theirs = setup(root), setup(root, **names)
    for one, two in zip(ours.recordings["train"], theirs.recordings["train"], strict=True):
        assert one.name == two.name
        assert np.array_equal(one.labels, two.labels)
        assert np.array_equal(one.tracks.points_px, two.tracks.points_px)


def test_an_npy_that_would_run_something_is_refused(root: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(root / "ran"),)

    np.save(root / "evil.npy", np.array({"annotator-id_0": Evil()}, object), allow_pickle=True)
    with pytest.raises(DataError, match=r"evil\.npy cannot be read: it names"):
        setup(root, train_file="evil.npy")
    assert not (root / "ran").exists()
    np.save(root / "numbers.npy", np.ones(3))
    with pytest.raises(DataError, match="not one object"):
        setup(root, train_file="numbers.npy")


def test_features_and_validation(root: Path) -> None:
    data = setup(root, features=("pose", "confidence"), past=2, future=2, stride=1, val_fraction=0.25)
    assert data.num_features == 42
    training, validation = data.datasets["train"], data.datasets["val"]
    for number, length in ((0, 60), (1, 61)):
        first = round(length * 0.75)
        assert validation.index[validation.video == number].min() == first  # type: ignore[attr-defined]
        assert training.index[training.video == number].max() == first - 4 - 1  # type: ignore[attr-defined]
    assert len(data.val_dataloader())
    assert setup(root).val_dataloader() == []


def test_own_keypoints_replace_the_official_ones(root: Path) -> None:
    for split in ("train", "test"):
        for recording in setup(root).recordings[split]:  # type: ignore[index]
            tracks = recording.tracks
            shifted = {
                "times_s": tracks.times_s, "points_px": tracks.points_px + 1, "confidence": tracks.confidence,
                "covariance_px": np.ones_like(tracks.covariance_px),
            }  # fmt: skip
            write_tracks(
                make_tracks(tracks.info, shifted), root / "own" / recording.name.split("/")[-1], ("csv",)
            )
    data = setup(root, tracks="own", features=("pose", "covariance"))
    assert data.num_features == 28 + 42
    np.testing.assert_allclose(
        data.recordings["train"][0].tracks.points_px,
        setup(root).recordings["train"][0].tracks.points_px + 1,
    )
    with pytest.raises(DataError, match="no covariance"):
        setup(root, features=("covariance",))


def write_confidences(root: Path, **means: float) -> None:
    """The official points as tracks of their own, with these mean confidences in training, and 0.9 in the test."""
    for split in ("train", "test"):
        for recording in setup(root).recordings[split]:  # type: ignore[index]
            tracks = recording.tracks
            confidence = np.full(tracks.confidence.shape, 0.9, np.float32)
            for name, mean in means.items() if split == "train" else ():
                column = tracks.keypoint_names.index(name)
                confidence[:, 0, column], confidence[:, 1, column] = mean - 0.05, mean + 0.05
            changed = replace(tracks, confidence=confidence)
            write_tracks(changed, root / "own" / recording.name.split("/")[-1], ("csv",))


def test_only_confident_keypoints_of_the_training_sequences(root: Path) -> None:
    write_confidences(root, nose=0.2, neck=0.05, tail_base=0.12)
    data = setup(root, tracks="own", mean_confidence=0.1)
    kept = ("nose", "left_ear", "right_ear", "left_hip", "right_hip", "tail_base")
    for split in ("train", "test"):  # also in the test, where the neck is confident
        assert {each.tracks.keypoint_names for each in data.recordings[split]} == {kept}  # type: ignore[index]
    assert data.num_features == 2 * 6 * 2
    named = setup(root, tracks="own", keypoints=["tail_base", "neck"])
    points, all_points = (each.recordings["test"][0].tracks.points_px for each in (named, setup(root)))
    np.testing.assert_allclose(points, all_points[:, :, [6, 3]])
    assert setup(root, tracks="own", keypoints=["neck", "nose"], mean_confidence=0.1).num_features == 2 * 2
    with pytest.raises(
        DataError, match=r"mean confidence of 0.95; the highest is 0.900.*--data.mean_confidence"
    ):
        setup(root, tracks="own", mean_confidence=0.95)
    with pytest.raises(DataError, match="no keypoint called beak"):
        setup(root, keypoints=["beak"])


def broken(root: Path, change: Any) -> str:
    """The error of a training file that ``change`` has altered."""
    content = json.loads((root / TRAIN).read_text())
    name = next(iter(content["annotator-id_0"]))
    changed = change(content, content["annotator-id_0"][name])
    content = content if changed is None else changed
    (root / TRAIN).write_text(json.dumps(content))
    with pytest.raises(DataError) as error:
        setup(root)
    return str(error.value)


def drop(key: str) -> Any:
    return lambda _, sequence: (sequence.pop(key), None)[1]


def put(key: str, value: Any) -> Any:
    return lambda _, sequence: sequence.update({key: value})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (drop("scores"), "key scores: it is missing; the keys are keypoints, annotations, metadata"),
        (put("keypoints", [[1, 2], [3]]), "key keypoints:"),
        (
            put("keypoints", np.zeros((5, 2, 7, 2)).tolist()),
            "shape (5, 2, 7, 2), but ('frames', 2, 2, 7) is needed",
        ),
        (put("annotations", [0, 1]), "key annotations: shape (2,), but (60,) is needed"),
        (put("annotations", [9] * 60), "key annotations: numbers 9 to 9 for 4 behaviours"),
        (put("metadata", {"vocab": {"attack": 1}}), "key metadata/vocab"),
        (put("metadata", {}), "key metadata/vocab: None"),
        (put("scores", [[[float("nan")] * 7] * 2] * 60), "key scores: it has a value that is not finite"),
        (lambda content, _: content["annotator-id_0"].update(x=[1]), "sequence x: it is a list"),
        (lambda *_: {"annotator-id_0": {}}, "annotator-id_0: it has no sequences"),
        (lambda *_: {"annotator-id_0": 5}, "annotator-id_0: it has no sequences"),
        (lambda *_: [], "has no annotators"),
    ],
)
def test_schema_errors_name_file_sequence_and_key(root: Path, change: Any, told: str) -> None:
    message = broken(root, change)
    assert TRAIN in message
    assert told in message


def test_missing_and_torn_files(root: Path) -> None:
    (root / TRAIN).write_text((root / TRAIN).read_text()[:200])
    with pytest.raises(DataError, match="cannot be read"):
        setup(root)
    with pytest.raises(DataError, match=r"no file .*nothing\.json"):
        setup(root, train_file="nothing.json")


def test_vocabularies_must_agree(root: Path) -> None:
    def change(content: Any, sequence: Any) -> None:
        sequence["metadata"]["vocab"] = {"attack": 1, "investigation": 0, "mount": 2, "other": 3}

    assert "metadata/vocab" in broken(root, change)


def test_bouts_of_the_labels(root: Path) -> None:
    from lightning_kp.behaviour.bouts import to_bouts

    recording = setup(root).recordings["train"][0]
    found = to_bouts(recording.labels, tuple("aimo"))
    assert found[0] == Bout("aimo"[recording.labels[0]], 0, found[0].stop)
    assert found[-1].stop == 59


@pytest.mark.parametrize("kind", [CalMS21, FlyVsFly, TrackedBehaviour])
def test_the_options_of_windows_keep_their_flat_names(kind: type[BehaviourModule]) -> None:
    """Users' YAML files name them."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "data")
    assert set(signature(BehaviourModule).parameters) <= set(parser.get_defaults().data.as_dict())
    data = parser.instantiate_classes(parser.parse_args(["--data.past=7", "--data.batch_size=5"])).data
    assert (data.past, data.future, data.batch_size) == (7, 100, 5)
    with pytest.raises(ArgumentError):
        parser.parse_args(["--data.pst=7"])
