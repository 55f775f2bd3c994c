"""Speed of the frame cache against training and bare decoding, and of squares that follow animals against playing."""

import itertools
import os
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from unittest import mock

import av
import torch
import yaml

from lightning_kp.arena.body import ArenaSettings
from lightning_kp.arena.recording import write_arena
from lightning_kp.batches import FramePairs
from lightning_kp.bench.clips import sample_clips
from lightning_kp.bench.measuring import Row, compare, medians
from lightning_kp.bench.step import backward, step
from lightning_kp.frames.cache import cache_videos
from lightning_kp.frames.pairs import FramePairsModule
from lightning_kp.methods.bkind import BKinD, BKinDWeights
from lightning_kp.motion.following import follow_animals
from lightning_kp.video.decoding import ONE_THREAD

SIZE, BATCH_SIZE = 96, 8  # those of the laptop preset
CORES = 2  # of the machine to which the targets refer
VGA_SIDE = 554  # a square picture with as many pixels as 640 x 480
PLAYED_FPS = 30.0


def rows(*, quick: bool = False) -> list[Row]:
    """Rows for pairs per second by CPU time, which that other programs affect least, and frames per second by both."""
    repeats = 3 if quick else 5
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with TemporaryDirectory() as folder:
        clips = sample_clips(Path(folder), frames=300 if quick else 600)
        found = [pairs_row(next(iter(clips.values())), Path(folder), repeats)]
        for name, clip in clips.items():
            found += building_rows(name, clip, Path(folder), repeats)
        found += [squares_row(animals, Path(folder), quick=quick) for animals in (1, 2)]
    return found


def pairs_row(clip: Path, folder: Path, repeats: int) -> Row:
    """Row for pairs read by the training loader against pairs that two cores consume, at perfect scaling."""
    data = FramePairsModule(
        str(clip), size=SIZE, batch_size=BATCH_SIZE, gap=5, cache_dir=str(folder / "pairs")
    )
    data.setup("fit")
    loader = data.train_dataloader()
    batch = next(iter(loader))
    pairs = len(loader) * BATCH_SIZE
    times = medians(
        {"cache": lambda: [batch.index.sum() for batch in loader], "training": training_step(batch)},
        repeats=repeats,
    )
    consumed = CORES * BATCH_SIZE / times["training"]
    name = f"cache, {SIZE} px: pairs read / trained on by two cores"
    return compare(name, pairs / times["cache"], consumed, ">= 10", "pairs/s")


def training_step(batch: FramePairs) -> Callable[[], object]:
    """Return a function that trains the laptop preset for one step on a loader's batch, clipping included."""
    method = laptop_method().train()
    optimizer = torch.optim.AdamW(method.parameters())

    def run() -> None:
        backward(method, step(method, method.on_after_batch_transfer(batch, 0)))
        torch.nn.utils.clip_grad_norm_(method.parameters(), 5.0)
        optimizer.step()

    return run


def laptop_method() -> BKinD:
    """Untrained method with the settings of the laptop preset."""
    return preset_method("laptop")


def preset_method(name: str) -> BKinD:
    """Untrained method with the settings of the preset of that name."""
    preset = yaml.safe_load(files("lightning_kp").joinpath(f"presets/{name}.yaml").read_text("utf-8"))
    options = preset["model"]["init_args"]
    plain = {name: options[name] for name in set(options) - {"weights", "optimizer", "scheduler"}}
    return BKinD(**plain, weights=BKinDWeights(**options["weights"]))


def building_rows(name: str, clip: Path, folder: Path, repeats: int) -> list[Row]:
    """Rows for frames per second of building a new cache against the bare decoder, by wall clock and by CPU time."""
    number = itertools.count()

    def build() -> None:
        cache_videos([clip], size=SIZE, cache_dir=folder / f"{name}{next(number)}", progress=False)

    frames = decode_rgb(clip)
    both = by_both_clocks({"build": build, "decode": lambda: decode_rgb(clip)}, repeats)
    return [
        compare(
            f"cache, {name}, {clock}: building / bare decoder",
            frames / times["build"], frames / times["decode"], ">= 0.8", "frames/s",
        )
        for clock, times in both.items()
    ]  # fmt: skip


def squares_row(animals: int, folder: Path, *, quick: bool) -> Row:
    """Row for frames per second of finding a square for each animal, the background included, against playing."""
    settings = ArenaSettings(
        size=VGA_SIDE, frames=450 if quick else 1800, fps=PLAYED_FPS, animals=animals, look_alike=True
    )
    video = write_arena(settings, folder, f"follow{animals}")
    numbers = itertools.count()

    def find() -> None:
        with mock.patch.dict(os.environ, KP_CACHE_DIR=str(folder / f"squares{animals}-{next(numbers)}")):
            follow_animals(video, animals)

    times = medians({"find": find}, repeats=1 if quick else 3, clock=time.perf_counter)
    name = (
        f"squares of {animals} animal{'s' * (animals > 1)}, as many pixels as 640x480, clock: found / played"
    )
    return compare(name, settings.frames / times["find"], PLAYED_FPS, ">= 4", "frames/s")


def decode_rgb(clip: Path) -> int:
    """Decode every frame to a full RGB array with PyAV alone, and return the number of frames."""
    count = 0
    with av.open(str(clip)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            # One thread for the conversion, as in our reader; PyAV's default uses all cores and more CPU time.
            frame.to_ndarray(format="rgb24", **cast(Any, ONE_THREAD))
            count += 1
    return count


def by_both_clocks(sides: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Median seconds of each side from the same runs, by wall time ("clock") and by CPU time of the process ("CPU")."""
    spent: dict[str, list[float]] = {side: [] for side in sides}

    def timed(side: str) -> Callable[[], None]:
        def run() -> None:
            start = time.process_time()
            sides[side]()
            spent[side].append(time.process_time() - start)

        return run

    clock = medians({side: timed(side) for side in sides}, repeats=repeats, clock=time.perf_counter)
    # The first round is a warm-up.
    return {"clock": clock, "CPU": {side: statistics.median(values[1:]) for side, values in spent.items()}}
