"""Find keypoints in videos without labels: ``kp.discover(videos)``."""

import json
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lightning_kp.api.paths import PathLike, Paths, as_list
from lightning_kp.api.run import Run
from lightning_kp.command import training
from lightning_kp.command.arguments import fit_options, typed
from lightning_kp.command.continued import (
    continuing_options,
    differences,
    epochs_of,
    ignored,
    keep_earlier,
    refuse_mixing,
    refuse_other_method,
)
from lightning_kp.command.discovery_plan import (
    DEFAULT_PRESET,
    FOLLOWING_PRESET,
    SINGLE_ANIMAL,
    Plan,
    capped_without_gpu,
)
from lightning_kp.command.judging import finish, training_progress
from lightning_kp.command.presets import preset_path
from lightning_kp.errors import ConfigurationError, DataError, KeypointError
from lightning_kp.files import write_whole
from lightning_kp.inspection.advice import ALONE_REGIONS
from lightning_kp.inspection.picture import write_picture
from lightning_kp.inspection.videos import inspect_videos
from lightning_kp.motion.boxes import follow
from lightning_kp.runs.folder import RunFolder
from lightning_kp.runs.lock import is_first_process, locked
from lightning_kp.video.paths import find_videos, refuse_other_encodings

MIN_FRAMES = 4
"""Frames of the longest video (ours): fewer leave no pairs for training and validation."""
MADE_FOR = "made_for"
"""Key in inspection.json: the videos of the run by name and size."""

logger = logging.getLogger(__name__)


def discover(
    videos: Paths,
    *,
    out: PathLike = "runs/discover",
    animals: int | None = None,
    preset: PathLike | None = None,
    overlay: bool = True,
    again: bool = False,
    settings: Mapping[str, Any] | None = None,
    options: Sequence[str] = (),
) -> Run:
    """Find keypoints in videos without labels: inspect, train, track every frame, judge, write the report.

    A second call with the same folder continues where the first one stopped, with the settings of the first.  Other
    settings are ignored by a finished run, which says so, and refused by an unfinished one.

    Args:
        videos: Video files, folders or globs.
        out: The run folder.
        animals: Number of animals in every video; each gets a square that follows it.  By default they are counted.
        preset: ``laptop``, ``follow``, ``turning``, ``paper``, or a YAML file of your own.  By default ``follow``
            where each animal gets a square, else ``laptop``.
        overlay: Draw the keypoints into a copy of each video.
        again: Train anew; an earlier run in the folder is kept beside it, as OUT-1 and so on.
        settings: Anything that ``kp fit`` accepts, by option name, such as
            ``{"model.keypoints": 10, "data.gap": "0.3s", "trainer.max_epochs": 40}``.
        options: Further options as typed after ``kp fit``, such as ``--trainer.callbacks+=Curriculum``.

    Raises:
        VideoError: A path names no video, or a video that cannot be read.
        ConfigurationError: An unknown setting or preset, or a folder with a run on other videos, or an unfinished one
            with other settings.
        DataError: The videos are too short.

    Example:
        run = kp.discover("videos/", out="runs/me", settings={"model.keypoints": 10})
        print(run.verdict, run.report)
    """
    overrides = [*fit_options(settings or {}), *options]
    chosen = preset_path(os.fspath(preset) if preset is not None else DEFAULT_PRESET)
    _refuse_own_options(overrides)
    if animals is not None:
        overrides.append(f"--data.boxes={_squares_for(animals, overrides)}")
    found = find_videos(as_list(videos))
    refuse_other_encodings(found)
    # Wrong options are refused before the videos are inspected, which may take minutes.
    training.refuse_wrong_options(
        [f"--config={chosen}", f"--data.videos={json.dumps([str(video) for video in found])}", *overrides]
    )
    folder = RunFolder(Path(out))
    if again and is_first_process() and (earlier := keep_earlier(folder)) is not None:
        logger.info("The earlier run is kept as %s", earlier)
    with locked(folder.create().path, "Another discovery"):
        try:
            _refuse_other_videos(found, folder)
            if MADE_FOR not in _saved_inspection(folder) and folder.last_checkpoint.exists():
                refuse_other_method(folder, chosen, overrides)
            suggested = inspect_and_suggest(found, folder)
        except KeypointError:
            folder.remove_if_empty()  # a refused call leaves nothing behind
            raise
        plan = Plan(chosen, suggested, tuple(overrides))
        if preset is None and plan.follows:
            plan = replace(plan, preset=preset_path(FOLLOWING_PRESET))
        train(found, folder, capped_without_gpu(plan), is_preset_typed=preset is not None)
        if is_first_process():  # the other processes of DDP have done their part
            finish(found, folder, overlay=overlay)
    return Run(folder.path)


