"""Arguments of the verbs: errors in one line, and options that are passed on to ``kp fit``."""

import argparse
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NoReturn

from lightning_kp.errors import ConfigurationError, nearest
from lightning_kp.runs.folder import RunFolder

FIT_OPTIONS = ("--model", "--data", "--trainer", "--seed_everything", "--log")
"""Beginnings of the options that a verb passes on to ``kp fit``."""


class VerbParser(argparse.ArgumentParser):
    """A parser with one-line errors; options cannot be abbreviated.

    ``passes_on`` says that the verb takes the options of ``kp fit`` too, see :func:`split`.
    """

    def __init__(self, verb: str, description: str, *, passes_on: bool = False) -> None:
        super().__init__(prog=f"kp {verb}", description=description, allow_abbrev=False)
        self.passes_on = passes_on

    def error(self, message: str) -> NoReturn:
        """Raise ConfigurationError; for an unknown option it suggests the nearest spelling."""
        if found := re.match(r"unrecognized arguments: (\S+)", message):
            name, _, rest = found[1].partition("=")[0].partition(".")
            known = [option for action in self._actions for option in action.option_strings]
            if name in FIT_OPTIONS and not self.passes_on:
                remedy = f"It belongs to `kp fit` and `kp discover`. {self._help()}"
                raise ConfigurationError(f"{found[1]} is not an option of {self.prog}.", remedy=remedy)
            passed = FIT_OPTIONS if self.passes_on else ()
            near = nearest(name, [option for option in (*known, *passed) if option.startswith("--")])
            rest = f".{rest}" if rest and near in FIT_OPTIONS else ""
            remedy = f"Did you mean {near}{rest}?" if near else self._help()
            raise ConfigurationError(f"{found[1]} is not an option of {self.prog}.", remedy=remedy)
        if found := re.match(r"the following arguments are required: (.*)", message):
            raise ConfigurationError(f"{self.prog}: missing {found[1]}.", remedy=self._help())
        raise ConfigurationError(f"{self.prog}: {message}.", remedy=self._help())

    def _help(self) -> str:
        return f"`{self.prog} --help` lists all options."


def positive(text: str) -> int:
    """Read a whole number of at least 1; for the ``type`` of an argument."""
    try:
        number = int(text)
    except ValueError:
        number = 0  # argparse's own message would show this function's name
    if number < 1:
        raise argparse.ArgumentTypeError(f"needs a whole number of at least 1, got {text}")
    return number


def share(text: str) -> float:
    """Read a number from 0 to 1; for the ``type`` of an argument."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"needs a number from 0 to 1, got {text}")
    return number


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Separate a verb's own arguments from those of ``kp fit``, as ``--name=value``, each in the order typed."""
    return pass_on(arguments, lambda each: each.split("=")[0].split(".")[0].rstrip("+") in FIT_OPTIONS)


def fit_options(settings: Mapping[str, Any]) -> list[str]:
    """Return settings by name as options of ``kp fit``.

    >>> fit_options({"model.keypoints": 10, "data.gap": "0.3s", "data.boxes": [0, 0, 64, 64]})
    ['--model.keypoints=10', '--data.gap=0.3s', '--data.boxes=[0, 0, 64, 64]']
    """
    return [
        f"--{name}={value if isinstance(value, str | PurePath) else json.dumps(value)}"
        for name, value in settings.items()
    ]


def typed(options: list[str]) -> dict[str, str]:
    """Return the last value of each option by name; ``--data.init_args.gap`` and ``--data.gap`` are one."""
    pairs = (option.removeprefix("--").partition("=") for option in options)
    return {name.replace(".init_args.", "."): value for name, _, value in pairs}


def settings_of(file: Path) -> dict[str, Any]:
    """Return the settings of a YAML file by option name.  Raises ConfigurationError where it holds none."""
    import yaml

    remedy = "A YAML text file is needed, such as `kp fit --print_config` writes."
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = "it is not text" if isinstance(error, UnicodeDecodeError) else " ".join(str(error).split())
        raise ConfigurationError(f"{file} cannot be read ({reason}).", remedy=remedy) from error
    if not isinstance(settings, dict):
        raise ConfigurationError(f"{file} holds no settings such as `data: ...`.", remedy=remedy)
    return flattened(settings)


def refuse_unreadable(arguments: list[str]) -> None:
    """Raise ConfigurationError for a ``--config`` without settings; the parser's own error does not name the file."""
    for option in pass_on(arguments, lambda each: each.partition("=")[0] == "--config")[1]:
        file = Path(option.partition("=")[2]).expanduser()
        if file.is_file():
            settings_of(file)
        elif file.is_dir():
            inside = file / "config.yaml"
            remedy = f"Use --config {inside}" if inside.is_file() else "Name a YAML file in it."
            raise ConfigurationError(f"--config needs a file; {file} is a folder.", remedy=remedy)


def refuse_weights_alone(arguments: list[str]) -> None:
    """Raise ConfigurationError where ``--ckpt_path`` names a run, but its ``config.yaml`` is not given."""
    given = typed(pass_on(arguments, lambda each: each.startswith("--"))[1])
    missing = [f"--{section}" for section in ("model", "data") if not _is_given(section, given)]
    if "config" in given or "ckpt_path" not in given or not missing:
        return
    checkpoint = Path(given["ckpt_path"]).expanduser()
    for run in (checkpoint, checkpoint.parent.parent):  # the folder of the run, or RUN/checkpoints/last.ckpt
        if (config := RunFolder(run).config).is_file():
            raise ConfigurationError(
                f"Missing: {' and '.join(missing)}; a checkpoint holds the weights only.",
                remedy=f"Add --config {config}",
            )


def _is_given(section: str, options: Iterable[str]) -> bool:
    return any(name == section or name.startswith(f"{section}.") for name in options)


def flattened(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested settings by option name: ``data.gap`` for ``{data: {init_args: {gap: ...}}}``."""
    if not isinstance(settings, dict):
        return {prefix: settings}
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        inner = prefix if name == "init_args" else f"{prefix}.{name}".lstrip(".")
        flat |= flattened(value, inner)
    return flat


def pass_on(arguments: Sequence[str], is_passed_on: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """Separate a command's own arguments from options to pass on as ``--name=value``, each in the order typed.

    ``is_passed_on`` decides for each argument; an option and its value may be two arguments.
    """
    own: list[str] = []
    options: list[str] = []
    waiting = False
    for argument in arguments:
        if is_passed_on(argument):
            options.append(argument)
            waiting = "=" not in argument
        elif waiting:
            options[-1] += f"={argument}"
            waiting = False
        else:
            own.append(argument)
    return own, options
