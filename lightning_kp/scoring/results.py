"""What `kp score` found of one run: metrics by name, and tables for a terminal."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_kp.scoring import look_alikes
from lightning_kp.scoring.field_measures import INSTALL
from lightning_kp.scoring.label_file import FileScore

if TYPE_CHECKING:
    from lightning_kp.metrics.animals import AnimalMetrics
    from lightning_kp.scoring.activities import ActivityMetrics
    from lightning_kp.scoring.discovered import RegressionMetrics
    from lightning_kp.scoring.look_alikes import LookAlikeMetrics
    from lightning_kp.scoring.named import NamedMetrics
    from lightning_kp.scoring.stills import StillMetrics
    from lightning_kp.scoring.whole_animals import WholeAnimalMetrics

LOOK_ALIKE_HEAD = (
    f"{'':<28}{'identities':<12}{'detected':>9}{'centroid px':>12}{'switches/1000':>15}"
    f"{'own nodes px':>14}{'all nodes px':>14}"
)


@dataclass(frozen=True)
class LookAlikeScore:
    """How well a network finds several look-alike animals and keeps them apart, beside the same network untrained.

    Attributes:
        truth: The video and the true points of every frame.
        trained: Metrics of the network.
        untrained: Metrics of the same network before training.
    """

    truth: "look_alikes.Truth"
    trained: "LookAlikeMetrics"
    untrained: "LookAlikeMetrics"

    def as_metrics(self, prefix: str = "animals_") -> dict[str, Any]:
        """Metrics by name, for ``metrics.json``."""
        return {
            f"{prefix}trained": look_alikes.as_metrics(self.trained),
            f"{prefix}untrained": look_alikes.as_metrics(self.untrained),
        }

    def lines(self, name: str) -> list[str]:
        """A table for the terminal; ``name`` is that of the run."""
        frames, animals = self.truth.points_px.shape[:2]
        mean_pose = look_alikes.mean_pose_px(self.truth)
        return [
            f"{self.truth.video.name}: {frames} frames, {animals} animals",
            LOOK_ALIKE_HEAD,
            *_look_alike_rows(name, self.trained),
            *_look_alike_rows(f"{name}, untrained", self.untrained),
            f"{'mean pose':<28}{'':<12}{'':>9}{'':>12}{'':>15}{'':>14}{mean_pose:>14.1f}",
            f"An animal is found when a centroid lies within {self.trained.height.reach_px:.0f} px of its own.",
            *self._field_lines(name),
        ]

    def _field_lines(self, name: str) -> list[str]:
        if self.trained.field is None or self.untrained.field is None:
            return []
        lines = [self.trained.field.line(name), self.untrained.field.line(f"{name}, untrained")]
        return lines if self.trained.field.complete else [*lines, INSTALL]


@dataclass(frozen=True, eq=False, repr=False)
class Score:
    """Errors of one run.

    Attributes:
        run: The run folder or checkpoint, as it was given.
        frames: Number of labelled frames or images that are scored and did not train the run.
        labelled: Metrics against labelled frames; None where the labels are tracks only, or name points in too few
            frames for a regression.
        tracked: Metrics against tracks of several animals; None without such.
        named: Errors of the points that the run names; None where it names none of the labelled ones.
        left_out: Number of labelled frames that trained the run or named its points.
        trained: The errors on those, if they were asked for.

    Example:
        score = kp.score("runs/me", labels="new.truth.npz", animals=False)
        print(score.frames, score.labelled.linear, score.as_metrics("new_")["new_matched"])
    """

    run: str
    frames: int
    labelled: "RegressionMetrics | WholeAnimalMetrics | ActivityMetrics | StillMetrics | None" = None
    tracked: LookAlikeScore | None = None
    named: "NamedMetrics | None" = None
    left_out: int = 0
    trained: "Score | None" = None

    @classmethod
    def of_file(cls, run: str, found: FileScore) -> "Score":
        """The score of a run against the labelled frames of a file."""
        trained = None if found.trained is None else cls.of_file(run, found.trained)
        return cls(run, found.frames, found.metrics, None, found.named, found.left_out, trained)

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def as_metrics(self, prefix: str = "") -> dict[str, Any]:
        """Metrics by name, for ``metrics.json``."""
        found: dict[str, Any] = dict(self.labelled.as_metrics(prefix)) if self.labelled else {}
        found |= self.named.as_metrics(prefix) if self.named else {}
        found |= self.trained.as_metrics(f"{prefix}trained_") if self.trained else {}
        return found | (self.tracked.as_metrics(f"{prefix}animals_") if self.tracked else {})

    def lines(self) -> list[str]:
        """Tables for a terminal."""
        head = [f"{self.run}: {self.frames} labelled frames"] if self.labelled or self.named else []
        return [
            *head,
            *self._left_out_line(),
            *(self.labelled.lines() if self.labelled else []),
            *(self.named.lines() if self.named else []),
            *self._trained_lines(),
            *(self.tracked.lines(self.run) if self.tracked else []),
        ]

    def _left_out_line(self) -> list[str]:
        if not self.left_out:
            return []
        total = self.frames + self.left_out
        excluded = f"{self.left_out} of {total} labelled frames trained this run or named its points"
        more = "scored apart" if self.trained else "left out (--include-trained scores them apart)"
        return [f"{excluded}: {more}"]

    def _trained_lines(self) -> list[str]:
        if self.trained is None:
            return []
        head, *rows = self.trained.lines()
        return [f"{head} that trained the run, no measure of how it does on new ones", *rows]


def _look_alike_rows(name: str, metrics: "LookAlikeMetrics") -> list[str]:
    nodes = (_pixels(metrics.nodes_own_px), _pixels(metrics.nodes_all_px))
    return [
        _look_alike_row(name, "assignment", metrics.assignment) + "".join(f"{each:>14}" for each in nodes),
        _look_alike_row("", "by height", metrics.height),
    ]


def _look_alike_row(name: str, rule: str, metrics: "AnimalMetrics") -> str:
    return (
        f"{name[-27:]:<28}{rule:<12}{metrics.detection:>9.1%}{_pixels(metrics.centroid_px):>12}"
        f"{metrics.switches:>15.1f}"
    )


def _pixels(value: float) -> str:
    return f"{value:.1f}" if value == value else "-"
