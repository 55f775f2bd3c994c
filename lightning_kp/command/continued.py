"""A discovery that is continued keeps its settings: what of the options typed again differs, and what still counts."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_kp.command.arguments import flattened, settings_of, typed
from lightning_kp.command.discovery_plan import Plan
from lightning_kp.errors import ConfigurationError
from lightning_kp.runs.folder import RunFolder
from lightning_kp.runs.lock import locked

MAY_CHANGE = frozenset(
    (
        "trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.accelerator", "trainer.devices",
        "trainer.strategy", "trainer.num_nodes", "trainer.logger", "trainer.log_every_n_steps", "log",
        "trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.profiler", "model.pretrained",
        "data.root", "data.num_workers", "data.cache_dir", "data.cache_gb",
    )
)  # fmt: skip
"""Options that may differ when a training continues: how long, on what, and where files lie."""


class Difference(NamedTuple):
    """A setting of the run, and another value that was typed for it."""

    name: str
    of_run: Any
    typed: Any


def differences(folder: RunFolder, plan: Plan, *, is_preset_typed: bool) -> list[Difference]:
    """Return the settings that were typed for a run that is trained with others.

    ``plan`` is what a new run would train with; ``is_preset_typed`` says that its preset was named.  Suggestions are
    not compared: nobody typed them.
    """
    names = {name.rstrip("+") for name in typed(list(plan.overrides))}
    if is_preset_typed:
        names |= settings_of(plan.preset).keys() - plan.suggested.keys()
    if not folder.config.is_file() or not names - MAY_CHANGE:
        return []
    of_run, now = settings_of(folder.config), _resolved(plan.options())
    return [
        Difference(name, of_run[name], now[name])
        for name in sorted(of_run.keys() & now.keys() - MAY_CHANGE)
        if of_run[name] != now[name] and any(name == each or name.startswith(f"{each}.") for each in names)
    ]


def _resolved(options: Sequence[str]) -> dict[str, Any]:
    """All settings that ``kp fit`` would train with, by option name, as ``config.yaml`` holds them."""
    import yaml

    from lightning_kp.command import training

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        training.launch("fit", [*options, "--print_config"])
    return flattened(yaml.safe_load(printed.getvalue()))


def continuing_options(folder: RunFolder, plan: Plan) -> list[str]:
    """Return the options that continue the run's training: its own settings, and what may change."""
    if not folder.config.is_file():
        return plan.options()
    kept = [option for option in plan.overrides if next(iter(typed([option]))) in MAY_CHANGE]
    return [f"--config={folder.config}", *kept]


def epochs_of(folder: RunFolder, plan: Plan) -> int | None:
    """Return the epochs that the continued run is trained for, None where they are not limited by number."""
    settings: dict[str, Any] = settings_of(folder.config) if folder.config.is_file() else {}
    value = (settings | typed(list(plan.overrides))).get("trainer.max_epochs", plan.max_epochs)
    return int(str(value)) if str(value).isdigit() else None


def ignored(folder: RunFolder, found: Sequence[Difference]) -> str:
    """Say which options a finished run does not take over, and what to type."""
    return (
        f"{folder.path} is trained already, with {_of_run(found)}. Ignored: {_typed(found)}. To train with that, "
        f"{_remedy(folder)}"
    )


def refuse_mixing(folder: RunFolder, found: Sequence[Difference], done: int) -> None:
    """Raise ConfigurationError where the options typed again differ from those of the unfinished training."""
    if found:
        raise ConfigurationError(
            f"{folder.path} holds a training with {_of_run(found)}, stopped after {done} epochs, which cannot continue "
            f"with {_typed(found)}.",
            remedy=f"Leave that out to continue; or {_remedy(folder)}",
        )


def refuse_other_method(folder: RunFolder, preset: Path, overrides: Sequence[str]) -> None:
    """Raise ConfigurationError where ``kp fit`` trained another method in the folder than a discovery would."""
    of_run = str(settings_of(folder.config).get("model.class_path", "")) if folder.config.is_file() else ""
    wanted = typed(list(overrides)).get("model") or str(settings_of(preset).get("model.class_path", ""))
    if of_run and wanted and of_run.rpartition(".")[-1] != wanted.rpartition(".")[-1]:
        raise ConfigurationError(
            f"The run in {folder.path} belongs to {of_run}, not to {wanted}.",
            remedy=f"To discover keypoints, {_remedy(folder)}",
        )


def keep_earlier(folder: RunFolder) -> Path | None:
    """Rename an earlier run to FOLDER-1 (-2 and so on) to make room for a new one; None where there is none."""
    path = folder.path.resolve()
    if not path.exists():
        return None
    number = 1
    while (earlier := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    with locked(path, "A discovery"):  # not one that is still at work
        path.rename(earlier)
    return earlier


def _of_run(found: Sequence[Difference]) -> str:
    return ", ".join(f"{each.name}={each.of_run}" for each in found)


def _typed(found: Sequence[Difference]) -> str:
    return " ".join(f"--{each.name}={each.typed}" for each in found)


def _remedy(folder: RunFolder) -> str:
    return f"choose a new folder (--out DIR), or add --again: this run is then kept as {folder.path}-1 or the like."
