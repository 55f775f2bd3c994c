"""Tasks by name: those of lightning_kp, and those of installed packages (entry-point group ``lightning_kp.tasks``)."""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from torch import nn

from lightning_kp.errors import ConfigurationError, did_you_mean
from lightning_kp.tasks.concentration import Concentration
from lightning_kp.tasks.game import ReferentialGame
from lightning_kp.tasks.middle_frame import MiddleFrame
from lightning_kp.tasks.reconstruction import Reconstruction
from lightning_kp.tasks.task import Task

GROUP = "lightning_kp.tasks"
SHIPPED: tuple[type[Task], ...] = (Reconstruction, ReferentialGame, MiddleFrame, Concentration)


def known_tasks() -> dict[str, type[Task]]:
    """Classes of tasks by name; an installed one cannot replace one of lightning_kp and is skipped with a warning."""
    found = {kind.name: kind for kind in SHIPPED}
    for entry in entry_points(group=GROUP):
        try:
            kind = entry.load()
        except Exception as error:  # noqa: BLE001  (third-party code may raise anything)
            _warn(entry.name, f"cannot be loaded ({type(error).__name__}: {error})")
            continue
        if not (inspect.isclass(kind) and issubclass(kind, Task)):
            _warn(entry.name, f"is no {Task.__name__}")
        elif found.setdefault(kind.name, kind) is not kind:
            _warn(entry.name, f"offers a second task {kind.name}")
    return found


def build_tasks(
    names: Sequence[str], keypoints: int, options: Mapping[str, Mapping[str, Any]]
) -> nn.ModuleDict:
    """Build tasks for ``keypoints`` keypoints, with their ``options`` by the name of the task.

    Raises:
        ConfigurationError: No task, a name twice, a name that is not known, options of a task that is not among the
            names, or an option that a task does not have.
    """
    known = known_tasks()
    if not names or len(set(names)) < len(names):
        raise ConfigurationError(
            f"The tasks are [{','.join(names)}]; at least one is needed, and each once.",
            remedy=f"Use --model.tasks=[{','.join(kind.name for kind in SHIPPED)}].",
        )
    for name in names:
        if name not in known:
            raise ConfigurationError(f"There is no task {name}.", remedy=did_you_mean(name, known))
    for name in options.keys() - set(names):
        raise ConfigurationError(
            f"task_options are given for {name}, which is not among the tasks {', '.join(names)}.",
            remedy=f"Add {name} to --model.tasks, or leave its options out.",
        )
    return nn.ModuleDict({name: _build(known[name], keypoints, options.get(name, {})) for name in names})


def _build(kind: type[Task], keypoints: int, options: Mapping[str, Any]) -> Task:
    offered = list(inspect.signature(kind).parameters)[1:]
    for name in options:
        if name not in offered:
            raise ConfigurationError(
                f"The task {kind.name} has no option {name}.", remedy=did_you_mean(name, offered)
            )
    return kind(keypoints, **options)


def _warn(entry: str, problem: str) -> None:
    warnings.warn(f"Task plug-in {entry} {problem}; it is skipped.", stacklevel=3)
