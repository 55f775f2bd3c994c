import dataclasses
import errno
import os
import signal

import numpy as np
import pandas as pd
import pytest
import sleap_io as sio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchvision.transforms.v2 import functional as tv
from tqdm import tqdm

from lightning_kp.errors import DataError
from lightning_kp.geometry import Region, place
from lightning_kp.keypoints import Keypoints
from lightning_kp.method import Prediction
from lightning_kp.skeleton import Skeleton
from lightning_kp.tracks.identity_files import keep_identities
from lightning_kp.tracks.pixels import original_pixels
from lightning_kp.tracks.reading import TidyFile, open_tracks, read_tracks
from lightning_kp.tracks.store import TrackStore
from lightning_kp.tracks.table import (
    ARRAYS,
    TrackInfo,
    Tracks,
    concatenate,
    default_names,
    make_tracks,
    rows_per_piece,
)
from lightning_kp.tracks.writing import FORMATS, is_finished, write_tracks

WHOLE = Region(0, 0, 640, 480)


def make(frames=7, animals=1, keypoints=3, seed=0, fps=25.0):
    """Random tracks with one keypoint absent now and then, one empty frame, and uneven times."""
    rng = np.random.default_rng(seed)
    shape = (frames, animals, keypoints)
    points = rng.uniform(0, 480, (*shape, 2)).astype(np.float32)
    confidence = rng.uniform(0.1, 1, shape).astype(np.float32)
    covariance = rng.uniform(0, 9, (*shape, 3)).astype(np.float32)
    absent = rng.random(shape) < 0.2
    absent[:, :, 0] = False
    absent[min(2, frames - 1)] = True
    points[absent], covariance[absent], confidence[absent] = np.nan, np.nan, 0
    times = np.arange(frames) / fps + rng.uniform(0, 0.01, frames)
    return Tracks(
        "videos/mouse.v1.mp4",
        (480, 640),
        fps,
        times,
        points,
        confidence,
        covariance,
        default_names(keypoints),
    )


def predict(points, confidence=None, covariance=None, start=0):
    points = torch.as_tensor(points, dtype=torch.float32)
    frames = len(points)
    confidence = torch.ones(points.shape[:3]) if confidence is None else torch.as_tensor(confidence)
    covariance = torch.zeros(*points.shape[:3], 3) if covariance is None else torch.as_tensor(covariance)
    index = torch.arange(start, start + frames)
    return Prediction(Keypoints(points, confidence), covariance, torch.zeros(frames, dtype=torch.long), index)


def assert_same(first, second):
    for field in dataclasses.fields(Tracks):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        else:
            assert a == b, field.name


# --- from the network to pixels of the original video


def test_original_pixels_by_hand():
    # a region 200 wide and 100 high whose top left edge is at (10, 20)
    prediction = predict(
        [[[[0.0, 0.0], [-1.0, 1.0], [0.3, 0.3]]]],
        confidence=[[[0.5, 1.0, 0.0]]],
        covariance=[[[[0.01, 0.04, 0.02], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]]]],
    )
    points, confidence, covariance = original_pixels(prediction, Region(10, 20, 210, 120))
    np.testing.assert_allclose(points[0, 0, :2], [[109.5, 69.5], [9.5, 119.5]])
    np.testing.assert_allclose(covariance[0, 0, 0], [0.01 * 100**2, 0.04 * 50**2, 0.02 * 100 * 50], rtol=1e-6)
    np.testing.assert_array_equal(confidence, [[[0.5, 1.0, 0.0]]])
    assert np.isnan(points[0, 0, 2]).all()  # confidence 0 = absent
    assert np.isnan(covariance[0, 0, 2]).all()


def test_each_frame_may_have_its_own_region():
    prediction = predict([[[[0.0, 0.0]]], [[[0.0, 0.0]]]], covariance=torch.ones(2, 1, 1, 3))
    points, _, covariance = original_pixels(prediction, [Region(0, 0, 10, 10), Region(100, 0, 120, 40)])
    np.testing.assert_allclose(points[:, 0, 0], [[4.5, 4.5], [109.5, 19.5]])
    np.testing.assert_allclose(covariance[:, 0, 0], [[25, 25, 25], [100, 400, 200]])
    with pytest.raises(DataError, match="2 predicted frames need as many regions, got 1"):
        original_pixels(prediction, [WHOLE])


