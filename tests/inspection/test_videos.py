"""`kp inspect` measures what moves in synthetic scenes of known size and speed, and warns of what may disturb."""

import dataclasses
import json
import math
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lightning_kp.errors import ConfigurationError, DataError, VideoError
from lightning_kp.inspection.advice import Suggestion, combine_suggestions, crop_text, duration_text, suggest
from lightning_kp.inspection.measures import (
    BURST,
    BURSTS,
    SINGLES,
    Measured,
    Sampled,
    measure,
    sample,
)
from lightning_kp.inspection.notes import Trouble, notes_on
from lightning_kp.inspection.picture import write_picture
from lightning_kp.inspection.shake import shift_between
from lightning_kp.inspection.videos import Inspection, VideoInspection, inspect_videos
from lightning_kp.motion.boxes import FOLLOW
from lightning_kp.verbs import inspect
from lightning_kp.video.reader import VideoInfo

HEIGHT, WIDTH, FPS, FRAMES = 96, 128, 30.0, 60
TEXTURE = (
    ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 60, (HEIGHT + 40, WIDTH + 40)), 2) * 3 + 120
)


def scene(*discs: tuple[np.ndarray, float, float], noise: float = 2.0, frames: int = FRAMES) -> np.ndarray:
    """A textured arena with discs (centres (T, 2) in pixels, radius, grey): (T, h, w, 3) uint8."""
    generator = np.random.default_rng(1)
    images = np.repeat(TEXTURE[None, 20:-20, 20:-20], frames, axis=0) + generator.normal(
        0, noise, (frames, HEIGHT, WIDTH)
    )
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for centres, radius, grey in discs:
        inside = (x - centres[:, 0, None, None]) ** 2 + (y - centres[:, 1, None, None]) ** 2 < radius**2
        images[inside] = grey
    return np.repeat(images.clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def walk(start: tuple[float, float], step: tuple[float, float], frames: int = FRAMES) -> np.ndarray:
    return np.array(start) + np.arange(frames)[:, None] * np.array(step)


def sampled(images: np.ndarray, scale: float = 4.0, is_whole: bool = True) -> Sampled:
    """As if read from a video whose frames are ``scale`` times larger."""
    size = (int(images.shape[1] * scale), int(images.shape[2] * scale))
    info = VideoInfo(Path("x.mp4"), "x", size, FPS, len(images), len(images) / FPS, "h264", "yuv420p")
    number = np.arange(len(images))
    return Sampled(info, images, number, number / FPS, len(images), is_whole, scale)


def advice(images: np.ndarray, *, may_follow: bool = True) -> tuple[Measured, Suggestion, set[Trouble]]:
    looked_at = sampled(images)
    measured = measure(looked_at)
    suggestion = suggest(looked_at.info, measured, may_follow=may_follow)
    troubles = {note.trouble for note in notes_on(looked_at, measured, suggestion)}
    assert Trouble.SHORT in troubles  # two seconds
    return measured, suggestion, troubles - {Trouble.SHORT}


def test_one_walker_is_measured_and_suggested_for() -> None:
    measured, suggestion, troubles = advice(scene((walk((15, 20), (1.6, 0.9)), 8, 250)))
    assert measured.count.animals == 1
    # a disc of radius 8 is as large as a square of side 8 sqrt(pi) = 14.2; the frame is 4 times larger
    assert measured.size_px == pytest.approx(4 * 8 * math.sqrt(math.pi), rel=0.12)
    step = math.hypot(1.6, 0.9) / (measured.size_px / 4)  # sizes per frame
    assert measured.speed == pytest.approx(step * FPS, rel=0.1)
    assert suggestion.gap.value == round(1 / 3 / step)
    assert suggestion.keypoints.value == 8
    # 512 px wide: a square of two lengths shows it more than four times larger
    assert suggestion.box.value == FOLLOW
    assert f"{512 / (2 * measured.size_px):.1f} times larger" in suggestion.box.reason
    assert suggestion.size.value == 96
    assert troubles == set()


@pytest.mark.parametrize(
    ("box", "words"), [(None, "none"), (FOLLOW, "follow"), ((1, 2, 30, 40), "1,2,30,40")]
)
def test_a_crop_in_words(box: tuple[int, int, int, int] | str | None, words: str) -> None:
    """In the terminal and in the picture's title, which once read "crop f,o,l,l,o,w"."""
    assert crop_text(box) == words


def test_a_large_walker_is_not_followed() -> None:
    _, suggestion, _ = advice(scene((walk((30, 45), (1.2, 0.1)), 28, 250)))
    assert suggestion.box.value is None


def test_a_lone_thing_before_a_shaking_camera_is_not_followed() -> None:
    """The median of what it films is not what lies behind the thing."""
    images = scene((walk((15, 20), (1.6, 0.9)), 8, 250))
    moves = np.random.default_rng(2).integers(-3, 4, (FRAMES, 2))
    shaken = np.stack([np.roll(each, move, (0, 1)) for each, move in zip(images, moves, strict=True)])
    assert advice(shaken)[1].box.value != FOLLOW


TWO = scene((walk((15, 20), (1.6, 0.9)), 8, 250), (walk((110, 80), (-1.6, -0.4)), 8, 5))


def test_two_things_have_a_square_each() -> None:
    measured, suggestion, _ = advice(TWO)
    assert measured.count.animals == 2
    assert suggestion.box.value == "follow:2"
    assert f"shows it {512 / (2 * measured.size_px):.1f} times larger, and alone" in suggestion.box.reason
    assert (suggestion.size.value, suggestion.keypoints.value) == (96, 8)


def test_two_things_that_mostly_touch_are_shown_in_one_picture() -> None:
    looked_at = sampled(TWO)
    measured = measure(looked_at)

    def box(touching: float) -> object:
        count = measured.count._replace(touching=touching)
        return suggest(looked_at.info, dataclasses.replace(measured, count=count)).box.value

    assert box(0.5) == "follow:2"
    assert box(0.51) is None


def test_two_things_that_are_unsure_or_never_move_have_no_square_each() -> None:
    looked_at = sampled(TWO)
    measured = measure(looked_at)
    for doubt in ({"certainty": 0.6}, {"still": 1}):
        count = measured.count._replace(**doubt)
        assert suggest(looked_at.info, dataclasses.replace(measured, count=count)).box.value is None


def test_the_size_of_a_picture_of_two_things() -> None:
    _, suggestion, _ = advice(TWO, may_follow=False)
    assert suggestion.box.value is None
    # 512 px wide, 57 px large: 128 px would leave 14 px, 160 px leave 18
    assert suggestion.size.value == 160


def test_the_crop_holds_the_whole_walk_and_leaves_the_rest_out() -> None:
    images = scene((walk((25, 30), (0.5, 0.3)), 6, 250), (walk((45, 45), (0.5, 0.3)), 6, 5))
    _, suggestion, _ = advice(images, may_follow=False)
    left, top, right, bottom = suggestion.box.value
    # the discs reach from 19 to 80.5 and from 24 to 68.7 small pixels; one size of margin and less than two
    assert left <= 4 * 19
    assert right >= 4 * 80
    assert top <= 4 * 24
    assert bottom >= 4 * 68
    assert right - left < 4 * (62 + 4 * 11)
    whole = max(sampled(scene()).info.frame_size)
    assert f"{whole / (right - left):.1f} times larger" in suggestion.box.reason


def test_look_alikes_are_warned_about_and_different_ones_are_not() -> None:
    paths = walk((15, 25), (1.5, 0.2)), walk((110, 70), (-1.5, -0.2))
    images = scene((paths[0], 7, 250), (paths[1], 7, 250))
    alike = advice(images, may_follow=False)
    assert (alike[0].count.animals, alike[0].count.look_alike) == (2, True)
    assert Trouble.ALIKE in alike[2]
    assert alike[1].keypoints.value == 12
    assert Trouble.ALIKE not in advice(images)[2]  # a square for each is suggested
    different = advice(scene((paths[0], 7, 250), (paths[1], 12, 5)), may_follow=False)
    assert (different[0].count.animals, different[0].count.look_alike) == (2, False)
    assert Trouble.ALIKE not in different[2]


def test_shake_is_told_from_a_large_animal_that_moves() -> None:
    images = scene((walk((15, 40), (1.5, 0.2)), 9, 250))
    generator = np.random.default_rng(2)
    moves = generator.integers(-3, 4, (FRAMES, 2))
    shaken = np.stack([np.roll(each, move, (0, 1)) for each, move in zip(images, moves, strict=True)])
    measured, _, troubles = advice(shaken)
    assert Trouble.SHAKE in troubles
    lengths = np.linalg.norm(moves, axis=1)
    assert measured.shake_px == pytest.approx(4 * np.quantile(lengths, 0.9), rel=0.25)
    large = advice(scene((walk((30, 45), (1.2, 0.1)), 28, 250)))
    assert large[0].shake_px < 1
    assert Trouble.SHAKE not in large[2]


@settings(deadline=None, max_examples=20)
@given(st.integers(-12, 12), st.integers(-12, 12))
def test_shift_is_found(x: int, y: int) -> None:
    texture = TEXTURE.clip(0, 255).astype(np.uint8)
    reference = texture[20:-20, 20:-20]
    moved = texture[20 - y : 20 - y + HEIGHT, 20 - x : 20 - x + WIDTH]
    np.testing.assert_allclose(shift_between(moved, reference), (x, y), atol=0.2)


def test_half_a_pixel_of_shift_is_found() -> None:
    moved = ndimage.shift(TEXTURE, (0.5, -0.25), order=3)
    found = shift_between(moved[20:-20, 20:-20].clip(0, 255), TEXTURE[20:-20, 20:-20].clip(0, 255))
    np.testing.assert_allclose(found, (-0.25, 0.5), atol=0.15)


def test_flicker_is_measured_in_grey_levels_and_hides_nothing() -> None:
    light = (10 * np.sin(np.arange(FRAMES))).round().astype(int)
    images = (scene((walk((15, 20), (1.6, 0.9)), 8, 230)) + light[:, None, None, None]).clip(0, 255)
    measured, _, troubles = advice(images.astype(np.uint8))
    assert troubles == {Trouble.FLICKER}
    assert measured.flicker == pytest.approx(20, abs=2)
    assert measured.count.animals == 1


def test_stillness_and_noise_are_no_motion() -> None:
    for noise in (0.0, 3.0, 12.0):
        measured, suggestion, troubles = advice(scene(noise=noise))
        assert measured.count.animals == 0
        assert troubles == {Trouble.STILL}
        assert suggestion.gap.value == 6  # a fifth of a second
    assert measured.noise == pytest.approx(4, rel=0.3)  # the 3x3 mean leaves a third


def test_a_hand_in_the_picture_is_named_and_left_out() -> None:
    plain = scene((walk((20, 20), (0.4, 0.4)), 5, 250))
    disturbed = plain.copy()
    disturbed[40:43, 40:, 60:] = 200
    before, after = advice(plain), advice(disturbed)
    assert Trouble.UNUSUAL in after[2]
    assert after[0].unusual == pytest.approx(3 / FRAMES)
    assert after[1].box.value == before[1].box.value
    assert after[1].gap.value == before[1].gap.value


def test_an_animal_that_sleeps_is_measured_where_it_sleeps() -> None:
    """For two thirds of the time it lies in one place, where the plain median shows it."""
    path = np.concatenate((np.repeat([[30.0, 40.0]], 40, axis=0), walk((33, 41), (3.0, 1.0), 20)))
    measured, _, troubles = advice(scene((path, 8, 250)))
    assert measured.count.animals == 1
    assert measured.size_px == pytest.approx(4 * 8 * math.sqrt(math.pi), rel=0.12)
    assert measured.occupancy[40, 30] > 0.6
    assert np.abs(measured.background[36:44, 26:34].astype(float) - 250).mean() > 50
    assert Trouble.ABSENT not in troubles


def test_stretches_without_an_animal_are_listed_with_what_is_there_instead() -> None:
    images = scene((walk((15, 20), (1.6, 0.9), 200), 8, 250), frames=200)[:60]
    images = np.concatenate((scene(frames=45), images))
    images[:40, 70:94, 4:44] = 240  # a cloth, four times as large
    looked_at = sampled(images)
    measured = measure(looked_at)
    ((start, end, large_at, *_),) = measured.absences
    assert (start, end) == pytest.approx((0.0, 44 / FPS))
    assert large_at == "bottom left"
    (note,) = (
        each
        for each in notes_on(looked_at, measured, suggest(looked_at.info, measured))
        if each.trouble is Trouble.ABSENT
    )
    assert note.text.startswith("0.0 to 1.5 s: no animal found, something large at the bottom left. ")


def test_stretches_without_one_of_two_animals_are_listed() -> None:
    """The darker one comes into the picture after 1.5 s."""
    light = (walk((15, 20), (0.9, 0.4), 100), 7, 250)
    dark = (np.concatenate((np.full((45, 2), -50.0), walk((110, 80), (-1.2, -0.4), 55))), 7, 5)
    measured = measure(sampled(scene(light, dark, frames=100)))
    assert measured.count.animals == 2
    ((start, end, large_at, found, animals),) = measured.absences
    assert (start, found, animals, large_at) == (0.0, 1, 2, None)
    assert end == pytest.approx(44 / FPS, abs=2.1 / FPS)
    assert str(measured.absences[0]) == f"0.0 to {end:.1f} s: only 1 of 2 animals found"


def test_an_animal_as_light_as_the_floor_is_seen_by_its_colour() -> None:
    images = np.repeat(TEXTURE[None, 20:-20, 20:-20, None], FRAMES, axis=0).clip(60, 160).repeat(3, axis=-1)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for image, (left, top) in zip(images, walk((15, 20), (1.6, 0.9)), strict=True):
        image[(x - left) ** 2 + (y - top) ** 2 < 64] += (40, 0, -40)
    measured = measure(sampled(images.astype(np.uint8)))
    assert (measured.count.animals, measured.count.certainty) == (1, 1.0)
    assert measured.size_px == pytest.approx(4 * 8 * math.sqrt(math.pi), rel=0.12)


def test_a_moving_background_is_warned_about() -> None:
    generator = np.random.default_rng(3)
    leaves = [
        (generator.uniform((5, 5), (123, 91)) + generator.normal(0, 3, (FRAMES, 2)), 4, 250)
        for _ in range(12)
    ]
    assert Trouble.BACKGROUND in advice(scene(*leaves))[2]


def test_tiny_things_are_warned_about_and_get_few_keypoints() -> None:
    images = np.full((FRAMES, 96, 288, 3), 120, dtype=np.uint8)
    for time, image in enumerate(images):
        image[10 + time : 12 + time, 5 + 4 * time : 7 + 4 * time] = 250
    _, suggestion, troubles = advice(images)
    assert Trouble.TINY in troubles
    assert suggestion.keypoints.value < 8
    assert suggestion.size.value == 256


def test_slow_things_get_a_second_at_most() -> None:
    _, suggestion, _ = advice(scene((walk((40, 40), (0.02, 0.0)), 8, 250)))
    assert suggestion.gap.value <= 30


@pytest.mark.parametrize(("frames", "gap"), [(1, 1), (2, 1), (7, 1), (20, 5), (60, 15)])
def test_a_gap_fits_into_a_short_video(frames: int, gap: int) -> None:
    slow = sampled(scene((walk((40, 40), (0.02, 0.0)), 8, 250)))
    measured = dataclasses.replace(measure(slow), speed=0.01)
    choice = suggest(dataclasses.replace(slow.info, n_frames=frames), measured).gap
    assert choice.value == gap
    assert f"quarter of the video's {frames} frames" in choice.reason


def test_one_suggestion_for_several_videos() -> None:
    first, second = (
        sampled(scene((walk((25, 30), (0.5, 0.3)), 6, 250), (walk((45, 45), (0.5, 0.3)), 6, 5))),
        sampled(scene((walk((40, 30), (0.5, 0.3)), 6, 250), (walk((60, 40), (0.5, 0.3)), 6, 5))),
    )
    each = [
        (one.info, measured := measure(one), suggest(one.info, measured, may_follow=False))
        for one in (first, second)
    ]
    joint = combine_suggestions(each)
    boxes = [suggestion.box.value for _, _, suggestion in each]
    assert joint.box.value == (*np.min(boxes, axis=0)[:2], *np.max(boxes, axis=0)[2:])
    faster = first.info.__class__(**{**vars(first.info), "fps": 60.0})
    mixed = combine_suggestions([each[0], (faster, *each[1][1:])])
    gaps = [each[0][2].gap.value / 30, suggest(faster, each[1][1]).gap.value / 60]
    assert mixed.gap.value == f"{sum(gaps) / 2:.2f}s"
    other = first.info.__class__(**{**vars(first.info), "frame_size": (480, 640)})
    assert combine_suggestions([each[0], (other, *each[1][1:])]).box.value is None


def test_all_videos_are_followed_or_none() -> None:
    looked_at = [
        sampled(scene((walk((15, 20), (1.6, 0.9)), 8, 250))),
        sampled(scene((walk((15, 20), (1.6, 0.9)), 8, 250), (walk((110, 80), (-1.6, -0.4)), 8, 5))),
        sampled(scene()),
    ]
    alone, pair, empty = (
        (one.info, measured := measure(one), suggest(one.info, measured)) for one in looked_at
    )
    assert combine_suggestions([alone, alone]).box.value == FOLLOW
    assert combine_suggestions([alone, empty]).box.value == FOLLOW  # where nothing moves nothing is missed
    whole = combine_suggestions([alone, pair])
    assert whole.box.value is None
    assert whole.size.value == suggest(pair[0], pair[1], may_follow=False).size.value
    assert combine_suggestions([pair, pair]).box.value == "follow:2"


@pytest.mark.parametrize(("seconds", "words"), [(12, "12.0 s"), (119.9, "2 min 0 s"), (78.4, "1 min 18 s")])
def test_clock(seconds: float, words: str) -> None:
    assert duration_text(seconds) == words


def write_video(path: Path, images: np.ndarray, scale: int = 2) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(30))
        stream.width, stream.height = images.shape[2] * scale, images.shape[1] * scale
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        for image in images:
            large = image.repeat(scale, 0).repeat(scale, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(large, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = scene((walk((15, 20), (1.6, 0.9)), 8, 250))
    return write_video(tmp_path_factory.mktemp("videos") / "walker.mp4", images)


@pytest.fixture(scope="module")
def inspection(video: Path) -> Inspection:
    return inspect_videos([video])


def test_a_file_is_inspected_like_its_frames(inspection: Inspection) -> None:
    (found,) = inspection.videos
    assert isinstance(found, VideoInspection)
    assert found.decoded == FRAMES
    assert found.is_whole
    assert found.measured.count.animals == 1
    # one small pixel is one pixel of this 256 px wide video; the disc was drawn at half its size
    assert found.measured.size_px == pytest.approx(2 * 8 * math.sqrt(math.pi), rel=0.12)
    assert [note.trouble for note in found.notes] == [Trouble.SHORT]
    plain = json.loads(inspection.to_json())
    assert plain["videos"][0]["width"] == 2 * WIDTH
    assert plain["suggestion"]["gap"]["value"] == inspection.suggestion.gap.value
    text = inspection.text()
    assert "256x192 px, 30 frames/s, 60 frames (2.0 s), mpeg4" in text
    assert "animals    1 (sure, 1.00): " in text
    for line in text.splitlines()[1:6]:
        assert line[13] != " " == line[12]  # aligned


def test_reading_is_bounded_in_frames_and_memory(tmp_path: Path) -> None:
    count = BURST * BURSTS + SINGLES + 300
    generator = np.random.default_rng(0)
    path = write_video(
        tmp_path / "long.mp4", generator.integers(0, 255, (count, 16, 16, 3), dtype=np.uint8), 2
    )
    calls: list[int] = []
    whole = sample(path, frames=10_000, progress=calls.append)
    assert sum(calls) == whole.decoded == count
    assert len(whole.images) <= BURST * BURSTS + SINGLES
    assert whole.number[0] == 0
    assert whole.number[-1] == count - 1
    assert np.diff(whole.number).max() <= math.ceil(count / SINGLES)  # no stretch is left out
    part = sample(path, frames=50)
    assert part.decoded == 50
    assert not part.is_whole


@pytest.mark.slow
def test_a_picture_of_two_videos_is_twice_as_high(inspection: Inspection, tmp_path: Path) -> None:
    one = write_picture(inspection, tmp_path / "new" / "one.png")
    two = write_picture(Inspection(inspection.videos * 2, inspection.suggestion), tmp_path / "two.png")
    heights = [int.from_bytes(path.read_bytes()[20:24], "big") for path in (one, two)]  # PNG header
    assert heights[1] == 2 * heights[0]


def test_an_unwritable_picture_is_refused_in_one_line(inspection: Inspection, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_picture(inspection, tmp_path / "file" / "inspection.png")


def test_the_verb_prints_and_writes(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect.run([str(video), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Suggested settings" in printed
    assert {path.name for path in tmp_path.iterdir()} == {
        "inspection.png",
        "inspection.txt",
        "inspection.json",
    }
    assert (tmp_path / "inspection.txt").read_text() in printed
    assert (tmp_path / "inspection.png").read_bytes()[:4] == b"\x89PNG"
    assert inspect.run([str(video), "--json", "--frames", "30"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["videos"][0]["frames_decoded"] == 30
    assert plain["videos"][0]["notes"][-1]["trouble"] == "partly looked at"


def test_the_verb_refuses_nonsense(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="No video found"):
        inspect.run([str(tmp_path / "absent.mp4")])
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError, match="cannot be opened"):
        inspect.run([str(tmp_path / "text.mp4")])
    with pytest.raises(ConfigurationError, match="at least 1"):
        inspect.run(["x.mp4", "--frames", "0"])
    with pytest.raises(ConfigurationError, match=r"Did you mean --frames\?"):
        inspect.run(["--frame", "10", "x.mp4"])
    with pytest.raises(DataError, match="no video"):
        inspect_videos([])


@pytest.mark.slow
def test_the_mouse_is_one_animal_without_trouble() -> None:
    data = os.environ.get("KP_DATA")
    if not data:
        pytest.skip("needs real data: KP_DATA is not set")
    (found,) = inspect_videos([Path(data) / "mouse_openfield" / "videos" / "m3v1mp4.mp4"]).videos
    assert found.measured.count.animals == 1
    assert 80 < found.measured.size_px < 110
    assert found.notes == ()
    assert 4 <= found.suggestion.gap.value <= 12
    assert found.suggestion.size.value in (96, 128)
