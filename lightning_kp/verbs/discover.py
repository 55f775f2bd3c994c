"""``kp discover VIDEOS``: inspect, train with the suggested settings, predict every frame, write the report."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_kp.diagnostics import Diagnosis
    from lightning_kp.method import KeypointMethod
    from lightning_kp.run_folder import RunFolder
    from lightning_kp.tracking import ViewSettings

SUMMARY = "Find keypoints in videos with no labels. Anything that `kp fit` takes may be added, for instance "
EXAMPLES = (
    "--model.keypoints=10 --data.gap=0.3s --trainer.max_epochs=40; "
    "a second call goes on where the first stopped."
)
OVERRIDES = ("--model", "--data", "--trainer", "--seed_everything")


@dataclass(frozen=True)
class Plan:
    """Settings of a discovery run: the preset, what inspection suggested, what the user asked for."""

    preset: str
    suggested: dict[str, Any]
    overrides: tuple[str, ...]


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = argparse.ArgumentParser(prog="kp discover", description=SUMMARY + EXAMPLES, allow_abbrev=False)
    parser.add_argument("videos", nargs="+", help="video files, folders or globs")
    parser.add_argument("--out", default="runs/discover", help="the run folder (default: runs/discover)")
    parser.add_argument(
        "--preset", default="laptop", help="laptop (from scratch, CPU), paper, or a YAML file"
    )
    parser.add_argument("--no-overlay", action="store_true", help="leave the overlay videos out")
    own, rest = _split(arguments)
    given = parser.parse_args(own)

    from lightning_kp.run_folder import RunFolder
    from lightning_kp.video import find_videos

    videos = find_videos(given.videos)
    folder = RunFolder(Path(given.out)).create()
    suggested = inspect_and_suggest(videos, folder)
    train(videos, folder, Plan(given.preset, suggested, tuple(rest)))
    finish(videos, folder, overlay=not given.no_overlay)
    return 0


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our own arguments, and those for the trainer (``--model.x=1`` or ``--model.x 1``)."""
    own: list[str] = []
    rest: list[str] = []
    waiting = False
    for argument in arguments:
        is_override = argument.split("=")[0].split(".")[0].rstrip("+") in OVERRIDES
        if is_override:
            rest.append(argument)
            waiting = "=" not in argument
        elif waiting:
            rest.append(argument)
            waiting = False
        else:
            own.append(argument)
    return own, rest


def inspect_and_suggest(videos: list[Path], folder: "RunFolder") -> dict[str, Any]:
    """Inspect the videos once per run folder; returns the suggested settings by option name."""
    if folder.inspection.exists():
        return dict(json.loads(folder.inspection.read_text())["settings"])
    from tqdm import tqdm

    from lightning_kp.inspection import inspect_videos
    from lightning_kp.inspection_picture import write_picture
    from lightning_kp.run_folder import write_whole

    with tqdm(desc="inspect", unit="frame", delay=1.0) as bar:
        inspection = inspect_videos(videos, progress=lambda count: bar.update(count) and None)
    print(inspection.text(), end="\n\n")
    gap, box, size, keypoints = (choice.value for choice in inspection.suggestion)
    settings = {"data.gap": gap, "data.size": size, "model.keypoints": keypoints}
    if box is not None:
        settings["data.boxes"] = list(box)
    write_picture(inspection, folder.path / "inspection.png")
    # Written last: it is what says that inspection is done.
    write_whole(
        folder.inspection, json.dumps(json.loads(inspection.to_json()) | {"settings": settings}, indent=2)
    )
    return settings


def train(videos: list[Path], folder: "RunFolder", plan: Plan) -> None:
    """Train with `kp fit`'s own machinery; goes on from the last checkpoint when there is one."""
    from lightning_kp.verbs import training

    options = [f"--config={preset_path(plan.preset)}"]
    options.append(f"--data.videos={[str(video.resolve()) for video in videos]}".replace("'", '"'))
    options += [f"--{name}={value}" for name, value in plan.suggested.items()]
    options += [f"--trainer.default_root_dir={folder.path}", *plan.overrides]
    if folder.last_checkpoint.exists():
        print(f"Going on from {folder.last_checkpoint}")
        options.append(f"--ckpt_path={folder.last_checkpoint}")
    training.run("fit", options)


def preset_path(name: str) -> Path:
    """A shipped preset by name, or a YAML file of the user's."""
    from lightning_kp.errors import ConfigurationError

    folder = Path(__file__).parent.parent / "presets"
    shipped = {path.stem: path for path in folder.glob("*.yaml")}
    if name in shipped:
        return shipped[name]
    if Path(name).is_file():
        return Path(name)
    raise ConfigurationError(
        f"There is no preset '{name}'.",
        remedy=f"Use {', '.join(sorted(shipped))}, or the path of a YAML file.",
    )


def finish(videos: list[Path], folder: "RunFolder", *, overlay: bool = True) -> None:
    """Everything after training: tracks, overlays, verdict, report; each kept when it is there already."""
    from lightning_kp.checkpoints import find_checkpoint
    from lightning_kp.report import write_report
    from lightning_kp.verbs import track

    checkpoint = find_checkpoint(folder.path)
    method, view = track.load_for_tracking(checkpoint)
    track.track_all(method, view, videos, folder.path, origin=track.origin_of(checkpoint))
    if overlay:
        track.draw_overlays(videos, folder.path)
    diagnosis = judge(method, view, videos, folder)
    print(*diagnosis.summary_lines(), sep="\n")
    write_report(folder)
    print(f"Report: {folder.report}")


def judge(
    method: "KeypointMethod", view: "ViewSettings", videos: list[Path], folder: "RunFolder"
) -> "Diagnosis":
    """Diagnose the run on pairs spread over its videos and write ``diagnostics.json``."""
    from lightning_kp.diagnostics import collect_evidence, diagnose, sampled_backgrounds, sampled_batches
    from lightning_kp.frame_pairs import FramePairsModule
    from lightning_kp.run_folder import write_whole

    data = FramePairsModule(
        videos=[str(video) for video in videos], size=view.size, fit=view.fit, boxes=view.boxes
    )
    data.prepare_data()
    data.setup("fit")
    training_pairs = data.datasets["train"]
    evidence = collect_evidence(
        method, sampled_batches(training_pairs), backgrounds=sampled_backgrounds(training_pairs)
    )
    diagnosis = diagnose(evidence)
    write_whole(folder.diagnostics, diagnosis.to_json())
    folder.add_metrics(
        {
            "found": len(diagnosis.found),
            "keypoints": len(diagnosis.keypoints),
            "verdict": str(diagnosis.verdict),
        }
    )
    return diagnosis
