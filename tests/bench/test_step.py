"""The benchmark of a step compares equal computations and reports its results."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torchvision.models import vgg

from lightning_kp.bench import __main__ as bench
from lightning_kp.bench import step as bench_step
from lightning_kp.bench.measuring import Row, compare, medians, table, write_rows
from lightning_kp.methods.bkind import BKinD
from lightning_kp.runs.allocator import keep_freed_memory

SMALL = bench_step.LAPTOP | {
    "encoder": "tiny", "pose_width": 8, "decoder_widths": (8, 8, 4, 4), "variances": (0.1, 0.1, 0.1, 0.05),
}  # fmt: skip


@pytest.mark.parametrize("reconstruction", ["structural", "perceptual"])
@pytest.mark.parametrize("target", ["absolute", "ssim"])
def test_the_literal_version_is_the_same_mathematics(
    reconstruction: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and gradients agree with fixed batch statistics; in training, each call has its own."""
    monkeypatch.setitem(vgg.cfgs, "E", [c if isinstance(c, str) else c // 32 for c in vgg.cfgs["E"]])
    options = SMALL | {"reconstruction": reconstruction, "target": target, "perceptual_weights": False}
    method = BKinD(**options).eval()
    literal = bench_step.as_literal(method)
    batch = bench_step.random_pairs(2, 64)
    ours, theirs = bench_step.step(method, batch), bench_step.literal_step(literal, batch)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    bench_step.backward(method, ours)
    bench_step.backward(literal, theirs)
    pairs = zip(method.named_parameters(), literal.parameters(), strict=True)
    grads = [(name, mine.grad, other.grad) for (name, mine), other in pairs if mine.requires_grad]
    largest = max(float(grad.abs().max()) for _, grad, _ in grads if grad is not None)
    for name, mine, other in grads:
        torch.testing.assert_close(mine, other, rtol=1e-2, atol=1e-4 * largest, msg=name)
    if reconstruction == "perceptual":  # gradients that the reference computes without need
        assert literal.perceptual is not None
        assert all(parameter.grad is not None for parameter in literal.perceptual.parameters())


def test_rows_of_a_step() -> None:
    rows = bench_step.cpu_rows("small", SMALL, size=64, batch_size=1, repeats=1)
    assert [row.target for row in rows] == ["<= 0.8", "<= 0.6", "<= 1.25"]
    assert all(row.ours > 0 and row.ratio == pytest.approx(row.ours / row.other) for row in rows)


def test_shares_of_the_matrix_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worked out by hand: a training step costs about three passes of several views, tracking a frame one pass."""
    monkeypatch.setattr(bench_step, "medians", lambda sides, **_: dict.fromkeys(sides, 2.0))
    method, batch = BKinD(**SMALL), bench_step.random_pairs(2, 64)
    training, tracking = bench_step.share_rows("small", method, batch, side=32, repeats=1)
    assert training.other == pytest.approx(2 * 32**3 / 2.0 / 1e12)
    assert "training, small (1 pairs/s)" in training.name
    assert "tracking, small (1 frames/s)" in tracking.name
    assert tracking.ours > 0
    assert 10 < training.ours / tracking.ours < 40  # five views forward and backward, and the decoder
    assert (training.is_met, tracking.is_met) == (None, None)
    assert not {"met", "MISSED"} & set(table([training]).split())


def test_medians_take_turns_and_leave_the_first_round_out() -> None:
    durations = {"a": iter([100.0, 1.0, 5.0, 2.0]), "b": iter([100.0, 10.0, 30.0, 20.0])}
    order: list[str] = []
    now = 0.0

    def run(name: str) -> None:
        nonlocal now
        order.append(name)
        now += next(durations[name])

    found = medians({"a": lambda: run("a"), "b": lambda: run("b")}, repeats=3, clock=lambda: now)
    assert order == ["a", "b"] * 4
    assert found == {"a": 2.0, "b": 20.0}


def test_targets_by_hand() -> None:
    assert compare("x", 4, 5, "<= 0.8").is_met
    assert not compare("x", 4.1, 5, "<= 0.8").is_met
    assert compare("x", 10, 1, ">= 10", "pairs/s").is_met
    assert not compare("x", 9, 1, ">= 10", "pairs/s").is_met


def test_table_and_file(tmp_path: Path) -> None:
    rows = [compare("fast", 1, 2, "<= 0.8"), compare("slow", 3, 2, "<= 0.8", "ms")]
    lines = table(rows).splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["met", "MISSED"]
    assert "1.50" in lines[2]
    write_rows(rows, tmp_path / "new" / "bench.json")
    written = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert [entry["met"] for entry in written] == [True, False]
    assert written[1]["unit"] == "ms"


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[tuple[str, bool]] = []

    def part(name: str) -> SimpleNamespace:
        def rows(*, quick: bool) -> list[Row]:
            asked.append((name, quick))
            return [compare(name, 1, 2, "<= 0.8")]

        return SimpleNamespace(rows=rows)

    monkeypatch.setattr(bench, "import_module", part)
    bench.main(["--out", str(tmp_path), "--only", "track,step", "--quick"])
    assert asked == [("lightning_kp.bench.track", True), ("lightning_kp.bench.step", True)]
    assert len(json.loads((tmp_path / "bench.json").read_text())) == 2
    assert "lightning_kp.bench.step" in capsys.readouterr().out


def test_unknown_part(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--only", "stepp"])
    assert "stepp is not a part; parts are step, cache, track" in capsys.readouterr().err


def test_freed_memory_is_kept_where_that_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert not keep_freed_memory()
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())  # a C library without mallopt
    assert not keep_freed_memory()
