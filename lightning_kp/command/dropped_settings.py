"""Find the settings of a configuration file that do not reach the run.

``--config bkind.yaml --model SemiSupervisedBKinD`` gives the file's settings to another class.  jsonargparse drops
those that the class does not have and reports it only in its debug log, so a run could silently use other loss
weights than its file.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

SECTIONS = ("model", "data")


def dropped_lines(files: Sequence[Any], final: Mapping[str, Any], typed: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning for each file and class that drops settings of the file; see :func:`dropped_settings`."""
    for file in files:
        lost = dropped_settings(Path(str(file)), final, typed)
        for section, settings in final.items():
            names = [name for name in lost if name.startswith(f"{section}.")]
            if names:
                kind = settings["class_path"].rsplit(".")[-1]
                yield (
                    f"kp: {file}: {kind} does not take over {', '.join(names)}. "
                    "Pass the ones you want to keep as options."
                )


def dropped_settings(file: Path, final: Mapping[str, Any], typed: Mapping[str, str]) -> list[str]:
    """Return the settings that ``file`` gives a class of SECTIONS and that ``final`` lacks, by option name.

    ``final`` is the parsed configuration as a mapping.  Options that were ``typed`` (names without dashes) replace
    the file's and do not count.  A file that holds no mapping has no settings.
    """
    given = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(given, Mapping):
        return []
    lost: list[str] = []
    for section in SECTIONS:
        settings = _init_args(given.get(section))
        kept = _init_args(final.get(section))
        lost += [f"{section}.{name}" for name in _missing(settings, kept)]
    overruled = [own for own in typed if own not in SECTIONS]
    return [name for name in lost if not any(name == own or name.startswith(f"{own}.") for own in overruled)]


def _init_args(section: Any) -> Mapping[str, Any]:
    found = section.get("init_args") if isinstance(section, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _missing(given: Mapping[str, Any], kept: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names in ``given`` that ``kept`` lacks or has as None; for a nested mapping, the names inside it."""
    for name, value in given.items():
        if value is None:
            continue
        if name not in kept or kept[name] is None:
            yield name
        elif isinstance(value, Mapping) and isinstance(kept[name], Mapping):
            yield from (f"{name}.{inner}" for inner in _missing(value, kept[name]))