def test_bfloat16_predictions_are_accepted():
    low = predict([[[[0.25, 0.25]]]])
    low = low._replace(
        keypoints=Keypoints(low.keypoints.points.bfloat16(), low.keypoints.confidence.bfloat16())
    )
    points, _, _ = original_pixels(low, WHOLE)
    np.testing.assert_allclose(points[0, 0, 0], [399.5, 299.5])


@pytest.mark.parametrize("fit", ["pad", "crop", "squash"])
@pytest.mark.parametrize("frame_size", [(480, 640), (321, 207), (97, 301)])
@pytest.mark.parametrize("box", [None, (11, 7, 90, 80)])
@pytest.mark.parametrize("size", [64, 128])
def test_dots_are_found_back_within_a_twentieth_of_a_pixel(fit, frame_size, box, size):
    """Blobs at known places -> the very resize of the pipeline -> their centroid -> original pixels."""
    plan = place(frame_size, size, fit, box)
    left, top, right, bottom = plan.box
    step = max((right - left) / plan.content[1], (bottom - top) / plan.content[0], 1.0)
    spread = 3.0 * step  # far enough from the border that no blob is cut
    rng = np.random.default_rng(1)
    low, high = np.array([left, top]) + 4 * spread, np.array([right, bottom]) - 4 * spread
    if (high <= low).any():
        spread = min(right - left, bottom - top) / 12
        low, high = np.array([left, top]) + 4 * spread, np.array([right, bottom]) - 4 * spread
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in frame_size), indexing="ij")
    places = rng.uniform(low, high, (4, 2)) - 0.5
    found = []
    for x, y in places:
        image = torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread**2))[None]
        content = tv.resize(image[:, top:bottom, left:right], list(plan.content), antialias=True)
        canvas = torch.zeros(1, size, size)
        row, column = plan.offset
        canvas[:, row : row + plan.content[0], column : column + plan.content[1]] = content
        mass = canvas / canvas.sum()
        centres = (2 * torch.arange(size) + 1) / size - 1
        found.append(torch.stack(((mass.sum(1) * centres).sum(), (mass.sum(2) * centres).sum())))
    points, _, _ = original_pixels(predict(torch.stack(found)[None, None]), plan.region)
    np.testing.assert_allclose(points[0, 0], places, atol=0.05)


def test_predictions_in_the_store_are_tracks_in_original_pixels(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (10, 2, 3, 2))
    batches = [predict(points[:4]), predict(points[4:9], start=4), predict(points[9:], start=9)]
    info = TrackInfo("v.mp4", (480, 640), 30.0, default_names(3), animals=2)
    times = np.arange(10) / 30
    regions = [Region(i, 0, 640 + i, 480) for i in range(10)]
    parts = [original_pixels(batch, [regions[i] for i in batch.index.tolist()]) for batch in batches]
    arrays = [times, *(np.concatenate(each) for each in zip(*parts, strict=True))]
    tracks = make_tracks(info, dict(zip(ARRAYS, arrays, strict=True)))
    assert len(tracks) == 10
    with TrackStore(tmp_path / "v", info) as store:
        for batch in batches:
            rows = slice(int(batch.index[0]), int(batch.index[-1]) + 1)
            store.append(batch, regions[rows], times[rows])
        written = store.finish()
    assert_same(read_tracks(tmp_path / "v.csv"), tracks)
    assert len(TidyFile(tmp_path / "v.csv")) == 10
    assert {path.name for path in written} == {"v.slp", "v.csv", "v.dlc.csv", "v.dlc.h5", "v.json"}
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written}  # nothing left over


def test_frames_out_of_order_are_refused(tmp_path):
    info = TrackInfo("v.mp4", (480, 640), 30.0, default_names(1))
    with TrackStore(tmp_path / "v", info) as store:
        store.append(predict(np.zeros((2, 1, 1, 2))), WHOLE, [0, 0.1])
        with pytest.raises(DataError, match="expected frames from 2 on, got frames \\[3\\]"):
            store.append(predict(np.zeros((1, 1, 1, 2)), start=3), WHOLE, [0.3])
        assert store.rows == 2


