"""Reading videos: every displayed frame once and in order, from sound, unusual and damaged files."""

import struct
import warnings
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from clips import Image, number_of, numbered, turn_display, write_numbered, write_video

from lightning_kp.errors import VideoError
from lightning_kp.geometry import Fit, Placement, place
from lightning_kp.images.files import images_in
from lightning_kp.images.resize import prepare
from lightning_kp.video.opening import open_video
from lightning_kp.video.paths import find_videos
from lightning_kp.video.reader import VideoWarning

pytestmark = pytest.mark.filterwarnings("ignore::lightning_kp.video.reader.VideoWarning")


def numbers(path: Path) -> list[int]:
    return [number_of(frame.image) for frame in open_video(path)]


# ---------------------------------------------------------------- good files, odd files


@pytest.mark.parametrize(
    ("suffix", "codec", "pixel_format", "size"),
    [
        (".mp4", "libx264", "yuv420p", (48, 64)),
        (".mkv", "ffv1", "gray", (48, 64)),
        (".mkv", "ffv1", "yuv420p", (49, 63)),
        (".mkv", "libx264", "yuv444p", (51, 65)),
        (".mkv", "ffv1", "yuv420p10le", (48, 64)),
        (".mkv", "ffv1", "yuv444p10le", (49, 63)),
        (".avi", "mpeg4", "yuv420p", (48, 64)),
        (".avi", "mjpeg", "yuvj420p", (48, 64)),
    ],
)
def test_every_frame_once_in_order(
    tmp_path: Path, suffix: str, codec: str, pixel_format: str, size: tuple[int, int]
) -> None:
    path = write_numbered(tmp_path / f"clip{suffix}", 30, size, codec=codec, pixel_format=pixel_format)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_video(path) as reader:
            frames = list(reader)
    assert [number_of(frame.image) for frame in frames] == list(range(30))
    assert [frame.index for frame in frames] == list(range(30))
    assert [frame.time_s for frame in frames] == pytest.approx(np.arange(30) / 25, abs=1e-3)
    assert all(frame.image.shape == (*size, 3) and frame.image.dtype == np.uint8 for frame in frames)
    info = reader.info
    assert (info.frame_size, info.pixel_format, info.codec) == (
        size,
        pixel_format,
        codec.replace("libx", "h"),
    )
    assert info.fps == pytest.approx(25)
    assert not info.is_variable_rate
    assert not info.problems


def test_info_is_known_before_decoding(tmp_path: Path) -> None:
    info = open_video(write_numbered(tmp_path / "clip.mp4", 20)).info
    assert (info.name, info.n_frames, info.frame_size, info.rotation) == ("clip", 20, (48, 64), 0)
    assert info.duration_s == pytest.approx(0.8)


def test_frames_of_raw_streams_are_counted(tmp_path: Path) -> None:
    """A stream without a container promises nothing: its packets are counted."""
    info = open_video(write_numbered(tmp_path / "clip.h264", 20)).info
    assert info.n_frames == 20


def test_colours_are_rgb(tmp_path: Path) -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 255
    path = write_video(tmp_path / "red.mp4", [red] * 3)
    frame = next(iter(open_video(path)))
    assert frame.image[24, 32].tolist() == pytest.approx([255, 0, 0], abs=6)


def test_b_frames_come_in_display_order(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "b.mp4", 40, options={"crf": "1", "bf": "3", "g": "12"})
    with av.open(str(path)) as container:
        decode_order = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert decode_order != sorted(decode_order), (
        "the clip must have reordered frames for this test to mean anything"
    )
    assert numbers(path) == list(range(40))


@pytest.mark.parametrize("codec", ["libx264", "ffv1"])
def test_variable_rate_is_noticed_and_times_kept(tmp_path: Path, codec: str) -> None:
    times = [0, 40, 80, 200, 240, 280, 600, 640, 1000, 1040]
    path = write_video(tmp_path / "v.mkv", [numbered(i) for i in range(10)], codec=codec, times_ms=times)
    with pytest.warns(VideoWarning, match="v.mkv: the frame rate varies"):
        reader = open_video(path)
    assert reader.info.is_variable_rate
    assert [frame.time_s for frame in reader] == pytest.approx([t / 1000 for t in times], abs=2e-3)


