"""The verdict on a discovery run: its categories, its measures, its JSON and its terminal output.

:mod:`lightning_kp.diagnosis.judgement` reaches it by the limits of :mod:`lightning_kp.diagnosis.thresholds`.
"""

import dataclasses
import json
import math
from enum import StrEnum
from typing import Any

import numpy as np

from lightning_kp.errors import DataError


class Verdict(StrEnum):
    """The verdict on one keypoint or on the run."""

    FOUND = "found"
    DOUBTFUL = "doubtful"
    FAILED = "failed"


class Problem(StrEnum):
    """Why a keypoint was not found; ``NONE`` if it was.  The text is stored in diagnostics.json."""

    NONE = "none"
    CENTRE = "stuck at the image centre"
    STUCK = "stuck in one place"
    BACKGROUND = "on the background"
    LEAVES = "leaves the animal"
    DUPLICATE = "duplicate"
    JITTER = "jitters"
    STEPS = "moves in steps"
    ROTATION = "does not turn with the image"
    UNSEEN = "nothing moved"


class Remedy(StrEnum):
    """What to change first, as users read it.  The text is stored in diagnostics.json."""

    NONE = ""
    GAP = "a larger gap between the two frames of a pair (--data.gap), because they hardly differ"
    FEWER = "fewer keypoints (--model.keypoints)"
    MORE = "more keypoints (--model.keypoints)"
    CROP = (
        "a crop around the animals (--data.boxes) or a larger image size (--data.size), as `kp inspect` suggests, "
        "because the animals are very small"
    )
    EPOCHS = "more epochs (--trainer.max_epochs)"
    LATER = "rotation and separation terms with a later start or smaller weights, then more epochs"
    SEPARATION = (
        "a larger separation weight (--model.weights.mean_separation) or fewer keypoints (--model.keypoints)"
    )
    ROTATION = "a larger rotation weight (--model.weights.rotation), then more epochs"
    SMOOTH = "smoothed tracks (`kp track --smooth`), because the points move in steps of the heatmap's grid"
    FRAMES = "a longer section of video in which the animals move"
    SQUARES = (
        "a square for each animal (`kp discover --animals N`, or --data.boxes=follow:N of `kp fit`), because animals "
        "that look alike are confused in one picture"
    )

    @classmethod
    def _missing_(cls, value: object) -> "Remedy | None":
        """Accept the wording of diagnostics.json files from before version 0.2."""
        return EARLIER_REMEDIES.get(value) if isinstance(value, str) else None


EARLIER_REMEDIES = {
    "a larger gap between the two frames (--data.gap): they hardly differ": Remedy.GAP,
    "fewer keypoints": Remedy.FEWER,
    "more keypoints": Remedy.MORE,
    "a crop around the animals or a larger image size, as `kp inspect` suggests: they are very small": Remedy.CROP,
    "rotation and separation terms that start later or weigh less, then more epochs": Remedy.LATER,
    "a larger separation weight (--model.weights.separation), or fewer keypoints": Remedy.SEPARATION,
    "a larger separation weight (--model.weights.separation) or fewer keypoints (--model.keypoints)": Remedy.SEPARATION,
    "a longer stretch of video to judge on, with animals that move": Remedy.FRAMES,
}


@dataclasses.dataclass(frozen=True)
class Measures:
    """Measures of one keypoint; NaN where they could not be computed.

    Attributes:
        on_animal: Share of frames in [0, 1] in which the keypoint touches the foreground.
        on_motion: Share of frames in [0, 1] in which something moves near the keypoint.
        centre_distance: Median distance from the image centre, in half image sides.
        spread: Spread of its positions relative to the spread of the animal's positions.
        duplicate_share: Share of frames in [0, 1] in which it is where a better keypoint is.
        jitter_px: Standard deviation of its trembling per axis, in pixels of the network's image.
        rotation_px: Mean error after the image is turned by a quarter, in pixels of the network's image.
        rotation_chance: The rotation error relative to that between unrelated frames (1 = chance).
        confidence: Median confidence.
        width: Median width of its heatmap, in half image sides.
        standing: Share of steps in [0, 1] in which it does not move although the animal does.
        on_grid: Share of its coordinates in [0, 1] that lie on the heatmap's grid (by chance 0.05).
    """

    on_animal: float
    on_motion: float
    centre_distance: float
    spread: float
    duplicate_share: float
    jitter_px: float
    rotation_px: float
    rotation_chance: float
    confidence: float
    width: float
    standing: float = math.nan
    on_grid: float = math.nan


