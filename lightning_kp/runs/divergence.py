"""Refuses to save weights that are not finite and suggests what to try."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from lightning_kp.errors import DivergenceError

MAX_FRAMES_NAMED = 8
"""Frames of a batch that an error names."""


def refuse_broken_weights(method: L.LightningModule, trainer: L.Trainer | None) -> None:
    """Raise DivergenceError if a weight of the method is not finite.

    Parameters, running means and running variances must be finite. Other buffers must not be NaN, but may be
    infinite by design, as an attention mask is. A finite loss can have gradients that are not finite (a square
    root at 0); the weights that they spoil must not become the checkpoint from which training resumes.
    """
    broken = [name for name, value in method.named_parameters() if not torch.isfinite(value).all()]
    for name, value in method.named_buffers():
        is_running = name.rpartition(".")[2] in ("running_mean", "running_var")
        if torch.isnan(value).any() or (is_running and torch.isinf(value).any()):
            broken.append(name)
    if broken:
        raise DivergenceError(
            f"{broken[0]}{f' and {len(broken) - 1} other weights are' if broken[1:] else ' is'} not finite, "
            "although the loss was finite; a gradient was not.",
            remedy=advice(trainer),
        )


def non_finite(terms: Mapping[str, Tensor]) -> str:
    """Name the terms, scalars (), that are not finite; where all are, their sum is not."""
    bad = [name for name, term in terms.items() if not torch.isfinite(term)]
    return f"term {', '.join(bad)}" if bad else "their weighted sum"


def frames_of(batch: Any) -> str:
    """Name the first frames of a batch with ``video`` and ``index`` (B,); empty for other batches."""
    if not (hasattr(batch, "video") and hasattr(batch, "index")):
        return ""
    pairs = list(zip(batch.video.tolist(), batch.index.tolist(), strict=True))
    shown = ", ".join(f"{video}:{index}" for video, index in pairs[:MAX_FRAMES_NAMED])
    return f" (video:frame {shown}{', ...' if len(pairs) > MAX_FRAMES_NAMED else ''})"


def advice(trainer: L.Trainer | None) -> str:
    """Names the last good checkpoint and the options to try, as one line."""
    return f"{_kept(trainer)} Try a smaller learning rate ({_smaller_rate(trainer)}) or --trainer.gradient_clip_val=1."


def _kept(trainer: L.Trainer | None) -> str:
    callbacks = trainer.checkpoint_callbacks if trainer is not None else []
    paths = [getattr(callback, "best_model_path", "") for callback in callbacks]
    paths.append((trainer.ckpt_path or "") if trainer is not None else "")
    kept = next((str(path) for path in paths if path and Path(path).is_file()), None)
    return f"The last good checkpoint is kept: {kept}." if kept else "No checkpoint has been written yet."


def _smaller_rate(trainer: L.Trainer | None) -> str:
    optimizer = trainer.optimizers[0] if trainer is not None and trainer.optimizers else None
    if optimizer is None:
        return "--model.optimizer.init_args.lr"
    # The peak of the schedule, not the rate of a warm-up step.
    rate = max(float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups)
    kind = f"{type(optimizer).__module__.rsplit('.', 1)[0]}.{type(optimizer).__name__}"
    return f"--model.optimizer={kind} --model.optimizer.init_args.lr={rate / 10:.1g}"
