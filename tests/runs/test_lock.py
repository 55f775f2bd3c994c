"""One process at a time in a folder."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_kp.command.training import launch
from lightning_kp.errors import DataError
from lightning_kp.runs.folder import RunFolder
from lightning_kp.runs.lock import LOCK_NAME, is_first_process, locked

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")

HOLD = """
import sys, time
from pathlib import Path
from lightning_kp.runs.lock import locked
with locked(Path(sys.argv[1]), "A test"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(folder: Path, seconds: float) -> "subprocess.Popen[str]":
    """Another process that holds the lock."""
    words = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_kept_out(tmp_path: Path) -> None:
    process = holder(tmp_path, 60)
    told = (
        rf"A sweep is at work in .* already \(process {process.pid}, .* choose another folder \(--out DIR\)"
    )
    with pytest.raises(DataError, match=told), locked(tmp_path, "A sweep"):
        pytest.fail("the lock is held")
    process.kill()
    process.wait()
    with locked(
        tmp_path, "A sweep", wait_s=10
    ) as descriptor:  # the system frees it, however the process ended
        assert descriptor is not None
    assert (tmp_path / LOCK_NAME).read_text() == str(os.getpid())


def test_an_end_that_is_near_is_waited_for(tmp_path: Path) -> None:
    process = holder(tmp_path, 0.3)
    start = time.monotonic()
    with locked(tmp_path, "A sweep", wait_s=60):
        assert time.monotonic() - start < 30
    process.wait()


def test_a_process_may_ask_twice(tmp_path: Path) -> None:
    with locked(tmp_path, "Outer") as outer, locked(tmp_path, "Inner") as inner:
        assert (outer is None, inner is None) == (False, True)
    with locked(tmp_path, "Later") as later:
        assert later is not None


def test_further_processes_of_ddp_are_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = holder(tmp_path, 60)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with locked(tmp_path, "A training") as descriptor:
        assert descriptor is None
    process.kill()
    process.wait()


def test_a_folder_with_a_lock_alone_counts_as_empty(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run").create()
    with locked(folder.path, "A discovery"):
        folder.remove_if_empty()
    assert not folder.path.exists()


def test_a_second_training_in_a_folder_is_refused(tmp_path: Path) -> None:
    """Before its videos are decoded, and with the option of ``kp fit`` that names the folder."""
    folder = tmp_path / "run"
    folder.mkdir()
    process = holder(folder, 60)
    options = [
        "--model=BKinD",
        "--model.encoder=tiny",
        "--model.pretrained=false",
        "--model.reconstruction=structural",
        "--data=SyntheticArena",
        f"--trainer.default_root_dir={folder}",
    ]
    try:
        with pytest.raises(DataError, match=r"Another training is at .* \(--trainer.default_root_dir DIR\)"):
            launch("fit", [*options, "--trainer.max_steps=1"])
    finally:
        process.kill()
    assert [each.name for each in folder.iterdir()] == [LOCK_NAME]


def test_processes_on_other_computers_are_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_RANK", "1")
    assert not is_first_process()
    with locked(tmp_path, "A test") as descriptor:
        assert descriptor is None
