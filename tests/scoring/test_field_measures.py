"""HOTA, MOTA and IDF1, by hand."""

import numpy as np
import pytest

from lightning_kp.scoring import field_measures as measured
from lightning_kp.scoring.field_measures import field_measures

FRAMES = 10


@pytest.fixture
def true() -> np.ndarray:
    """Two animals of one point that stand 100 px apart for 10 frames."""
    points = np.zeros((FRAMES, 2, 1, 2))
    points[:, 1] = 100.0
    return points


def needs_motmetrics() -> None:
    pytest.importorskip("motmetrics", reason="needs py-motmetrics: pip install 'lightning-kp[tracking]'")


def test_exact_tracks(true: np.ndarray) -> None:
    needs_motmetrics()
    found = field_measures(true + 1.0, true, 5.0)
    assert (found.mota, found.idf1) == (1.0, 1.0)
    assert found.hota == pytest.approx(14 / 19)  # the similarity at a distance of sqrt(2) of 5 px is 0.72


def test_an_exchange_half_way(true: np.ndarray) -> None:
    """Two switches among 20 animals; each number is right for half of the time."""
    needs_motmetrics()
    exchanged = true.copy()
    exchanged[FRAMES // 2 :] = true[FRAMES // 2 :, ::-1]
    found = field_measures(exchanged, true, 5.0)
    assert found.mota == pytest.approx(1 - 2 / 20)
    assert found.idf1 == pytest.approx(0.5)


def test_misses_and_false_positives(true: np.ndarray) -> None:
    """One animal is 6 px off in 4 frames, so that it is missed and something else is found; another is away in one."""
    needs_motmetrics()
    moved = true.copy()
    moved[:4, 0, 0, 0] += 6.0
    moved[9, 1] = np.nan
    found = field_measures(moved, true, 5.0)
    assert found.mota == pytest.approx(1 - (4 + 1 + 4) / 20)
    assert found.idf1 == pytest.approx(2 * 15 / (20 + 19))


def test_without_the_library_there_is_hota_alone(true: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "find_spec", lambda name: None)
    found = field_measures(true, true, 5.0)
    assert found.as_metrics() == {"hota": 1.0}
    assert not found.complete
