"""The frame cache: correct pixels, limited size, never half valid; thinning that keeps pairs; crops."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from clips import cache_files, number_of, numbered, write_numbered, write_video
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pictures

from lightning_kp.errors import ConfigurationError, DataError, KeypointError, VideoError
from lightning_kp.files import default_cache_dir
from lightning_kp.frames import cache as frame_cache
from lightning_kp.frames import cache_folder
from lightning_kp.frames.cache import CachedVideo, cache_videos
from lightning_kp.frames.cache_folder import make_room
from lightning_kp.frames.placements import Placements
from lightning_kp.frames.preprocessing import NO_PREPROCESSING, Preprocessing
from lightning_kp.frames.stream import in_background, stream_frames
from lightning_kp.frames.thinning import Thinning, parse_gap
from lightning_kp.geometry import Region, place
from lightning_kp.video.opening import open_video
from lightning_kp.video.reader import VideoInfo, VideoWarning

FRAME_GB = 32 * 32 * 3 / 1e9


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered(tmp_path_factory.mktemp("clips") / "clip.mp4", 60)


def cache(*paths: Path, folder: Path, **options: Any) -> list[CachedVideo]:
    settings: dict[str, Any] = {"size": 32, "fit": "squash", "cache_dir": folder, "progress": False} | options
    return cache_videos(paths, **settings)


def numbers(video: CachedVideo) -> list[int]:
    return [number_of(image) for image in video.frames]


# ---------------------------------------------------------------- what is in it


def test_cache_holds_every_frame(tmp_path: Path, clip: Path) -> None:
    (video,) = cache(clip, folder=tmp_path)
    assert video.frames.shape == (60, 32, 32, 3)
    assert numbers(video) == video.index.tolist() == list(range(60))
    assert video.times_s == pytest.approx(np.arange(60) / 25)
    assert (video.n_frames, video.frame_size, video.fps, video.name) == (60, (48, 64), 25.0, "clip")
    assert video.region(7) == Region(0, 0, 64, 48)


def test_second_call_decodes_nothing(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cache(clip, folder=tmp_path)[0]
    monkeypatch.setattr(frame_cache, "_build", lambda *_: pytest.fail("decoded again"))
    again = cache(clip, folder=tmp_path)[0]
    assert (again.frames == first.frames).all()
    assert again.times_s.tolist() == first.times_s.tolist()


def test_key_follows_content_and_settings(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip.read_bytes())
    folder = tmp_path / "cache"
    files = {cache(path, folder=folder)[0].file}
    for options in ({"size": 24}, {"fit": "pad"}, {"boxes": [0, 0, 40, 40]}):
        files.add(cache(path, folder=folder, **options)[0].file)
    assert len(files) == 4
    assert cache(path, folder=folder, gap=5)[0].file in files, "a gap changes nothing where all frames fit"
    write_numbered(path, 50)
    changed = cache(path, folder=folder)[0]
    assert changed.file not in files
    assert changed.n_frames == 50


@pytest.mark.parametrize(
    ("boxes", "options", "key"),
    [
        (None, {}, "bda3f7c6cfc9d826de07"),
        ([0, 0, 40, 40], {"gap": 5}, "925bfb0fd6919087b9c9"),
        ("boxes.csv", {"gap": 5}, "1bd632dbcd23f5208871"),
        (
            None,
            {
                "preprocessing": Preprocessing(
                    shadow="hsv", registration="translation", keep_hsv=[0, 20, 0.3, 1, 0.2, 1]
                )
            },
            "1d49c1d704799b6835d9",
        ),
    ],
)
def test_key_is_the_one_that_users_caches_have(
    tmp_path: Path, boxes: Any, options: dict[str, Any], key: str
) -> None:
    """A new key would decode the videos of all users again."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(bytes(range(256)) * 1000)
    os.utime(path, ns=(1_700_000_000_000_000_000,) * 2)
    info = VideoInfo(path, "clip", (48, 64), 25.0, 60, 2.4, "h264", "yuv420p")
    if isinstance(boxes, str):
        boxes = tmp_path / boxes
        boxes.write_text("frame,left,top,right,bottom\n0,0,0,20,20\n30,5,0,25,20\n")
    reader: Any = SimpleNamespace(info=info)
    settings = {"size": 32, "fit": "pad", "gap": None, "preprocessing": NO_PREPROCESSING} | options
    job = frame_cache._Job.plan(reader, boxes=boxes, folder=tmp_path, **settings)
    assert job.path(".frames").name == f"clip-{key}.frames"


