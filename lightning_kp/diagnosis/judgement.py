"""Did discovery work?  A verdict per keypoint and for the run, with the remedy most likely to help.

``diagnose`` is a pure function of :class:`lightning_kp.diagnosis.evidence.Evidence`.  Without labels the
question cannot be answered for certain; what can be seen is whether keypoints stay on what moves,
tell different places apart, follow smoothly, and turn with the image.
"""

import dataclasses
import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from lightning_kp.diagnosis.backgrounds import sampled_backgrounds
from lightning_kp.diagnosis.evidence import (
    Evidence,
    collect_evidence,
    foreground_under,
    motion_under,
    sampled_batches,
)
from lightning_kp.diagnosis.verdict import (
    Diagnosis,
    KeypointDiagnosis,
    Measures,
    Problem,
    Remedy,
    Scene,
    Verdict,
)

__all__ = [
    "Diagnosis", "Evidence", "KeypointDiagnosis", "Measures", "Problem", "Remedy", "Scene", "Thresholds",
    "Verdict", "collect_evidence", "diagnose", "foreground_under", "motion_under", "sampled_backgrounds",
    "sampled_batches",
]  # fmt: skip

Array = NDArray[np.float64]
COUNTED = {
    Problem.LEAVES: "leaving the animal",
    Problem.JITTER: "jittering",
    Problem.ROTATION: "not turning with the image",
    Problem.UNSEEN: "not judged: nothing moved",
}  # after a number, where the problem's own text is a verb's
UNIFORM_WIDTH = 1 / math.sqrt(3)  # standard deviation of a flat heatmap, in half image sides


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Limits of the verdict, each with its reason."""

    touching: float = 0.1  # share of the disc under a keypoint: a disc that just reaches the outline
    found_on_animal: float = 0.95  # one frame in twenty may be wrong: what a person checking overlays accepts
    failed_on_animal: float = 0.5  # seen elsewhere more often than on the animal
    centre_distance: float = 0.1  # of the half image side: a flat heatmap's mean lies this near the centre
    flat_width: float = 0.7  # heatmap's width, in widths of a flat one: no peak to speak of
    still: float = 0.2  # a keypoint that moves a fifth as much as the animal does not follow it
    roaming: float = 0.25  # body sizes: an animal that moves less cannot show what follows it
    same_place: float = 0.15  # body sizes: closer than two parts that a person would name apart
    same_share: float = 0.7  # of the frames: parts of one body meet at times, duplicates always
    jitter: float = 0.1  # body sizes per frame: a trembling that is seen in an overlay
    rotation: float = 0.5  # body sizes: beyond half a body it may be the other end of the animal
    least_px: float = 1.5  # network pixels: no distance limit is finer than the heatmaps resolve
    coverage_reach: float = 0.75  # body sizes: a keypoint speaks for the foreground around it
    run_coverage: float = 0.6  # less: an animal, or most of one, has no keypoint
    run_found: float = 0.5  # of the keypoints (issue: at least half of eight)
    run_failed: float = 0.25  # fewer found than a quarter are no pose
    small_body_px: float = 8.0  # network pixels: a body with room for two or three keypoints
    small_step: float = 0.1  # body sizes within a pair, in its livelier quarter: nothing to reconstruct
    least_frames: int = 8  # frames with foreground, for any statement about it
    least_steps: int = 300  # the small preset's terms count from step 150 on, and need about as many again


def diagnose(
    evidence: Evidence, thresholds: Thresholds | None = None, *, steps: int | None = None
) -> Diagnosis:
    """Judge every keypoint and the run; reordering the keypoints only reorders the verdicts.

    ``steps`` of training, where they are known: after very few the remedy is to go on, whatever is wrong.
    """
    limits = thresholds or Thresholds()
    scene = _scene(evidence)
    measures = _measures(evidence, scene, limits)
    duplicates = _duplicates(evidence.points, measures, scene, limits)
    keypoints = []
    for figures, (twin, share) in zip(measures, duplicates, strict=True):
        figures = dataclasses.replace(figures, duplicate_share=share)
        judged = _judge(figures, twin, scene, limits)
        if judged.remedy and steps is not None and steps < limits.least_steps:
            judged = dataclasses.replace(judged, remedy=Remedy.EPOCHS)
        keypoints.append(judged)
    found = [k for k, keypoint in enumerate(keypoints) if keypoint.verdict is Verdict.FOUND]
    coverage = _coverage(evidence, found, scene, limits)
    verdict, reason, remedy = _judge_run(keypoints, coverage, scene, limits)
    if steps is not None and steps < limits.least_steps:
        reason += f" Trained for {steps} steps only."
        remedy = Remedy.EPOCHS if remedy else remedy
    return Diagnosis(verdict, reason, remedy, coverage, scene, tuple(keypoints))


def _scene(evidence: Evidence) -> Scene:
    centre = evidence.foreground_centre
    seen = np.isfinite(centre[:, 0])
    body = evidence.body_px / (evidence.image_size / 2)
    step = evidence.displacement[np.isfinite(evidence.displacement)]
    return Scene(
        frames=len(seen),
        frames_with_foreground=int(seen.sum()),
        image_size=evidence.image_size,
        body_px=evidence.body_px,
        roaming=float(_spread(centre[seen, None])[0]) / body if seen.any() else math.nan,
        step=float(np.quantile(step, 0.75)) / body if len(step) else math.nan,
    )


def _measures(evidence: Evidence, scene: Scene, limits: Thresholds) -> list[Measures]:
    """Figures of every keypoint; ``duplicate_share`` is filled in later."""
    half = evidence.image_size / 2
    points, seen = evidence.points, np.isfinite(evidence.foreground_centre[:, 0])
    rotation, chance = _rotation(points, evidence.turned_back)
    body = scene.body_px / half
    spread = _spread(points[seen] if seen.any() else points)
    columns = {
        "on_animal": _touching(evidence.foreground_under, limits),
        "on_motion": _touching(evidence.motion_under, limits),
        "centre_distance": np.median(np.linalg.norm(points, axis=-1), axis=0),
        "spread": spread / (scene.roaming * body) if scene.roaming > 0 else np.full(len(spread), math.nan),
        "duplicate_share": np.zeros(points.shape[1]),
        "jitter_px": _jitter(evidence) * half,
        "rotation_px": rotation * half,
        "rotation_chance": chance,
        "confidence": np.median(evidence.confidence, axis=0),
        "width": np.median(np.sqrt(evidence.covariance[..., :2].mean(axis=-1)), axis=0),
    }
    rows = zip(*columns.values(), strict=True)
    return [Measures(**dict(zip(columns, map(float, row), strict=True))) for row in rows]


def _spread(points: Array) -> Array:
    """Root mean square distance of points (N, K, 2) from their mean over frames: (K,)."""
    return np.asarray(np.sqrt(points.var(axis=0).sum(axis=-1)), dtype=np.float64)


def _touching(share: Array, limits: Thresholds) -> Array:
    """Share of the frames, among those where it is known, in which a keypoint touches: (N, K) -> (K,)."""
    frames = np.isfinite(share).sum(axis=0)
    touches = (np.nan_to_num(share) >= limits.touching).sum(axis=0)
    return np.asarray(np.where(frames > 0, touches / np.maximum(frames, 1), np.nan), dtype=np.float64)


def _rotation(points: Array, turned_back: Array) -> tuple[Array, Array]:
    """Mean distance after a quarter turn and back, (K,), and the same over that of unrelated frames."""
    error = np.linalg.norm(turned_back - points, axis=-1).mean(axis=0)
    shifts = [max(1, len(points) * part // 4) for part in (1, 2, 3)]
    rolled = np.stack([np.roll(turned_back, shift, axis=0) for shift in shifts])
    unrelated = np.linalg.norm(rolled - points, axis=-1).mean(axis=(0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return error, error / unrelated


def _jitter(evidence: Evidence) -> Array:
    """Standard deviation per axis of a keypoint's trembling, (K,), beyond that of the animal's centre.

    From second differences over equally spaced triples of frames: white noise of deviation s gives
    them a mean length of s * sqrt(6 * pi / 2), smooth movement next to nothing.  NaN without triples.
    """
    step = np.diff(evidence.index)
    same = np.diff(evidence.video) == 0
    nearest = step[same & (step > 0)].min(initial=np.iinfo(np.int64).max)
    linked = same & (step == nearest)
    middle = np.flatnonzero(linked[:-1] & linked[1:]) + 1
    if not len(middle):
        return np.full(evidence.points.shape[1], math.nan)

    def trembling(path: Array) -> Array:
        bend = path[middle - 1] - 2 * path[middle] + path[middle + 1]
        length = np.linalg.norm(bend, axis=-1)
        known = np.isfinite(length)
        return np.asarray(np.where(known, length, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1))

    excess = trembling(evidence.points) - trembling(evidence.foreground_centre[:, None])
    return np.asarray(np.maximum(excess, 0) / math.sqrt(6 * math.pi / 2), dtype=np.float64)


def _duplicates(
    points: Array, measures: list[Measures], scene: Scene, limits: Thresholds
) -> list[tuple[int | None, float]]:
    """For each keypoint the better one that it doubles (or None), and the share of frames in which it does.

    Of two the one more often on the animal stays, then the more confident; the mean position breaks
    ties, so that the order of the keypoints plays no part.
    """
    reach = _limit_px(limits.same_place, scene, limits) / (scene.image_size / 2)

    def quality(k: int) -> tuple[float, ...]:
        figures = measures[k]
        on_animal = figures.on_animal if math.isfinite(figures.on_animal) else 0.0
        return (-round(on_animal, 2), -figures.confidence, *points[:, k].mean(axis=0))

    result: list[tuple[int | None, float]] = [(None, 0.0)] * len(measures)
    kept: list[int] = []
    for k in sorted(range(len(measures)), key=quality):
        apart = np.linalg.norm(points[:, kept] - points[:, k, None], axis=-1)
        shares = (apart < reach).mean(axis=0).tolist()
        if shares and max(shares) >= limits.same_share:
            result[k] = (kept[int(np.argmax(shares))], max(shares))
        else:
            kept.append(k)
    return result


def _limit_px(share: float, scene: Scene, limits: Thresholds) -> float:
    """A share of the body's size in network pixels, never finer than the heatmaps resolve."""
    return max(limits.least_px, share * scene.body_px) if math.isfinite(scene.body_px) else limits.least_px


