"""The learnt background shows no animal, also where animals rest for most of the time; the plain median does."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lightning_kp.arena.body import ArenaSettings
from lightning_kp.arena.recording import render_frames, simulate
from lightning_kp.motion import foreground as fg
from lightning_kp.motion.background import FrameSampler, learn_background, sampled_background
from lightning_kp.studies.resting import Rest, empty_arena, rearranged, standing_out, timeline

FRAMES, WALK, SIZE = 240, 100, 80
SETTINGS = ArenaSettings(size=SIZE, frames=3 * WALK, seed=0)
TRUTH = rearranged(simulate(SETTINGS), [np.arange(0, 3 * WALK, 3)] * 2)  # at three times the speed


def recording(*rests: Rest) -> tuple[NDArray[np.uint8], tuple[float, float], tuple[float, float]]:
    """Images of a video, and what stands out from its median and from its learnt background."""
    shown = rearranged(TRUTH, [timeline(FRAMES, rest, WALK) for rest in rests])
    every = ArenaSettings(size=SIZE, frames=FRAMES, seed=0)
    images = np.stack(list(render_frames(every, shown)))
    learnt = sampled_background(images)
    rows = np.arange(0, FRAMES, 4)
    part = rearranged(shown, [rows] * len(rests))
    median = standing_out(images[rows], part, fg.median_background(images))
    return learnt, median, standing_out(images[rows], part, learnt)


@pytest.mark.parametrize(
    "rests",
    [
        (Rest(0.6), Rest(0.6)),
        (Rest(0.55), Rest(0.55)),
        (Rest(0.6), Rest()),
    ],
)
def test_resting_animals_stand_out(rests: tuple[Rest, Rest]) -> None:
    learnt, median, found = recording(*rests)
    assert median[0] < 0.8  # otherwise this shows nothing
    assert median[1] > 0.05  # where an animal has rested
    assert found[0] > 0.97
    assert found[1] < 0.03
    assert np.abs(learnt.astype(float) - empty_arena(SETTINGS, TRUTH)).mean() < 3


def test_animals_that_walk_leave_the_median_as_it_is() -> None:
    learnt, _, found = recording(Rest(), Rest())
    assert found[0] > 0.97
    assert np.abs(learnt.astype(float) - empty_arena(SETTINGS, TRUTH)).mean() < 3


def test_a_timeline_is_counted_by_hand() -> None:
    assert timeline(10, Rest(0.5, 2), 5).tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 3, 4]
    assert timeline(7, Rest(), 3).tolist() == [0, 1, 2, 2, 1, 0, 0]


def ground(height: int, width: int) -> NDArray[np.float64]:
    noise = np.random.default_rng(0).normal(0, 1, (height, width))
    return 120 + 120 * ndimage.gaussian_filter(noise, 3)[..., None] + np.array((20.0, 0.0, -20.0))


def discs(centres: NDArray[np.float64], scene: NDArray[np.float64], grey: float) -> NDArray[np.uint8]:
    """A disc of radius 18 at centres (T, 2) before a scene (h, w, 3), with noise."""
    y, x = np.mgrid[: scene.shape[0], : scene.shape[1]]
    images = scene + np.random.default_rng(1).normal(0, 2, (len(centres), *scene.shape))
    for image, (left, top) in zip(images, centres, strict=True):
        image[(x - left) ** 2 + (y - top) ** 2 < 18**2] = grey
    return images.clip(0, 255).astype(np.uint8)


def test_large_images_of_odd_sides_are_mended_in_full_resolution() -> None:
    """They are searched at half their size."""
    scene = ground(151, 301)
    path = np.stack((np.linspace(60, 260, 16), np.full(16, 70.0)), axis=-1)
    images = discs(np.concatenate((np.repeat(path[:1], 24, axis=0), path)), scene, 20)
    learnt = learn_background(images)
    assert learnt.shape == (151, 301, 3)
    off = np.abs(learnt - scene).max(axis=-1)[40:100, 30:90]
    assert np.abs(fg.median_background(images) - scene).max(axis=-1)[40:100, 30:90].mean() > 20
    assert off.mean() < 3


def test_a_plain_animal_on_rich_ground_is_not_taken_for_ground() -> None:
    """Its outline may be fainter than the edges it hides; but no place is like it in many frames."""
    scene = ground(96, 160)
    turn = np.linspace(0, 2 * np.pi, 60)
    images = discs(np.stack((80 + 45 * np.cos(turn), 48 + 25 * np.sin(turn)), axis=-1), scene, 120)
    assert np.abs(learn_background(images) - scene).mean() < 2


def test_few_images_give_a_background_too() -> None:
    images = discs(np.array([[30.0, 40.0]] * 2), ground(96, 160), 20)
    assert learn_background(images[:1]).shape == (96, 160, 3)
    assert learn_background(images).shape == (96, 160, 3)


def test_a_stream_is_sampled_evenly_and_where_it_changes() -> None:
    """3000 frames in which something moves in 30: evenly spaced ones would show one of these."""
    sampler, largest = FrameSampler(even=16, novel=32), 0
    looked_at = []
    for index in range(3000):
        if not sampler.wants(index):
            continue
        image = np.full((32, 48, 3), 90, np.uint8)
        if 100 <= index < 130:
            place = index - 100
            image[10:20, place : place + 10] = 200
        image[0, 0] = (index // 256, index % 256, 0)
        sampler.add(index, image)
        looked_at.append(index)
        largest = max(largest, len(sampler.images()))
    kept = sampler.images()[:, 0, 0].astype(int)
    numbers = kept[:, 0] * 256 + kept[:, 1]
    assert largest < 2 * 16 + 32 + 1
    assert (np.diff(numbers) > 0).all()
    assert ((numbers >= 100) & (numbers < 130)).sum() >= 28
    even = numbers[numbers % 128 == 0]
    assert len(even) == -(-3000 // 128)
    assert len(looked_at) < 1500  # the others need not be decoded


def test_new_frames_are_kept_whatever_the_light_does() -> None:
    """A change of brightness of the whole image is nothing new."""
    sampler = FrameSampler(even=2, novel=6)
    for index in range(200):
        image = np.full((32, 48, 3), 90 + 3 * (index % 7), np.uint8)
        if 50 <= index < 54:
            image[10:20, 10 * (index - 50) : 10 * (index - 50) + 10] += 100
        sampler.add(index, image)
    shown = (sampler.images().max(axis=(1, 2, 3)) > 150).sum()
    assert shown == 4
