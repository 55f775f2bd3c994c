"""The examples in docstrings give what they show."""

import doctest
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT

FOLDERS = {
    "lightning_kp": "lightning_kp",
    **{name: f"lightning_kp.{name}" for name in ("methods", "datamodules", "callbacks")},
}


def modules_with_examples() -> Iterator[str]:
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ">>> " in path.read_text("utf-8"):
                inner = path.relative_to(ROOT / folder).with_suffix("")
                yield ".".join([package, *(part for part in inner.parts if part != "__init__")])


MODULES = list(modules_with_examples())


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_show(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert result.attempted > 0
    assert result.failed == 0


def test_wrong_examples_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wrong_example.py").write_text('"""\n>>> 1 + 1\n3\n"""\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("wrong_example")
    assert doctest.testmod(module, report=False).failed == 1
