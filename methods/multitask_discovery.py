"""Keypoints of still images that serve several self-supervised tasks at once.

Harris, PhD thesis, Southampton 2024 (003), chapter 4. The hourglass of Table 4.3 gives heatmaps, a soft arg-max (4.1)
points, and Gaussians at the points (4.5.3) are all that the tasks see of the heatmaps. Each task is one term:
``reconstruction`` (4.5.5.1), ``game`` (4.5.5.2), ``middle_frame`` (4.5.5.3), ``concentration`` (4.5.6); their modules
in lightning_kp/tasks cite tables and equations. How terms are summed is the matter of the LossBalance callback
(4.4.2.2); without it, by their weights.

Readings and deviations: equation 4.1 is summed over i and j (over j alone, as printed, it would be a constant). The
concentration compares distributions; to the letter (option ``raw``) it draws every keypoint to the centre. Images that
views need pass through the network together with the originals. The displacements of the warps, which 4.5.5.3 does
not state, are N(0, 0.1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_kp.batches import Images
from lightning_kp.errors import ConfigurationError, did_you_mean
from lightning_kp.heatmaps import Moments, expectation, moments, pixel_gaussians, spatial_softmax
from lightning_kp.method import KeypointMethod, LRSchedulerCallable, OptimizerCallable
from lightning_kp.nn.hourglass import Unpool, UnpoolingHourglass
from lightning_kp.tasks.registry import build_tasks
from lightning_kp.tasks.task import Maps, Task

TASKS = ("reconstruction", "game", "middle_frame", "concentration")
DROP_EVERY = 5  # epochs; 4.5.7


@dataclass(frozen=True)
class MultiTaskWeights:
    """Weights of the tasks of lightning_kp; those of other tasks are ``extra_weights`` of the method."""

    reconstruction: float = 1.0
    game: float = 1.0
    middle_frame: float = 1.0
    concentration: float = 1.0


class MultiTaskDiscovery(KeypointMethod):
    """Self-supervised keypoints of still images by several tasks (003, ch. 4).

    Images (B, 3, H, W) in [0, 1] -> Keypoints (B, 1, K, 2), normalised (x, y). Validation logs the figures of each
    task, such as ``val/game_accuracy``; training logs every term.

    Args:
        keypoints: Number of keypoints K (4.6.3.3: 7 for MNIST, 9 for FashionMNIST).
        tasks: Names of the tasks; a package can add more (entry-point group ``lightning_kp.tasks``).
        task_options: Options of tasks, such as {reconstruction: {descriptors: true}}; see lightning_kp/tasks.
        unpool: How the hourglass enlarges its maps: by the ``indices`` of its pools (Table 4.3), or ``nearest``.
        beta: Temperature of the soft arg-max (equation 4.1: 1).
        sigma_px: Standard deviation of the cleaned heatmaps in pixels (4.6.3: 0.9; photographs, 4.6.4: 1.0).
        extra_weights: Weights of tasks that lightning_kp does not have; 1 where none is given.
        weights: Weights of the tasks.
        optimizer: Default: Adam, learning rate 1e-3 (4.5.7).
        scheduler: Default, with the default optimiser: a tenth of the learning rate every 5 epochs (4.5.7).

    Raises:
        ConfigurationError: A number is not above 0, or a task, an option or an extra weight is not known.
    """

    batch_type = Images
    weights_type = MultiTaskWeights
    paper = "003 ch. 4 (Harris 2024)"
    shared_by_terms = "the logits of the heatmaps"

    def __init__(
        self,
        keypoints: int = 7,
        tasks: Sequence[str] = TASKS,
        task_options: Mapping[str, Mapping[str, Any]] | None = None,
        unpool: Unpool = "indices",
        beta: float = 1.0,
        sigma_px: float = 0.9,
        extra_weights: Mapping[str, float] | None = None,
        weights: MultiTaskWeights | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weights, optimizer, scheduler)
        _check(keypoints=keypoints, beta=beta, sigma_px=sigma_px)
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self.beta, self.sigma_px = beta, sigma_px
        self.tasks = build_tasks(tasks, keypoints, task_options or {})
        self.base_weights = _weights(self.base_weights, tuple(tasks), extra_weights or {})
        self.loss_weights = dict(self.base_weights)
        self.network = UnpoolingHourglass(keypoints, unpool)
        self.to(memory_format=torch.channels_last)

    def heatmaps(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> heatmaps (B, K, H, W) that sum to one over H, W."""
        return spatial_softmax(self.beta * self._logits(image))

    def locate(self, image: Tensor) -> Moments:
        """Images (B, 3, H, W) in [0, 1] -> Moments (B, 1, K, ...); points are the means that the tasks see (4.1)."""
        return Moments(*(value.unsqueeze(1) for value in moments(self.heatmaps(image))))

    def terms(self, batch: Images) -> dict[str, Tensor]:
        """The losses of the active tasks on images (B, 3, H, W) in [0, 1]."""
        images, tasks = batch.image, self._tasks_for(len(batch.image))
        generator = self.batch_generator() if self.training else torch.Generator().manual_seed(0)
        extra = {name: task.extra_views(images, generator) for name, task in tasks.items()}
        logits = self.share(
            self._logits(torch.cat((images, *(each.flatten(0, 1) for each in extra.values()))))
        )
        heatmaps = spatial_softmax(self.beta * logits)
        points = expectation(heatmaps).unflatten(0, (-1, len(images)))
        own, *views = points.split([1, *map(len, extra.values())])
        size = (images.shape[-2], images.shape[-1])
        maps = Maps(
            logits[: len(images)], heatmaps[: len(images)], pixel_gaussians(own[0], size, self.sigma_px),
            self.sigma_px, own[:0],
        )  # fmt: skip
        return {
            name: task.loss(own[0], maps._replace(views=seen), images, generator)
            for (name, task), seen in zip(tasks.items(), views, strict=True)
        }

    def _logits(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network(image.contiguous(memory_format=torch.channels_last))
        return logits

    def _active_tasks(self) -> dict[str, Task]:
        tasks: dict[str, Any] = dict(self.tasks.items())
        return {name: task for name, task in tasks.items() if self.is_active(name)}

    def _tasks_for(self, images: int) -> dict[str, Task]:
        """Active tasks for a batch of ``images``; raises ConfigurationError for too few of them in training."""
        tasks = self._active_tasks()
        fitting = {name: task for name, task in tasks.items() if task.least_batch <= images}
        for name, task in tasks.items():
            if name not in fitting and (self.training or not fitting):
                raise ConfigurationError(
                    f"The task {name} needs {task.least_batch} images in a batch, but a batch has {images}.",
                    remedy=f"Use more images and --data.batch_size={task.least_batch} or more, or leave {name} out of "
                    "--model.tasks.",
                )
        return fitting

    def on_validation_epoch_end(self) -> None:
        self._log_figures("val")

    def on_test_epoch_end(self) -> None:
        self._log_figures("test")

    def _log_figures(self, stage: str) -> None:
        for name, task in self._active_tasks().items():
            self.log_dict({f"{stage}/{name}_{figure}": value for figure, value in task.figures().items()})
            task.reset()

    def default_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)

    def configure_optimizers(self) -> Any:
        """Use the paper's schedule with the paper's optimiser only; another optimiser needs its own."""
        if self._optimizer is not None or self._scheduler is not None:
            return super().configure_optimizers()
        optimizer = self.default_optimizer()
        drops = torch.optim.lr_scheduler.StepLR(optimizer, step_size=DROP_EVERY, gamma=0.1)
        return {"optimizer": optimizer, "lr_scheduler": drops}


def _check(**above_0: float) -> None:
    for name, value in above_0.items():
        if not value > 0:
            raise ConfigurationError(
                f"{name} must be above 0, got {value}.",
                remedy=f"Leave --model.{name} out to use its default.",
            )


def _weights(
    shipped: Mapping[str, float], tasks: tuple[str, ...], extra: Mapping[str, float]
) -> dict[str, float]:
    """Weights of the chosen tasks; raises ConfigurationError for an extra weight that no other task has."""
    others = [name for name in tasks if name not in shipped]
    for name in extra:
        if name not in others:
            raise ConfigurationError(
                f"extra_weights name {name}, which is no task of another package among --model.tasks.",
                remedy=f"Use --model.weights.{name}." if name in shipped else did_you_mean(name, others),
            )
    return {name: shipped[name] if name in shipped else extra.get(name, 1.0) for name in tasks}
