"""Callbacks, one per module. Import them from ``lightning_kp.callbacks``."""

if __name__ != "lightning_kp.callbacks":
    # From the repository root this folder can be imported a second time, which would register each class twice.
    raise ImportError("Import lightning_kp.callbacks, not callbacks.")

from lightning_kp.callbacks.curriculum import Curriculum as Curriculum
from lightning_kp.callbacks.diagnostics import LiveDiagnostics as LiveDiagnostics
from lightning_kp.callbacks.distributed import UnusedParameters as UnusedParameters
from lightning_kp.callbacks.epoch_seed import EpochSeed as EpochSeed
from lightning_kp.callbacks.loss_balance import LossBalance as LossBalance
from lightning_kp.callbacks.overlay import KeypointOverlay as KeypointOverlay
