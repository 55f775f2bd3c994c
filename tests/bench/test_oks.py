"""The benchmark of OKS measures the stated quantities."""

from lightning_kp.bench.oks import crowds, rows
from lightning_kp.metrics.oks import OKSAveragePrecision


def test_its_crowds_are_found_more_or_less() -> None:
    metric = OKSAveragePrecision()
    metric.update(*crowds(20), size=(256, 256))
    assert 0.05 < metric.compute()["AP"] < 0.95


def test_rows() -> None:
    found = rows(quick=True)
    assert len(found) == 2
    assert all(row.ours > 0 and row.other > 0 and "100 images" in row.name for row in found)
    assert found[0].other == 0.2
