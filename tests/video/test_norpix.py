"""Norpix .seq files: every kind of frame that is read, times, and files that are damaged or of another kind."""

import struct
import warnings
from pathlib import Path
from typing import Any

import norpix_files as seq
import numpy as np
import pytest
from clips import Image, number_of, numbered, write_numbered

from lightning_kp.cli import main
from lightning_kp.errors import VideoError
from lightning_kp.geometry import Placement, place
from lightning_kp.video.clock import FALLBACK_FPS
from lightning_kp.video.norpix import is_norpix
from lightning_kp.video.opening import open_video
from lightning_kp.video.reader import VideoWarning

SIZE = (40, 56)
FRAMES = [numbered(n, SIZE) for n in range(12)]


def coloured(image: Image) -> Image:
    """Bands of the number in green, on red."""
    return np.stack(
        (np.full(image.shape[:2], 200, np.uint8), image[..., 1], np.zeros(image.shape[:2], np.uint8)), 2
    )


@pytest.mark.parametrize("empty", [0, 8])
@pytest.mark.parametrize(
    ("kind", "options", "pixels"),
    [
        (seq.GREY, {}, "gray"),
        (seq.GREY, {"version": 5}, "gray"),
        (seq.BGR, {}, "bgr24"),
        (seq.JPEG_GREY, {}, "gray"),
        (seq.JPEG_COLOUR, {}, "rgb24"),
        (seq.PNG_GREY, {}, "gray"),
        (seq.GREY, {"version": 5, "compression": 1}, "gray"),
    ],
)
def test_every_frame_once_in_order(tmp_path: Path, kind: int, options: Any, pixels: str, empty: int) -> None:
    is_coloured = kind in (seq.BGR, seq.JPEG_COLOUR)
    images = [coloured(each) if is_coloured else each for each in FRAMES]
    path = seq.write_seq(tmp_path / "mouse001.seq", images, kind, empty=empty, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_video(path) as reader:
            found = list(reader)
    assert [frame.index for frame in found] == list(range(12))
    assert [number_of(frame.image) for frame in found] == list(range(12))
    assert [frame.time_s for frame in found] == pytest.approx(np.arange(12) / 30, abs=1.1e-3)
    is_exact = kind not in (seq.JPEG_GREY, seq.JPEG_COLOUR) and not options.get("compression")
    for frame, image in zip(found, images, strict=True):
        assert frame.image.dtype == np.uint8
        np.testing.assert_allclose(frame.image.astype(int), image.astype(int), atol=0 if is_exact else 40)
    info = reader.info
    assert (info.name, info.frame_size, info.n_frames, info.pixel_format) == ("mouse001", SIZE, 12, pixels)
    assert info.fps == pytest.approx(30, rel=3e-3)  # 11 steps between whole milliseconds


def test_the_networks_square_is_that_of_other_videos(tmp_path: Path) -> None:
    placement: Placement = place(SIZE, 32, "pad")
    (frame, *_) = open_video(seq.write_seq(tmp_path / "a.seq", FRAMES)).decode()
    (other, *_) = open_video(
        write_numbered(tmp_path / "a.mkv", 2, SIZE, codec="ffv1", pixel_format="gray")
    ).decode()
    difference = frame.prepared(placement).astype(int) - other.prepared(placement).astype(int)
    assert np.abs(difference).max() <= 2


def test_the_rate_is_that_of_the_times_and_a_pause_is_told(tmp_path: Path) -> None:
    """The header says 30 per second; the camera took 25, and paused for a second after the sixth frame."""
    times = [n / 25 + (n > 5) for n in range(12)]
    path = seq.write_seq(tmp_path / "a.seq", FRAMES, seq.JPEG_GREY, times_s=times)
    with pytest.warns(VideoWarning, match="the frame rate varies"):
        reader = open_video(path)
    assert reader.info.fps == pytest.approx(25, rel=1e-6)
    assert reader.info.is_variable_rate
    assert [frame.time_s for frame in reader] == pytest.approx(times, abs=1e-6)


def test_without_times_the_rate_of_the_header_counts(tmp_path: Path) -> None:
    path = seq.write_seq(tmp_path / "a.seq", FRAMES, times_s=[0.0] * 12)
    reader = open_video(path)
    assert reader.info.fps == 30
    with pytest.warns(VideoWarning, match="11 frame.s. have no valid time stamp"):
        assert [frame.time_s for frame in reader] == pytest.approx(np.arange(12) / 30)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<d", raw, 584, float("nan"))
    path.write_bytes(raw)
    with pytest.warns(VideoWarning, match="states no frame rate"):
        assert open_video(path).info.fps == FALLBACK_FPS


@pytest.mark.parametrize("kind", [seq.GREY, seq.JPEG_GREY])
def test_a_cut_file_ends_with_its_last_whole_frame(tmp_path: Path, kind: int) -> None:
    path = seq.write_seq(tmp_path / "a.seq", FRAMES, kind)
    block = (path.stat().st_size - 1024) // 12
    path.write_bytes(path.read_bytes()[: 1024 + 7 * block + block // 3])
    with pytest.warns(VideoWarning, match="only 7 of 12 announced frames are in the file"):
        reader = open_video(path)
    assert [number_of(frame.image) for frame in reader] == list(range(7))


def test_an_unfinished_recording_announces_nothing(tmp_path: Path) -> None:
    path = seq.write_seq(tmp_path / "a.seq", FRAMES, seq.JPEG_GREY, frames=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(open_video(path))) == 12
    raw = bytearray(path.read_bytes())
    size = int.from_bytes(raw[1024:1028], "little")
    struct.pack_into("<I", raw, 1024 + size + 16, 0xFFFFFFFF)  # the size of the second frame
    path.write_bytes(raw)
    with pytest.warns(VideoWarning, match=rf"the frames break off at byte {1024 + size + 16} of {len(raw)}"):
        assert len(list(open_video(path))) == 1


def test_a_damaged_frame_is_skipped_and_its_time_stays_empty(tmp_path: Path) -> None:
    path = seq.write_seq(tmp_path / "a.seq", FRAMES, seq.JPEG_GREY)
    raw = bytearray(path.read_bytes())
    size = int.from_bytes(raw[1024:1028], "little")
    second = 1024 + size + 16
    raw[second + 4 : second + 40] = bytes(36)
    path.write_bytes(raw)
    reader = open_video(path)
    with pytest.warns(VideoWarning, match=r"1 damaged frame\(s\) were skipped .*; 11 frames are used"):
        found = list(reader)
    assert [number_of(frame.image) for frame in found] == [0, *range(2, 12)]
    assert [frame.index for frame in found] == list(range(11))
    assert found[1].time_s == pytest.approx(2 / 30, abs=1.1e-3)


def test_a_picture_of_another_size_is_damage(tmp_path: Path) -> None:
    odd = [*FRAMES[:3], numbered(3, (20, 20)), *FRAMES[4:]]
    reader = open_video(seq.write_seq(tmp_path / "a.seq", odd, seq.JPEG_GREY))
    with pytest.warns(VideoWarning, match="a picture of 20x20 where the header states 56x40"):
        assert len(list(reader)) == 11


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({568: 101}, "holds Norpix frames of format 101, 8 bits.*Convert it"),
        ({556: 16}, "format 100, 16 bits"),
        ({576: 1}, "origin 1"),
        ({28: 5, 620: 8}, "compression 8"),
        ({548: 0}, "states 0x40 pixels.*its header is damaged"),
        ({552: 2**31}, "its header is damaged"),
        ({580: 4}, "and 4 of a frame: its header is damaged"),
    ],
)
def test_headers_that_are_not_read(tmp_path: Path, changes: dict[int, int], told: str) -> None:
    path = seq.write_seq(tmp_path / "a.seq", FRAMES)
    raw = bytearray(path.read_bytes())
    for offset, value in changes.items():
        struct.pack_into("<I", raw, offset, value)
    path.write_bytes(raw)
    with pytest.raises(VideoError, match=told):
        open_video(path)


def test_files_without_a_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = seq.write_seq(tmp_path / "a.seq", FRAMES)
    raw = path.read_bytes()
    damaged = bytearray(seq.write_seq(path, FRAMES[:1], seq.JPEG_GREY).read_bytes())
    damaged[1028:1040] = bytes(12)
    path.write_bytes(damaged)
    with pytest.raises(VideoError, match=r"No frame of .* can be decoded"):
        open_video(path)
    for length, told in ((600, "600 bytes, fewer than the 1024 of a Norpix header"), (1500, "No frame of")):
        path.write_bytes(raw[:length])
        with pytest.raises(VideoError, match=told):
            open_video(path)
    assert main(["inspect", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "No frame of" in capsys.readouterr().err


def test_other_files_are_not_taken_for_norpix(tmp_path: Path) -> None:
    (tmp_path / "a.seq").write_bytes(bytes(4096))  # a header of zeros, which failed copies have
    assert not is_norpix(tmp_path / "a.seq")
    assert not is_norpix(tmp_path / "none.seq")
    with pytest.raises(VideoError, match="cannot be opened as a video"):
        open_video(tmp_path / "a.seq")
