"""The benchmark of DirectPose runs, and its crowd has the stated shape."""

from lightning_kp.bench.direct_pose import ANIMALS, PARTS, crowd, rows


def test_the_crowd() -> None:
    batch = crowd(32)
    assert batch.points.shape == (3, ANIMALS, PARTS, 2)
    assert batch.points.abs().max() < 1


def test_rows() -> None:
    found = rows(quick=True)
    assert [row.target for row in found] == ["<= 1.2", "<= 0.05", "<= 1"]
    assert all(row.ours > 0 and row.other > 0 for row in found)