def test_shapes_that_contradict_each_other_are_refused():
    tracks = make()
    with pytest.raises(DataError, match="confidence of shape"):
        dataclasses.replace(tracks, confidence=tracks.confidence[:3])
    with pytest.raises(DataError, match="3 keypoints need as many names, got 1"):
        dataclasses.replace(tracks, keypoint_names=("a",))


# --- the store


def fill(store, tracks):
    for start in range(store.rows, len(tracks), 3):
        store.extend(tracks[start : start + 3])


def test_a_store_continues_after_the_last_complete_frame(tmp_path):
    tracks = make(frames=8)
    with TrackStore(tmp_path / "m", tracks.info) as store:
        store.extend(tracks[:5])
    with store.path.open("ab") as file:
        file.write(b"torn")  # what a killed run leaves
    with TrackStore(tmp_path / "m", tracks.info) as store:
        assert store.rows == 5
        fill(store, tracks)
        store.finish(["csv"])
    assert_same(read_tracks(tmp_path / "m.csv"), tracks)


def test_a_torn_record_is_dropped(tmp_path):
    tracks = make(frames=4)
    with TrackStore(tmp_path / "m", tracks.info) as store:
        store.extend(tracks)
    os.truncate(store.path, store.path.stat().st_size - 1)
    with TrackStore(tmp_path / "m", tracks.info) as store:
        assert store.rows == 3
        fill(store, tracks)
        assert_same(next(store.pieces()), tracks)


@pytest.mark.parametrize("cut", [0, 3, 40])
def test_a_torn_or_foreign_head_starts_afresh(tmp_path, cut):
    tracks = make(frames=4)
    with TrackStore(tmp_path / "m", tracks.info) as store:
        store.extend(tracks)
    os.truncate(store.path, cut)
    with TrackStore(tmp_path / "m", tracks.info) as store:
        assert store.rows == 0
        fill(store, tracks)
        assert_same(next(store.pieces()), tracks)


def test_another_checkpoint_starts_afresh(tmp_path):
    tracks = make(frames=4)
    with TrackStore(tmp_path / "m", dataclasses.replace(tracks.info, origin="a")) as store:
        store.extend(tracks)
    with TrackStore(tmp_path / "m", dataclasses.replace(tracks.info, origin="b")) as store:
        assert store.rows == 0
    with TrackStore(tmp_path / "m", dataclasses.replace(tracks.info, origin="b"), resume=True) as store:
        store.extend(tracks)
    with TrackStore(tmp_path / "m", dataclasses.replace(tracks.info, origin="b"), resume=False) as store:
        assert store.rows == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")
def test_two_at_once_are_refused_and_lose_nothing(tmp_path):
    """A second call on the same video must neither empty the store nor write into it; afterwards it may."""
    tracks = make(frames=4)
    first = TrackStore(tmp_path / "m", tracks.info)
    first.extend(tracks[:2])
    with pytest.raises(DataError, match=r"being tracked into .* already"):
        TrackStore(tmp_path / "m", dataclasses.replace(tracks.info, origin="b"))
    first.extend(tracks[2:])
    first.finish(["csv"])
    assert_same(read_tracks(tmp_path / "m.csv"), tracks)
    with TrackStore(tmp_path / "m", tracks.info) as second:
        assert second.rows == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_process_loses_nothing_that_was_appended(tmp_path):
    tracks = make(frames=6)
    child = os.fork()
    if child == 0:
        TrackStore(tmp_path / "m", tracks.info).extend(tracks[:4])
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    with TrackStore(tmp_path / "m", tracks.info) as store:
        assert store.rows == 4
        assert_same(next(store.pieces()), tracks[:4])


