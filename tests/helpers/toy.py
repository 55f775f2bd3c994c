"""The smallest method and datamodule that the command can run, like a user's own module."""

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lightning_kp.batches import Frames, Images
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError
from lightning_kp.heatmaps import spatial_softmax
from lightning_kp.method import KeypointMethod, LRSchedulerCallable, OptimizerCallable


@dataclasses.dataclass(frozen=True)
class ToyWeights:
    reconstruction: float = 1.0
    rotation: float = 0.5


class Toy(KeypointMethod):
    batch_type = Images
    weights_type = ToyWeights
    paper = "none; a toy"

    def __init__(
        self,
        keypoints: int = 3,
        weights: ToyWeights | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weights, optimizer, scheduler)
        if keypoints < 1:
            raise ConfigurationError("Toy needs a keypoint.", remedy="Use --model.keypoints=3")
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self.net = nn.Conv2d(3, keypoints, 3, padding=1)
        self.head = nn.Linear(2, 1)

    def heatmaps(self, image: Tensor) -> Tensor:
        return spatial_softmax(self.net(image))

    def terms(self, batch: Images) -> dict[str, Tensor]:
        points = self.points(batch.image)
        # The noise makes the loss depend on the random state, as a random rotation would.
        noise = torch.rand(()) if self.training else 0.5
        terms = {"reconstruction": (points * noise - 0.3).square().mean()}
        if self.is_active("rotation"):
            terms["rotation"] = self.head(points).square().mean()
        return terms


class OtherToy(Toy):
    pass


class Noise(Dataset[Any]):
    def __init__(self, length: int, size: int, with_index: bool) -> None:
        self.length, self.size, self.with_index = length, size, with_index

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(0, 256, (3, self.size, self.size), generator=generator, dtype=torch.uint8)
        return Frames(image, torch.tensor(0), torch.tensor(index)) if self.with_index else Images(image)


class NoiseData(KeypointDataModule):
    batch_type = Images

    def __init__(
        self, size: int = 8, length: int = 12, root: str = ".", batch_size: int = 2, num_workers: int = 0
    ) -> None:
        super().__init__(root, batch_size, num_workers)
        self.size = size
        self.length = length

    def setup(self, stage: str) -> None:
        for part in ("train", "val", "test", "predict"):
            self.datasets[part] = Noise(self.length, self.size, with_index=part == "predict")


class FramesData(NoiseData):
    batch_type = Frames


class Stop(L.Callback):
    """Ends the program in the middle of an epoch: by Ctrl-C, or by a signal that cannot be caught."""

    def __init__(self, epoch: int, kill: bool = False) -> None:
        self.epoch = epoch
        self.kill = kill

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.current_epoch == self.epoch and batch_idx == 2:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt


class Die(L.Callback):
    """Kills the process of a rank in the middle of an epoch."""

    def __init__(self, rank: int, epoch: int = 0) -> None:
        self.rank, self.epoch = rank, epoch

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.global_rank, trainer.current_epoch, batch_idx) == (self.rank, self.epoch, 1):
            os.kill(os.getpid(), signal.SIGKILL)


class WriteMetrics(L.Callback):
    """Writes the logged metrics to a file, from the first process."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.is_global_zero and not trainer.sanity_checking:
            values = {name: float(value) for name, value in trainer.callback_metrics.items()}
            Path(self.path).write_text(json.dumps(values | {"processes": trainer.world_size}))
