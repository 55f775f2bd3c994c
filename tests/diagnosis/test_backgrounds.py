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
from lightning_kp.diagnosis.verdict import Diagnosis, Verdict
from lightning_kp.geometry import normalise
from lightning_kp.motion import foreground as fg
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


def judged(points: np.ndarray, background: np.ndarray) -> Diagnosis:
    """Diagnosis of a network that returns these points (T, K, 2) and turns with the image."""
    generator = np.random.default_rng(0)
    present, later = fg.foreground(IMAGES, background), fg.foreground(IMAGES[LATER], background)
    count = points.shape[1]
    return diagnose(
        Evidence(
            points=points,
            confidence=np.full((FRAMES, count), 0.3),
            covariance=np.broadcast_to([0.0025, 0.0025, 0.0], (FRAMES, count, 3)).copy(),
            turned_back=points + generator.normal(0, 0.01, points.shape),
            **measure_surroundings(present, later, fg.moving(IMAGES, IMAGES[LATER]), points, generator),
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