def _judge(figures: Measures, twin: int | None, scene: Scene, limits: Thresholds) -> KeypointDiagnosis:
    """The first problem that a keypoint has, from the plainest to the subtlest."""
    problem, reason = _problem(figures, twin, scene, limits)
    failed = (Problem.CENTRE, Problem.STUCK, Problem.BACKGROUND, Problem.DUPLICATE)
    verdict = Verdict.FAILED if problem in failed else Verdict.DOUBTFUL
    if problem is Problem.NONE:
        verdict = Verdict.FOUND
    return KeypointDiagnosis(verdict, problem, reason, _remedy(problem, scene, limits), twin, figures)


def _problem(figures: Measures, twin: int | None, scene: Scene, limits: Thresholds) -> tuple[Problem, str]:
    seen = scene.frames_with_foreground >= limits.least_frames
    still = scene.roaming > limits.roaming and figures.spread < limits.still
    flat = figures.width > limits.flat_width * UNIFORM_WIDTH
    off = 100 - 100 * figures.on_animal
    away = not figures.on_animal >= limits.found_on_animal
    if figures.centre_distance < limits.centre_distance and (flat or (still and away)):
        return Problem.CENTRE, "stuck at the image centre: the network sees no place to point at"
    if not seen:
        return Problem.UNSEEN, "nothing moved in the frames looked at"
    if still and away:
        return Problem.STUCK, f"stays in one place, off the animal in {off:.0f} % of the frames"
    if figures.on_animal < limits.failed_on_animal:
        return Problem.BACKGROUND, f"on the background in {off:.0f} % of the frames"
    if twin is not None:
        return Problem.DUPLICATE, f"at the place of kp{twin + 1:02d} in {100 * figures.duplicate_share:.0f} %"
    if away:
        return Problem.LEAVES, f"leaves the animal in {off:.0f} % of the frames"
    if figures.jitter_px > _limit_px(limits.jitter, scene, limits):
        return Problem.JITTER, f"trembles by {figures.jitter_px:.1f} px from frame to frame"
    if figures.rotation_px > _limit_px(limits.rotation, scene, limits):
        return Problem.ROTATION, f"lands {figures.rotation_px:.0f} px away when the image is turned"
    return Problem.NONE, "on the animal, smooth, and turns with the image"


