"""The study of recordings: what is run once, and how the table sums up seeds."""

import json
from pathlib import Path

import pytest

from lightning_kp.studies import recordings as study
from lightning_kp.studies.recordings import Recording, row, run

FLIES = Recording("flies", Path("v.mp4"), Path("l.slp"), ("--predicted",), side=1000, parts=("head",))


def result(matched: float, switches: float, detection: float) -> dict[str, object]:
    return {
        "found": 7, "keypoints": 8, "linear": 1.0, "matched": matched, "untrained_matched": 9.0, "minutes": 10.0,
        "matched_per_point": {"head": matched / 2},
        "animals_trained": {"assignment": {"detection": detection, "switches": switches}},
    }  # fmt: skip


def test_a_row_has_medians_ranges_and_the_worst_of_following() -> None:
    cells = row(FLIES, [result(2.0, 0.0, 1.0), result(3.0, 1.0, 0.99), result(7.0, 0.0, 1.0)]).split(" | ")
    assert cells[1] == "7/8, 7/8, 7/8"
    assert cells[3] == "3.00 (2.00 to 7.00)"
    assert cells[5:7] == ["99.0", "1.0"]
    assert cells[7] == "head 15.0"  # 1.5 % of 1000 px


def test_what_is_done_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []

    def kp(line: list[str], log: Path) -> float:
        called.append(line)
        folder = tmp_path / "flies-seed1"
        folder.mkdir(exist_ok=True)
        metrics = folder / "metrics.json"
        known = json.loads(metrics.read_text()) if metrics.exists() else {}
        if line[0] == "score":
            known |= {"animals_trained": {}} if "--animals" in line else {"matched": 2.0}
            metrics.write_text(json.dumps(known))
        return 12.5

    monkeypatch.setattr(study, "_kp", kp)
    first = run(FLIES, 1, tmp_path / "flies-seed1")
    assert [line[0] for line in called] == ["discover", "score", "score"]
    assert "--seed_everything=1" in called[0]
    assert "--predicted" in called[1]
    assert "--animals" in called[2]
    assert (
        run(FLIES, 1, tmp_path / "flies-seed1")
        == first
        == {"matched": 2.0, "animals_trained": {}, "minutes": 12.5}
    )
    assert len(called) == 3
