"""The benchmark of the hourglass measures both sides."""

from lightning_kp.bench.pose import SMALL, step_row


def test_row() -> None:
    row = step_row("tiny", SMALL | {"width": 8}, size=32, batch_size=2, repeats=1)
    assert row.ours > 0
    assert row.other > 0
    assert (row.target, row.unit) == ("<= 1.2", "s")
    assert "32 px" in row.name
