"""Watch during validation whether discovery works, and log it."""

import math
from typing import Any, cast

import lightning as L
import torch.distributed

from lightning_kp.batches import FramePairs
from lightning_kp.diagnosis.backgrounds import Background
from lightning_kp.diagnosis.evidence import Collector
from lightning_kp.diagnosis.judgement import (
    Diagnosis,
    Evidence,
    Problem,
    Verdict,
    diagnose,
    sampled_backgrounds,
)
from lightning_kp.errors import ConfigurationError
from lightning_kp.method import KeypointMethod
from lightning_kp.runs.loggers import log_rows


class LiveDiagnostics(L.Callback):
    """Judge the keypoints on some validation batches and log how many are found and what ails the others.

    Logs ``val/found``, ``val/duplicates``, ``val/centre``, ``val/background`` (stuck ones included),
    ``val/coverage``, ``val/equivariance_px`` and ``val/jitter_px``; those that cannot be known are
    left out.  Loggers that take tables or text get the verdicts with reasons as ``val/verdicts``.
    ``diagnosis`` keeps the latest verdict.  On several processes the evidence is gathered first, so
    that every process logs the figures of the whole.

    ``batches`` are spread evenly over the validation set and cost two passes of the network each;
    ``every_n_epochs`` skips validations in between.
    """

    def __init__(self, batches: int = 12, every_n_epochs: int = 1, max_frames: int = 256) -> None:
        if min(batches, every_n_epochs, max_frames) < 1:
            raise ConfigurationError(
                f"LiveDiagnostics needs numbers of at least 1, got batches={batches}, "
                f"every_n_epochs={every_n_epochs}, max_frames={max_frames}.",
                remedy="Leave the callback out to switch it off.",
            )
        self.batches = batches
        self.every_n_epochs = every_n_epochs
        self.max_frames = max_frames
        self.diagnosis: Diagnosis | None = None
        self._collector: Collector | None = None
        self._backgrounds: dict[int, Background] | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not isinstance(pl_module, KeypointMethod) or pl_module.batch_type is not FramePairs:
            raise ConfigurationError(
                f"LiveDiagnostics judges methods that read FramePairs, not {type(pl_module).__name__}.",
                remedy="Remove it from trainer.callbacks.",
            )

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        due = not trainer.sanity_checking and trainer.current_epoch % self.every_n_epochs == 0
        self._collector = Collector(max_frames=self.max_frames) if due else None

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._collector is None:
            return
        stride = max(1, math.ceil(_batch_count(trainer, dataloader_idx) / self.batches))
        if batch_idx % stride == 0:
            self._collector.add(cast(KeypointMethod, pl_module), batch)  # checked in setup

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._collector is None:
            return
        if self._backgrounds is None:
            self._backgrounds = _backgrounds(trainer)
        parts = _of_all_processes(self._collector.evidence(self._backgrounds))
        self._collector = None
        if not parts:
            return
        self.diagnosis = diagnose(Evidence.joined(parts), steps=trainer.global_step)
        figures = logged_figures(self.diagnosis)
        # Every process logs the same figures: their mean is right, and Lightning need not warn.
        pl_module.log_dict(figures, on_epoch=True, sync_dist=True, batch_size=1)
        if trainer.is_global_zero:
            log_rows(trainer.loggers, "val/verdicts", *verdict_rows(self.diagnosis), trainer.global_step)

    @property
    def verdict(self) -> Verdict | None:
        """The latest verdict on the run, or None before the first validation."""
        return self.diagnosis.verdict if self.diagnosis else None


def verdict_rows(diagnosis: Diagnosis) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the verdicts: the run's first, then one per keypoint."""
    run = ["run", str(diagnosis.verdict), diagnosis.reason, str(diagnosis.remedy)]
    keypoints = [
        [f"kp{k + 1:02d}", str(each.verdict), each.reason, str(each.remedy)]
        for k, each in enumerate(diagnosis.keypoints)
    ]
    return ["keypoint", "verdict", "why", "remedy"], [run, *keypoints]


def logged_figures(diagnosis: Diagnosis) -> dict[str, float]:
    """Figures of a diagnosis by logged name; counts are numbers of keypoints, NaN is left out."""
    figures = {
        "val/found": float(len(diagnosis.found)),
        "val/duplicates": float(diagnosis.count(Problem.DUPLICATE)),
        "val/centre": float(diagnosis.count(Problem.CENTRE)),
        "val/background": float(diagnosis.count(Problem.BACKGROUND, Problem.STUCK)),
        "val/coverage": diagnosis.coverage,
        "val/equivariance_px": diagnosis.mean("rotation_px"),
        "val/jitter_px": diagnosis.mean("jitter_px"),
    }
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _batch_count(trainer: L.Trainer, dataloader_idx: int) -> float:
    """Number of batches of the running evaluation; 1 for a stream of unknown length, whose start is taken."""
    counts = trainer.num_val_batches
    count = counts[dataloader_idx] if isinstance(counts, list) else counts
    return float(count) if math.isfinite(count) else 1.0


def _backgrounds(trainer: L.Trainer) -> dict[int, Background]:
    """Backgrounds from the whole of the datamodule's map-style data; empty where it has none."""
    held = getattr(getattr(trainer, "datamodule", None), "datasets", {})
    pairs = [held[stage] for stage in ("train", "val") if stage in held and len(held[stage])]
    usable = [dataset for dataset in pairs if isinstance(dataset[0], FramePairs)]
    return sampled_backgrounds(*usable) if usable else {}


def _of_all_processes(evidence: Evidence | None) -> list[Evidence]:
    """The evidence of every process, in the same order everywhere; all of them have to call this."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [evidence] if evidence is not None else []
    gathered: list[Evidence | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, evidence)
    return [part for part in gathered if part is not None]
