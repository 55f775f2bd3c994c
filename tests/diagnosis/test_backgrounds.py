"""The verdict knows a resting animal as an animal, and the place that it has left as background."""

import dataclasses

import numpy as np
import pytest
import torch

from lightning_kp.arena.body import ArenaSettings
from lightning_kp.arena.recording import render_frames, simulate
from lightning_kp.batches import FramePairs
from lightning_kp.diagnosis.backgrounds import sampled_backgrounds
from lightning_kp.diagnosis.evidence import Evidence, measure_surroundings
from lightning_kp.diagnosis.judgement import diagnose
from lightning_kp.diagnosis.verdict import Diagnosis, Problem, Verdict
from lightning_kp.geometry import normalise
from lightning_kp.motion import foreground as fg
from lightning_kp.motion.background import learn_background
from lightning_kp.studies.resting import Rest, rearranged, timeline

FRAMES, WALK, SIZE, GAP = 240, 120, 96, 4
SETTINGS = ArenaSettings(size=SIZE, frames=4 * WALK, seed=2, animals=1)
FOUR_TIMES_AS_FAST = 4 * timeline(FRAMES, Rest(0.7), WALK)
SHOWN = rearranged(simulate(SETTINGS), [FOUR_TIMES_AS_FAST])
IMAGES = np.stack(list(render_frames(dataclasses.replace(SETTINGS, frames=FRAMES), SHOWN)))
LATER = np.minimum(np.arange(FRAMES) + GAP, FRAMES - 1)
PARTS = (0, 3, 4, 5)  # snout, neck, body, tail base


class Pairs(torch.utils.data.Dataset[FramePairs]):
    """Pairs of frames of the video in which the animal rests for 70 % of the time."""

    def __len__(self) -> int:
        return FRAMES

    def __getitem__(self, item: int) -> FramePairs:
        frame, future = (torch.from_numpy(IMAGES[i]).permute(2, 0, 1) for i in (item, LATER[item]))
        return FramePairs(frame, future, torch.tensor(0), torch.tensor(item))


def judged(
    points: np.ndarray, background: np.ndarray, images: np.ndarray = IMAGES, later: np.ndarray = IMAGES[LATER]
) -> Diagnosis:
    """Diagnosis of a network that returns these points (T, K, 2) and turns with the image."""
    generator = np.random.default_rng(0)
    present, after = fg.foreground(images, background), fg.foreground(later, background)
    count = points.shape[1]
    return diagnose(
        Evidence(
            points=points,
            confidence=np.full((FRAMES, count), 0.3),
            covariance=np.broadcast_to([0.0025, 0.0025, 0.0], (FRAMES, count, 3)).copy(),
            turned_back=points + generator.normal(0, 0.01, points.shape),
            **measure_surroundings(present, after, fg.moving(images, later), points, generator),
            body_px=fg.largest_size_px(present),
            video=np.zeros(FRAMES, dtype=np.int64),
            index=np.arange(FRAMES),
            image_size=SIZE,
        )
    )


@pytest.fixture(scope="module")
def background() -> np.ndarray:
    return sampled_backgrounds(Pairs(), items=120)[0].at(np.arange(FRAMES))


def test_keypoints_on_a_resting_animal_are_found(background: np.ndarray) -> None:
    points = normalise(SHOWN.points_px[:, 0, PARTS], (SIZE, SIZE))
    diagnosis = judged(points, background)
    assert diagnosis.verdict is Verdict.FOUND
    assert all(each.measures.on_animal > 0.95 for each in diagnosis.keypoints)


def test_keypoints_where_an_animal_has_rested_fail(background: np.ndarray) -> None:
    """They tremble with the noise, at the place that the plain median shows the animal at."""
    rest = normalise(SHOWN.points_px[:1, 0, PARTS], (SIZE, SIZE))
    points = rest + np.random.default_rng(1).normal(0, 0.01, (FRAMES, 1, 2))
    diagnosis = judged(points, background)
    assert diagnosis.verdict is Verdict.FAILED
    assert all(each.measures.on_animal < 0.85 for each in diagnosis.keypoints)
    deceived = judged(points, fg.median_background(IMAGES))
    assert deceived.verdict is not Verdict.FAILED
    assert all(each.measures.on_animal > 0.9 for each in deceived.keypoints)


# ---------------------------------------------------------------- other scenes

CLOTH = (slice(6, 40), slice(56, 90))


