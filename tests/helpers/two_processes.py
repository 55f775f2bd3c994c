"""Results of two processes of a distributed training, for tests that compare them with one process."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def on_two_processes(measure: Callable[[int, int], Any], folder: Path) -> list[Any]:
    """Results of ``measure(rank, 2)``, a function of a module, from both processes of a gloo group."""
    # A forked process need not import torch again, which takes seconds.
    method = "fork" if sys.platform == "linux" else "spawn"
    torch.multiprocessing.start_processes(_measured, (measure, folder), nprocs=2, start_method=method)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def _measured(rank: int, measure: Callable[[int, int], Any], folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2
    )
    torch.save(measure(rank, 2), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()
