"""``kp name RUN LABELS``: named points from discovered ones, with a few labelled frames and no training."""

from pathlib import Path

from lightning_kp.command.arguments import VerbParser

SUMMARY = (
    "Fit a linear map from the discovered keypoints of RUN to the points that LABELS names; leaves a "
    "checkpoint that predicts named points, for `kp track`."
)


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    given = _parser().parse_args(arguments)

    from lightning_kp.checkpoints import data_settings, find_checkpoint, write_method
    from lightning_kp.command.trained import load_for_tracking
    from lightning_kp.labels.reading import read_animals
    from lightning_kp.methods import LinearBridge
    from lightning_kp.metrics.bridge import fit_bridge
    from lightning_kp.runs.folder import RunFolder
    from lightning_kp.scoring.discovered import discovered_points

    checkpoint = find_checkpoint(given.run)
    method, view = load_for_tracking(checkpoint, given.device)
    _refuse_named(method.keypoint_names)
    names = given.names.split(",") if given.names else None
    root = Path(given.root) if given.root else None
    labels = read_animals(
        given.labels,
        view.size,
        view.fit,
        view.boxes,
        names=names,
        root=root,
        preprocessing=view.preprocessing,
    ).flat()
    bridge = fit_bridge(discovered_points(method, labels.image), labels.points.double())
    labelled = (~labels.points.isnan().any(dim=-1)).sum(dim=0).tolist()
    kept = [place for place, count in enumerate(labelled) if count]
    print(*_lines(labels.names, labelled, bridge.error.tolist()), sep="\n")
    bridge = bridge._replace(
        regressor=type(bridge.regressor)(bridge.regressor.weights[kept]), error=bridge.error[kept]
    )
    named = LinearBridge.of(method, [labels.names[place] for place in kept], bridge)
    folder = RunFolder(Path(given.out) if given.out else _beside(Path(given.run))).create()
    write_method(folder.last_checkpoint, named, data_settings(checkpoint))
    errors = dict(zip(named.keypoint_names, (50 * bridge.error).tolist(), strict=True))
    folder.add_metrics({f"bridge/error_percent_of_side/{name}": error for name, error in errors.items()})
    print(f"Named points: `kp track {folder.path} VIDEOS`")
    return 0


def _parser() -> VerbParser:
    parser = VerbParser("name", SUMMARY)
    parser.add_argument("run", help="checkpoint or run folder of a method that discovered keypoints")
    parser.add_argument("labels", help="SLEAP, DeepLabCut, Lightning Pose, COCO or Label Studio labels")
    parser.add_argument("--names", help="points to use, comma-separated (default: all)")
    parser.add_argument("--root", help="folder below which the labels' images lie (default: where they say)")
    parser.add_argument("--out", help="folder of the new run (default: RUN-named)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    return parser


def _refuse_named(names: tuple[str, ...]) -> None:
    from lightning_kp.errors import ConfigurationError

    if names:
        raise ConfigurationError(
            f"The run already finds named points ({', '.join(names)}).",
            remedy="Give a run that discovered keypoints, or track with this one.",
        )


def _lines(names: tuple[str, ...], counts: list[int], errors: list[float]) -> list[str]:
    """How well each point is told on labelled frames that were left out, in % of the image side."""
    width = max(len("point"), *map(len, names))
    rows = [f"{'point':<{width}}{'frames':>8}{'error, % of the side':>22}"]
    for name, count, error in zip(names, counts, errors, strict=True):
        told = f"{50 * error:.2f}" if error == error else "unknown" if count else "never labelled: left out"
        rows.append(f"{name:<{width}}{count:>8}{told:>22}")
    return rows


def _beside(run: Path) -> Path:
    """RUN-named, beside the run folder, for its checkpoint as well."""
    folder = (
        run
        if run.is_dir()
        else run.parent.parent
        if run.parent.name == "checkpoints"
        else run.with_suffix("")
    )
    resolved = folder.resolve()
    return resolved.with_name(resolved.name + "-named")
