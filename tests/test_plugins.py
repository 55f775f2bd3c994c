"""Plug-ins: entry points of installed packages, and the table that lists them."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning_kp import plugins
from lightning_kp.callbacks import Curriculum
from lightning_kp.cli import main
from lightning_kp.methods import BKinD
from lightning_kp.verbs.methods import describe

Install = Callable[..., None]
METHOD = """
from lightning_kp.methods import BKinD


class {name}(BKinD):
    paper = "a paper on octopuses"
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package with entry points where Python finds installed packages."""

    def installed(package: str, source: str, **entries: str) -> None:
        (tmp_path / f"{package}.py").write_text(source)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        groups = [f"[lightning_kp.{group}]\n{entry}\n" for group, entry in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(groups))

    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.registered.cache_clear()
    before = set(sys.modules)
    yield installed
    plugins.registered.cache_clear()
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_our_own_go_by_their_short_names() -> None:
    assert plugins.registered("methods")["BKinD"] is BKinD
    assert plugins.registered("callbacks")["Curriculum"] is Curriculum


def test_only_what_belongs_to_the_group_is_listed() -> None:
    assert "Callback" not in plugins.registered("callbacks")
    assert "KeypointMethod" not in plugins.registered("methods")


def test_a_class_and_a_module_as_entries(install: Install) -> None:
    install("octopus", METHOD.format(name="OctopusBKinD"), methods="octopus = octopus:OctopusBKinD")
    install("squid", METHOD.format(name="SquidBKinD"), methods="squid = squid")
    found = plugins.registered("methods")
    assert found["OctopusBKinD"].__module__ == "octopus"
    assert found["SquidBKinD"].__module__ == "squid"
    assert found["BKinD"] is BKinD


@pytest.mark.parametrize(
    ("source", "entry", "complaint"),
    [
        ("import no_such_package", "broken = broken:Method", "No module named 'no_such_package'"),
        ("raise SystemError('x')", "broken = broken", "SystemError: x"),
        ("class Method: ...", "broken = broken:Method", "offers no Method"),
        (METHOD.format(name="BKinD"), "broken = broken:BKinD", "offers a second BKinD"),
    ],
)
def test_a_broken_plugin_is_named_and_left_out(
    install: Install, source: str, entry: str, complaint: str
) -> None:
    install("broken", source, methods=entry)
    with pytest.warns(UserWarning, match=complaint) as caught:
        found = plugins.registered("methods")
    assert f"Plug-in {entry} of broken" in str(caught[0].message)
    assert found["BKinD"] is BKinD
    assert all(kind.__module__ != "broken" for kind in found.values())


def test_the_table_names_what_a_user_chooses_by(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install("octopus", METHOD.format(name="OctopusBKinD"), methods="octopus = octopus:OctopusBKinD")
    assert main(["methods"]) == 0
    output = capsys.readouterr().out
    assert "OctopusBKinD  (octopus.OctopusBKinD)" in output
    assert "a paper on octopuses" in output
    assert "FramePairs" in output


def test_datamodules_fit_by_batch_and_experiments_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pairs:
        batch_type = BKinD.batch_type

    class Words:
        batch_type = str

    monkeypatch.setattr(plugins, "registered", lambda group: {"Pairs": Pairs, "Words": Words})
    for name in ("bkind_fly.yaml", "bkind_mouse.yaml", "other_fly.yaml", "sweep_bkind_fly.yaml"):
        (tmp_path / name).touch()
    facts = dict(describe("BKinD", BKinD, tmp_path))
    assert facts["data"] == "Pairs"
    assert facts["experiments"] == "bkind_fly.yaml, bkind_mouse.yaml"
    assert facts["batch"] == "FramePairs"
    assert "experiments" not in dict(describe("BKinD", BKinD, None))