def test_finished_is_known_by_video_checkpoint_and_settings(tmp_path):
    tracks = make()
    info = dataclasses.replace(tracks.info, origin="abc")
    assert not is_finished(tmp_path / "m.v1", info)
    with TrackStore(tmp_path / "m.v1", info) as store:
        store.extend(tracks)
        assert not is_finished(tmp_path / "m.v1", info)
        store.finish(["csv"])
    assert is_finished(tmp_path / "m.v1", info)
    assert not is_finished(tmp_path / "m.v1", dataclasses.replace(info, origin="other"))
    (tmp_path / "m.v1.json").write_text("{")
    assert not is_finished(tmp_path / "m.v1", info)


def test_a_store_without_frames_says_so(tmp_path):
    with TrackStore(tmp_path / "m", make().info) as store, pytest.raises(DataError, match="No frame of"):
        store.finish()


def test_other_shapes_are_refused(tmp_path):
    with (
        TrackStore(tmp_path / "m", make(keypoints=3).info) as store,
        pytest.raises(DataError, match=r"got \(1, 4\)"),
    ):
        store.extend(make(keypoints=4))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"Cannot write .*choose another --out folder\.$"):
        TrackStore(tmp_path / "file" / "m", make().info)


def test_a_full_disk_keeps_what_was_written(tmp_path, monkeypatch):
    tracks = make(frames=6)
    store = TrackStore(tmp_path / "m", tracks.info)
    store.extend(tracks[:4])
    write = store._write

    def full(content):
        write(content[:11])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "_write", full)
    with pytest.raises(DataError, match=r"No space left.*continues after the 4 frames"):
        store.extend(tracks[4:])
    store.close()
    with TrackStore(tmp_path / "m", tracks.info) as again:
        fill(again, tracks)
        assert_same(next(again.pieces()), tracks)


# --- files


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 4),
    st.data(),
)  # fmt: skip
def test_the_tidy_table_is_exact(tmp_path_factory, frames, animals, keypoints, data):
    shape = (frames, animals, keypoints)
    floats = st.floats(-1e4, 1e4, width=32) | st.just(float("nan"))
    draw = lambda *more: data.draw(hnp.arrays(np.float32, (*shape, *more), elements=floats))  # noqa: E731
    times = np.sort(data.draw(hnp.arrays(np.float64, frames, elements=st.floats(0, 1e5), unique=True)))
    tracks = Tracks("v", (4, 6), 29.97, times, draw(2), draw(), draw(3), default_names(keypoints))
    stem = tmp_path_factory.mktemp("tidy") / "a.b"
    write_tracks(tracks, stem, ["csv"])
    assert_same(read_tracks(stem.with_name("a.b.csv")), tracks)


def test_tidy_columns_and_values_by_hand(tmp_path):
    tracks = Tracks(
        "v", (4, 6), 10.0, np.array([0.0, 0.1]),
        np.array([[[[1.5, 2.25], [np.nan, np.nan]]], [[[3, 4], [5, 6]]]], np.float32),
        np.array([[[0.5, 0]], [[1, 1]]], np.float32),
        np.full((2, 1, 2, 3), 0.25, np.float32), ("nose", "tail"),
    )  # fmt: skip
    write_tracks(tracks, tmp_path / "v", ["csv"])
    assert (tmp_path / "v.csv").read_text().splitlines()[:3] == [
        "frame,time_s,animal,keypoint,x,y,confidence,var_x,var_y,cov_xy",
        "0,0.0,animal1,nose,1.5,2.25,0.5,0.25,0.25,0.25",
        "0,0.0,animal1,tail,,,0.0,0.25,0.25,0.25",
    ]


def test_the_peak_is_the_last_column_where_the_confidence_is_a_probability(tmp_path):
    plain = make(frames=3000, animals=2, keypoints=3)  # several pieces
    tracks = dataclasses.replace(plain, peak=plain.confidence / 2)
    (path, _) = write_tracks(tracks, tmp_path / "v", ["csv"])
    first = path.read_text().splitlines()[:2]
    assert first[0] == "frame,time_s,animal,keypoint,x,y,confidence,var_x,var_y,cov_xy,peak"
    assert np.float32(first[1].split(",")[-1]) == tracks.peak[0, 0, 0]
    assert_same(read_tracks(path), tracks)
    assert_same(tracks[5:9], dataclasses.replace(plain[5:9], peak=tracks.peak[5:9]))
    assert_same(concatenate(tracks.info, tracks.pieces()), tracks)


