"""``kp animals RUN --labels FILE``: are several look-alike animals found, kept apart, and described?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_kp.command.arguments import VerbParser

if TYPE_CHECKING:
    from lightning_kp.metrics.animals import AnimalFigures
    from lightning_kp.scoring.look_alikes import MethodFigures

SUMMARY = (
    "Score runs on a video of several animals whose true points are known in every frame: detection rate, "
    "error of the centroid, identity switches, regression to the true points; beside the same network untrained."
)
HEAD = (
    f"{'':<28}{'identities':<12}{'detected':>9}{'centroid px':>12}{'switches/1000':>15}"
    f"{'own nodes px':>14}{'all nodes px':>14}"
)


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = VerbParser("animals", SUMMARY)
    parser.add_argument("run", nargs="+", help="checkpoints or run folders, one per seed")
    parser.add_argument("--labels", required=True, help="a SLEAP file with tracks, or an arena's truth")
    parser.add_argument("--video", help="the labelled video, where the file does not lead to it")
    parser.add_argument("--prefix", default="animals_", help="put before the names in metrics.json")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    given = parser.parse_args(arguments)

    from lightning_kp.scoring.look_alikes import mean_pose_px, read_truth

    truth = read_truth(Path(given.labels), Path(given.video) if given.video else None)
    found = _figures(given.run, truth, given.device)
    print(
        f"{truth.video.name}: {len(truth.points_px)} frames, {truth.points_px.shape[1]} animals",
        HEAD,
        sep="\n",
    )
    for name, (trained, untrained) in found.items():
        print(*_lines(name, trained), *_lines(f"{name}, untrained", untrained), sep="\n")
        if Path(name).is_dir():
            _write(Path(name), given.prefix, trained, untrained)
    print(f"{'mean pose':<28}{'':<12}{'':>9}{'':>12}{'':>15}{'':>14}{mean_pose_px(truth):>14.1f}")
    reach = next(iter(found.values()))[0].height.reach_px
    print(f"An animal is found when a centroid lies within {reach:.0f} px of its own.")
    return 0


def _figures(names: list[str], truth: Any, device: str) -> "dict[str, tuple[MethodFigures, MethodFigures]]":
    """(trained, untrained) by name; runs that see the video alike share one pass over it."""
    from lightning_kp.checkpoints import find_checkpoint
    from lightning_kp.command.trained import load_for_tracking
    from lightning_kp.scoring.look_alikes import score_tracks, track_with

    loaded = {name: load_for_tracking(find_checkpoint(name), device) for name in names}
    figures: dict[str, tuple[MethodFigures, MethodFigures]] = {}
    while loaded:
        view = next(iter(loaded.values()))[1]
        alike = [name for name in loaded if loaded[name][1] == view]
        methods = [loaded.pop(name)[0] for name in alike]
        tracks = track_with(methods, truth.video, view)
        scores = [score_tracks(each, truth) for each in tracks]
        figures |= dict(zip(alike, zip(scores, scores[len(alike) :], strict=False), strict=True))
    return {name: figures[name] for name in names}


def _lines(name: str, figures: "MethodFigures") -> list[str]:
    nodes = (_number(figures.nodes_own_px), _number(figures.nodes_all_px))
    return [
        _line(name, "assignment", figures.assignment) + "".join(f"{each:>14}" for each in nodes),
        _line("", "by height", figures.height),
    ]


def _line(name: str, rule: str, figures: "AnimalFigures") -> str:
    return (
        f"{name[-27:]:<28}{rule:<12}{figures.detection:>9.1%}{_number(figures.centroid_px):>12}"
        f"{figures.switches:>15.1f}"
    )


def _number(value: float) -> str:
    return f"{value:.1f}" if value == value else "-"


def _write(folder: Path, prefix: str, trained: "MethodFigures", untrained: "MethodFigures") -> None:
    from lightning_kp.runs.folder import RunFolder
    from lightning_kp.scoring.look_alikes import as_metrics

    RunFolder(folder).add_metrics(
        {f"{prefix}trained": as_metrics(trained), f"{prefix}untrained": as_metrics(untrained)}
    )