def _remedy(problem: Problem, scene: Scene, limits: Thresholds) -> Remedy:
    """What most likely helps against a problem, given how large things are and how far they move."""
    wasted = (Problem.CENTRE, Problem.STUCK, Problem.BACKGROUND)
    if problem in wasted and scene.step < limits.small_step:
        return Remedy.GAP
    if problem in wasted and scene.body_px < limits.small_body_px:
        return Remedy.CROP
    return {
        Problem.NONE: Remedy.NONE,
        Problem.CENTRE: Remedy.LATER,
        Problem.STUCK: Remedy.FEWER,
        Problem.BACKGROUND: Remedy.FEWER,
        Problem.LEAVES: Remedy.EPOCHS,
        Problem.DUPLICATE: Remedy.SEPARATION,
        Problem.JITTER: Remedy.EPOCHS,
        Problem.ROTATION: Remedy.ROTATION,
        Problem.UNSEEN: Remedy.FRAMES,
    }[problem]


def _coverage(evidence: Evidence, found: list[int], scene: Scene, limits: Thresholds) -> float:
    """Share of the foreground samples within reach of a found keypoint; NaN without foreground."""
    samples = evidence.foreground_points
    known = np.isfinite(samples[..., 0])
    if not known.any():
        return math.nan
    reach = _limit_px(limits.coverage_reach, scene, limits) / (scene.image_size / 2)
    covered = np.zeros(known.shape, dtype=bool)
    for k in found:
        covered |= np.linalg.norm(samples - evidence.points[:, k, None], axis=-1) < reach
    return float(covered[known].mean())


