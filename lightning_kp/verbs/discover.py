"""``kp discover VIDEOS``: inspect, train with the suggested settings, predict every frame, write the report."""

import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_kp.command.arguments import VerbParser, settings_of, split, typed
from lightning_kp.command.judging import _progress, finish
from lightning_kp.command.presets import preset_path, shipped_presets

if TYPE_CHECKING:
    from lightning_kp.runs.folder import RunFolder

SUMMARY = (
    "Find keypoints in videos with no labels. Anything that `kp fit` takes may be added, for instance "
    "--model.keypoints=10 --data.gap=0.3s --trainer.max_epochs=40; "
    "a second call goes on where the first stopped."
)
DEFAULT_PRESET = "laptop"
FOLLOWING_PRESET = "follow"  # the default where inspection would follow the animal
LARGEST_ON_CPU = 128  # pixels (ours): above it training takes hours on two cores
# One animal needs no term that shares keypoints out among several, and bears a stronger rotation term:
# on the open-field mouse the preset's own weights left half of the keypoints turning with the image, not the animal.
ALONE = {"model.weights.coverage": 0.0, "model.weights.rotation": 100.0, "model.rotation_variance": 0.02}
# What a shipped preset decides, whatever inspection suggests.
SETTLED = {"paper": {"data.size", *ALONE}, "follow": {"data.size", "data.boxes", *ALONE}}
LEAST_FRAMES = 4  # of the longest video (ours): fewer leave no pairs to train and to validate with
MADE_FOR = "made_for"  # in inspection.json: the videos of the run, by name and size


@dataclass(frozen=True)
class Plan:
    """Settings of a discovery run: a preset file, what inspection suggests, what the user typed.

    Later ones win: a suggestion never replaces what the user typed or wrote into a preset of their own.
    """

    preset: Path
    suggested: dict[str, Any]
    overrides: tuple[str, ...]

    def options(self) -> list[str]:
        """For ``kp fit``."""
        others = self.chosen().keys() | (set() if self._is_shipped else ALONE.keys())
        kept = {name: value for name, value in self._fitting().items() if name not in others}
        given = [f"--{name}={json.dumps(value)}" for name, value in kept.items()]
        return [f"--config={self.preset}", *given, *self.overrides]

    def chosen(self) -> dict[str, Any]:
        """What the user decided, by option name."""
        own = settings_of(self.preset)
        if self._is_shipped:
            own = {name: own.get(name) for name in SETTLED.get(self.preset.stem, ())}
        return own | typed(list(self.overrides))

    def _fitting(self) -> dict[str, Any]:
        """The suggestions; of those for a square that follows the animal, what suits any view."""
        if not follows(self.suggested) or self.preset == shipped_presets()[FOLLOWING_PRESET]:
            return self.suggested
        return {
            name: v for name, v in self.suggested.items() if name not in ("data.boxes", "data.size")
        } | ALONE

    @property
    def _is_shipped(self) -> bool:
        return self.preset in shipped_presets().values()

    @property
    def max_epochs(self) -> int | None:
        """Epochs to train, where they are limited by number."""
        value = (settings_of(self.preset) | typed(list(self.overrides))).get("trainer.max_epochs")
        return int(str(value)) if str(value).isdigit() else None


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    own, overrides = split(arguments)
    parser = VerbParser("discover", SUMMARY)
    parser.add_argument("videos", nargs="+", help="video files, folders or globs")
    parser.add_argument("--out", default="runs/discover", help="the run folder (default: runs/discover)")
    parser.add_argument(
        "--preset",
        help=f"{', '.join(shipped_presets())} or a YAML file of your own (default: {FOLLOWING_PRESET} for one animal "
        f"that is small in its arena, else {DEFAULT_PRESET})",
    )
    parser.add_argument("--no-overlay", action="store_true", help="leave the overlay videos out")
    given = parser.parse_args(own)

    from lightning_kp.command.training import refuse_wrong_options
    from lightning_kp.errors import KeypointError
    from lightning_kp.runs.folder import RunFolder
    from lightning_kp.video.paths import find_videos

    preset = preset_path(given.preset or DEFAULT_PRESET)
    _refuse_other_folder(overrides)
    videos = find_videos(given.videos)
    # Before the videos are inspected, which may take minutes, rather than after.
    refuse_wrong_options(
        [f"--config={preset}", f"--data.videos={json.dumps([str(v) for v in videos])}", *overrides]
    )
    folder = RunFolder(Path(given.out)).create()
    try:
        _refuse_other_videos(videos, folder)
        suggested = inspect_and_suggest(videos, folder)
    except KeypointError:
        folder.remove_if_empty()  # what was refused leaves nothing behind
        raise
    if given.preset is None and follows(suggested) and "data.boxes" not in typed(overrides):
        preset = preset_path(FOLLOWING_PRESET)
    plan = Plan(preset, suggested, tuple(overrides))
    plan = Plan(preset, _bearable(plan), tuple(overrides))
    train(videos, folder, plan)
    if os.environ.get("LOCAL_RANK", "0") == "0":  # the other processes of DDP have done their part
        finish(videos, folder, overlay=not given.no_overlay)
    return 0


