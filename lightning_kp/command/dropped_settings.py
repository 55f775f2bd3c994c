"""Which settings of a configuration file do not reach the run.

``--config bkind.yaml --model SemiSupervisedBKinD`` gives the file's settings to another class.  jsonargparse leaves out
those that the class does not take, and says so only to its debug log; a run with other loss weights than its file
says would go unnoticed.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

SECTIONS = ("model", "data")


def dropped_settings(file: Path, final: Mapping[str, Any], typed: Mapping[str, str]) -> list[str]:
    """Settings that ``file`` gives a class of SECTIONS and that ``final`` lacks, as on the command line.

    ``final`` is the parsed configuration as a mapping; what was ``typed`` (option names without dashes) is not the
    file's any more.  A file that is no mapping has none.
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
    """Names in ``given`` that ``kept`` lacks or has emptied; of a mapping within, the names below it."""
    for name, value in given.items():
        if value is None:
            continue
        if name not in kept or kept[name] is None:
            yield name
        elif isinstance(value, Mapping) and isinstance(kept[name], Mapping):
            yield from (f"{name}.{inner}" for inner in _missing(value, kept[name]))
