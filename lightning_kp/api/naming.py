"""Named points from discovered ones, with a few labelled frames: ``kp.name(run, labels)``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_kp.api.paths import PathLike
from lightning_kp.api.run import Run
from lightning_kp.checkpoints import data_settings, find_checkpoint, trained_on, write_method
from lightning_kp.command.trained import load_for_tracking
from lightning_kp.errors import ConfigurationError
from lightning_kp.labels.reading import read_animals
from lightning_kp.methods import LinearBridge
from lightning_kp.metrics.bridge import fit_bridge
from lightning_kp.metrics.regression import PERCENT_OF_SIDE
from lightning_kp.runs.folder import RunFolder
from lightning_kp.scoring.discovered import PERCENT_OF_FRAME, discovered_points


@dataclass(frozen=True)
class NamedPoint:
    """One labelled point.

    Attributes:
        name: Its name in the label file.
        frames: In how many frames it is labelled; a point without any is left out of the new network.
        error: Root mean square distance on frames left out of the fit, in % of the side of the whole frame, as in
            :class:`lightning_kp.scoring.discovered.RegressionMetrics`; NaN = unknown.
    """

    name: str
    frames: int
    error: float


@dataclass(frozen=True, repr=False)
class NamedRun(Run):
    """The folder of a run that predicts named points.

    Attributes:
        path: The folder; ``kp.load``, ``kp.track`` and the other functions accept it.
        points: The labelled points with their errors.

    Example:
        named = kp.name("runs/me", "new.truth.npz", out="runs/me-points")
        print({point.name: point.error for point in named.points})
    """

    points: tuple[NamedPoint, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """A table of the points for a terminal."""
        width = max(len("point"), *(len(point.name) for point in self.points))
        rows = [f"{'point':<{width}}{'frames':>8}{f'error, {PERCENT_OF_FRAME}':>30}"]
        for point in self.points:
            known = "unknown" if point.frames else "never labelled: left out"
            error = f"{point.error:.2f}" if point.error == point.error else known
            rows.append(f"{point.name:<{width}}{point.frames:>8}{error:>30}")
        return rows


def name(
    run: PathLike,
    labels: PathLike,
    *,
    names: Sequence[str] | None = None,
    root: PathLike | None = None,
    predicted: bool = False,
    out: PathLike | None = None,
    device: str = "auto",
) -> NamedRun:
    """Fit a map from the keypoints that ``run`` discovered to labelled points, and save a network that predicts these.

    Args:
        run: A run folder or checkpoint of a method that discovered keypoints.
        labels: SLEAP, DeepLabCut, Lightning Pose, COCO or Label Studio labels.
        names: The points to use; all by default.
        root: Folder below which the images of the labels lie, if they are not where the file says.
        predicted: Takes the predictions of a SLEAP file for labels; otherwise it must hold some that a person set.
        out: Folder of the new run; RUN-named by default.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.

    Raises:
        ConfigurationError: The run finds named points already.
        DataError: The labels cannot be used.

    Example:
        named = kp.name("runs/me", "new.truth.npz", out="runs/me-named")
        poses = kp.load(named).predict("new.mp4")
    """
    checkpoint = find_checkpoint(Path(run))
    method, view = load_for_tracking(checkpoint, device)
    _refuse_named(method.keypoint_names)
    animals = read_animals(
        Path(labels), view.size, view.fit, view.boxes, names=list(names) if names else None,
        root=Path(root) if root is not None else None, preprocessing=view.preprocessing,
        predicted=predicted,
    )  # fmt: skip
    labelled = animals.flat()
    bridge = fit_bridge(discovered_points(method, labelled.image), labelled.points.double())
    frames = (~labelled.points.isnan().any(dim=-1)).sum(dim=0).tolist()
    errors = (PERCENT_OF_SIDE * labelled.share_of_frame * bridge.error).tolist()
    points = [NamedPoint(*each) for each in zip(labelled.names, frames, errors, strict=True)]
    kept = [number for number, point in enumerate(points) if point.frames]
    bridge = bridge._replace(
        regressor=type(bridge.regressor)(bridge.regressor.weights[kept]), error=bridge.error[kept]
    )
    named = LinearBridge.from_bridge(method, [points[number].name for number in kept], bridge)
    folder = RunFolder(Path(out) if out is not None else _named_path(Path(run))).create()
    used = labelled.points.isfinite().all(dim=-1).any(dim=-1).nonzero().flatten().tolist()
    known = trained_on(checkpoint) or frozenset()  # a network may have learnt from labels before
    write_method(folder.last_checkpoint, named, data_settings(checkpoint), {*known, *animals.marks_of(used)})
    folder.add_metrics({f"bridge/error_percent_of_side/{points[k].name}": points[k].error for k in kept})
    return NamedRun(folder.path, tuple(points))


def _refuse_named(names: tuple[str, ...]) -> None:
    if names:
        raise ConfigurationError(
            f"The run already finds named points ({', '.join(names)}).",
            remedy="Give a run that discovered keypoints, or track with this one.",
        )


def _named_path(run: Path) -> Path:
    """RUN-named beside the run folder, also where a checkpoint in it is given."""
    if run.is_dir():
        folder = run
    elif run.parent.name == "checkpoints":
        folder = run.parent.parent
    else:
        folder = run.with_suffix("")
    resolved = folder.resolve()
    return resolved.with_name(resolved.name + "-named")
