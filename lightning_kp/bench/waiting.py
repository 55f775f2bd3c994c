"""Effect of short busy-waits between threads (:mod:`lightning_kp.runs.waiting`), alone and beside other programs.

``python -m lightning_kp.bench.waiting STEPS`` prints the median seconds of a training step on all cores.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lightning_kp.bench.cache import laptop_method
from lightning_kp.bench.measuring import Row, compare, medians
from lightning_kp.bench.step import random_pairs
from lightning_kp.runs.waiting import SPIN_ROUNDS

SIZE, PAIRS = 96, 8
OURS = {"GOMP_SPINCOUNT": str(SPIN_ROUNDS)}


def rows(*, quick: bool = False) -> list[Row]:
    """Rows for the seconds of a step on all cores, alone and beside as many busy programs as there are cores."""
    steps, rounds = (2, 1) if quick else (10, 3)
    found = []
    for busy, target in ((0, "<= 1.1"), (os.cpu_count() or 1, "<= 0.8")):
        seconds: dict[str, list[float]] = {"ours": [], "other": []}
        with neighbours(busy):
            for _ in range(rounds):  # alternating, so that other programs affect both sides
                seconds["ours"].append(seconds_of_step(steps, OURS))
                seconds["other"].append(seconds_of_step(steps, {}))
        name = f"step, {busy} busy programs beside it: brief waits / libgomp's own"
        ours, other = (statistics.median(values) for values in seconds.values())
        found.append(compare(name, ours, other, target))
    return found


@contextmanager
def neighbours(number: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run a number of other programs that keep one core busy each; yield their processes."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield started
    finally:
        for each in started:
            each.kill()
            each.wait()


def seconds_of_step(steps: int, environment: dict[str, str]) -> float:
    """Median seconds of a step in a separate process, since libgomp reads its settings once, when it is loaded."""
    own = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    rest = {name: value for name, value in os.environ.items() if name not in own}
    done = subprocess.run(
        [sys.executable, "-m", "lightning_kp.bench.waiting", str(steps)],
        env=rest | environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(done.stdout)


def main(steps: int) -> None:
    """Train a small network for some steps and print the median seconds of one."""
    method, batch = laptop_method().train(), random_pairs(PAIRS, SIZE)
    optimizer = torch.optim.AdamW(method.parameters())

    def step() -> None:
        optimizer.zero_grad()
        torch.stack(list(method.terms(batch).values())).sum().backward()
        optimizer.step()

    print(medians({"step": step}, repeats=steps, clock=time.perf_counter)["step"])


if __name__ == "__main__":
    main(int(sys.argv[1]))
