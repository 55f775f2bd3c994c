"""Speed of ``kp track`` against its bare parts, and memory for long videos against short ones.

``python -m lightning_kp.bench.track VIDEO STEM`` tracks one video with a tiny network and prints the
peak memory of its process in MB.
"""

import itertools
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from lightning_kp.batches import floats_in_unit_range
from lightning_kp.bench.cache import by_both_clocks, laptop_method
from lightning_kp.bench.clips import sample_clips, write_texture
from lightning_kp.bench.measuring import Row, compare, medians
from lightning_kp.frames.stream import channels_last
from lightning_kp.frames.view import ViewSettings
from lightning_kp.geometry import place
from lightning_kp.images.files import Image
from lightning_kp.method import KeypointMethod
from lightning_kp.methods.bkind import BKinD
from lightning_kp.tracks.tracking import TrackingReport, track_video
from lightning_kp.video.opening import open_video

SIZE, BATCH_SIZE = 96, 32
SHORT, LONG = 2_000, 100_000  # frames
TINY_SIZE = 32


def rows(*, quick: bool = False) -> list[Row]:
    """Rows for tracking against decoding and computing, the share of writing, peak memory, and ``kp --help``."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with TemporaryDirectory() as name:
        folder = Path(name)
        found = [help_row(repeats=3 if quick else 7)]
        for name, clip in sample_clips(folder, frames=300 if quick else 600).items():
            found += speed_rows(name, clip, folder, repeats=1 if quick else 3)
        found.append(memory_row(folder, SHORT, 5 * SHORT if quick else LONG))
    return found


def speed_rows(name: str, clip: Path, folder: Path, repeats: int) -> list[Row]:
    """Rows for frames per second of ``track_video`` with all result files, and for the share of writing.

    By wall clock, decoding runs beside computing and only the slower one counts. The CPU time of both together
    shows the cost of everything else, even on a busy machine.
    """
    method = laptop_method().to(memory_format=torch.channels_last).eval()
    stems = (folder / f"{name}{number}" for number in itertools.count())
    reports: list[TrackingReport] = []

    def track() -> None:
        view = ViewSettings(SIZE)
        reports.append(track_video(method, clip, next(stems), view, origin="bench", batch_size=BATCH_SIZE))

    both = by_both_clocks(
        {"track": track, "decode": lambda: decode(clip), "compute": bare_compute(method, clip)}, repeats
    )
    clock, cpu = both["clock"], both["CPU"]
    frames = reports[0].frames
    slower = max(clock["decode"], clock["compute"])
    writing = statistics.median(report.writing_s / report.seconds for report in reports[1:]) * clock["track"]
    parts = cpu["decode"] + cpu["compute"]
    name = f"track, {name}"
    return [
        compare(
            f"{name}: end to end / slower part", frames / clock["track"], frames / slower, ">= 0.8", "fps"
        ),
        compare(f"{name}, CPU: decoding + computing / all", parts, cpu["track"], ">= 0.8"),
        compare(f"{name}: writing / all", writing, clock["track"], "<= 0.1"),
    ]


def decode(clip: Path) -> list[Image]:
    """Every frame as the network's square (96, 96, 3), uint8, decoded in one thread."""
    with open_video(clip) as reader:
        placement = place(reader.info.frame_size, SIZE)
        return [frame.prepared(placement) for frame in reader.decode()]


def bare_compute(method: KeypointMethod, clip: Path) -> Callable[[], None]:
    """Return a function that runs the network alone, on batches that are ready in memory."""
    images = channels_last(np.stack(decode(clip)))
    batches = [floats_in_unit_range(batch) for batch in images.split(BATCH_SIZE)]

    @torch.inference_mode()
    def run() -> None:
        for batch in batches:
            method(batch)

    return run


def memory_row(folder: Path, short: int, long: int) -> Row:
    """Row for the peak memory of a process that tracks a long video against one that tracks a short video."""
    peaks = []
    for frames in (long, short):
        clip = write_texture(folder / f"{frames}.mp4", frames, size=(64, 64))
        command = [sys.executable, "-m", "lightning_kp.bench.track", str(clip), str(folder / f"{frames}")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(float(done.stdout))
    return compare(f"track, peak memory: {long} / {short} frames", peaks[0], peaks[1], "<= 1.1", "MB")


def help_row(repeats: int) -> Row:
    """Row for the CPU time of ``kp --help``, started as by a user, against one second."""
    command = [sys.executable, "-m", "lightning_kp", "--help"]
    sides = {"help": lambda: subprocess.run(command, check=True, capture_output=True)}
    seconds = medians(sides, repeats=repeats, clock=_cpu_of_children)["help"]
    return compare("kp --help / one second", seconds, 1.0, "<= 1")


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_memory_mb() -> float:
    """Peak memory of this process in MB; ``ru_maxrss`` would include that of its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def main(video: str, stem: str) -> None:
    """Track with a network small enough for a long video, and print the peak memory in MB."""
    torch.set_num_threads(1)
    method = BKinD(
        keypoints=8, encoder="tiny", pretrained=False, reconstruction="structural", pose_width=16,
        decoder_widths=(16, 16, 16), variances=(0.1, 0.03, 0.005),
    )  # fmt: skip
    track_video(
        method, Path(video), Path(stem), ViewSettings(TINY_SIZE), origin="bench", batch_size=BATCH_SIZE
    )
    print(peak_memory_mb())


if __name__ == "__main__":
    main(*sys.argv[1:])
