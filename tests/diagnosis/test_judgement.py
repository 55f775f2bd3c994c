"""The verdict distinguishes collapsed, duplicated, background, jittering and good keypoints."""

import dataclasses
import inspect
import json
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_kp.batches import FramePairs
from lightning_kp.datamodules import VideoFramePairs
from lightning_kp.diagnosis.backgrounds import sampled_backgrounds
from lightning_kp.diagnosis.evidence import (
    Evidence,
    collect_evidence,
    foreground_under,
    measure_surroundings,
    motion_under,
    sampled_batches,
)
from lightning_kp.diagnosis.judgement import diagnose
from lightning_kp.diagnosis.verdict import EARLIER_REMEDIES, Diagnosis, Problem, Remedy, Verdict
from lightning_kp.errors import DataError
from lightning_kp.geometry import normalise, pixel_centres, to_pixels
from lightning_kp.heatmaps import spatial_softmax
from lightning_kp.method import KeypointMethod
from lightning_kp.motion import foreground as fg

SIZE, FRAMES, GAP = 64, 96, 4
PARTS = {"nose": 0.18, "body": 0.0, "tail": -0.18}  # along the animal, in half image sides


def course(time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre (T, 2) and heading (T,) of an animal that walks in loops."""
    angle = 2 * np.pi * time / 60
    centre = np.stack((0.55 * np.cos(angle), 0.5 * np.sin(2 * angle)), axis=-1)
    velocity = np.stack((-0.55 * np.sin(angle), np.cos(2 * angle)), axis=-1)
    return centre, np.arctan2(velocity[:, 1], velocity[:, 0])


def part(time: np.ndarray, along: float) -> np.ndarray:
    centre, heading = course(time)
    return centre + along * np.stack((np.cos(heading), np.sin(heading)), axis=-1)


def video(time: np.ndarray, noise: float = 3.0) -> np.ndarray:
    """An elongated animal in noise: (T, h, w, 3) uint8."""
    generator = np.random.default_rng(1)
    axis = (2 * np.arange(SIZE) + 1) / SIZE - 1
    x, y = np.meshgrid(axis, axis)
    images = 90 + generator.normal(0, noise, (len(time), SIZE, SIZE, 3))
    for along, radius in ((-0.18, 0.08), (-0.08, 0.12), (0.0, 0.13), (0.1, 0.12), (0.18, 0.08)):
        middle = part(time, along)
        inside = (x - middle[:, 0, None, None]) ** 2 + (y - middle[:, 1, None, None]) ** 2 < radius**2
        images[inside] += 100
    return images.clip(0, 255).astype(np.uint8)


TIME = np.arange(FRAMES)
FRAME, FUTURE = video(TIME), video(TIME + GAP)
BACKGROUND = fg.median_background(FRAME)
PRESENT, LATER, MOVED = (
    fg.foreground(FRAME, BACKGROUND),
    fg.foreground(FUTURE, BACKGROUND),
    fg.moving(FRAME, FUTURE),
)


def evidence(
    *tracks: np.ndarray, turned: dict[int, np.ndarray] | None = None, width: float = 0.05
) -> Evidence:
    """Evidence for keypoint tracks (T, 2) over the animal; ``turned`` replaces some turned-back ones."""
    points = np.stack(tracks, axis=1)
    turned_back = points + np.random.default_rng(2).normal(0, 0.01, points.shape)
    for keypoint, track in (turned or {}).items():
        turned_back[:, keypoint] = track
    count = points.shape[1]
    return Evidence(
        points=points,
        confidence=np.full((FRAMES, count), 0.3) - 0.01 * np.arange(count),
        covariance=np.broadcast_to([width**2, width**2, 0.0], (FRAMES, count, 3)).copy(),
        turned_back=turned_back,
        **measure_surroundings(PRESENT, LATER, MOVED, points, np.random.default_rng(0)),
        body_px=fg.largest_size_px(PRESENT),
        video=np.zeros(FRAMES, dtype=np.int64),
        index=TIME.astype(np.int64),
        image_size=SIZE,
    )


def fixed(x: float, y: float) -> np.ndarray:
    return np.random.default_rng(3).normal((x, y), 0.004, (FRAMES, 2))


GOOD = [part(TIME, along) for along in PARTS.values()]


def test_masks_are_the_animal_and_nothing_else() -> None:
    truth = np.abs(FRAME.astype(float).mean(axis=-1) - 90) > 50
    overlap = (PRESENT & truth).sum() / (PRESENT | truth).sum()
    assert overlap > 0.75  # the 3x3 mean blurs the outline by less than a pixel
    assert not fg.foreground(video(TIME)[:4] * 0 + 90, FRAME[0] * 0 + 90).any()


def test_noise_alone_is_no_foreground_whatever_its_level() -> None:
    generator = np.random.default_rng(0)
    for level in (1.0, 8.0, 25.0):
        still = (120 + generator.normal(0, level, (12, SIZE, SIZE, 3))).clip(0, 255).astype(np.uint8)
        assert fg.foreground(still, fg.median_background(still)).mean() < 1e-3


def test_flicker_is_no_foreground_and_is_measured() -> None:
    still = np.full((3, 8, 8, 3), 100, dtype=np.uint8)
    change = fg.changes(still + np.array([0, 20, 40], dtype=np.uint8)[:, None, None, None], still[0])
    assert change.brightness.tolist() == [0, 20, 40]
    assert not fg.changed(change).any()


def test_share_under_a_point_is_counted_by_hand() -> None:
    mask = np.zeros((1, 4, 4), dtype=bool)
    mask[0, 1, 1] = mask[0, 1, 2] = True
    point = np.array([[[-0.25, -0.25], [0.75, 0.75]]])  # centres of pixels (1, 1) and (3, 3)
    # radius 1: the pixel and its four neighbours; two of five are set, none in the corner
    np.testing.assert_allclose(fg.share_under(mask, point, 1.0), [[2 / 5, 0.0]])


def test_motion_and_foreground_under_keypoints() -> None:
    on, off = part(TIME, 0.18)[:, None], fixed(-0.9, 0.9)[:, None]
    points = np.concatenate((on, off), axis=1)
    moved = motion_under(FRAME, FUTURE, points, 4.0).mean(axis=0)
    present = foreground_under(FRAME, BACKGROUND, points, 2.0).mean(axis=0)
    assert moved[0] > 0.2
    assert moved[1] == 0
    assert present[0] > 0.5
    assert present[1] == 0


def test_a_good_run_is_found() -> None:
    diagnosis = diagnose(evidence(*GOOD))
    assert diagnosis.verdict is Verdict.FOUND
    assert diagnosis.found == (0, 1, 2)
    assert diagnosis.coverage > 0.9
    assert all(keypoint.measures.on_animal >= 0.95 for keypoint in diagnosis.keypoints)
    assert diagnosis.remedy is Remedy.NONE


def test_a_collapsed_run_fails_at_the_centre() -> None:
    follow = 0.02 * course(TIME)[0]  # a flat heatmap's mean still follows the animal a little
    diagnosis = diagnose(evidence(*(follow + fixed(0, 0) for _ in range(4)), width=0.55))
    assert diagnosis.verdict is Verdict.FAILED
    assert {keypoint.problem for keypoint in diagnosis.keypoints} == {Problem.CENTRE}
    assert diagnosis.remedy is Remedy.LATER
    assert diagnosis.coverage == 0


def test_duplicates_keep_the_better_one() -> None:
    copy = GOOD[0] + np.random.default_rng(4).normal(0, 0.005, GOOD[0].shape)
    diagnosis = diagnose(evidence(*GOOD, copy))
    assert diagnosis.found == (0, 1, 2)
    assert diagnosis.keypoints[3].problem is Problem.DUPLICATE
    assert diagnosis.keypoints[3].duplicate_of == 0
    assert diagnosis.keypoints[3].remedy is Remedy.SEPARATION


def test_all_on_one_place_of_the_animal_is_no_pose() -> None:
    shift = np.random.default_rng(4)
    diagnosis = diagnose(evidence(*(GOOD[1] + shift.normal(0, 0.005, GOOD[1].shape) for _ in range(6))))
    assert diagnosis.verdict is Verdict.FAILED
    assert diagnosis.count(Problem.DUPLICATE) == 5


def test_keypoints_on_walls_fail() -> None:
    wander = np.stack((0.9 * np.cos(TIME / 7), 0.05 * np.sin(TIME / 5) - 0.95), axis=-1)
    diagnosis = diagnose(evidence(*GOOD, fixed(-0.9, -0.9), wander))
    assert [keypoint.problem for keypoint in diagnosis.keypoints[3:]] == [Problem.STUCK, Problem.BACKGROUND]
    assert diagnosis.verdict is Verdict.FOUND  # three of five, and they cover the animal
    mostly_walls = diagnose(evidence(GOOD[0], *(fixed(x, y) for x in (-0.9, 0.9) for y in (-0.9, 0, 0.9))))
    assert mostly_walls.verdict is Verdict.FAILED
    assert mostly_walls.remedy is Remedy.FEWER


def test_a_keypoint_that_leaves_the_animal_at_times_is_doubtful() -> None:
    strays = GOOD[0].copy()
    strays[::8] = (-0.9, -0.9)
    diagnosis = diagnose(evidence(strays, GOOD[1], GOOD[2]))
    assert diagnosis.keypoints[0].problem is Problem.LEAVES
    assert diagnosis.keypoints[0].verdict is Verdict.DOUBTFUL
    assert diagnosis.keypoints[0].measures.on_animal == pytest.approx(7 / 8, abs=0.02)


def test_jitter_is_measured_in_pixels() -> None:
    noise = np.random.default_rng(5).normal(0, 0.08, GOOD[1].shape)  # 0.08 half sides = 2.56 px per axis
    diagnosis = diagnose(evidence(GOOD[0], GOOD[1] + noise, GOOD[2]))
    assert diagnosis.keypoints[1].problem is Problem.JITTER
    assert diagnosis.keypoints[1].measures.jitter_px == pytest.approx(2.56, rel=0.15)
    assert diagnosis.keypoints[0].measures.jitter_px < 0.5


def test_steps_of_the_grid_are_told() -> None:
    """A point that jumps from cell to cell stands still in between; one that goes with the animal does not."""
    cell_px = 8.0
    on_grid = normalise(np.round(to_pixels(GOOD[1], (8, 8))), (8, 8))
    diagnosis = diagnose(dataclasses.replace(evidence(GOOD[0], on_grid, GOOD[2]), cell_px=cell_px))
    stepping, moving = diagnosis.keypoints[1], diagnosis.keypoints[0]
    assert (stepping.problem, stepping.remedy) == (Problem.STEPS, Remedy.SMOOTH)
    assert stepping.measures.on_grid == 1.0
    assert stepping.measures.standing > 0.2 > moving.measures.standing
    assert moving.problem is Problem.NONE
    assert moving.measures.on_grid < 0.15


def test_jitter_is_unknown_without_neighbouring_frames() -> None:
    sampled = dataclasses.replace(evidence(*GOOD), index=np.random.default_rng(0).permutation(FRAMES) ** 2)
    assert math.isnan(diagnose(sampled).mean("jitter_px"))
    assert diagnose(sampled).verdict is Verdict.FOUND


def test_a_keypoint_that_swaps_ends_when_turned_is_doubtful() -> None:
    diagnosis = diagnose(evidence(*GOOD, turned={0: GOOD[2]}))
    assert diagnosis.keypoints[0].problem is Problem.ROTATION
    assert diagnosis.keypoints[0].remedy is Remedy.ROTATION
    # nose and tail are 0.36 half sides of 32 px apart
    assert diagnosis.keypoints[0].measures.rotation_px == pytest.approx(0.36 * 32, rel=1e-6)
    assert diagnosis.keypoints[1].measures.rotation_chance < 0.1


def test_unrelated_points_turn_no_better_than_chance() -> None:
    anywhere = np.random.default_rng(6).uniform(-1, 1, (2, FRAMES, 2))
    figures = diagnose(evidence(anywhere[0], turned={0: anywhere[1]})).keypoints[0].measures
    assert figures.rotation_chance == pytest.approx(1, abs=0.2)


def test_an_animal_without_keypoints_leaves_the_run_doubtful() -> None:
    one_end = evidence(GOOD[0])
    elsewhere = np.concatenate(
        (one_end.foreground_points, np.full_like(one_end.foreground_points, 0.9)), axis=1
    )
    diagnosis = diagnose(dataclasses.replace(one_end, foreground_points=elsewhere))
    assert diagnosis.verdict is Verdict.DOUBTFUL
    assert diagnosis.coverage < 0.5
    assert diagnosis.remedy is Remedy.MORE


def test_without_motion_nothing_is_claimed() -> None:
    base = evidence(*GOOD)
    blind = {
        name: np.full_like(getattr(base, name), np.nan)
        for name in (
            "foreground_under",
            "motion_under",
            "foreground_points",
            "foreground_centre",
            "displacement",
        )
    }
    diagnosis = diagnose(dataclasses.replace(base, **blind, body_px=math.nan))
    assert diagnosis.verdict is Verdict.DOUBTFUL
    assert diagnosis.remedy is Remedy.FRAMES
    assert diagnosis.count(Problem.UNSEEN) == 3
    assert math.isnan(diagnosis.coverage)


def test_pairs_that_hardly_differ_call_for_a_larger_gap() -> None:
    base = evidence(*(fixed(0, 0) for _ in range(3)))
    diagnosis = diagnose(dataclasses.replace(base, displacement=base.displacement / 100))
    assert diagnosis.remedy is Remedy.GAP


MIXED = evidence(*GOOD, fixed(-0.9, 0.9), fixed(0, 0), GOOD[1] + 0.005)


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(6)))
def test_permuting_keypoints_permutes_verdicts(order: list[int]) -> None:
    plain, permuted = diagnose(MIXED), diagnose(MIXED.select(order))
    assert [each.problem for each in permuted.keypoints] == [plain.keypoints[k].problem for k in order]
    for each, k in zip(permuted.keypoints, order, strict=True):
        assert dataclasses.asdict(each.measures) == pytest.approx(
            dataclasses.asdict(plain.keypoints[k].measures), nan_ok=True
        )
    assert (permuted.verdict, permuted.reason, permuted.remedy) == (plain.verdict, plain.reason, plain.remedy)
    assert permuted.coverage == pytest.approx(plain.coverage)


def test_json_round_trip_and_tampering() -> None:
    diagnosis = diagnose(dataclasses.replace(MIXED, index=TIME**2))
    text = diagnosis.to_json()
    plain = json.loads(text)
    assert plain["verdict"] == "found"
    assert plain["found"] == [0, 1, 2]
    assert plain["keypoints"][0]["measures"]["jitter_px"] is None
    again = Diagnosis.from_json(text)
    assert again.to_json() == text
    assert [each.problem for each in again.keypoints] == [each.problem for each in diagnosis.keypoints]
    for tampered in (text[:-9], text.replace('"found"', '"splendid"'), "[]", "{}"):
        with pytest.raises(DataError, match=r"not a diagnostics\.json"):
            Diagnosis.from_json(tampered)


def test_summary_is_aligned_and_names_every_keypoint() -> None:
    lines = diagnose(MIXED).summary_lines()
    assert lines[0].startswith("Discovery: FOUND. 3 of 6 keypoints found; 1 stuck at the image centre")
    table = lines[-6:]
    assert [line.split()[0] for line in table] == [f"kp{k:02d}" for k in range(1, 7)]
    assert len({line.index(" px") for line in table}) == 1


def test_evidence_refuses_wrong_shapes_and_nan() -> None:
    with pytest.raises(DataError, match=r"confidence should be \(96, 3\)"):
        dataclasses.replace(evidence(*GOOD), confidence=np.zeros((FRAMES, 2)))
    broken = evidence(*GOOD).points.copy()
    broken[3, 1, 0] = np.nan
    with pytest.raises(DataError, match="NaN"):
        dataclasses.replace(evidence(*GOOD), points=broken)


def test_evidence_of_two_processes_joins_in_order_and_without_repeats() -> None:
    whole = evidence(*GOOD)
    names = [
        field.name
        for field in dataclasses.fields(Evidence)
        if isinstance(getattr(whole, field.name), np.ndarray)
    ]

    def rows(chosen: np.ndarray) -> Evidence:
        return dataclasses.replace(whole, **{name: getattr(whole, name)[chosen] for name in names})

    joined = Evidence.joined([rows(np.arange(0, FRAMES, 2)), rows(np.append(np.arange(1, FRAMES, 2), 0))])
    for name in names:
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))


class Looking(KeypointMethod):
    """Keypoint 0 follows the brightest place; 1 is flat; 2 looks at the top left corner of any image."""

    batch_type = FramePairs
    weights_type = dataclasses.make_dataclass("Weights", [])

    def __init__(self) -> None:
        super().__init__()
        self.drop = torch.nn.Dropout(0.5)  # would show if evaluation mode were forgotten

    def heatmaps(self, image: Tensor) -> Tensor:
        assert image.dtype == torch.float32
        bright = self.drop(torch.nn.functional.avg_pool2d(image.mean(dim=1, keepdim=True), 5, 1, 2) * 40)
        axis = pixel_centres(image.shape[-1], like=image)
        corner = -20 * ((axis + 0.8) ** 2 + (axis[:, None] + 0.8) ** 2).expand_as(bright)
        return spatial_softmax(torch.cat((bright, torch.zeros_like(bright), corner), dim=1))

    def terms(self, batch: FramePairs) -> dict[str, Tensor]:
        return {}


class Pairs(torch.utils.data.Dataset[FramePairs]):
    def __len__(self) -> int:
        return FRAMES

    def __getitem__(self, item: int) -> FramePairs:
        frame, future = (torch.from_numpy(images[item]).permute(2, 0, 1) for images in (FRAME, FUTURE))
        return FramePairs(frame, future, torch.tensor(7), torch.tensor(item))


def test_evidence_is_collected_from_a_method() -> None:
    method = Looking().train()
    found = collect_evidence(
        method, sampled_batches(Pairs(), frames=64), backgrounds=sampled_backgrounds(Pairs(), items=50)
    )
    assert method.training
    assert found.points.shape == (64, 3, 2)
    assert set(found.video.tolist()) == {7}
    assert found.index.tolist()[:9] == [*range(8), 13]  # bursts of eight, spread over 96 frames
    diagnosis = diagnose(found)
    assert [each.problem for each in diagnosis.keypoints] == [Problem.NONE, Problem.CENTRE, Problem.STUCK]
    # the corner keypoint looks at the corner however the image is turned: at least 1.6 half sides away
    assert diagnosis.keypoints[2].measures.rotation_px > 1.5 * SIZE / 2


def test_collecting_keeps_to_its_bound_and_needs_a_batch() -> None:
    assert collect_evidence(Looking(), sampled_batches(Pairs()), max_frames=12).points.shape[0] == 12
    with pytest.raises(DataError, match="no pair of frames"):
        collect_evidence(Looking(), [])


def test_a_resting_animal_is_seen_against_a_background_of_the_whole_video() -> None:
    """The median of a stretch in which the animal rests contains the animal; that of the video does not."""
    rest = FramePairs(*(torch.stack([getattr(Pairs()[20], name)] * 16) for name in FramePairs._fields))
    rest = rest._replace(future=rest.frame, index=torch.arange(16))
    alone = collect_evidence(Looking(), [rest])
    informed = collect_evidence(Looking(), [rest], backgrounds=sampled_backgrounds(Pairs()))
    assert np.isnan(alone.foreground_under).all()
    assert (informed.foreground_under[:, 0] > 0.5).all()


def test_after_few_steps_the_remedy_is_to_go_on() -> None:
    turned = {0: GOOD[2]}  # swaps ends
    early, late = (diagnose(evidence(*GOOD, turned=turned), steps=steps) for steps in (40, 800))
    assert early.keypoints[0].remedy is Remedy.EPOCHS
    assert early.keypoints[1].remedy is Remedy.NONE
    assert "Training has run for only 40 steps." in early.reason
    assert early.remedy is Remedy.EPOCHS
    assert late.to_json() == diagnose(evidence(*GOOD, turned=turned)).to_json()


def test_look_alikes_in_one_picture_need_squares_and_not_more_epochs() -> None:
    """Whatever the problem: the network cannot tell which animal a keypoint is on."""
    strays = GOOD[0].copy()
    strays[::8] = (-0.9, -0.9)
    bad = evidence(strays, GOOD[1], fixed(-0.9, -0.9))
    for steps in (40, 800):
        diagnosis = diagnose(bad, steps=steps, look_alikes=2)
        assert [each.remedy for each in diagnosis.keypoints] == [Remedy.SQUARES, Remedy.NONE, Remedy.SQUARES]
        assert diagnosis.remedy is Remedy.SQUARES
        assert "One picture shows 2 animals that look alike." in diagnosis.reason
    assert diagnose(bad).remedy is not Remedy.SQUARES
    assert diagnose(bad, look_alikes=1).to_json() == diagnose(bad).to_json()  # a single animal


def test_an_uncovered_look_alike_needs_a_square_of_its_own() -> None:
    one_end = evidence(GOOD[0])
    elsewhere = np.concatenate(
        (one_end.foreground_points, np.full_like(one_end.foreground_points, 0.9)), axis=1
    )
    diagnosis = diagnose(dataclasses.replace(one_end, foreground_points=elsewhere), look_alikes=2)
    assert (diagnosis.verdict, diagnosis.remedy) == (Verdict.DOUBTFUL, Remedy.SQUARES)


@pytest.mark.parametrize(
    ("terms", "remedy"),
    [
        (None, Remedy.ROTATION),
        (("rotation",), Remedy.ROTATION),
        (("reconstruction",), Remedy.EPOCHS),
        ((), Remedy.EPOCHS),
    ],
)
def test_remedies_name_weights_that_the_method_has(terms: tuple[str, ...] | None, remedy: Remedy) -> None:
    diagnosis = diagnose(evidence(*GOOD, turned={0: GOOD[2]}), terms=terms)
    assert diagnosis.keypoints[0].remedy is remedy


def test_remedies_name_options_of_discovery() -> None:
    """Each --option in the text of a remedy is one that `kp discover` or `kp fit` accepts with B-KinD."""
    from lightning_kp.methods import BKinD

    named = {option for remedy in Remedy for option in re.findall(r"--([\w.]+)", remedy)}
    weights = {f"model.weights.{field.name}" for field in dataclasses.fields(BKinD.weights_type)}
    model = {f"model.{name}" for name in inspect.signature(BKinD).parameters} | weights
    data = {f"data.{name}" for name in inspect.signature(VideoFramePairs).parameters}
    tracking = {"smooth", "animals"}  # of `kp track`, which the remedy names
    assert named <= model | data | tracking | {"trainer.max_epochs"}
    assert {"data.gap", "data.boxes", "model.keypoints", "model.weights.rotation", "animals"} <= named


def test_problems_are_counted_in_words_and_stored_as_ever() -> None:
    diagnosis = diagnose(evidence(*GOOD, turned={0: GOOD[2]}))
    assert "1 not turning with the image." in diagnosis.reason
    assert '"does not turn with the image"' in diagnosis.to_json()  # reports of older runs are read again
    assert Diagnosis.from_json(diagnosis.to_json()).keypoints[0].problem is Problem.ROTATION


@pytest.mark.parametrize(("text", "remedy"), EARLIER_REMEDIES.items())
def test_remedies_of_older_runs_are_read_again(text: str, remedy: Remedy) -> None:
    diagnosis = dataclasses.replace(diagnose(evidence(*GOOD)), remedy=remedy)
    stored = json.loads(diagnosis.to_json()) | {"remedy": text}
    assert Diagnosis.from_json(json.dumps(stored)).remedy is remedy
