"""Judges a discovery run: a verdict for each keypoint and for the run, with the remedy most likely to help.

:func:`diagnose` is a pure function of :class:`lightning_kp.diagnosis.evidence.Evidence`.  Without labels the question
cannot be answered for certain.  What can be checked is whether keypoints stay on what moves, mark different places,
move smoothly, and turn with the image.  The limits are :class:`lightning_kp.diagnosis.thresholds.Thresholds`.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from lightning_kp.diagnosis.evidence import Evidence
from lightning_kp.diagnosis.measuring import (
    covered_share,
    find_duplicates,
    limit_px,
    measure_keypoints,
    measure_scene,
)
from lightning_kp.diagnosis.thresholds import Thresholds
from lightning_kp.diagnosis.verdict import (
    Diagnosis,
    KeypointDiagnosis,
    Measures,
    Problem,
    Remedy,
    Scene,
    Verdict,
)

# Wording after a number ("2 leaving the animal"), for problems whose own text does not fit there.
COUNTED = {
    Problem.LEAVES: "leaving the animal",
    Problem.JITTER: "jittering",
    Problem.STEPS: "moving in steps",
    Problem.ROTATION: "not turning with the image",
    Problem.UNSEEN: "not judged, because nothing moved",
}
REMEDIES = {
    Problem.NONE: Remedy.NONE,
    Problem.CENTRE: Remedy.LATER,
    Problem.STUCK: Remedy.FEWER,
    Problem.BACKGROUND: Remedy.FEWER,
    Problem.LEAVES: Remedy.EPOCHS,
    Problem.DUPLICATE: Remedy.SEPARATION,
    Problem.JITTER: Remedy.EPOCHS,
    Problem.STEPS: Remedy.SMOOTH,
    Problem.ROTATION: Remedy.ROTATION,
    Problem.UNSEEN: Remedy.FRAMES,
}
# Terms of the loss whose weights a remedy changes, and what to do where the method has no such term.
TERMS_OF = {
    Remedy.LATER: ("rotation", "mean_separation"),
    Remedy.SEPARATION: ("mean_separation",),
    Remedy.ROTATION: ("rotation",),
}
WITHOUT_TERMS = {
    Remedy.LATER: Remedy.EPOCHS,
    Remedy.SEPARATION: Remedy.FEWER,
    Remedy.ROTATION: Remedy.EPOCHS,
}
UNIFORM_WIDTH = 1 / math.sqrt(3)  # standard deviation of a flat heatmap, in half image sides


def diagnose(
    evidence: Evidence,
    thresholds: Thresholds | None = None,
    *,
    steps: int | None = None,
    look_alikes: int = 0,
    terms: Collection[str] | None = None,
) -> Diagnosis:
    """Judge every keypoint and the run; reordering the keypoints only reorders the verdicts.

    Args:
        evidence: Keypoints of N frames and what is in the image around them.
        thresholds: Limits of the verdict; the defaults if None.
        steps: Training steps, if known.  After very few the remedy is to train on, whatever the problem.
        look_alikes: How many animals that look alike one picture shows to a network that looks for one; 0 or 1 where
            they differ, or each has a square.  No longer training tells them apart.
        terms: Names of the terms of the method's loss, whose weights can be changed; None if unknown.
    """
    limits = thresholds or Thresholds()
    scene = measure_scene(evidence)
    all_measures = measure_keypoints(evidence, scene, limits)
    duplicates = find_duplicates(evidence.points, all_measures, scene, limits)
    is_early = steps is not None and steps < limits.min_steps
    advice = _Advice(scene, limits, is_early, look_alikes > 1, terms)
    keypoints = []
    for measures, (twin, share) in zip(all_measures, duplicates, strict=True):
        measures = dataclasses.replace(measures, duplicate_share=share)
        keypoints.append(_judge_keypoint(measures, twin, advice))
    found = [k for k, keypoint in enumerate(keypoints) if keypoint.verdict is Verdict.FOUND]
    coverage = covered_share(evidence, found, scene, limits)
    verdict, reason, remedy = _judge_run(keypoints, coverage, advice)
    if is_early:
        reason += f" Training has run for only {steps} steps."
    if look_alikes > 1:
        reason += f" One picture shows {look_alikes} animals that look alike."
    return Diagnosis(verdict, reason, remedy, coverage, scene, tuple(keypoints))


class _Advice(NamedTuple):
    """What remedies depend on besides a keypoint's problem."""

    scene: Scene
    limits: Thresholds
    is_early: bool
    is_confused: bool
    terms: Collection[str] | None

    def remedy(self, problem: Problem) -> Remedy:
        """The remedy most likely to help, given how the run was made, how large the animals are and how far they move.

        What is wrong with the picture comes before what is wrong with the training.
        """
        scene, limits = self.scene, self.limits
        off_animal = problem in (Problem.CENTRE, Problem.STUCK, Problem.BACKGROUND)
        if problem is Problem.NONE:
            return Remedy.NONE
        if problem is not Problem.UNSEEN and self.is_confused:
            return Remedy.SQUARES
        if self.is_early:
            return Remedy.EPOCHS
        if off_animal and scene.step < limits.small_step:
            return Remedy.GAP
        if off_animal and scene.body_px < limits.small_body_px:
            return Remedy.CROP
        remedy = REMEDIES[problem]
        needed = TERMS_OF.get(remedy, ())
        is_there = self.terms is None or all(term in self.terms for term in needed)
        return remedy if is_there else WITHOUT_TERMS[remedy]