def _squares_for(animals: int, overrides: list[str]) -> str:
    """Boxes that follow so many animals.  Raises ConfigurationError where other boxes are set."""
    if "data.boxes" in typed(overrides):
        raise ConfigurationError(
            f"{animals} animals are to be followed by squares, but data.boxes sets other ones.",
            remedy="Leave one of --animals and --data.boxes out.",
        )
    return follow(animals)


def inspect_and_suggest(videos: list[Path], folder: RunFolder) -> dict[str, Any]:
    """Inspect the videos once per run folder and return the suggested settings by option name."""
    known = _saved_inspection(folder)
    if known.get(MADE_FOR) == _identify(videos):
        return _suggested_settings(known)
    with tqdm(desc="inspect", unit="frame", delay=1.0, leave=False) as bar:
        inspection = inspect_videos(videos, progress=bar.update)
    frames = [video.info.n_frames or video.decoded for video in inspection.videos]
    if (longest := max(frames)) < MIN_FRAMES:
        raise DataError(
            f"Discovery needs a video of at least {MIN_FRAMES} frames; "
            f"the longest of these, {videos[frames.index(longest)].name}, has {longest}.",
            remedy="Name longer videos.",
        )
    logger.info("%s\n", inspection.text())
    write_picture(inspection, folder.path / "inspection.png")
    found = json.loads(inspection.to_json()) | {MADE_FOR: _identify(videos)}
    write_whole(folder.inspection, json.dumps(found, indent=2) + "\n")  # last: it marks inspection as done
    return _suggested_settings(found)


def _saved_inspection(folder: RunFolder) -> dict[str, Any]:
    try:
        return dict(json.loads(folder.inspection.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _suggested_settings(inspection: dict[str, Any]) -> dict[str, Any]:
    names = {"gap": "data.gap", "size": "data.size", "box": "data.boxes", "keypoints": "model.keypoints"}
    values = {option: inspection["suggestion"][name]["value"] for name, option in names.items()}
    is_alone = all(
        (video.get("animals") or 0) <= 1 and (video.get("regions") or 0) < ALONE_REGIONS
        for video in inspection["videos"]
    )
    known = {option: value for option, value in values.items() if value is not None}
    return known | (SINGLE_ANIMAL if is_alone else {})


def _identify(videos: list[Path]) -> list[list[Any]]:
    """Name and size of each video; without its folder, so that a project may move."""
    return [[video.name, video.stat().st_size if video.is_file() else 0] for video in videos]


def _refuse_other_videos(videos: list[Path], folder: RunFolder) -> None:
    """Refuse to continue a run with videos that it was not trained on."""
    made_for = _saved_inspection(folder).get(MADE_FOR)
    if made_for in (None, _identify(videos)) or not folder.last_checkpoint.exists():
        return
    names = ", ".join(str(name) for name, _ in made_for[:3]) + (", ..." if len(made_for) > 3 else "")
    raise ConfigurationError(
        f"{folder.path} holds a run on other videos ({names}).",
        remedy=f"Choose another folder (--out DIR), or track these with `kp track {folder.path} VIDEOS`.",
    )


def _refuse_own_options(overrides: list[str]) -> None:
    for name in ("trainer.default_root_dir", "data.videos"):
        if name in typed(overrides):
            remedy = "Give out (--out DIR)." if name.startswith("trainer") else "Give the videos as such."
            raise ConfigurationError(f"Discovery sets {name} itself.", remedy=remedy)


def train(videos: list[Path], folder: RunFolder, plan: Plan, *, is_preset_typed: bool = False) -> None:
    """Train as ``kp fit`` does; continues from the last checkpoint, with the run's own settings, if there is one."""
    placed = [f"--data.videos={json.dumps([str(video.absolute()) for video in videos])}"]
    placed.append(f"--trainer.default_root_dir={folder.path}")
    options = plan.options()
    if folder.last_checkpoint.exists():
        done, wanted = training_progress(folder)[0] or 0, epochs_of(folder, plan)
        other = differences(folder, plan, is_preset_typed=is_preset_typed)
        if wanted is not None and done >= wanted:
            logger.info(
                "Training is complete (%d epochs); --trainer.max_epochs=%d would train on.", done, 2 * done
            )
            if other:
                logger.warning(ignored(folder, other))
            return
        refuse_mixing(folder, other, done)
        logger.info("Continuing after epoch %d from %s", done, folder.last_checkpoint)
        options = continuing_options(folder, plan)
        placed.append(f"--ckpt_path={folder.last_checkpoint}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
            training.run("fit", [*options, *placed])
    except KeyboardInterrupt:
        kept = "The training so far is kept" if folder.last_checkpoint.exists() else "No epoch was finished"
        raise KeyboardInterrupt(f"{kept}; repeat the same command or call to continue.") from None
