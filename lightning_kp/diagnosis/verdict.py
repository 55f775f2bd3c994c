"""The verdict on a discovery run: its words, its figures, its JSON and its lines for a terminal."""

import dataclasses
import json
import math
from enum import StrEnum
from typing import Any

import numpy as np

from lightning_kp.errors import DataError


class Verdict(StrEnum):
    """The answer for one keypoint or for the run."""

    FOUND = "found"
    DOUBTFUL = "doubtful"
    FAILED = "failed"


class Problem(StrEnum):
    """What keeps a keypoint from being found; ``NONE`` for a found one.  The text is kept in diagnostics.json."""

    NONE = "none"
    CENTRE = "stuck at the image centre"
    STUCK = "stuck in one place"
    BACKGROUND = "on the background"
    LEAVES = "leaves the animal"
    DUPLICATE = "duplicate"
    JITTER = "jitters"
    ROTATION = "does not turn with the image"
    UNSEEN = "nothing moved"


class Remedy(StrEnum):
    """What to change first; the text is what a user reads."""

    NONE = ""
    GAP = "a larger gap between the two frames (--data.gap): they hardly differ"
    FEWER = "fewer keypoints"
    MORE = "more keypoints"
    CROP = "a crop around the animals or a larger image size, as `kp inspect` suggests: they are very small"
    EPOCHS = "more epochs (--trainer.max_epochs)"
    LATER = "rotation and separation terms that start later or weigh less, then more epochs"
    SEPARATION = "a larger separation weight (--model.weights.separation), or fewer keypoints"
    ROTATION = "a larger rotation weight (--model.weights.rotation), then more epochs"
    FRAMES = "a longer stretch of video to judge on, with animals that move"


@dataclasses.dataclass(frozen=True)
class Measures:
    """Figures of one keypoint; NaN where they could not be taken.

    Shares are in [0, 1]; ``centre_distance`` and ``width`` in half image sides; ``spread`` relative
    to the spread of what moves; ``*_px`` in pixels of the network's image; ``rotation_chance`` is
    the rotation error relative to that of unrelated frames.
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


@dataclasses.dataclass(frozen=True)
class KeypointDiagnosis:
    """One keypoint: verdict, the first problem met, words, remedy, and the figures behind them."""

    verdict: Verdict
    problem: Problem
    reason: str
    remedy: Remedy
    duplicate_of: int | None
    measures: Measures


@dataclasses.dataclass(frozen=True)
class Scene:
    """What was looked at: frames, frames with foreground, and sizes in network pixels and body sizes."""

    frames: int
    frames_with_foreground: int
    image_size: int
    body_px: float
    roaming: float
    step: float


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """The verdict on a run; ``coverage`` is the share of the moving area near a found keypoint."""

    verdict: Verdict
    reason: str
    remedy: Remedy
    coverage: float
    scene: Scene
    keypoints: tuple[KeypointDiagnosis, ...]

    @property
    def found(self) -> tuple[int, ...]:
        """Positions of the keypoints that were found."""
        return tuple(k for k, keypoint in enumerate(self.keypoints) if keypoint.verdict is Verdict.FOUND)

    def count(self, *problems: Problem) -> int:
        """How many keypoints have one of these problems."""
        return sum(keypoint.problem in problems for keypoint in self.keypoints)

    def mean(self, measure: str) -> float:
        """Mean of a figure of :class:`Measures` over the keypoints that have it; else NaN."""
        values = [getattr(keypoint.measures, measure) for keypoint in self.keypoints]
        finite = [value for value in values if math.isfinite(value)]
        return float(np.mean(finite)) if finite else math.nan

    def to_json(self) -> str:
        """Text for ``diagnostics.json``; NaN is written as null."""
        plain = dataclasses.asdict(self) | {"found": list(self.found)}
        return json.dumps(_without_nan(plain), indent=2)

    @staticmethod
    def from_json(text: str) -> "Diagnosis":
        """The inverse of :meth:`to_json` (to five decimals).  Raises DataError for anything else."""
        try:
            return _diagnosis(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"This is not a diagnostics.json ({error}).", remedy="`kp report RUN` writes a new one."
            ) from error

    def summary_lines(self) -> list[str]:
        """The verdict for a terminal: one line for the run, one per keypoint."""
        lines = [f"Discovery: {self.verdict.upper()}. {self.reason}"]
        if self.remedy:
            lines.append(f"Most likely to help: {self.remedy}.")
        lines.append(_row("keypoint", "verdict", "on animal", "jitter", "rotation", "why"))
        for k, keypoint in enumerate(self.keypoints):
            figures = keypoint.measures
            lines.append(
                _row(
                    f"kp{k + 1:02d}",
                    keypoint.verdict,
                    _percent(figures.on_animal),
                    _pixels(figures.jitter_px),
                    _pixels(figures.rotation_px),
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


def _with_nan(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in figures.items()}


def _row(keypoint: str, verdict: str, on_animal: str, jitter: str, rotation: str, why: str) -> str:
    return f"{keypoint:>8}  {verdict:<8}  {on_animal:>9}  {jitter:>7}  {rotation:>8}  {why}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if math.isfinite(share) else "-"


def _pixels(distance: float) -> str:
    return f"{distance:.1f} px" if math.isfinite(distance) else "-"