@dataclasses.dataclass(frozen=True)
class Shown:
    """Frames (T, h, w, 3) of a scene, and the parts of its animals (T, K, 2), normalised."""

    images: np.ndarray
    points: np.ndarray

    @property
    def later(self) -> np.ndarray:
        return self.images[np.minimum(np.arange(FRAMES) + GAP, FRAMES - 1)]


def rendered(rows: np.ndarray, **settings: object) -> Shown:
    """The frames ``rows`` (T,) of an arena video."""
    chosen = dataclasses.replace(SETTINGS, **settings)  # type: ignore[arg-type]
    truth = rearranged(simulate(chosen), [rows] * chosen.animals)
    images = np.stack(list(render_frames(dataclasses.replace(chosen, frames=FRAMES), truth)))
    return Shown(images, normalise(truth.points_px[:, :, PARTS], (SIZE, SIZE)).reshape(FRAMES, -1, 2))


def sleeper_in_a_nest() -> Shown:
    """One animal lies in a nest, a dark patch of the floor, half of the time."""
    scene = rendered(4 * timeline(FRAMES, Rest(0.5), WALK))
    nest = np.zeros((SIZE, SIZE), dtype=bool)
    home = ((scene.points[0].mean(axis=0) + 1) / 2 * SIZE).astype(int)
    nest[home[1] - 20 : home[1] + 20, home[0] - 20 : home[0] + 20] = True
    floor = np.median(scene.images[FRAMES // 2 :], axis=0)
    bare = np.abs(scene.images - floor).max(axis=-1) < 40
    images = scene.images.copy()
    images[bare & nest] = (0.75 * images[bare & nest]).astype(np.uint8)
    return dataclasses.replace(scene, images=images)


def cloth_that_leaves() -> Shown:
    """One walking animal; a cloth larger than it lies in the picture for the first 40 % of the time."""
    scene = rendered(4 * timeline(FRAMES, Rest(), WALK))
    images = scene.images.copy()
    images[: round(0.4 * FRAMES), CLOTH[0], CLOTH[1]] = (215, 210, 200)
    return dataclasses.replace(scene, images=images)


def two_that_rest_together() -> Shown:
    """Two animals with one coat lie side by side for 60 % of the time."""
    settings = dataclasses.replace(SETTINGS, animals=2, look_alike=True)
    nearest = int(simulate(settings).gap_px[: 3 * WALK].min(axis=1).argmin())
    walk = nearest + np.arange(4 * WALK - nearest)[:: max(1, (4 * WALK - nearest) // WALK)]
    rows = walk[timeline(FRAMES, Rest(0.6), len(walk))]
    return rendered(rows, animals=2, look_alike=True)


SCENES = {each.__name__: each for each in (sleeper_in_a_nest, cloth_that_leaves, two_that_rest_together)}


@pytest.fixture(scope="module", params=SCENES)
def scene(request: pytest.FixtureRequest) -> Shown:
    return SCENES[request.param]()


def diagnosis_of(scene: Shown, points: np.ndarray) -> Diagnosis:
    """Verdict on a network that returns ``points`` (T, K, 2), by the background learnt from every second frame."""
    return judged(points, learn_background(scene.images[::2]), scene.images, scene.later)


def test_keypoints_on_the_animals_are_found_in_every_scene(scene: Shown) -> None:
    diagnosis = diagnosis_of(scene, scene.points)
    assert diagnosis.verdict is Verdict.FOUND, diagnosis.reason
    assert len(diagnosis.found) == scene.points.shape[1]


def test_keypoints_that_stay_where_the_animals_were_fail_in_every_scene(scene: Shown) -> None:
    stays = scene.points[:1] + np.random.default_rng(1).normal(0, 0.01, (FRAMES, 1, 2))
    diagnosis = diagnosis_of(scene, stays)
    assert diagnosis.verdict is Verdict.FAILED, diagnosis.reason


def test_keypoints_on_a_cloth_fail() -> None:
    middle = normalise(np.array([[(side.start + side.stop - 1) / 2 for side in CLOTH[::-1]]]), (SIZE, SIZE))
    offsets = np.array([[-0.2, -0.2], [0.2, -0.2], [0.2, 0.2], [-0.2, 0.2]])
    points = middle + offsets + np.random.default_rng(1).normal(0, 0.01, (FRAMES, 1, 2))
    diagnosis = diagnosis_of(cloth_that_leaves(), points)
    assert diagnosis.verdict is Verdict.FAILED
    assert {each.problem for each in diagnosis.keypoints} == {Problem.STUCK}
