"""Threads that wait for each other sleep soon, unless the user has set something else."""

import os
import subprocess
import sys

import pytest

from lightning_kp.bench.waiting import neighbours, seconds_of_step
from lightning_kp.cli import main
from lightning_kp.runs.waiting import SPIN_ROUNDS, wait_briefly


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_what_the_user_says_holds(name: str) -> None:
    given = {name: "passive"}
    wait_briefly(given)
    assert given == {name: "passive"}
    empty: dict[str, str] = {}
    wait_briefly(empty)
    assert empty == {"GOMP_SPINCOUNT": str(SPIN_ROUNDS)}


def test_the_command_says_it_before_torch_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    assert main(["--help"]) == 0
    assert os.environ["GOMP_SPINCOUNT"] == str(SPIN_ROUNDS)
    loads = "import sys, lightning_kp.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loads], check=False).returncode == 0


@pytest.mark.slow
def test_the_benchmark_trains_beside_neighbours_that_end_with_it() -> None:
    with neighbours(2) as started:
        assert seconds_of_step(1, {"OMP_NUM_THREADS": "1"}) > 0
        assert [each.poll() for each in started] == [None, None]
    assert all(each.poll() is not None for each in started)
