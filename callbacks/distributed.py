"""Checks for training on several devices."""

import re
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import lightning as L
from lightning.pytorch.strategies import DDPStrategy

from lightning_kp.errors import ConfigurationError, WorkerError
from lightning_kp.method import Method

REMEDY = "Use --trainer.strategy=ddp_find_unused_parameters_true"
MAX_MODULES_SHOWN = 4
LOST_CONNECTION = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|broken pipe|heartbeat|timed? ?out waiting", re.IGNORECASE
)
"""Errors that a process gets whose partner has ended."""
ENDING_S = 3.0
"""Time for the end of a process to be known after its connections have closed."""


class UnusedParameters(L.Callback):
    """Raises an error that names the remedy if plain ``ddp`` meets parameters that no loss term uses yet.

    A term whose weight is 0, or that a curriculum starts later, is not computed, so parameters that only this
    term uses get no gradient. Plain ddp then stops in the second step with a message about its buckets. Only a
    backward pass shows which parameters these are (a late term may have none of its own), so the callback checks
    after the first one, before ddp fails. With any other strategy nothing is checked.
    """

    def __init__(self) -> None:
        super().__init__()
        self._checking = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._checking = is_plain_ddp(trainer.strategy)

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._checking:
            return
        self._checking = False
        if idle := idle_parameters(pl_module):
            raise ConfigurationError(message(pl_module, idle), remedy=REMEDY)


def is_plain_ddp(strategy: Any) -> bool:
    """Whether the strategy is ddp and expects a gradient for every parameter in every step."""
    if not isinstance(strategy, DDPStrategy):
        return False
    settings = strategy._ddp_kwargs
    return not settings.get("find_unused_parameters") and not settings.get("static_graph")


def idle_parameters(method: L.LightningModule) -> list[str]:
    """Names of the trainable parameters without a gradient after the last backward pass."""
    return [name for name, value in method.named_parameters() if value.requires_grad and value.grad is None]


def message(method: L.LightningModule, idle: list[str]) -> str:
    """Error message with the modules of the idle parameters and the terms that are switched off."""
    parts = sorted({name.rpartition(".")[0] or name for name in idle})
    shown = ", ".join(parts[:MAX_MODULES_SHOWN]) + (", ..." if len(parts) > MAX_MODULES_SHOWN else "")
    off = (
        [name for name, weight in method.loss_weights.items() if weight == 0]
        if isinstance(method, Method)
        else []
    )
    why = f" while the weight of {' and '.join(off)} is 0" if off else ""
    return f"Plain ddp needs a gradient for every parameter in every step, but {shown} had none{why}."


def lost_worker(trainer: L.Trainer, error: BaseException) -> WorkerError | None:
    """Return the error of one line for a training that stopped because another of its processes ended.

    None if ``error`` has another reason.  What the process itself printed about its end stands above.
    """
    if trainer.world_size == 1 or not LOST_CONNECTION.search(str(error)):
        return None
    started = getattr(trainer.strategy.launcher, "procs", None) or ()
    kept = str(getattr(trainer.checkpoint_callback, "best_model_path", "") or "")
    remedy = f"Continue with the same command and --ckpt_path {kept}" if kept else "No epoch was finished."
    return WorkerError(
        f"{_ended(started)}, so process {trainer.global_rank} of {trainer.world_size} stopped. "
        f"Kept: {kept or 'nothing'}.",
        remedy=remedy,
    )


def _ended(started: Sequence["subprocess.Popen[bytes]"]) -> str:
    """Which process ended, and how; ``started`` are the processes 1, 2, ... where this one is 0, else none."""
    if not started:  # process 0 started this one, and ends with any of the others
        return "Process 0, or one that it started, has ended"
    deadline = time.monotonic() + ENDING_S
    while time.monotonic() < deadline:
        for rank, process in enumerate(started, start=1):
            if process.poll():
                return f"Process {rank} {_how(process.returncode)}"
        time.sleep(0.05)
    return "Another process has ended"


def _how(code: int) -> str:
    if code > 0:
        return f"failed (exit code {code})"
    names = {each.value: each.name for each in signal.Signals}
    return f"was killed ({names.get(-code, f'signal {-code}')})"
