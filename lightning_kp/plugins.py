"""Methods, datamodules and callbacks of lightning_kp and of installed plug-ins, by short name.

A package registers its classes through the entry-point groups ``lightning_kp.methods``, ``lightning_kp.datamodules``
and ``lightning_kp.callbacks``; an entry names a class (``octopus:OctopusBKinD``) or a module.  On
the command line, users write the short name of the class.
"""

import functools
import importlib
import inspect
import warnings
from collections.abc import Iterator
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

GROUPS = ("methods", "datamodules", "callbacks")


@functools.cache
def registered(group: str) -> dict[str, type]:
    """Return the classes of one of GROUPS by short name: those of lightning_kp first, then those of plug-ins.

    A plug-in cannot replace a class of lightning_kp.  One that cannot be imported is skipped with a warning.
    """
    package = importlib.import_module(f"lightning_kp.{group}")
    base = _base(group)
    found = {
        name: kind for name, kind in _classes(package, base) if kind.__module__.startswith("lightning_kp.")
    }
    for entry in entry_points(group=f"lightning_kp.{group}"):
        try:
            loaded = entry.load()
        except Exception as error:  # noqa: BLE001  (third-party code may raise anything)
            _warn(entry, f"cannot be loaded ({type(error).__name__}: {error})")
            continue
        for name, kind in _offered(loaded, base):
            if found.setdefault(name, kind) is not kind:
                _warn(entry, f"offers a second {name}; use its full path {kind.__module__}.{name}")
        if not _offered(loaded, base):
            _warn(entry, f"offers no {base.__name__}")
    return found


def load_all() -> None:
    """Import all classes that have a short name."""
    for group in GROUPS:
        registered(group)


def _base(group: str) -> type:
    if group == "methods":
        from lightning_kp.method import Method as Base
    elif group == "datamodules":
        from lightning_kp.datamodule import KeypointDataModule as Base  # type: ignore[assignment]
    else:
        from lightning import Callback as Base  # type: ignore[assignment]
    return Base


def _offered(loaded: Any, base: type) -> list[tuple[str, type]]:
    if isinstance(loaded, ModuleType):
        own = loaded.__name__.split(".")[0]
        return [(name, kind) for name, kind in _classes(loaded, base) if kind.__module__.split(".")[0] == own]
    if inspect.isclass(loaded) and issubclass(loaded, base):
        return [(loaded.__name__, loaded)]
    return []


def _classes(module: ModuleType, base: type) -> Iterator[tuple[str, type]]:
    for kind in vars(module).values():
        if inspect.isclass(kind) and issubclass(kind, base) and kind is not base:
            yield kind.__name__, kind


def _warn(entry: Any, problem: str) -> None:
    origin = f" of {entry.dist.name}" if entry.dist is not None else ""
    warnings.warn(f"Plug-in {entry.name} = {entry.value}{origin} {problem}; it is skipped.", stacklevel=3)