@dataclasses.dataclass(frozen=True)
class KeypointDiagnosis:
    """Verdict on one keypoint with its first problem, the reason in words, a remedy and the measures behind it."""

    verdict: Verdict
    problem: Problem
    reason: str
    remedy: Remedy
    duplicate_of: int | None
    measures: Measures


@dataclasses.dataclass(frozen=True)
class Scene:
    """What the verdict is based on.

    Attributes:
        frames: Number of frames examined.
        frames_with_foreground: Number of those in which an animal was seen.
        image_size: Side of the network's image in pixels.
        body_px: Body size (side of a square with the animal's area) in pixels of the network's image.
        roaming: Spread of the animal's positions, in body sizes.
        step: Upper quartile of the distance that the animal moves within a frame pair, in body sizes.
    """

    frames: int
    frames_with_foreground: int
    image_size: int
    body_px: float
    roaming: float
    step: float


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Verdict on a run; ``coverage`` is the share of the foreground near a found keypoint."""

    verdict: Verdict
    reason: str
    remedy: Remedy
    coverage: float
    scene: Scene
    keypoints: tuple[KeypointDiagnosis, ...]

    @property
    def found(self) -> tuple[int, ...]:
        """Indices of the keypoints that were found."""
        return tuple(k for k, keypoint in enumerate(self.keypoints) if keypoint.verdict is Verdict.FOUND)

    def count(self, *problems: Problem) -> int:
        """Number of keypoints with one of these problems."""
        return sum(keypoint.problem in problems for keypoint in self.keypoints)

    def mean(self, measure: str) -> float:
        """Mean of one field of :class:`Measures` over the keypoints for which it is known; NaN if there are none."""
        values = [getattr(keypoint.measures, measure) for keypoint in self.keypoints]
        finite = [value for value in values if math.isfinite(value)]
        return float(np.mean(finite)) if finite else math.nan

    def to_json(self) -> str:
        """Text of ``diagnostics.json``; NaN becomes null."""
        plain = dataclasses.asdict(self) | {"found": list(self.found)}
        return json.dumps(_without_nan(plain), indent=2)

    @staticmethod
    def from_json(text: str) -> "Diagnosis":
        """Read what :meth:`to_json` wrote (five decimals).  Raises DataError for anything else."""
        try:
            return _diagnosis(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"The text is not a diagnostics.json file ({error}).",
                remedy="Write a new one with `kp report RUN --judge`.",
            ) from error

    def summary_lines(self) -> list[str]:
        """Lines for the terminal: the verdict on the run, a remedy, and a table of the keypoints."""
        lines = [f"Discovery: {self.verdict.upper()}. {self.reason}"]
        if self.remedy:
            lines.append(f"Most likely to help: {self.remedy}.")
        lines.append(_row("keypoint", "verdict", "on animal", "jitter", "rotation", "reason"))
        for k, keypoint in enumerate(self.keypoints):
            measures = keypoint.measures
            lines.append(
                _row(
                    f"kp{k + 1:02d}",
                    keypoint.verdict,
                    _percent(measures.on_animal),
                    _pixels(measures.jitter_px),
                    _pixels(measures.rotation_px),
                    keypoint.reason,
                )
            )
        return lines


def _diagnosis(plain: dict[str, Any]) -> Diagnosis:
    keypoints = tuple(
        KeypointDiagnosis(
            Verdict(each["verdict"]), Problem(each["problem"]), each["reason"], Remedy(each["remedy"]),
            each["duplicate_of"], Measures(**_with_nan(each["measures"])),
        )
        for each in plain["keypoints"]
    )  # fmt: skip
    return Diagnosis(
        Verdict(plain["verdict"]), plain["reason"], Remedy(plain["remedy"]),
        math.nan if plain["coverage"] is None else plain["coverage"],
        Scene(**_with_nan(plain["scene"])), keypoints,
    )  # fmt: skip


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value


def _with_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in values.items()}


def _row(keypoint: str, verdict: str, on_animal: str, jitter: str, rotation: str, reason: str) -> str:
    return f"{keypoint:>8}  {verdict:<8}  {on_animal:>9}  {jitter:>7}  {rotation:>8}  {reason}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if math.isfinite(share) else "-"


def _pixels(distance: float) -> str:
    return f"{distance:.1f} px" if math.isfinite(distance) else "-"
