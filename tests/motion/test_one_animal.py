"""The square goes with the animal, not with a cloth, a hand or a door that is there for a part of the video."""

from pathlib import Path

import numpy as np
import pytest
from clips import write_video
from numpy.typing import NDArray

from lightning_kp.motion.animals import find_boxes
from lightning_kp.motion.background import sampled_background
from lightning_kp.motion.boxes import AnimalBoxes, stretches
from lightning_kp.motion.one_animal import choose_path
from lightning_kp.motion.regions import MovingRegions

HEIGHT, WIDTH, FRAMES = 144, 192, 120
GROUND = np.stack(
    [
        150 + sign * 40 * np.sin(np.arange(WIDTH) / 9)[None, :] * np.cos(np.arange(HEIGHT) / 13)[:, None]
        for sign in (1, 0, -1)
    ],
    axis=-1,
)
"""Coloured ground whose mean over the channels is plain."""
BODY = 20.0  # length


def places() -> NDArray[np.float64]:
    """Centres (T, 2) of the body, as x and y in pixels."""
    turn = np.linspace(0, 2 * np.pi, FRAMES, endpoint=False)
    return np.stack((96 + 55 * np.cos(turn), 72 + 40 * np.sin(turn)), axis=-1)


def scene(*, enters: int = 0) -> NDArray[np.uint8]:
    """A dark animal that walks round the arena, there from frame ``enters`` on: (T, h, w, 3)."""
    images = np.repeat(GROUND[None], FRAMES, axis=0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for image, (left, top) in zip(images[enters:], places()[enters:], strict=True):
        image[((x - left) / (BODY / 2)) ** 2 + ((y - top) / (BODY / 3)) ** 2 < 1] = 30
    return images.round().astype(np.uint8)


def boxes_of(images: NDArray[np.uint8], folder: Path, channels: int = 3) -> AnimalBoxes:
    video = write_video(folder / "scene.mp4", list(images), options={"crf": "10"})
    large = (
        sampled_background(images).repeat(4, axis=0).repeat(4, axis=1)[::3, ::3]
    )  # 256 px wide, as analysed
    if channels == 1:
        large = large.mean(axis=-1, keepdims=True).astype(np.uint8)
    return find_boxes(video, large, 1)


def is_followed(found: AnimalBoxes) -> NDArray[np.bool_]:
    """Whether the animal is in the middle half of its box, (T,)."""
    middle = (found.boxes[:, 0, :2] + found.boxes[:, 0, 2:]) / 2
    return np.abs(middle - places()).max(axis=1) < found.side_px / 4


def test_a_cloth_that_is_taken_away_does_not_attract_the_square(tmp_path: Path) -> None:
    images = scene()
    images[: FRAMES // 10, 100:140, 5:60] = 40
    found = boxes_of(images, tmp_path)
    assert is_followed(found).all()
    assert found.seen.tolist() == [1.0]
    assert 1.2 * BODY < found.side_px < 2 * BODY


def test_where_only_a_cloth_is_no_animal_is_seen(tmp_path: Path) -> None:
    images = scene(enters=30)
    images[:25, 100:140, 5:60] = 40
    found = boxes_of(images, tmp_path)
    assert not found.found[:30].any()
    assert found.found[30:].all()
    assert found.seen == pytest.approx([0.75])
    assert is_followed(found)[30:].all()
    (stretch,) = found.unseen_stretches()
    assert stretch == pytest.approx((found.time_s[0], found.time_s[29]))
    assert found.unseen_stretches(least_s=60) == []


def test_a_hand_that_comes_and_goes_does_not_attract_the_square(tmp_path: Path) -> None:
    images = scene()
    for frame in range(60, 75):  # it comes in from the right and goes, behind or over nobody
        images[frame, 20:60, WIDTH - 8 * (8 - abs(frame - 67)) :] = 210
    found = boxes_of(images, tmp_path)
    assert is_followed(found).mean() > 0.97


def test_a_background_in_colour_serves_as_well_as_one_in_grey(tmp_path: Path) -> None:
    colour, grey = (boxes_of(scene(), tmp_path, channels) for channels in (3, 1))
    assert is_followed(colour).all()
    assert is_followed(grey).all()
    assert abs(colour.side_px - grey.side_px) <= 3


def test_an_animal_as_bright_as_the_ground_is_found_by_its_colour(tmp_path: Path) -> None:
    images = np.full((FRAMES, HEIGHT, WIDTH, 3), 120, np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for image, (left, top) in zip(images, places(), strict=True):
        image[((x - left) / (BODY / 2)) ** 2 + ((y - top) / (BODY / 3)) ** 2 < 1] = (170, 115, 75)  # mean 120
    found = boxes_of(images, tmp_path)
    assert found.seen.tolist() == [1.0]
    assert is_followed(found).all()


def test_two_animals_before_a_coloured_background(tmp_path: Path) -> None:
    """Where their grey frames met one channel of the background, the ground itself stood out."""
    images = scene()
    images[:, 10:20, 10:30] = 30
    images[60:, 10:20, 10:30] = GROUND[10:20, 10:30].round()
    images[60:, 110:120, 150:170] = 30
    background = np.repeat(GROUND[None], 1, axis=0)[0].round().astype(np.uint8)
    large = background.repeat(4, axis=0).repeat(4, axis=1)[::3, ::3]
    video = write_video(tmp_path / "two.mp4", list(images), options={"crf": "10"})
    found = find_boxes(video, large, 2)
    middle = (found.boxes[..., :2] + found.boxes[..., 2:]) / 2
    nearest = np.abs(middle - places()[:, None]).max(axis=-1).min(axis=1)
    assert (nearest < found.side_px / 3).mean() > 0.95
    assert found.side_px < 3 * BODY


def regions(*rows: tuple[float, float, float, float]) -> MovingRegions:
    """Regions of (area, x, y, grey), each as long as wide."""
    return MovingRegions(np.array([(a, x, y, np.sqrt(a), grey) for a, x, y, grey in rows]).reshape(-1, 5))


def test_a_thing_of_the_same_look_is_told_by_the_jump() -> None:
    """It lies still, as large and as dark as the animal, and is gone after a tenth of the time."""
    walk = [(100.0, 50 + t, 50.0, 30.0) for t in range(100)]
    still = (101.0, 200.0, 180.0, 30.0)
    frames = [regions(still, each) if t < 10 else regions(each) for t, each in enumerate(walk)]
    centres, length = choose_path(frames)
    np.testing.assert_allclose(centres, [(x, y) for _, x, y, _ in walk])
    assert length == pytest.approx(10)


def test_a_change_of_grey_or_area_alone_is_enough() -> None:
    walk = [(100.0, 50 + t, 50.0, 30.0) for t in range(60)]
    for other in ((101.0, 48.0, 60.0, 200.0), (400.0, 48.0, 60.0, 30.0)):
        frames = [regions(other) if t < 8 else regions(each) for t, each in enumerate(walk)]
        centres, _ = choose_path(frames)
        assert np.isnan(centres[:8]).all()
        assert np.isfinite(centres[8:]).all()


def test_frames_far_apart_may_show_a_long_step() -> None:
    frames = [regions((100.0, 10.0, 10.0, 30.0)), regions((100.0, 90.0, 10.0, 30.0)), regions()]
    assert np.isfinite(choose_path(frames, np.array([0, 500, 501]))[0][:2]).all()
    assert np.isnan(choose_path([regions()] * 3)[1])


def test_stretches_of_time() -> None:
    time = np.arange(8) / 2
    found = stretches(np.array([1, 1, 1, 0, 1, 0, 1, 1], bool), time, 0.5)
    assert found == [(0.0, 1.0), (3.0, 3.5)]
    assert stretches(np.zeros(8, bool), time, 0.0) == []
