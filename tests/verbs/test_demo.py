"""kp demo, from the rendered arena to the errors in its report."""

import json
from pathlib import Path

import pytest
from tiny_runs import TINY

from lightning_kp.cli import main


@pytest.mark.slow
def test_the_demo_compares_with_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo"
    assert main(["demo", "--out", str(folder), "--frames=60", "--epochs=1", *TINY]) == 0
    told = capsys.readouterr().out
    assert "Against the ground truth" in told
    assert "untrained network" in told
    figures = json.loads((folder / "metrics.json").read_text())
    assert {"linear", "matched", "untrained_matched", "mean_pose", "found"} <= figures.keys()
    assert "untrained network" in (folder / "report.html").read_text()