def test_images_that_were_cached_black_are_read_again(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    Pictures.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(folder / "0.png")
    names = []
    for reading in ("depth 0", "depth 1"):
        monkeypatch.setattr(frame_cache, "IMAGE_READING", reading)
        for video in (folder, clip):
            job = frame_cache._Job.plan(open_video(video), 32, "pad", None, None, tmp_path, NO_PREPROCESSING)
            names.append(job.path(".frames").name)
    assert names[0] != names[2]
    assert names[1] == names[3]


def test_pickled_video_opens_its_file_itself(tmp_path: Path, clip: Path) -> None:
    """A worker process must not receive the pixels."""
    (video,) = cache(clip, folder=tmp_path)
    assert number_of(video.frames[9]) == 9
    pickled = pickle.dumps(video)
    assert len(pickled) < 10_000
    assert number_of(pickle.loads(pickled).frames[9]) == 9


def test_problems_are_kept_and_told_again(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "cut.avi", 60, codec="mjpeg", pixel_format="yuvj420p")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    for _ in range(2):
        with pytest.warns(VideoWarning, match="cut.avi"):
            (video,) = cache(path, folder=tmp_path / "cache")
        assert len(video.problems) == 1
        assert 0 < video.n_frames == len(video.index) < 60


def test_folder_of_images(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(12):
        Pillow.fromarray(numbered(i)).save(folder / f"{i}.png")
    with pytest.warns(VideoWarning, match="images have no time stamps"):
        (video,) = cache(folder, folder=tmp_path / "cache")
    assert numbers(video) == list(range(12))


# ---------------------------------------------------------------- thinning


@pytest.mark.parametrize(
    ("gap", "fps", "frames"),
    [
        (6, 25, 6),
        ("6", 25, 6),
        ("0.2s", 30, 6),
        ("0.2 s", 25, 5),
        ("200ms", 25, 5),
        ("0.001s", 25, 1),
        (".5s", 8, 4),
    ],
)
def test_parse_gap(gap: int | str, fps: float, frames: int) -> None:
    assert parse_gap(gap, fps) == frames


@pytest.mark.parametrize("gap", [0, -3, "", "0s", "1.5", "fast", "2m", "nan", "1e3"])
def test_parse_gap_refuses(gap: int | str) -> None:
    with pytest.raises(ConfigurationError, match=r"Write it as 6 \(frames\) or 0.2s"):
        parse_gap(gap, 25)


def test_thinning_by_hand() -> None:
    assert Thinning.to_share(0.5, gap=6) == Thinning(6, (0, 2, 4))
    assert Thinning.to_share(0.5, gap=7) == Thinning(7, (0, 2, 4))
    assert Thinning.to_share(0.1, gap=6) == Thinning(20, (0, 6))
    assert Thinning.to_share(0.3, gap=None) == Thinning(4, (0,))
    assert Thinning.to_share(1.0, gap=6) == Thinning()


@given(share=st.floats(0.002, 1.5), gap=st.integers(1, 60))
def test_thinned_frames_find_their_partners(share: float, gap: int) -> None:
    thinning = Thinning.to_share(share, gap)
    kept = {t for t in range(6000) if thinning.keeps(t)}
    assert len(kept) <= 6000 * min(share, 1) + 2
    anchors = [t for t in kept if t + gap in kept]
    partners = {t + gap for t in anchors}
    inner = {t for t in kept if gap <= t < 6000 - gap}
    assert inner <= partners | set(anchors), "no frame is kept for nothing"
    if share * gap >= 1:
        assert len(anchors) >= len(kept) - gap, "every kept frame begins a pair, up to the end"
    assert len(kept) >= 6000 * min(share, 1) / 2 - 2, "the budget is used"


def test_cache_is_thinned_to_its_bound(tmp_path: Path, clip: Path) -> None:
    other = write_numbered(tmp_path / "other.mp4", 40)
    with pytest.warns(VideoWarning, match=r"cache_gb is .*: 50.0% of the frames are kept"):
        videos = cache(clip, other, folder=tmp_path / "c", gap=4, cache_gb=FRAME_GB * 50)
    assert [len(video.index) for video in videos] == [30, 20]
    assert numbers(videos[0]) == videos[0].index.tolist() == list(range(0, 60, 2))
    assert [video.n_frames for video in videos] == [60, 40]
    assert videos[1].times_s == pytest.approx(np.arange(0, 40, 2) / 25)


def test_bound_holds_for_a_file_that_promises_too_little(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    def modest(path: Path) -> Any:
        reader = open_video(path)
        reader.info = replace(reader.info, n_frames=10)
        return reader

    monkeypatch.setattr(frame_cache, "open_video", modest)
    with pytest.warns(
        VideoWarning, match="more frames than the file announces; only the first 21 to be cached"
    ):
        (video,) = cache(clip, folder=tmp_path, cache_gb=FRAME_GB * 20.5)
    assert video.index.tolist() == list(range(21))
    assert video.n_frames == 60


# ---------------------------------------------------------------- crops


def test_fixed_box(tmp_path: Path, clip: Path) -> None:
    (video,) = cache(clip, folder=tmp_path, boxes=[16, 0, 64, 48])
    assert video.region(0) == Region(16, 0, 64, 48)
    assert numbers(video) == list(range(60)), "the bands run across"
    assert video.futures is not video.frames
    assert (video.futures == video.frames).all()


def test_boxes_that_follow_the_animal(tmp_path: Path) -> None:
    """Both frames of a pair are cut out with the first one's box, so that what moves is the animal."""
    gap, images = 3, []
    for i in range(20):
        image = np.zeros((48, 64, 3), np.uint8)
        image[:, 10 + i] = 255  # a line that moves by one pixel
        images.append(image)
    path = write_video(tmp_path / "line.mkv", images, codec="ffv1", pixel_format="yuv444p")
    table = tmp_path / "boxes.csv"
    rows = [f"line.mkv,{i},{6 + i},0,{38 + i},32" for i in range(20)]
    table.write_text("\n".join(["video,frame,left,top,right,bottom", "other,0,0,0,9,9", *rows]))
    (video,) = cache(path, folder=tmp_path / "c", gap=gap, boxes=table)
    assert video.regions.shape == (20, 4)
    assert video.region(5) == Region(11, 0, 43, 32)

    def column(image: np.ndarray) -> int:
        return int(image[16, :, 1].argmax())

    assert [column(image) for image in video.frames] == [4] * 20
    assert [column(video.futures[i + gap]) for i in range(17)] == [4 + gap] * 17


def test_frame_without_a_row_takes_the_last_box(tmp_path: Path, clip: Path) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text("frame,left,top,right,bottom\n10,0,0,20,20\n30,5.4,0,20,20\n")
    placements = Placements(open_video(clip).info, 32, "squash", table)
    lefts = [placements(i).box[0] for i in (0, 10, 29, 30, 59)]
    assert lefts == [0, 0, 0, 5, 5]
    assert not placements.is_fixed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("frame,left,top,right\n0,1,2,3\n", r"lack the column\(s\) bottom"),
        ("frame,left,top,right,bottom\n0,1,2,3\n", "line 2: .* must be five numbers"),
        ("frame,left,top,right,bottom\n0,1,2,x,9\n", "line 2: .* must be five numbers"),
        ("frame,left,top,right,bottom\n0,nan,2,4,9\n", "line 2: .* must be five numbers"),
        ("frame,left,top,right,bottom\n", "no box for the video clip"),
        ("video,frame,left,top,right,bottom\nmouse,0,1,2,3,4\n", "no box for the video clip"),
        ("frame,left,top,right,bottom\n0,70,0,90,20\n", "holds no pixel of a 64x48 frame"),
    ],
)
def test_wrong_table_of_boxes(tmp_path: Path, clip: Path, content: str, message: str) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text(content)
    with pytest.raises(KeypointError, match=message):
        Placements(open_video(clip).info, 32, "squash", table)


def test_wrong_box(tmp_path: Path, clip: Path) -> None:
    with pytest.raises(ConfigurationError, match="a box has four numbers"):
        cache(clip, folder=tmp_path, boxes=[1, 2, 3])
    with pytest.raises(DataError, match=r"gone\.csv cannot be read: No such file"):
        cache(clip, folder=tmp_path, boxes=tmp_path / "gone.csv")


# ---------------------------------------------------------------- hard use

KILLED = """
import os, signal, sys
from lightning_kp.frames import cache as frame_cache
from lightning_kp.video.decoding import AvFrame
whole = AvFrame.prepared
def until_the_kill(self, placement):
    if self.index == 40:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, placement)
AvFrame.prepared = until_the_kill
frame_cache.cache_videos([sys.argv[1]], size=32, fit="squash", cache_dir=sys.argv[2], progress=False)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_killed_run_leaves_no_valid_cache(tmp_path: Path, clip: Path) -> None:
    run = subprocess.run([sys.executable, "-c", KILLED, clip, tmp_path], timeout=120, check=False)
    assert run.returncode == -signal.SIGKILL
    left = list(cache_files(tmp_path))
    assert len(left) == 1
    assert left[0].endswith(".part")
    (video,) = cache(clip, folder=tmp_path)
    assert numbers(video) == list(range(60))
    assert [Path(name).suffix for name in cache_files(tmp_path)] == [".frames", ".json"], (
        "the remains are gone"
    )


def test_temporary_of_a_living_process_stays(tmp_path: Path, clip: Path) -> None:
    part = tmp_path / f"x.frames.{cache_folder.socket.gethostname()}.{os.getppid()}.part"
    part.touch()
    cache(clip, folder=tmp_path)
    assert part.exists()


@pytest.mark.parametrize("damage", ["shorter", "no json", "broken json", "other json"])
def test_damaged_cache_is_built_again(tmp_path: Path, clip: Path, damage: str) -> None:
    (video,) = cache(clip, folder=tmp_path)
    described = video.file.with_suffix(".json")
    if damage == "shorter":
        os.truncate(video.file, video.file.stat().st_size - 1)
    elif damage == "no json":
        described.unlink()
    else:
        described.write_text("[1]" if damage == "other json" else '{"rows": ')
    assert numbers(cache(clip, folder=tmp_path)[0]) == list(range(60))


def test_full_disk_is_one_line(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(frame_cache, "_write_frames", full)
    with pytest.raises(
        KeypointError, match=r"The disk is full: .* Set cache_dir .* or lower cache_gb"
    ) as error:
        cache(clip, folder=tmp_path)
    assert "\n" not in str(error.value)
    assert cache_files(tmp_path) == {}


def test_too_little_room_is_said_before_decoding(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"needs 1000000000.00 GB, but .* has only .* GB free"):
        make_room(tmp_path, needed=1e18, budget=1e19, in_use=[])


@pytest.mark.skipif(os.name != "posix", reason="needs a folder that nobody can write to")
def test_unwritable_folder_is_one_line(tmp_path: Path, clip: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    for folder in (blocked, blocked / "below", Path("/proc/nobody")):
        with pytest.raises(KeypointError, match=r"cannot be written: .* Set cache_dir") as error:
            cache(clip, folder=folder)
        assert "\n" not in str(error.value)


def test_video_without_frames_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        cache(tmp_path / "bad.mp4", folder=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_old_caches_make_room_for_new_ones(tmp_path: Path, clip: Path) -> None:
    old, recent = cache(clip, folder=tmp_path, size=16)[0], cache(clip, folder=tmp_path, size=24)[0]
    os.utime(old.file.with_suffix(".json"), (1, 1))
    new = cache(clip, folder=tmp_path, cache_gb=FRAME_GB * 70)[0]
    assert not old.file.exists()
    assert not old.file.with_suffix(".json").exists()
    assert recent.file.exists(), "used within the hour"
    assert new.file.exists()


def test_default_folder_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KP_CACHE_DIR", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("KP_CACHE_DIR")
    assert default_cache_dir().name == "lightning_kp"


# ---------------------------------------------------------------- the stream


def test_stream_equals_the_cache(tmp_path: Path, clip: Path) -> None:
    (video,) = cache(clip, folder=tmp_path, fit="pad")
    batches = list(stream_frames(clip, size=32, fit="pad", batch_size=16))
    assert [len(batch.index) for batch in batches] == [16, 16, 16, 12]
    images = np.concatenate([batch.image.permute(0, 2, 3, 1).numpy() for batch in batches])
    assert (images == video.frames).all()
    assert np.concatenate([batch.index for batch in batches]).tolist() == list(range(60))
    assert np.concatenate([batch.time_s for batch in batches]).tolist() == video.times_s.tolist()
    assert batches[0].region(3) == video.region(3) == place((48, 64), 32).region


def test_stream_resumes(clip: Path) -> None:
    (batch,) = stream_frames(open_video(clip), size=32, fit="squash", start_index=50)
    assert batch.index.tolist() == list(range(50, 60))
    assert [number_of(image) for image in batch.image.permute(0, 2, 3, 1).numpy()] == list(range(50, 60))


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if "_produce" in thread.name}


def test_leaving_the_stream_stops_its_threads(clip: Path) -> None:
    stream = stream_frames(clip, size=32, batch_size=2)
    next(stream)
    assert threads()
    stream.close()
    assert not threads()


def test_background_forwards_errors_after_what_came_before() -> None:
    def failing() -> Iterator[int]:
        yield from range(5)
        raise VideoError("the reason")

    items = in_background(failing(), 2)
    assert [next(items) for _ in range(5)] == list(range(5))
    with pytest.raises(VideoError, match="the reason"):
        next(items)
    assert not threads()


def test_background_runs_ahead_by_its_capacity_only() -> None:
    made: list[int] = []

    def counting() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    with closing(in_background(counting(), 3)) as items:
        assert next(items) == 0
        time.sleep(0.2)
        assert len(made) <= 1 + 3 + 1  # taken, waiting, in the producer's hand


@pytest.mark.parametrize(
    ("cores", "lent", "threads"),
    [(1, 1, 1), (2, 2, 1), (8, 8, 4), (64, 4, 2), (8, None, 4), (None, None, 1)],
)
def test_half_of_the_cores_decode_while_a_network_computes(
    clip: Path, monkeypatch: pytest.MonkeyPatch, cores: int | None, lent: int | None, threads: int
) -> None:
    """FFmpeg's own number, one per core and more, took turns with the network on two cores."""
    if lent is None:
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    else:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(lent)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    reader = open_video(clip)
    asked: list[int] = []
    decode = reader.decode
    monkeypatch.setattr(reader, "decode", lambda number=0: asked.append(number) or decode(number))
    frames = torch.cat([batch.image for batch in stream_frames(reader, size=16, batch_size=16)])
    assert asked == [threads]
    assert torch.equal(
        frames, torch.cat([batch.image for batch in stream_frames(clip, size=16, batch_size=16)])
    )


def test_no_warning_without_a_reason(tmp_path: Path, clip: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache(clip, folder=tmp_path, gap="0.2s")


# ---------------------------------------------------------------- speed


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["mouse_openfield/videos/m3v1mp4.mp4", "two_flies/fly120s/20190128_113421.120s.mp4"]
)
def test_building_the_cache_keeps_up_with_the_decoder(kp_data: Path, tmp_path: Path, name: str) -> None:
    """At least 0.8 of the bare decoder's speed to RGB; medians of three rounds in one run."""
    ratios = []
    for i in range(3):
        start = time.perf_counter()
        count = sum(1 for _ in open_video(kp_data / name))
        decoded = time.perf_counter()
        (video,) = cache(kp_data / name, folder=tmp_path / str(i), size=128, fit="pad")
        ratios.append((decoded - start) / (time.perf_counter() - decoded))
        assert len(video.index) == count
    assert np.median(ratios) >= 0.8