def test_milliseconds_are_no_variable_rate(tmp_path: Path) -> None:
    """30 per second in whole milliseconds is 33, 33, 34."""
    path = write_numbered(tmp_path / "ms.mkv", 30, times_ms=[round(i * 1000 / 30) for i in range(30)])
    reader = open_video(path)
    assert len(list(reader)) == 30
    assert not reader.info.is_variable_rate


def test_variable_rate_late_in_the_file_is_noticed_after_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_kp.video.decoding.PROBED_PACKETS", 40)
    times = [i * 40 for i in range(60)] + [2400 + i * 200 for i in range(20)]
    reader = open_video(write_numbered(tmp_path / "late.mkv", 80, times_ms=times))
    assert not reader.info.is_variable_rate
    assert len(list(reader.decode())) == 80
    assert reader.info.is_variable_rate
    assert any("rate varies" in problem for problem in reader.info.problems)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotation_is_applied(tmp_path: Path, turns: int) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32] = 255  # the top left quarter is white
    path = write_video(tmp_path / "phone.mp4", [image] * 3)
    turn_display(path, turns)
    reader = open_video(path)
    shown = next(iter(reader)).image
    expected = np.rot90(image, -turns)  # the file asks for clockwise turns
    assert reader.info.frame_size == shown.shape[:2] == expected.shape[:2]
    assert np.abs(shown.astype(int) - expected).mean() < 8
    square = next(iter(reader.decode())).prepared(place(reader.info.frame_size, 32, "squash"))
    assert (
        np.abs(
            square.astype(int) - prepare(np.ascontiguousarray(shown), place(shown.shape[:2], 32, "squash"))
        ).max()
        <= 1
    )


# ---------------------------------------------------------------- broken files


def test_packets_without_content_are_skipped_and_named(tmp_path: Path) -> None:
    """Bytes in the middle are destroyed; all frames but those that need them are there."""
    path = write_numbered(tmp_path / "torn.avi", 60, codec="mjpeg", pixel_format="yuvj420p")
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for number in (20, 21):
        position, size = packets[number]
        data[position + 8 : position + size] = bytes(size - 8)
    path.write_bytes(data)
    with pytest.warns(
        VideoWarning, match=r"torn.avi: 2 damaged packet\(s\) were skipped .* 58 of 60 frames are used"
    ):
        frames = list(open_video(path))
    assert [frame.index for frame in frames] == list(range(58))
    assert [number_of(frame.image) for frame in frames] == [n for n in range(60) if n not in (20, 21)]


def test_truncated_file_gives_its_beginning(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "cut.mkv", 60)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    read = numbers(path)
    assert 20 <= len(read) < 60
    assert read[:-2] == list(range(len(read) - 2)), "only the last frames may suffer"


def test_truncated_file_that_promises_more_is_named(tmp_path: Path) -> None:
    """An mp4 with its table of contents in front, as cameras stream it, cut in the middle."""
    path = tmp_path / "cut.mp4"
    images = [numbered(i) for i in range(60)]
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"  # type: ignore[attr-defined]
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))  # type: ignore[attr-defined]
        container.mux(stream.encode())  # type: ignore[attr-defined]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    reader = open_video(path)
    count = len(list(reader))
    assert 0 < count < 60
    assert reader.info.n_frames == 60
    assert len(reader.info.problems) == 1
    assert f"{count}" in reader.info.problems[0]