def test_a_peak_of_another_shape_is_refused():
    plain = make()
    with pytest.raises(DataError, match=r"need peak of shape \(7, 1, 3\)"):
        dataclasses.replace(plain, peak=plain.confidence[:2])


def test_names_that_look_like_numbers_or_nothing_survive(tmp_path):
    tracks = dataclasses.replace(make(keypoints=3), keypoint_names=("1", "NA", "a,b"))
    for path in write_tracks(tracks, tmp_path / "v")[:-1]:
        assert read_tracks(path).keypoint_names == ("1", "NA", "a,b"), path


def test_tables_of_many_pieces_have_every_frame_once(tmp_path):
    keypoints = 30
    tracks = make(frames=1500, keypoints=keypoints)
    assert rows_per_piece(tracks.info) < 750  # three pieces
    for path in write_tracks(tracks, tmp_path / "m")[:-1]:
        again = read_tracks(path)
        np.testing.assert_array_equal(again.points_px, tracks.points_px, err_msg=str(path))
        np.testing.assert_array_equal(again.confidence, tracks.confidence, err_msg=str(path))
    assert len(list(open_tracks(tmp_path / "m.csv").pieces())) == 3


def test_bars_move_on_while_files_are_written(tmp_path, monkeypatch):
    bars = []

    class Bar(tqdm):
        def __init__(self, **options):
            super().__init__(**options)
            self.steps = []
            bars.append(self)

        def update(self, n=1):
            self.steps.append(n)
            return super().update(n)

    monkeypatch.setattr("lightning_kp.tracks.writing.tqdm", Bar)
    monkeypatch.setattr("lightning_kp.tracks.identity_files.tqdm", Bar)
    monkeypatch.setattr("lightning_kp.tracks.table.KEYPOINTS_PER_PIECE", 4 * 2 * 3)  # four frames
    tracks = make(frames=10, animals=2)
    with TrackStore(tmp_path / "m", tracks.info) as store:
        store.extend(tracks)
        keep_identities(store, regroup=True)
        store.finish()
    assert [bar.desc.strip(": ") for bar in bars] == [
        "identities m", "write m.slp", "write m.csv", "write m.dlc.csv", "write m.dlc.h5",
    ]  # fmt: skip
    assert bars[0].steps == [4, 4, 2] * 2
    assert all(bar.steps == [4, 4, 2] for bar in bars[1:])
    assert all(bar.n == bar.total and bar.delay > 0 for bar in bars)


@pytest.mark.parametrize("animals", [1, 2])
def test_what_other_formats_hold_comes_back(tmp_path, animals):
    tracks = make(animals=animals)
    write_tracks(tracks, tmp_path / "m")
    for name in ("m.slp", "m.dlc.csv", "m.dlc.h5"):
        again = read_tracks(tmp_path / name)
        np.testing.assert_array_equal(again.points_px, tracks.points_px, err_msg=name)
        np.testing.assert_array_equal(again.confidence, tracks.confidence, err_msg=name)
        assert again.info == tracks.info
        assert np.isnan(again.covariance_px).all()
        np.testing.assert_allclose(again.times_s, np.arange(7) / 25)


def test_without_the_json_a_table_says_what_it_knows(tmp_path):
    tracks = make(animals=2)
    write_tracks(tracks, tmp_path / "m")
    (tmp_path / "m.json").unlink()
    tidy = read_tracks(tmp_path / "m.csv")
    np.testing.assert_array_equal(tidy.points_px, tracks.points_px)
    assert tidy.fps == pytest.approx(6 / (tracks.times_s[-1] - tracks.times_s[0]))
    assert tidy.frame_size == (0, 0)
    slp = read_tracks(tmp_path / "m.slp")
    assert (slp.video, slp.frame_size, slp.fps) == (tracks.video, tracks.frame_size, tracks.fps)
    assert read_tracks(tmp_path / "m.dlc.h5").points_px.shape == tracks.points_px.shape


