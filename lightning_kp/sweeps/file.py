"""Sweep files in W&B's YAML format, so that one file serves both W&B's agents and ``kp sweep``.

``kp sweep`` reads ``method`` (grid, random, bayes), ``metric``, ``parameters``, ``command`` and ``run_cap``. A
parameter is an option of ``kp fit``, named as on the command line (``data.gap``). Only those of W&B's
distributions are supported that have a counterpart in Optuna.
"""

import hashlib
import itertools
import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from lightning_kp.errors import ConfigurationError, did_you_mean

METHODS = ("grid", "random", "bayes")
# Keys that only W&B's agents read; a local sweep ignores them.
AGENT_KEYS = ("program", "name", "description", "project", "entity", "early_terminate")
KEYS = ("method", "metric", "parameters", "command", "run_cap", *AGENT_KEYS)
SEED = "seed_everything"  # trials that differ only in the seed repeat one setting

Kind = Literal["choice", "integer", "number", "logarithmic"]
Setting = dict[str, Any]
_DISTRIBUTIONS: dict[str, Kind] = {
    "categorical": "choice", "constant": "choice", "int_uniform": "integer", "uniform": "number",
    "q_uniform": "number", "log_uniform_values": "logarithmic",
}  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """Values of one option: ``choices``, or anything from ``low`` to ``high`` (in steps of ``step``)."""

    name: str
    kind: Kind
    choices: tuple[Any, ...] = ()
    low: float = math.nan
    high: float = math.nan
    step: float | None = None

    @property
    def edges(self) -> tuple[Any, ...]:
        """Representative values: every choice, or both ends of the range."""
        return self.choices or (self.low, self.high)


@dataclass(frozen=True)
class SweepFile:
    """A sweep: how settings are chosen, which command runs a trial, and which metric is optimised."""

    path: Path
    method: str
    metric: str
    maximise: bool
    parameters: tuple[Parameter, ...]
    command: tuple[str, ...]
    run_cap: int | None

    def grid(self) -> list[Setting]:
        """Every combination of the choices; the last parameter varies fastest."""
        names = [parameter.name for parameter in self.parameters]
        values = itertools.product(*(parameter.choices for parameter in self.parameters))
        return [dict(zip(names, chosen, strict=True)) for chosen in values]

    def probes(self) -> Iterator[Setting]:
        """Settings for a dry run, in which each parameter takes each of its edges at least once."""
        first = {parameter.name: parameter.edges[0] for parameter in self.parameters}
        yield first
        for parameter in self.parameters:
            yield from (first | {parameter.name: value} for value in parameter.edges[1:])

    def command_line(self, setting: Mapping[str, Any]) -> list[str]:
        """Command line of a trial, filled in as a W&B agent does; ``kp`` becomes that of this interpreter."""
        filled = {
            "${env}": [],  # /usr/bin/env would only search for the program that follows
            "${interpreter}": [sys.executable],
            "${args}": [f"--{name}={value}" for name, value in setting.items()],
        }
        words = [word for part in self.command for word in filled.get(part, [part])]
        return [sys.executable, "-m", "lightning_kp", *words[1:]] if words[0] == "kp" else words

    def fingerprint(self) -> dict[str, Any]:
        """Everything that must not change for trials to be comparable."""
        return {
            "method": self.method, "metric": self.metric, "maximise": self.maximise,
            "command": list(self.command), "parameters": {each.name: repr(each) for each in self.parameters},
            "configurations": {name: _content_digest(Path(name)) for name in self._configurations()},
        }  # fmt: skip

    def _configurations(self) -> list[str]:
        """Configuration files named by the command; if their settings change, so do the trials."""
        words = list(self.command)
        after = [words[i + 1] for i, word in enumerate(words[:-1]) if word == "--config"]
        return [*after, *(word.partition("=")[2] for word in words if word.startswith("--config="))]


def _content_digest(file: Path) -> str | None:
    """Digest of the settings in a YAML file, independent of its comments; None for a missing or unreadable file."""
    if not file.is_file():
        return None
    try:
        settings = json.dumps(yaml.safe_load(file.read_text(encoding="utf-8")), sort_keys=True, default=str)
    except yaml.YAMLError:  # the trial reports it
        return None
    return hashlib.sha256(settings.encode()).hexdigest()[:12]


