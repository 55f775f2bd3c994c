"""LiveDiagnostics logs the result of `diagnose` during validation, on any number of processes."""

import dataclasses
import math
import pickle
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_kp.batches import FramePairs, Images
from lightning_kp.callbacks.diagnostics import LiveDiagnostics, logged_metrics
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.diagnosis.evidence import Collector
from lightning_kp.diagnosis.judgement import diagnose
from lightning_kp.diagnosis.verdict import Diagnosis, Verdict
from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import pixel_centres
from lightning_kp.heatmaps import spatial_softmax
from lightning_kp.method import KeypointMethod

SIZE, FRAMES = 32, 48


@dataclasses.dataclass(frozen=True)
class Weights:
    nothing: float = 1.0


class Bright(KeypointMethod):
    """Keypoint 0 follows the bright square, 1 looks at a corner, 2 is flat."""

    batch_type = FramePairs
    weights_type = Weights

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = torch.nn.Parameter(torch.tensor(60.0))

    def heatmaps(self, image: Tensor) -> Tensor:
        bright = torch.nn.functional.avg_pool2d(image.mean(dim=1, keepdim=True), 3, 1, 1) * self.sharpness
        axis = pixel_centres(image.shape[-1], like=image)
        corner = -20 * ((axis + 0.8) ** 2 + (axis[:, None] + 0.8) ** 2).expand_as(bright)
        return spatial_softmax(torch.cat((bright, corner, torch.zeros_like(bright)), dim=1))

    def terms(self, batch: FramePairs) -> dict[str, Tensor]:
        return {"nothing": self.sharpness * 0}


class Walk(torch.utils.data.Dataset[FramePairs]):
    """A bright square that moves in a circle, with noise."""

    def __len__(self) -> int:
        return FRAMES

    def __getitem__(self, item: int) -> FramePairs:
        return FramePairs(self._image(item), self._image(item + 3), torch.tensor(0), torch.tensor(item))

    def _image(self, time: int) -> Tensor:
        noise = torch.randn((3, SIZE, SIZE), generator=torch.Generator().manual_seed(time))
        image = 80 + 2 * noise
        row, column = (int(13 + 9 * wave(2 * math.pi * time / FRAMES)) for wave in (math.sin, math.cos))
        image[:, row : row + 6, column : column + 6] += 120
        return image.clamp(0, 255).to(torch.uint8)


class WalkData(KeypointDataModule):
    batch_type = FramePairs

    def setup(self, stage: str) -> None:
        self.datasets = {"train": Walk(), "val": Walk()}


def trainer(folder: Path, callback: L.Callback, **options: object) -> L.Trainer:
    settings: dict[str, object] = {
        "accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
        "enable_checkpointing": False, "max_epochs": 2, "limit_train_batches": 1, "default_root_dir": folder,
    }  # fmt: skip
    return L.Trainer(callbacks=[callback], **(settings | options))


def test_logs_the_diagnosis_of_the_validation_frames(tmp_path: Path) -> None:
    callback = LiveDiagnostics()
    runner = trainer(tmp_path, callback)
    runner.fit(Bright(), datamodule=WalkData(batch_size=8))
    logged = {name: float(value) for name, value in runner.callback_metrics.items()}
    assert [logged[f"val/{name}"] for name in ("found", "centre", "background", "duplicates")] == [1, 1, 1, 0]
    assert logged["val/coverage"] > 0.9
    assert callback.diagnosis is not None
    assert callback.diagnosis.scene.frames == FRAMES
    assert callback.verdict is Verdict.DOUBTFUL  # one of three is less than half
    assert logged == pytest.approx(logged | logged_metrics(callback.diagnosis), rel=1e-5)
    assert Diagnosis.from_json(callback.diagnosis.to_json()).found == (0,)


def test_looks_at_a_bounded_number_of_batches_spread_over_the_set(tmp_path: Path) -> None:
    seen: list[int] = []

    class Watching(LiveDiagnostics):
        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):  # type: ignore[no-untyped-def]
            before = self._collector._count if self._collector else 0
            super().on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
            if self._collector and self._collector._count > before:
                seen.append(batch_idx)

    callback = Watching(batches=3)
    trainer(tmp_path, callback).validate(Bright(), datamodule=WalkData(batch_size=4), verbose=False)
    assert seen == [0, 4, 8]
    assert callback.diagnosis is not None
    assert callback.diagnosis.scene.frames == 12


def test_skips_epochs_and_the_sanity_check(tmp_path: Path) -> None:
    calls: list[int] = []

    class Counting(LiveDiagnostics):
        def on_validation_epoch_start(self, trainer, pl_module):  # type: ignore[no-untyped-def]
            super().on_validation_epoch_start(trainer, pl_module)
            if self._collector is not None:
                calls.append(trainer.current_epoch)

    options = {"max_epochs": 3, "num_sanity_val_steps": 1}
    trainer(tmp_path, Counting(every_n_epochs=2), **options).fit(Bright(), datamodule=WalkData(batch_size=16))
    assert calls == [0, 2]


def test_refuses_methods_and_settings_that_it_cannot_serve(tmp_path: Path) -> None:
    class OnImages(Bright):
        batch_type = Images

    with pytest.raises(ConfigurationError, match="needs a method that reads FramePairs, not OnImages"):
        LiveDiagnostics().setup(trainer(tmp_path, LiveDiagnostics()), OnImages(), "fit")
    with pytest.raises(ConfigurationError, match="batches=0"):
        LiveDiagnostics(batches=0)


def test_figures_that_cannot_be_known_are_not_logged() -> None:
    collector = Collector()
    item = Walk()[0]
    collector.add(Bright(), FramePairs(*(field.unsqueeze(0) for field in item)))
    evidence = collector.evidence()
    assert evidence is not None
    figures = logged_metrics(diagnose(evidence))
    assert "val/jitter_px" not in figures
    assert "val/coverage" not in figures
    assert figures["val/found"] == 0
    pickle.dumps(evidence)  # travels between processes


@pytest.mark.slow
def test_two_processes_log_what_one_logs(tmp_path: Path) -> None:
    metrics = []
    for options in ({"devices": 1}, {"devices": 2, "strategy": "ddp_fork"}):
        runner = trainer(tmp_path, LiveDiagnostics(), **options)
        runner.fit(Bright(), datamodule=WalkData(batch_size=4))
        metrics.append({name: float(value) for name, value in runner.callback_metrics.items()})
    one, two = metrics
    assert one.keys() == two.keys()
    for name in ("val/found", "val/centre", "val/background", "val/duplicates", "val/jitter_px"):
        assert two[name] == pytest.approx(one[name], rel=1e-5), name
    assert two["val/coverage"] == pytest.approx(one["val/coverage"], abs=0.02)