@pytest.mark.parametrize("animals", [1, 2])
def test_sleap_io_reads_the_slp(tmp_path, animals):
    tracks = make(animals=animals)
    skeleton = Skeleton(tracks.keypoint_names, edges=((0, 1), (1, 2)), mirror_pairs=((0, 2),))
    write_tracks(tracks, tmp_path / "m", ["slp"], skeleton)
    labels = sio.load_slp(str(tmp_path / "m.slp"), open_videos=False)
    assert len(labels.labeled_frames) == 7  # the frame without a keypoint too
    assert [frame.frame_idx for frame in labels] == list(range(7))
    assert len(labels[2].instances) == 0
    assert labels.skeletons[0].node_names == list(tracks.keypoint_names)
    assert labels.skeletons[0].edge_inds == [(0, 1), (1, 2)]
    assert [track.name for track in labels.tracks] == ["animal1", "animal2"][:animals]
    values = labels.numpy(return_confidence=True)
    np.testing.assert_array_equal(values[..., :2].astype(np.float32), tracks.points_px)
    for instance, expected in zip(labels[0].instances, tracks.confidence[0], strict=True):
        assert isinstance(instance, sio.PredictedInstance)
        np.testing.assert_array_equal(instance.points["score"].astype(np.float32), expected)
        assert instance.score == pytest.approx(expected[expected > 0].mean())
    assert str(labels.video.filename) == tracks.video


def test_sleap_io_saves_what_it_read(tmp_path):
    """The tables that we filled ourselves are complete: sleap-io's own full rewrite equals them."""
    tracks = make(animals=2)
    write_tracks(tracks, tmp_path / "m", ["slp"])
    sio.save_slp(sio.load_slp(str(tmp_path / "m.slp"), open_videos=False), str(tmp_path / "again.slp"))
    import h5py

    with h5py.File(tmp_path / "m.slp") as ours, h5py.File(tmp_path / "again.slp") as theirs:
        for table in ("frames", "instances", "pred_points", "points"):
            assert ours[table].dtype == theirs[table].dtype
            for field in ours[table].dtype.names:
                np.testing.assert_array_equal(ours[table][field], theirs[table][field], err_msg=field)


@pytest.mark.parametrize("animals", [1, 2])
def test_deeplabcut_files_have_its_layout(tmp_path, animals):
    tracks = make(animals=animals)
    write_tracks(tracks, tmp_path / "m", ["dlc_csv", "dlc_h5"])
    table = pd.read_hdf(tmp_path / "m.dlc.h5", "df_with_missing")
    levels = (
        ["scorer", "bodyparts", "coords"]
        if animals == 1
        else ["scorer", "individuals", "bodyparts", "coords"]
    )
    assert list(table.columns.names) == levels
    assert list(table.index) == list(range(7))
    head = (tmp_path / "m.dlc.csv").read_text().splitlines()[: len(levels) + 1]
    assert [line.split(",")[0] for line in head] == [*levels, "0"]
    column = ("lightning_kp", *(("animal2",) if animals == 2 else ()), "kp03")
    np.testing.assert_array_equal(table[(*column, "x")].astype(np.float32), tracks.points_px[:, -1, 2, 0])
    np.testing.assert_array_equal(
        table[(*column, "likelihood")].astype(np.float32), tracks.confidence[:, -1, 2]
    )


@pytest.mark.parametrize("animals", [1, 2])
def test_sleap_io_reads_the_deeplabcut_csv(tmp_path, animals):
    """sleap-io knows DeepLabCut's csv as labels of images named in its index: we put such images there."""
    from PIL import Image

    tracks = make(animals=animals)
    write_tracks(tracks, tmp_path / "m", ["dlc_csv"])
    for frame in range(7):
        Image.new("L", (6, 4)).save(tmp_path / str(frame), format="PNG")
    labels = sio.load_file(str(tmp_path / "m.dlc.csv"), format="dlc")
    assert labels.skeletons[0].node_names == list(tracks.keypoint_names)
    for frame in labels:
        for animal, instance in enumerate(frame.instances):
            np.testing.assert_array_equal(
                instance.numpy().astype(np.float32), tracks.points_px[frame.frame_idx, animal]
            )
    assert {frame.frame_idx for frame in labels} >= {0, 1, 3, 4, 5, 6}  # older ones drop the empty frame