def follows(suggested: dict[str, Any]) -> bool:
    """Whether inspection suggests a square that goes with the animal."""
    from lightning_kp.motion.boxes import FOLLOW

    return bool(suggested.get("data.boxes") == FOLLOW)


def inspect_and_suggest(videos: list[Path], folder: "RunFolder") -> dict[str, Any]:
    """Inspect the videos once per run folder; returns the suggested settings by option name."""
    known = _inspection(folder)
    if known.get(MADE_FOR) == _fingerprints(videos):
        return _settings(known)
    from tqdm import tqdm

    from lightning_kp.errors import DataError
    from lightning_kp.files import write_whole
    from lightning_kp.inspection.picture import write_picture
    from lightning_kp.inspection.videos import inspect_videos

    with tqdm(desc="inspect", unit="frame", delay=1.0, leave=False) as bar:
        inspection = inspect_videos(videos, progress=bar.update)
    frames = [video.info.n_frames or video.decoded for video in inspection.videos]
    if (longest := max(frames)) < LEAST_FRAMES:
        raise DataError(
            f"Discovery needs a video of at least {LEAST_FRAMES} frames; "
            f"the longest of these, {videos[frames.index(longest)].name}, has {longest}.",
            remedy="Name longer videos.",
        )
    print(inspection.text(), end="\n\n")
    write_picture(inspection, folder.path / "inspection.png")
    found = json.loads(inspection.to_json()) | {MADE_FOR: _fingerprints(videos)}
    write_whole(
        folder.inspection, json.dumps(found, indent=2) + "\n"
    )  # last: it says that inspection is done
    return _settings(found)


def _inspection(folder: "RunFolder") -> dict[str, Any]:
    try:
        return dict(json.loads(folder.inspection.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _settings(inspection: dict[str, Any]) -> dict[str, Any]:
    from lightning_kp.inspection.advice import ALONE_REGIONS

    names = {"gap": "data.gap", "size": "data.size", "box": "data.boxes", "keypoints": "model.keypoints"}
    values = {option: inspection["suggestion"][name]["value"] for name, option in names.items()}
    alone = all(
        (video.get("things") or 0) <= 1 and (video.get("regions") or 0) < ALONE_REGIONS
        for video in inspection["videos"]
    )
    return {option: value for option, value in values.items() if value is not None} | (ALONE if alone else {})


def _fingerprints(videos: list[Path]) -> list[list[Any]]:
    """Name and size of each video, so that a project may move."""
    return [[video.name, video.stat().st_size if video.is_file() else 0] for video in videos]


def _refuse_other_videos(videos: list[Path], folder: "RunFolder") -> None:
    """A run goes on with its own videos only."""
    made_for = _inspection(folder).get(MADE_FOR)
    if made_for in (None, _fingerprints(videos)) or not folder.last_checkpoint.exists():
        return
    from lightning_kp.errors import ConfigurationError

    names = ", ".join(str(name) for name, _ in made_for[:3]) + (", ..." if len(made_for) > 3 else "")
    raise ConfigurationError(
        f"{folder.path} holds a run on other videos ({names}).",
        remedy=f"Choose another folder with --out, or track these with `kp track {folder.path} VIDEOS`.",
    )


def _refuse_other_folder(overrides: list[str]) -> None:
    from lightning_kp.errors import ConfigurationError

    for name in ("trainer.default_root_dir", "data.videos"):
        if name in typed(overrides):
            remedy = "Use --out DIR." if name.startswith("trainer") else "Name the videos without an option."
            raise ConfigurationError(f"`kp discover` sets --{name} itself.", remedy=remedy)


def _bearable(plan: Plan) -> dict[str, Any]:
    """The suggestions, with an image size that a computer without a GPU can train on."""
    import torch

    size = plan.suggested.get("data.size", 0)
    if size <= LARGEST_ON_CPU or torch.cuda.is_available() or "data.size" in plan.chosen():
        return plan.suggested
    print(
        f"Images of {size} px are too slow without a GPU: training on {LARGEST_ON_CPU} px. "
        f"--data.size={size} takes them all the same."
    )
    return plan.suggested | {"data.size": LARGEST_ON_CPU}


def train(videos: list[Path], folder: "RunFolder", plan: Plan) -> None:
    """Train with `kp fit`'s own machinery; goes on from the last checkpoint when there is one."""
    from lightning_kp.command import training

    options = [*plan.options(), f"--data.videos={json.dumps([str(video.resolve()) for video in videos])}"]
    options.append(f"--trainer.default_root_dir={folder.path}")
    if folder.last_checkpoint.exists():
        done = _progress(folder)[0] or 0
        if plan.max_epochs is not None and done >= plan.max_epochs:
            print(f"Training is complete ({done} epochs); --trainer.max_epochs={2 * done} would train on.")
            return
        print(f"Going on after epoch {done} from {folder.last_checkpoint}")
        options.append(f"--ckpt_path={folder.last_checkpoint}")
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    try:
        training.run("fit", options)
    except KeyboardInterrupt:
        kept = "What was trained is kept" if folder.last_checkpoint.exists() else "No epoch was finished"
        raise KeyboardInterrupt(f"{kept}; type the same command again to go on.") from None
