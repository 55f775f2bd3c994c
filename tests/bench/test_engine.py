"""The benchmark of the engines computes the same images with both."""

from pathlib import Path

import pytest
import torch
from every_method import BKIND

from lightning_kp.bench.engine import engine_row, random_frames
from lightning_kp.methods import BKinD


def test_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("KP_CACHE_DIR", str(tmp_path))
    row = engine_row("tiny", BKinD(**BKIND), size=32, frames=34, repeats=1)
    assert row.ours > 0
    assert row.other > 0
    assert (row.target, row.unit) == (">= 1.5", "fps")
    assert "32 px" in row.name
    assert len(list((tmp_path / "onnx").glob("*.onnx"))) == 1


def test_random_frames_are_images_as_they_are_decoded() -> None:
    batch = random_frames(3, 32)
    assert batch.image.shape == (3, 3, 32, 32)
    assert batch.image.dtype == torch.uint8
    assert batch.image.is_contiguous(memory_format=torch.channels_last)
    assert float(batch.image.float().std()) > 10
    assert (batch.region(2).right, batch.region(2).bottom) == (32, 32)
