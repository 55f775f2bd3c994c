"""``kp behaviour --config FILE``: train a behaviour classifier with several seeds; write metrics, bouts, ethogram."""

import hashlib
import itertools
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_kp.command.arguments import VerbParser, positive, split

if TYPE_CHECKING:
    from lightning_kp.behaviour.bases import BehaviourModule
    from lightning_kp.behaviour.results import Setting

SUMMARY = (
    "Train a behaviour classifier once per seed and score it on the test recordings. Writes mean and standard "
    "deviation of MAP, average precision and F1, the bouts, and an ethogram. All options of `kp fit` may be added."
)
VARY_HELP = (
    "NAME=A|B|C: repeat the training with each value of an option; several --vary give all combinations "
    "(--vary 'data.features=[pose]|[pose,confidence]')"
)


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    own, overrides = split(arguments)
    parser = VerbParser("behaviour", SUMMARY, passes_on=True)
    parser.add_argument("--config", required=True, help="YAML file of an experiment, as for kp fit")
    parser.add_argument(
        "--out", default="runs/behaviour", help="folder of all results (default: runs/behaviour)"
    )
    parser.add_argument("--seeds", type=positive, default=5, help="number of seeds per setting (default: 5)")
    parser.add_argument("--vary", action="append", default=[], help=VARY_HELP)
    given = parser.parse_args(own)

    from lightning_kp.behaviour.results import table_lines, write_settings
    from lightning_kp.errors import DataError

    folder, settings = Path(given.out), []
    choices = [_values(text) for text in given.vary]
    names: set[str] = set()
    slugs: set[str] = set()
    for combination in itertools.product(*choices):
        options = [*overrides, *(f"--{name}={value}" for name, value in combination)]
        name = ", ".join(_short(value) for _, value in combination)
        if name in names:  # the last parts of two paths are equal
            name = ", ".join(value for _, value in combination)
        slug = _slug(name)
        if slug in slugs:
            slug += f"-{hashlib.sha256(repr(combination).encode()).hexdigest()[:6]}"
        names.add(name)
        slugs.add(slug)
        try:
            settings.append(_train(name, Path(given.config), folder / slug, options, given.seeds))
        except DataError as error:
            if not combination:
                raise
            settings.append(_skipped(name, error.problem))
        write_settings(folder, settings)
    print(*table_lines(settings), f"Results: {folder}", sep="\n")
    return 0


def _train(name: str, config: Path, folder: Path, options: list[str], seeds: int) -> "Setting":
    """Train and score with each seed, except where a result for these options and recordings exists."""
    from lightning_kp.behaviour.results import Setting
    from lightning_kp.files import read_json, write_whole

    by_seed = {}
    # The metrics depend on paths and other options, and on the contents of the tracks.
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    key = json.dumps([text, options, _recordings(config, options)])
    for seed in range(seeds):
        run_folder = folder / f"seed-{seed}"
        done = read_json(run_folder / "behaviour_run.json")
        if done.get("asked") != key:
            done = {"asked": key, "figures": _train_once(config, run_folder, options, seed)}
            write_whole(run_folder / "behaviour_run.json", json.dumps(done, indent=2) + "\n")
        by_seed[seed] = dict(done["figures"])
        value = by_seed[seed]["map"]
        result = "no behaviour to score" if value is None else f"MAP {value:.3f}"
        print(f"{name or 'all'}, seed {seed}: {result}", flush=True)
    return Setting(name, by_seed)


def _recordings(config: Path, options: list[str]) -> str:
    """Digest of the recordings that these settings select."""
    from lightning_kp.command.training import launch

    built = launch("fit", [*_arguments(config, Path(), options, 0), "--trainer.logger=false"], start=False)
    return _behaviours_of(built.datamodule).fingerprint()


def _arguments(config: Path, folder: Path, options: list[str], seed: int) -> list[str]:
    return [
        "--config", str(config), f"--seed_everything={seed}", f"--trainer.default_root_dir={folder}",
        "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", *options,
    ]  # fmt: skip


def _behaviours_of(data: object) -> "BehaviourModule":
    from lightning_kp.behaviour.bases import BehaviourModule
    from lightning_kp.errors import ConfigurationError

    if not isinstance(data, BehaviourModule):
        raise ConfigurationError(
            f"kp behaviour needs behaviour annotations; {type(data).__name__} has none.",
            remedy="Use --data TrackedBehaviour, CalMS21 or FlyVsFly.",
        )
    return data


def _train_once(config: Path, folder: Path, options: list[str], seed: int) -> dict[str, float | None]:
    """Train once; returns metrics by name, None where no frame could be scored."""
    from lightning_kp.behaviour.ethogram import write_ethogram
    from lightning_kp.behaviour.results import classify_recordings, overall_metrics
    from lightning_kp.command.training import launch
    from lightning_kp.runs.folder import RunFolder

    RunFolder(folder).last_checkpoint.unlink(
        missing_ok=True
    )  # from other tracks or settings, or from an interrupted run
    trained = launch("fit", _arguments(config, folder, options, seed))
    data = _behaviours_of(trained.datamodule)
    scored = classify_recordings(trained.model, data)
    for each in scored:
        each.write(folder / "behaviour")
    write_ethogram(scored, folder / "ethogram.png")
    figures = overall_metrics(scored).as_metrics()
    known = {name: None if math.isnan(value) else value for name, value in figures.items()}
    RunFolder(folder).add_metrics(known)
    return known


def _skipped(name: str, problem: str) -> "Setting":
    from lightning_kp.behaviour.results import Setting

    print(f"{name}: skipped. {problem}", flush=True)
    return Setting(name, {}, "left out: " + problem)


def _values(text: str) -> list[tuple[str, str]]:
    """Split ``data.features=[a]|[b]`` into (option, value) pairs."""
    from lightning_kp.errors import ConfigurationError

    name, equals, values = text.removeprefix("--").partition("=")
    if not equals or not values:
        raise ConfigurationError(
            f"--vary {text} gives no values.", remedy="Type --vary 'data.features=[pose]|[pose,confidence]'."
        )
    return [(name, value) for value in values.split("|")]


def _short(value: str) -> str:
    """A value as shown in the table: lists without brackets, paths by their last two parts."""
    plain = value.strip("[]").replace(",", " + ")
    return "/".join(plain.rstrip("/").split("/")[-2:]) if "/" in plain else plain


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "all"
