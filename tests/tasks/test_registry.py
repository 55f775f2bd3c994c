"""Tasks by name: shipped ones, those of other packages, and options that do not exist."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.tasks import registry
from lightning_kp.tasks.registry import build_tasks, known_tasks
from lightning_kp.tasks.task import Maps, Task


class Centred(Task):
    """A task as a user writes it."""

    name = "centred"

    def __init__(self, keypoints: int, reach: float = 0.5) -> None:
        super().__init__()
        self.reach = reach

    def loss(self, keypoints: Tensor, maps: Maps, images: Tensor, generator: torch.Generator) -> Tensor:
        return (keypoints.abs() - self.reach).clamp_min(0).mean()


class Impostor(Centred):
    name = "game"


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, registry.GROUP)


def test_the_tasks_of_the_paper() -> None:
    assert set(known_tasks()) >= {"reconstruction", "game", "middle_frame", "concentration"}


def test_a_task_of_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [Loaded(Centred)])
    (task,) = build_tasks(["centred"], 3, {"centred": {"reach": 0.25}}).values()
    assert isinstance(task, Centred)
    assert task.reach == 0.25


class Loaded:
    """An entry point whose class is at hand."""

    def __init__(self, kind: Any) -> None:
        self.name, self.kind = "mine", kind

    def load(self) -> Any:
        return self.kind


@pytest.mark.parametrize(
    ("kind", "problem"), [(Impostor, "a second task game"), (dict, "is no Task"), (None, "cannot be loaded")]
)
def test_a_package_that_offers_no_task_is_skipped(
    monkeypatch: pytest.MonkeyPatch, kind: Any, problem: str
) -> None:
    broken = [entry("mine", "no_such_package:Task")] if kind is None else [Loaded(kind)]
    monkeypatch.setattr(registry, "entry_points", lambda group: broken)
    with pytest.warns(
        UserWarning, match=f"mine {'.*' if kind is None else 'offers |'}{problem}|mine {problem}"
    ):
        assert set(known_tasks()) == {"reconstruction", "game", "middle_frame", "concentration"}


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ([], {}, "at least one is needed"),
        (["game", "game"], {}, "each once"),
        (["gaem"], {}, r"no task gaem\. Did you mean game\?"),
        (["game"], {"reconstruction": {}}, "given for reconstruction, which is not among the tasks game"),
        (["game"], {"game": {"imges": 3}}, r"game has no option imges\. Did you mean images\?"),
    ],
)
def test_what_is_refused(names: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build_tasks(names, 3, options)
