"""Threads that wait for each other sleep soon, unless the user has said otherwise."""

import os
import subprocess
import sys

import pytest

from lightning_kp.bench.waiting import neighbours, seconds_of_step
from lightning_kp.cli import main
from lightning_kp.runs.waiting import ROUNDS, wait_briefly


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_what_the_user_says_holds(name: str) -> None:
    said = {name: "passive"}
    wait_briefly(said)
    assert said == {name: "passive"}
    unsaid: dict[str, str] = {}
    wait_briefly(unsaid)
    assert unsaid == {"GOMP_SPINCOUNT": str(ROUNDS)}


def test_the_command_says_it_before_torch_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    assert main(["--help"]) == 0
    assert os.environ["GOMP_SPINCOUNT"] == str(ROUNDS)
    loads = "import sys, lightning_kp.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loads], check=False).returncode == 0


def test_the_benchmark_trains_beside_neighbours_that_end_with_it() -> None:
    with neighbours(2) as started:
        assert seconds_of_step(1, {"OMP_NUM_THREADS": "1"}) > 0
        assert [each.poll() for each in started] == [None, None]
    assert all(each.poll() is not None for each in started)