def _judge_run(
    keypoints: list[KeypointDiagnosis], coverage: float, scene: Scene, limits: Thresholds
) -> tuple[Verdict, str, Remedy]:
    problems = Counter(keypoint.problem for keypoint in keypoints)
    found, total = problems.pop(Problem.NONE, 0), len(keypoints)
    listed = ", ".join(f"{problems[each]} {COUNTED.get(each, each)}" for each in Problem if problems[each])
    reason = f"{found} of {total} keypoints found" + (f"; {listed}." if listed else ".")
    if math.isfinite(coverage):
        reason += f" They cover {100 * coverage:.0f} % of what moves."
    remedies = Counter(keypoint.remedy for keypoint in keypoints if keypoint.verdict is not Verdict.FOUND)
    remedy = max(remedies, key=lambda each: (remedies[each], each), default=Remedy.NONE)
    if scene.frames_with_foreground < limits.least_frames:
        failed = problems[Problem.CENTRE] == total
        return (Verdict.FAILED if failed else Verdict.DOUBTFUL), reason, remedy
    if found < limits.run_failed * total or found == 0:
        return Verdict.FAILED, reason, remedy
    if coverage < limits.run_coverage:
        return Verdict.DOUBTFUL, reason, Remedy.MORE if found >= limits.run_found * total else remedy
    return (Verdict.FOUND if found >= limits.run_found * total else Verdict.DOUBTFUL), reason, remedy