def _judge_keypoint(measures: Measures, twin: int | None, advice: _Advice) -> KeypointDiagnosis:
    """Verdict on one keypoint by its first problem, from the most obvious to the subtlest."""
    problem, reason = _first_problem(measures, twin, advice.scene, advice.limits)
    failures = (Problem.CENTRE, Problem.STUCK, Problem.BACKGROUND, Problem.DUPLICATE)
    verdict = Verdict.FAILED if problem in failures else Verdict.DOUBTFUL
    if problem is Problem.NONE:
        verdict = Verdict.FOUND
    return KeypointDiagnosis(verdict, problem, reason, advice.remedy(problem), twin, measures)


def _first_problem(
    measures: Measures, twin: int | None, scene: Scene, limits: Thresholds
) -> tuple[Problem, str]:
    is_seen = scene.frames_with_foreground >= limits.min_frames
    is_still = scene.roaming > limits.roaming and measures.spread < limits.still
    is_flat = measures.width > limits.flat_width * UNIFORM_WIDTH
    is_away = not measures.on_animal >= limits.found_on_animal
    off_percent = 100 - 100 * measures.on_animal
    if measures.centre_distance < limits.centre_distance and (is_flat or (is_still and is_away)):
        return Problem.CENTRE, "stuck at the image centre, because the network found nothing to follow"
    if not is_seen:
        return Problem.UNSEEN, "not judged, because nothing moved in the frames examined"
    if is_still and is_away:
        return Problem.STUCK, f"stays in one place, off the animal in {off_percent:.0f} % of the frames"
    if measures.on_animal < limits.failed_on_animal:
        return Problem.BACKGROUND, f"on the background in {off_percent:.0f} % of the frames"
    if twin is not None:
        share = 100 * measures.duplicate_share
        return Problem.DUPLICATE, f"in the same place as kp{twin + 1:02d} in {share:.0f} % of the frames"
    if is_away:
        return Problem.LEAVES, f"leaves the animal in {off_percent:.0f} % of the frames"
    if measures.standing > limits.standing:
        return Problem.STEPS, (
            f"stands still in {100 * measures.standing:.0f} % of the steps in which the animal moves: its heatmap puts "
            "it on the grid"
        )
    if measures.jitter_px > limit_px(limits.jitter, scene, limits):
        return Problem.JITTER, f"jitters by {measures.jitter_px:.1f} px from frame to frame"
    if measures.rotation_px > limit_px(limits.rotation, scene, limits):
        return (
            Problem.ROTATION,
            f"shifts by {measures.rotation_px:.0f} px on the animal when the image is turned",
        )
    return Problem.NONE, "stays on the animal, moves smoothly and turns with the image"


def _judge_run(
    keypoints: list[KeypointDiagnosis], coverage: float, advice: _Advice
) -> tuple[Verdict, str, Remedy]:
    limits = advice.limits
    problems = Counter(keypoint.problem for keypoint in keypoints)
    found, total = problems.pop(Problem.NONE, 0), len(keypoints)
    listed = ", ".join(f"{problems[each]} {COUNTED.get(each, each)}" for each in Problem if problems[each])
    reason = f"{found} of {total} keypoints found" + (f"; {listed}." if listed else ".")
    if math.isfinite(coverage):
        reason += f" The keypoints found cover {100 * coverage:.0f} % of the moving area."
    remedies = Counter(keypoint.remedy for keypoint in keypoints if keypoint.verdict is not Verdict.FOUND)
    remedy = max(remedies, key=lambda each: (remedies[each], each), default=Remedy.NONE)
    if advice.scene.frames_with_foreground < limits.min_frames:
        has_failed = problems[Problem.CENTRE] == total
        return (Verdict.FAILED if has_failed else Verdict.DOUBTFUL), reason, remedy
    if found < limits.run_failed * total or found == 0:
        return Verdict.FAILED, reason, remedy
    if coverage < limits.run_coverage:
        if advice.is_confused or found < limits.run_found * total:
            return Verdict.DOUBTFUL, reason, Remedy.SQUARES if advice.is_confused else remedy
        return Verdict.DOUBTFUL, reason, Remedy.EPOCHS if advice.is_early else Remedy.MORE
    return (Verdict.FOUND if found >= limits.run_found * total else Verdict.DOUBTFUL), reason, remedy