def read_sweep(path: str | Path) -> SweepFile:
    """Read a sweep file.  Raises ConfigurationError that names the wrong key."""
    file = Path(path)
    content = _content(file)
    for key in content:
        if key not in KEYS:
            raise _wrong(file, f"{key} is not a key of a sweep file", did_you_mean(str(key), KEYS))
    method = content.get("method")
    if method not in METHODS:
        raise _wrong(file, f"method is {method!r}", f"Use one of {', '.join(METHODS)}.")
    metric = content.get("metric")
    if not isinstance(metric, dict) or not metric.get("name"):
        raise _wrong(file, "metric has no name", "Write metric: {name: matched, goal: minimize}.")
    goal = metric.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        raise _wrong(file, f"metric.goal is {goal!r}", "Use minimize or maximize.")
    parameters = tuple(
        _parameter(file, str(name), given) for name, given in _mapping(file, content, "parameters").items()
    )
    if method == "grid" and (ranges := [each.name for each in parameters if each.kind != "choice"]):
        raise _wrong(
            file,
            f"a grid needs values, but {ranges[0]} has a range",
            "Write values: [...] instead of the range.",
        )
    return SweepFile(
        file, method, str(metric["name"]), goal == "maximize", parameters, _command(file, content),
        content.get("run_cap"),
    )  # fmt: skip


def _content(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"There is no sweep file {file}.", remedy="See experiments/sweep_*.yaml for examples."
        ) from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _wrong(
            file, f"it cannot be read ({' '.join(str(error).split())})", "A sweep file is a YAML text file."
        ) from error
    if not isinstance(content, dict):
        raise _wrong(file, "it holds no keys", f"A sweep file needs {', '.join(KEYS[:4])}.")
    return content


def _mapping(file: Path, content: dict[str, Any], key: str) -> dict[str, Any]:
    found = content.get(key)
    if not isinstance(found, dict) or not found:
        raise _wrong(file, f"{key} are missing", "Name at least one option, for example data.gap.")
    return found


def _command(file: Path, content: dict[str, Any]) -> tuple[str, ...]:
    command = content.get("command")
    if not isinstance(command, list) or "${args}" not in command:
        raise _wrong(file, "command has no ${args}", "Write command: [kp, trial, --config=FILE, '${args}'].")
    words = tuple(str(word) for word in command)
    known = ("${env}", "${interpreter}", "${args}")
    if unknown := [word for word in words if word.startswith("${") and word not in known]:
        raise _wrong(file, f"command has {unknown[0]}", f"Use one of {', '.join(known)}.")
    if all(word in ("${env}", "${args}") for word in words):
        raise _wrong(file, "command names no program", "Write kp and trial before ${args}.")
    return words


def _parameter(file: Path, name: str, given: Any) -> Parameter:
    if not isinstance(given, dict):
        raise _wrong(file, f"{name} is {given!r}", f"Write {name}: {{value: {given}}} or {{values: [...]}}.")
    if "parameters" in given:
        raise _wrong(file, f"{name} has nested parameters", f"Write them as {name}.NAME.")
    if "value" in given:
        return Parameter(name, "choice", (_plain(given["value"]),))
    if values := given.get("values"):
        return Parameter(name, "choice", tuple(_plain(value) for value in values))
    low, high = given.get("min"), given.get("max")
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)) or not low < high:
        raise _wrong(file, f"{name} has no values", "Give value, values, or numbers with min below max.")
    whole = isinstance(low, int) and isinstance(high, int)
    word = str(given.get("distribution", "int_uniform" if whole else "uniform"))
    kind = _DISTRIBUTIONS.get(word, "choice")
    if kind == "choice":
        usable = [each for each, kind in _DISTRIBUTIONS.items() if kind != "choice"]
        raise _wrong(file, f"{name} has the distribution {word}", f"Use one of {', '.join(usable)}.")
    if kind == "logarithmic" and low <= 0:
        raise _wrong(file, f"{name} is logarithmic, but its min is {low}", "Use a min above 0.")
    return Parameter(name, kind, low=low, high=high, step=given.get("q"))


def _plain(value: Any) -> Any:
    """Lists and mappings as the text that is written on the command line."""
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def _wrong(file: Path, problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"{file}: {problem}.", remedy=remedy)