@pytest.mark.parametrize("animals", [1, 2])
@pytest.mark.parametrize(
    ("name", "software"), [("m.slp", "SLEAP"), ("m.dlc.csv", "DeepLabCut"), ("m.dlc.h5", "DeepLabCut")]
)
def test_movement_reads_them(tmp_path, animals, name, software):
    load_poses = pytest.importorskip("movement.io.load_poses", reason="the analysis extra is not installed")
    tracks = make(animals=animals)
    write_tracks(tracks, tmp_path / "m")
    poses = load_poses.from_file(tmp_path / name, source_software=software, fps=25)
    position = poses.position.transpose("time", "individuals", "keypoints", "space").values
    np.testing.assert_array_equal(position.astype(np.float32), tracks.points_px)
    confidence = poses.confidence.transpose("time", "individuals", "keypoints").values
    np.testing.assert_array_equal(
        np.nan_to_num(confidence).astype(np.float32)[[0, 1, 3]], tracks.confidence[[0, 1, 3]]
    )
    np.testing.assert_allclose(poses.time.values, np.arange(7) / 25)
    assert list(poses.keypoints.values) == ["kp01", "kp02", "kp03"]


def test_animals_that_are_never_seen_together_keep_their_names(tmp_path):
    tracks = make(frames=2, animals=2)
    points = tracks.points_px.copy()
    points[0, 0] = points[1, 1] = np.nan
    write_tracks(dataclasses.replace(tracks, points_px=points), tmp_path / "m", ["slp"])
    np.testing.assert_array_equal(read_tracks(tmp_path / "m.slp").points_px, points)


# --- tampered input


def test_an_unknown_format_is_named():
    with pytest.raises(DataError, match=r"Unknown table format 'xls'\. Choose from slp, csv"):
        write_tracks(make(), None, ["xls"])


def test_a_failed_write_leaves_no_file_under_the_final_name(tmp_path, monkeypatch):
    def fail(source, path, skeleton):
        path.write_text("half")
        raise RuntimeError("broken")

    monkeypatch.setitem(FORMATS, "csv", (".csv", fail))
    with pytest.raises(RuntimeError, match="broken"):
        write_tracks(make(), tmp_path / "m", ["csv"])
    assert list(tmp_path.iterdir()) == []


def test_a_table_with_a_missing_row_is_refused(tmp_path):
    write_tracks(make(), tmp_path / "m", ["csv"])
    lines = (tmp_path / "m.csv").read_text().splitlines(keepends=True)
    (tmp_path / "m.csv").write_text("".join(lines[:8] + lines[9:]))
    with pytest.raises(DataError, match="needs 3 rows for each frame"):
        read_tracks(tmp_path / "m.csv")


@pytest.mark.parametrize(("first", "second"), [(8, 9), (8, 11)])  # two keypoints, two animals
def test_a_table_with_swapped_rows_is_refused(tmp_path, first, second):
    write_tracks(make(animals=2), tmp_path / "m", ["csv"])
    lines = (tmp_path / "m.csv").read_text().splitlines(keepends=True)
    lines[first], lines[second] = lines[second], lines[first]
    (tmp_path / "m.csv").write_text("".join(lines))
    with pytest.raises(DataError, match="needs 6 rows for each frame, in order"):
        read_tracks(tmp_path / "m.csv")


@pytest.mark.parametrize("name", ["x.slp", "x.h5", "x.csv", "x.txt"])
def test_files_of_another_kind_are_one_line(tmp_path, name):
    (tmp_path / name).write_text("nothing\nof\nthe kind\n")
    with pytest.raises(DataError, match=r"x\.(slp|h5|csv|txt)"):
        read_tracks(tmp_path / name)
    with pytest.raises(DataError, match="cannot be read"):
        read_tracks(tmp_path / "absent.csv")


def test_a_tidy_table_without_frames_says_so(tmp_path):
    write_tracks(make(), tmp_path / "m", ["csv"])
    head = (tmp_path / "m.csv").read_text().splitlines()[0]
    (tmp_path / "m.csv").write_text(head + "\n")
    with pytest.raises(DataError, match="contains no frame"):
        TidyFile(tmp_path / "m.csv")
