"""Faults as the fault study makes them: kills at a chosen change, in a write, and what counts as torn."""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import clips
import numpy as np
import pytest
from PIL import Image

from lightning_kp import cli
from lightning_kp.files import write_whole
from lightning_kp.studies.faults import COLUMNS, VERBS, Row, main, table
from lightning_kp.studies.interrupting import call, killed_at, killed_beyond, limited, torn_files

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the study runs on Linux alone")


@pytest.fixture
def verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Lets `kp` run a function of the test in place of a verb."""

    def install(work: Callable[[], None]) -> None:
        monkeypatch.setattr(cli, "main", lambda words: work() or len(words))

    return install


def three_files(folder: Path) -> Callable[[], None]:
    """Writes a.txt and b.txt, each under a temporary name first, then removes a.txt: seven changes."""

    def work() -> None:
        write_whole(folder / "a.txt", "a")
        write_whole(folder / "b.txt", "b")
        (folder / "a.txt").unlink()

    return work


def test_a_call_is_killed_just_before_the_chosen_change(
    tmp_path: Path, verb: Callable[[Callable[[], None]], None]
) -> None:
    folder, log, count = tmp_path / "made", tmp_path / "log.txt", tmp_path / "count.txt"
    folder.mkdir()
    verb(three_files(folder))
    assert call(["a", "b"], log, killed_at(0, (folder,), count)).code == 2  # what the verb returned
    changes = int(count.read_text())
    assert sorted(path.name for path in folder.iterdir()) == ["b.txt"]
    states = []
    for number in range(1, changes + 1):
        for path in folder.iterdir():
            path.unlink()
        assert call([], log, killed_at(number, (folder,), count)).code == -signal.SIGKILL
        states.append(sorted(path.name for path in folder.iterdir()))
    # Before the first open nothing is there; before each rename a temporary file; before the last removal both files.
    assert states[0] == []
    assert ["a.txt.part"] in states
    assert ["a.txt", "b.txt.part"] in states
    assert states[-1] == ["a.txt", "b.txt"]
    assert all(call([], log, killed_at(changes + 1, (folder,), count)).code == 0 for _ in range(1))


def test_changes_elsewhere_do_not_count(tmp_path: Path, verb: Callable[[Callable[[], None]], None]) -> None:
    (tmp_path / "made").mkdir()
    verb(three_files(tmp_path / "made"))
    other = (tmp_path / "other",)
    assert call([], tmp_path / "log.txt", killed_at(1, other, tmp_path / "count.txt")).code == 0


def test_a_call_is_killed_in_the_middle_of_a_write(
    tmp_path: Path, verb: Callable[[Callable[[], None]], None]
) -> None:
    path = tmp_path / "a.bin"
    verb(lambda: path.write_bytes(bytes(5000)) and None)
    assert call([], tmp_path / "log.txt", killed_beyond(3000)).code == -signal.SIGXFSZ
    assert path.stat().st_size == 3000
    assert call([], tmp_path / "log.txt", killed_beyond(9000)).code == 0


def test_a_limit_reaches_the_child_alone(tmp_path: Path, verb: Callable[[Callable[[], None]], None]) -> None:
    verb(lambda: print("limit", resource.getrlimit(resource.RLIMIT_NOFILE)[0], file=sys.stderr))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    ended = call([], tmp_path / "log.txt", limited(resource.RLIMIT_NOFILE, 64))
    assert ended.text == "limit 64\n"
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_what_main_lets_through_is_a_traceback(
    tmp_path: Path, verb: Callable[[Callable[[], None]], None]
) -> None:
    def work() -> None:
        raise ZeroDivisionError

    verb(work)
    ended = call([], tmp_path / "log.txt")
    assert (ended.code, ended.has_traceback) == (1, True)


def test_torn_files_are_found(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    clips.write_numbered(tmp_path / "a.mp4", 4)
    write_whole(tmp_path / "a.json", json.dumps({"a": 1}))
    write_whole(tmp_path / "a.csv", "a,b\n1,2\n3,4\n")
    write_whole(tmp_path / "metrics.csv", "a,b\n1,2\n3")  # a last half line is not read
    write_whole(tmp_path / "a.html", "<html></html>\n")
    write_whole(tmp_path / "a.yaml", "a: 1\n")
    write_whole(tmp_path / ".hidden.json", "{")
    write_whole(tmp_path / "a.json.part", "{")
    assert torn_files(tmp_path) == []
    for name in ("a.png", "a.mp4", "a.json", "a.html"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3")
    (tmp_path / "a.yaml").write_text("")
    found = [each.partition(" ")[0] for each in torn_files(tmp_path)]
    assert found == ["a.csv", "a.html", "a.json", "a.mp4", "a.png", "a.yaml"]


def test_the_table_sums_up() -> None:
    rows = [
        Row("track", "full disk", tried=6, survived=5, lost=1),
        Row("name", "full disk", tried=2, survived=2, other=1),
    ]
    lines = table(rows).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == list(COLUMNS)
    assert [cell.strip() for cell in lines[-1].strip("|").split("|")] == [
        "all",
        "",
        "8",
        "7",
        "0",
        "1",
        "1",
        "0",
    ]


def test_a_verb_that_cannot_be_disturbed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--verbs", "measure"])
    assert "there is no verb measure to disturb" in capsys.readouterr().err
    assert set(VERBS) <= set(cli.VERBS)
    assert os.environ.get("KP_CACHE_DIR", "").endswith("work/cache") is False
