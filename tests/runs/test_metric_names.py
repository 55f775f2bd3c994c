"""Files of older versions stay readable: former names of metrics become the present ones."""

import json
from pathlib import Path

import pytest

from lightning_kp.reports.parts import metrics
from lightning_kp.runs.folder import RunFolder
from lightning_kp.runs.metric_names import RENAMED, WHOLE_ANIMALS, current_name, current_names
from lightning_kp.scoring.whole_animals import WholeAnimalMetrics
from lightning_kp.sweeps.trial import RESULT_FILE, read_result, write_result

OLD = {
    "animals_found": 0.75, "animals_surplus": 0.5, "animals_least": 0.32, "animals_least_found": 0.625,
    "animals_least_surplus": 0.125, "animals_said": 0.9375, "linear": 1.5,
}  # fmt: skip
NEW = {
    "animals_found": 0.75, "animals_false_positives_per_frame": 0.5, "animals_best_threshold": 0.32,
    "animals_recall_at_best": 0.625, "animals_false_positives_at_best": 0.125, "animals_placed_share": 0.9375,
    "linear": 1.5,
}  # fmt: skip


@pytest.fixture
def old(tmp_path: Path) -> RunFolder:
    """A run folder of an older version."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "metrics.json").write_text(json.dumps(OLD))
    return RunFolder(tmp_path / "old")


def test_names_by_hand() -> None:
    assert current_names(OLD) == NEW
    assert current_names(NEW) == NEW
    assert current_name("bees_animals_said") == "bees_animals_placed_share"
    for untouched in ("said", "animals", "animals_part_mean", "test/said", "surplus_animals"):
        assert current_name(untouched) == untouched


def test_present_names_are_those_that_are_written() -> None:
    assert set(RENAMED.values()) <= set(WholeAnimalMetrics.__annotations__)
    assert not set(RENAMED) & set(WholeAnimalMetrics.__annotations__)
    assert all(name.startswith(WHOLE_ANIMALS) for name in NEW if name != "linear")


@pytest.mark.parametrize("reverse", [False, True])
def test_a_present_name_wins(reverse: bool) -> None:
    both = [("animals_said", 0.1), ("animals_placed_share", 0.2)]
    assert current_names(dict(both[::-1] if reverse else both)) == {"animals_placed_share": 0.2}


def test_an_old_run_shows_in_the_report_as_before(old: RunFolder, tmp_path: Path) -> None:
    new = RunFolder(tmp_path / "new")
    new.add_metrics(NEW)
    page = metrics(old)
    assert page == metrics(new)
    assert "0.9375" in page or "0.94" in page
    assert "animals_placed_share" in page
    assert "animals_said" not in page


def test_scoring_an_old_run_again_leaves_no_former_name(old: RunFolder) -> None:
    old.add_metrics({"animals_placed_share": 1.0})
    assert json.loads(old.metrics.read_text()) == NEW | {"animals_placed_share": 1.0}


def test_old_trials_of_a_sweep(tmp_path: Path) -> None:
    assert read_result(tmp_path) == {}
    write_result(tmp_path, "complete", figures=OLD)
    assert json.loads((tmp_path / RESULT_FILE).read_text())["figures"] == OLD
    assert read_result(tmp_path) == {"state": "complete", "reason": "", "figures": NEW}
    write_result(tmp_path, "failed", reason="out of memory")
    assert read_result(tmp_path)["figures"] == {}
