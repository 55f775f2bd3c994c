"""Speed of a stacked hourglass's step against its bare network: the cost of targets and loss."""

import os
from typing import Any

import torch

from lightning_kp.batches import LabelledImages
from lightning_kp.bench.measuring import Row, compare, medians
from lightning_kp.bench.step import backward, step
from lightning_kp.methods import StackedHourglass
from lightning_kp.metrics.protocols import LSP

# The network of experiments/stackedhourglass_lsp.yaml with half its 64 channels, and the width of Newell et al.
SMALL: dict[str, Any] = {"stacks": 1, "width": 32, "depth": 3, "sigma": 3 / 24}
PAPER: dict[str, Any] = {"stacks": 2, "width": 256, "depth": 4, "sigma": 2 / 32}


def rows(*, quick: bool = False) -> list[Row]:
    """Rows for the small network at 96 px and, unless ``quick``, for 256 channels at 128 px, in CPU seconds."""
    repeats = 5 if quick else 7
    found = [step_row("32 channels", SMALL, size=96, batch_size=8, repeats=repeats)]
    if not quick:
        found.append(step_row("256 channels", PAPER, size=128, batch_size=2, repeats=repeats))
    return found


def step_row(name: str, options: dict[str, Any], *, size: int, batch_size: int, repeats: int) -> Row:
    """Row for forward and backward with Gaussian targets and anchor loss, against the network alone."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    names = LSP.skeleton.names
    method = StackedHourglass(names, loss="anchor", **options)
    points = 1.8 * torch.rand(batch_size, 1, len(names), 2) - 0.9
    batch = LabelledImages(torch.rand(batch_size, 3, size, size), points, torch.ones(points.shape[:-1]))
    network = method.network
    assert network is not None  # its names were given
    image = batch.image.contiguous(memory_format=torch.channels_last)

    def bare() -> None:
        backward(method, torch.stack([output.mean() for output in network(image)]).sum())

    times = medians({"step": lambda: backward(method, step(method, batch)), "bare": bare}, repeats=repeats)
    return compare(
        f"hourglass step, {name}, {size} px: ours / bare network", times["step"], times["bare"], "<= 1.2"
    )