def test_audio_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(1600))
    with pytest.raises(VideoError, match=r"sound.wav has no video stream \(it contains: audio\)"):
        open_video(path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mp4", b"", r"empty.mp4 \(0 bytes\) cannot be opened as a video: Invalid data"),
        ("text.mp4", b"frame,left\n" * 100, r"text.mp4 \(1100 bytes\) cannot be opened"),
    ],
)
def test_no_video_at_all(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(VideoError, match=reason):
        open_video(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"gone.mp4 cannot be opened as a video: No such file"):
        open_video(tmp_path / "gone.mp4")


def test_video_without_frames_is_an_error(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "none.avi", 5, codec="mjpeg", pixel_format="yuvj420p")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for position, size in packets:
        data[position + 8 : position + size] = bytes(size - 8)
    path.write_bytes(data)
    with pytest.raises(
        VideoError, match=r"(No frame of .*none.avi can be decoded|none.avi .*cannot be opened).*: \w+"
    ):
        list(open_video(path))


def test_recording_that_was_cut_before_its_table_is_an_error(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "crash.mp4", 30)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(VideoError, match=r"crash.mp4 .*cannot be opened"):
        open_video(path)


# ---------------------------------------------------------------- folders of images


def write_images(folder: Path, count: int, size: tuple[int, int] = (48, 64)) -> Path:
    from PIL import Image as Pillow

    folder.mkdir(parents=True)
    for i in range(count):
        Pillow.fromarray(numbered(i, size)).save(folder / f"img{i}.png")
    return folder


def test_image_folder_in_natural_order(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", 12)
    with pytest.warns(VideoWarning, match="images have no time stamps"):
        reader = open_video(folder)
    assert [number_of(frame.image) for frame in reader] == list(range(12))
    assert (reader.info.n_frames, reader.info.frame_size, reader.info.name) == (12, (48, 64), "frames")


def test_images_of_several_sizes_are_named(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    folder = write_images(tmp_path / "frames", 3)
    Pillow.new("RGB", (20, 10)).save(folder / "img3.png")
    with pytest.raises(VideoError, match=r"img3.png has 20x10 pixels, .* 64x48"):
        list(open_video(folder))


def test_an_image_that_cannot_be_read_is_no_frame_and_named(tmp_path: Path) -> None:
    """The others are numbered without a gap, and their times keep it."""
    folder = write_images(tmp_path / "frames", 12)
    for name in ("img0.png", "img7.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:60])
    reader = open_video(folder)
    with pytest.warns(VideoWarning, match=r"frames: img7.png cannot be read and is skipped \("):
        frames = list(reader)
    assert [number_of(frame.image) for frame in frames] == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert [frame.index for frame in frames] == list(range(10))
    assert frames[6].time_s == pytest.approx(8 / 25)
    assert len(list(reader)) == 10  # a second pass knows no more and no less
    assert len(reader.info.problems) == 1 + 2


def test_many_images_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", 12)
    for number in range(3, 11):
        (folder / f"img{number}.png").write_bytes(b"no image")
    reader = open_video(folder)
    assert len(list(reader)) == 4
    assert len(reader.info.problems) == 1 + 5 + 1
    assert reader.info.problems[-1] == "8 of 12 images cannot be read and are skipped"


def test_a_folder_without_a_readable_image_is_an_error(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", 3)
    for image in folder.iterdir():
        image.write_bytes(b"")
    with pytest.raises(
        VideoError, match=r"None of the 3 images in .*frames can be read. First error: .*img0.png"
    ) as error:
        open_video(folder)
    assert "\n" not in str(error.value)


def test_sixteen_bit_grey_image(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    folder = tmp_path / "deep"
    folder.mkdir()
    Pillow.fromarray(np.full((8, 8), 0x8080, np.uint16)).save(folder / "a.png")
    assert next(iter(open_video(folder))).image[0, 0].tolist() == [0x80, 0x80, 0x80]


def save_stack(path: Path, numbers: range, **options: Any) -> Path:
    from PIL import Image as Pillow

    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = [Pillow.fromarray(numbered(number)) for number in numbers]
    first.save(path, save_all=True, append_images=others, **options)
    return path


def test_every_page_of_a_stack_is_a_frame(tmp_path: Path) -> None:
    """Also in a folder, beside images of one page; the names tell the order."""
    reader = open_video(save_stack(tmp_path / "film.tif", range(7)))
    assert [number_of(frame.image) for frame in reader] == list(range(7))
    assert (reader.info.n_frames, reader.info.name, reader.info.fps) == (7, "film", 25)
    save_stack(tmp_path / "s" / "b2.tif", range(5))
    save_stack(tmp_path / "s" / "b10.tif", range(5, 8))
    save_stack(tmp_path / "s" / "c.png", range(8, 9))
    folder = open_video(tmp_path / "s")
    assert folder.info.n_frames == 9
    assert [number_of(frame.image) for frame in folder] == list(range(9))
    assert [frame.time_s for frame in folder] == pytest.approx([number / 25 for number in range(9)])
    assert folder.image_names()[4:] == ["b2.tif 4", "b10.tif 0", "b10.tif 1", "b10.tif 2", "c.png"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_animated_images_keep_their_times(suffix: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    reader = open_video(
        save_stack(tmp_path / f"a.{suffix}", range(4), duration=[100, 100, 300, 100], **options)
    )
    frames = list(reader)
    assert [number_of(frame.image) for frame in frames] == list(range(4))
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.5])
    assert (reader.info.n_frames, reader.info.is_variable_rate) == (4, True)
    assert reader.info.fps == pytest.approx(4 / 0.6)


def test_a_damaged_page_ends_its_stack_only(tmp_path: Path) -> None:
    stack = save_stack(tmp_path / "s" / "a.tif", range(6))
    save_stack(tmp_path / "s" / "b.tif", range(6, 8))
    whole = stack.read_bytes()
    place = whole.rfind(numbered(5).tobytes()[:200])  # the last page's pixels are stored as they are
    assert place > 0
    reader = open_video(tmp_path / "s")
    stack.write_bytes(whole[: place + 100])
    found = [number_of(frame.image) for frame in reader]
    assert found[-2:] == [6, 7]
    assert found[:-2] == list(range(len(found) - 2))
    assert any("a.tif cannot be read and is skipped" in problem for problem in reader.info.problems)


def test_a_header_that_promises_too_much_is_not_believed(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "cut.avi", 20, codec="mjpeg", pixel_format="yuvj420p")
    content = bytearray(path.read_bytes())
    for tag, offset in ((b"avih", 24), (b"strh", 40)):
        struct.pack_into("<I", content, content.find(tag) + offset, 0x7FFFFFFF)
    path.write_bytes(content)
    info = open_video(path).info
    assert (info.n_frames, info.duration_s) == (20, pytest.approx(20 / info.fps))
    assert info.problems[0].startswith("its header promises 2147483647 frames, but it holds 20")


# ---------------------------------------------------------------- which videos are meant


def test_find_videos(tmp_path: Path) -> None:
    for name in ("a10.mp4", "a9.mp4", "b.avi", "notes.txt", ".hidden.mp4", "sub/c.MKV"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    images = [write_images(tmp_path / "shots" / name, 2) for name in ("s1", "s2")]

    def found(*patterns: str) -> list[str]:
        return [str(path.relative_to(tmp_path)) for path in find_videos(patterns, tmp_path)]

    assert found(".") == ["a9.mp4", "a10.mp4", "b.avi"]
    assert found("b.avi", "a*.mp4", "*") == [
        "b.avi",
        "a9.mp4",
        "a10.mp4",
        "shots/s1",
        "shots/s2",
        "sub/c.MKV",
    ]
    assert found("**/*.MKV") == ["sub/c.MKV"]
    assert found("shots") == ["shots/s1", "shots/s2"]
    assert found("shots/s1", "shots/s2/*.png") == ["shots/s1", "shots/s2"]
    assert find_videos(str(images[0]), "/nowhere") == [images[0]]


def test_a_glob_takes_what_is_not_known_to_be_something_else(tmp_path: Path) -> None:
    for name in ("a.NUT", "a.csv", "a.foo", "a.mp4", "a.png", "a.slp", "a"):
        (tmp_path / name).touch()

    def found(pattern: str) -> list[str]:
        return [path.name for path in find_videos(pattern, tmp_path)]

    assert found("*.foo") == ["a.foo"]
    assert found("a*") == ["a.foo", "a.mp4", "a.NUT"]
    assert found(".") == ["a.mp4", "a.NUT"]


@pytest.mark.parametrize(
    "patterns", [["s/img1*.png"], ["s/img0.png", "s/img3.png"], ["s/im*2.png", "clip.mp4"]]
)
def test_a_part_of_a_folder_of_images_is_refused(tmp_path: Path, patterns: list[str]) -> None:
    folder = write_images(tmp_path / "s", 12)
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(
        VideoError, match=r"Only [123] of the 12 images in .*s are given.* Give the folder itself, "
    ) as error:
        find_videos(patterns, tmp_path)
    assert "\n" not in str(error.value)
    # All of them, as the shell spells a glob without quotes, are the folder; one of them is a video of one frame.
    assert find_videos([*images_in(folder), folder], tmp_path) == [folder]
    assert find_videos("s/img3.png", tmp_path) == [folder / "img3.png"]


@pytest.mark.parametrize("pattern", ["missing.mp4", "*.mov", "notes", "."])
def test_nothing_found_is_said(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "notes").mkdir()
    with pytest.raises(VideoError, match=f"No video found for '.*' .searched from {tmp_path}") as error:
        find_videos([pattern], tmp_path)
    assert pattern in str(error.value)
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- the network's square


def dot(size: tuple[int, int], centre_px: tuple[float, float], sigma: float) -> Image:
    """A bright Gaussian dot on black; its centroid is ``centre_px`` (x, y)."""
    y, x = np.mgrid[: size[0], : size[1]]
    blob = np.exp(-((x - centre_px[0]) ** 2 + (y - centre_px[1]) ** 2) / (2 * sigma**2))
    return np.repeat(np.round(250 * blob)[..., None], 3, 2).astype(np.uint8)


def dot_found(square: Image, placement: Placement) -> np.ndarray:
    """The dot's centroid in pixels of the original frame, brought back by the placement's region."""
    weight = square[..., 1].astype(float)
    weight[weight < 4] = 0
    size = placement.size
    grid = (2 * np.arange(size) + 1) / size - 1
    point = torch.tensor([weight.sum(0) @ grid, weight.sum(1) @ grid], dtype=torch.float64) / weight.sum()
    return placement.region.to_original_px(point).numpy()


CROP_BOX = (37, 21, 301, 250)


@pytest.mark.parametrize("way", ["image", "decoder"])
@pytest.mark.parametrize("box", [None, CROP_BOX])
@pytest.mark.parametrize("fit", ["pad", "crop", "squash"])
@pytest.mark.parametrize("size", [(240, 320), (321, 239)])
def test_dots_are_found_back(
    tmp_path: Path, way: str, box: tuple[int, int, int, int] | None, fit: Fit, size: tuple[int, int]
) -> None:
    """Within 0.05 px of the original frame, also where the decoder's own scaler does the resizing."""
    places = np.random.default_rng(0).uniform(0.42, 0.58, (6, 2)) * size[::-1]
    images = [dot(size, (x, y), sigma=9) for x, y in places]
    placement = place(size, 96, fit, box)
    if way == "image":
        squares = [prepare(image, placement) for image in images]
    else:
        path = write_video(tmp_path / "dots.mkv", images, codec="ffv1", pixel_format="yuv420p")
        squares = [frame.prepared(placement) for frame in open_video(path).decode()]
    errors = np.array([dot_found(square, placement) for square in squares]) - places
    assert np.abs(errors).max() < 0.05


def test_both_ways_of_resizing_agree(tmp_path: Path) -> None:
    """A whole frame is scaled by the decoder, a cropped one by torch: a network must not see which."""
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(0, 255, (12, 16, 3)), np.ones((20, 20, 1))).astype(np.uint8)
    path = write_video(tmp_path / "s.mkv", [smooth], codec="ffv1", pixel_format="yuv444p")
    frame = next(iter(open_video(path).decode()))
    placement = place((240, 320), 96)
    difference = np.abs(frame.prepared(placement).astype(int) - prepare(frame.rgb(), placement))
    assert difference.mean() < 1.5
    assert np.quantile(difference, 0.99) <= 4


def test_padding_is_black_and_content_in_its_place() -> None:
    white = np.full((50, 100, 3), 255, np.uint8)
    square = prepare(white, place((50, 100), 64))
    assert square.shape == (64, 64, 3)
    assert (square[:16] == 0).all()
    assert (square[16:48] == 255).all()
    assert (square[48:] == 0).all()


# ---------------------------------------------------------------- real videos


@pytest.mark.parametrize(
    ("name", "count"),
    [("mouse_openfield/videos/m3v1mp4.mp4", 2330), ("mirror_mouse/videos/test_vid.mp4", 994)],
)
def test_real_video_is_read_whole(kp_data: Path, name: str, count: int) -> None:
    reader = open_video(kp_data / name)
    times = [frame.time_s for frame in reader.decode()]
    assert len(times) == reader.info.n_frames == count
    assert (np.diff(times) > 0).all()
    assert not reader.info.problems
