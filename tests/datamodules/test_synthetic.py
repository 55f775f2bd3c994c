"""SyntheticArena: files are written once, read like any video, and the test video never trains."""

import numpy as np
import pytest
import torch

from lightning_kp.batches import FramePairs
from lightning_kp.datamodules.synthetic import SyntheticArena
from lightning_kp.errors import ConfigurationError


def build(folder, **options):
    given = {"frames": 60, "test_frames": 30, "frame_px": 96, "size": 48, "gap": 6, "batch_size": 4}
    return SyntheticArena(**{**given, "root": str(folder), "cache_dir": "cache", **options})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("arena")


@pytest.fixture(scope="module")
def data(folder):
    module = build(folder)
    module.prepare_data()
    module.setup()
    return module


def test_two_videos_and_their_truth_lie_below_the_root(data, folder):
    written = sorted(p.suffixes[-1] for p in (folder / "arena").iterdir())
    assert written == [".mp4", ".mp4", ".npz", ".npz"]
    assert [path.parent for path in data.video_paths()] == [folder / "arena"] * 2


def test_batches_are_frame_pairs(data):
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch, FramePairs)
    assert SyntheticArena.batch_type is FramePairs
    assert batch.frame.shape == (4, 3, 48, 48)
    assert batch.frame.dtype == torch.uint8
    assert not torch.equal(batch.frame, batch.future)


def test_the_test_video_never_trains_or_validates(data):
    for stage in ("train", "val"):
        assert {int(v) for batch in data.loader(stage) for v in batch.video} == {0}
    tested = list(data.test_dataloader())
    assert {int(v) for batch in tested for v in batch.video} == {1}
    assert sum(len(batch.index) for batch in tested) == 30 - 6
    train = {int(i) for batch in data.loader("train") for i in batch.index}
    val = {int(i) for batch in data.loader("val") for i in batch.index}
    assert not train & val


def test_predict_yields_every_frame_of_both(data):
    batches = list(data.predict_dataloader())
    videos = torch.cat([batch.video for batch in batches]).tolist()
    frames = torch.cat([batch.index for batch in batches]).tolist()
    assert videos == [0] * 60 + [1] * 30
    assert frames == [*range(60), *range(30)]


def test_labels_lie_on_the_animals(data):
    labels, truth = data.labels(at_most=10), data.truth()
    assert labels.image.shape == (10, 3, 48, 48)
    assert labels.points.shape == (10, 14, 2)
    assert labels.names[:2] == ("snout_1", "left_ear_1")
    first = (2 * truth.points_px[0].reshape(-1, 2) + 1) / 96 - 1
    assert labels.points[0].numpy() == pytest.approx(first, abs=1e-5)
    body = labels.names.index("body_1")  # the black animal's belly is the darkest place
    for image, points in zip(labels.image, labels.points, strict=True):
        x, y = ((points[body] + 1) * 24 - 0.5).round().long().tolist()
        assert image[:, y, x].float().mean() < 0.6 * image.float().mean()


def test_train_labels_belong_to_the_train_video(data):
    assert len(data.truth("train").points_px) == 60
    assert not np.allclose(data.truth("train").points_px[:30], data.truth("test").points_px)


def test_settings_have_files_of_their_own(data, folder):
    names = {path.name for path in data.video_paths()}
    other = {path.name for path in build(folder, shadow=True).video_paths()}
    assert not names & other
    assert {path.name for path in build(folder, size=64).video_paths()} == names


def test_a_second_preparation_writes_nothing(data, folder):
    before = {path: path.stat().st_mtime_ns for path in (folder / "arena").iterdir()}
    build(folder).prepare_data()
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "arena").iterdir()}


def test_equal_seeds_are_refused(folder):
    with pytest.raises(ConfigurationError, match="different numbers"):
        build(folder, arena_seed=1)


def test_settings_reach_the_video(folder):
    settings = build(folder, look_alike=True, flicker=0.1, shake=1.0, noise=0.0, animals=1, fps=30.0).settings
    for arena in settings.values():
        assert (arena.look_alike, arena.flicker, arena.shake) == (True, 0.1, 1.0)
        assert (arena.noise, arena.animals, arena.fps, arena.size) == (0.0, 1, 30.0, 96)
    assert [(arena.frames, arena.seed) for arena in settings.values()] == [(60, 0), (30, 1)]


def test_hyperparameters_are_plain_values(data):
    assert data.hparams["size"] == 48
    assert data.hparams["fit"] == "pad"
    plain = (int, float, str, bool, list, type(None))
    assert all(isinstance(value, plain) for value in data.hparams.values())
