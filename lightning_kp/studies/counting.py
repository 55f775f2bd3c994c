"""How many animals ``kp inspect`` counts in rendered and real videos, and how sure it is.

``python -m lightning_kp.studies.counting`` renders arena videos whose animals touch, rest, leave, cast shadows or
differ in size, counts the animals of each, and prints a table with the true number.  With KP_DATA it adds recordings.
It takes some minutes on one core.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_kp.arena.body import TOUCH, ArenaSettings, ArenaTruth
from lightning_kp.arena.recording import render_frames, simulate
from lightning_kp.arena.render import COAT_COLOURS, arena_floor, draw_animal, flicker, fur
from lightning_kp.inspection.counting import AnimalCount
from lightning_kp.inspection.measures import Sampled, measure, sample
from lightning_kp.motion import foreground as fg
from lightning_kp.studies.resting import Rest, rearranged, timeline
from lightning_kp.video.reader import VideoInfo

FRAMES, SIZE = 600, 128
RESTED = 1000
"""Frames of a video with resting animals: they have to walk for some seconds."""
WALKED = 300
"""Frames of the walk of which such a video is made."""
GONE = 2.0
"""Distance in image sides to which an animal is moved that has left."""
CLOTH = (slice(87, 114), slice(14, 54))
Scene = Callable[[int], fg.Images]
"""Renders the frames (T, h, w, 3) of a scene, given a seed."""


def arena(seed: int, **settings: object) -> tuple[ArenaSettings, ArenaTruth]:
    """Settings and truth of an arena video of ``FRAMES`` frames."""
    chosen = dataclasses.replace(ArenaSettings(size=SIZE, frames=FRAMES, seed=seed), **settings)  # type: ignore[arg-type]
    return chosen, simulate(chosen)


def frames_of(settings: ArenaSettings, truth: ArenaTruth) -> fg.Images:
    """Rendered frames (T, h, w, 3)."""
    return np.stack(list(render_frames(settings, truth)))


def plain(**settings: object) -> Scene:
    """The arena with other settings."""
    return lambda seed: frames_of(*arena(seed, **settings))


def resting(*rests: Rest) -> Scene:
    """Two animals that rest for a part of the time."""

    def scene(seed: int) -> fg.Images:
        settings, truth = arena(seed, frames=WALKED)
        shown = rearranged(truth, [timeline(RESTED, rest, WALKED) for rest in rests])
        return frames_of(dataclasses.replace(settings, frames=RESTED), shown)

    return scene


def leaving(share: float) -> Scene:
    """Two look-alikes, of which one is out of the picture except in the last ``share`` of the frames."""

    def scene(seed: int) -> fg.Images:
        settings, truth = arena(seed, look_alike=True)
        midline = truth.midline_px.copy()
        midline[: round((1 - share) * FRAMES), 1] += GONE * SIZE
        inside = dataclasses.replace(truth, midline_px=midline)
        return np.stack(list(_frames_with_sizes(settings, inside, (1.0, 1.0))))

    return scene


def touching(share: float) -> Scene:
    """Two look-alikes that touch in ``share`` of the frames: stretches of contact are repeated, in order of time."""

    def scene(seed: int) -> fg.Images:
        settings, truth = arena(seed, look_alike=True, frames=3 * FRAMES)
        meet = (truth.gap_px < TOUCH * SIZE).any(axis=1)
        wanted = round(share * FRAMES)
        rows = np.sort(
            np.concatenate(
                (_spread(np.flatnonzero(meet), wanted), _spread(np.flatnonzero(~meet), FRAMES - wanted))
            )
        )
        return frames_of(settings, rearranged(truth, [rows, rows]))

    return scene


def _spread(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return np.asarray(rows[np.linspace(0, len(rows) - 1, count).round().astype(int)], dtype=np.int64)


def of_sizes(*scales: float) -> Scene:
    """Animals of other sizes, relative to the usual one."""

    def scene(seed: int) -> fg.Images:
        settings, truth = arena(seed, animals=len(scales))
        return np.stack(list(_frames_with_sizes(settings, truth, scales)))

    return scene


def _frames_with_sizes(
    settings: ArenaSettings, truth: ArenaTruth, scales: Sequence[float]
) -> Iterator[fg.Images]:
    """Frames (h, w, 3) in which each animal is scaled about its own centre; one outside the picture is not drawn."""
    size, pad = settings.size, settings.size // 4
    floor, brightness = arena_floor(settings, pad), flicker(settings)
    furs = [fur(settings.seed if settings.look_alike else settings.seed + i) for i in range(settings.animals)]
    for time, midlines in enumerate(truth.midline_px):
        canvas = floor.copy()
        for animal in np.argsort(truth.layer[time], kind="stable"):
            centre = midlines[animal].mean(axis=0)
            if (np.abs(centre - size / 2) > size / 2).any():
                continue
            midline = centre + scales[animal] * (midlines[animal] - centre) + pad
            own = dataclasses.replace(settings, size=2 * round(scales[animal] * size / 2))
            draw_animal(canvas, midline, COAT_COLOURS[truth.coats[animal]], furs[animal], own)
        grain = np.random.default_rng((settings.seed, 4, time)).standard_normal((size, size, 1))
        frame = canvas[pad : pad + size, pad : pad + size] * brightness[time] + 255 * settings.noise * grain
        yield frame.round().clip(0, 255).astype(np.uint8)


def with_cloth(share: float) -> Scene:
    """One animal, and a cloth that lies in the picture for the first ``share`` of the frames."""

    def scene(seed: int) -> fg.Images:
        frames = frames_of(*arena(seed, animals=1))
        frames[: round(share * FRAMES), CLOTH[0], CLOTH[1]] = (210, 205, 190)
        return frames

    return scene


SCENES: dict[str, tuple[int, Scene]] = {
    "two coats": (2, plain()),
    "two look-alikes": (2, plain(look_alike=True)),
    "one": (1, plain(animals=1)),
    "one, with its shadow": (1, plain(animals=1, shadow=True, shadow_reach=0.06)),
    "two, with shadows": (2, plain(shadow=True, shadow_reach=0.06)),
    "two, lamps flicker": (2, plain(flicker=0.05)),
    "three coats": (3, plain(animals=3)),
    "four look-alikes": (4, plain(animals=4, look_alike=True)),
    "large and half as long": (2, of_sizes(1.0, 0.5)),
    "two, touching in 60 %": (2, touching(0.6)),
    "two, touching in 80 %": (2, touching(0.8)),
    "two, both rest 80 %": (2, resting(Rest(0.8), Rest(0.8))),
    "two, both rest 80 %, at 4 places": (2, resting(Rest(0.8, 4), Rest(0.8, 4))),
    "two, one rests 80 %": (2, resting(Rest(0.8), Rest())),
    "two, one there for 30 %": (2, leaving(0.3)),
    "two, one there for 15 %": (2, leaving(0.15)),
    "one, and a cloth for 30 %": (1, with_cloth(0.3)),
}
"""True number of animals of each rendered scene."""

RECORDINGS: dict[str, int] = {
    "two_flies/fly120s/20190128_113421.120s.mp4": 2,
    "two_flies/centered_pair/centered_pair_small.mp4": 2,
    "spiders/spider_video.mp4": 2,
    "mouse_openfield/videos/m3v1mp4.mp4": 1,
}
"""True number of animals of each recording below KP_DATA."""


def sampled_of(frames: fg.Images, name: str, fps: float = 25.0) -> Sampled:
    """Frames (T, h, w, 3) as if read from a video."""
    size = (frames.shape[1], frames.shape[2])
    info = VideoInfo(Path(f"{name}.mp4"), name, size, fps, len(frames), len(frames) / fps, "raw", "rgb24")
    number = np.arange(len(frames))
    return Sampled(info, frames, number, number / fps, len(frames), True, 1.0)


def row(name: str, true: int, count: AnimalCount) -> str:
    """A line of the Markdown table."""
    alike = ("yes" if count.look_alike else "no") if count.animals > 1 else ""
    return (
        f"| {name} | {true} | {count.animals} | {count.certainty:.2f} | {alike} | {100 * count.touching:.0f} % "
        f"| {count.reason} |"
    )


def table(only: str, seed: int, data: Path | None) -> Iterator[str]:
    """Lines of a Markdown table of the scenes, and of the recordings below ``data``, whose names contain ``only``."""
    yield "| | animals | counted | certainty | look alike | touching | reason |"
    yield "|---|---|---|---|---|---|---|"
    for name, (true, scene) in SCENES.items():
        if only in name:
            yield row(name, true, measure(sampled_of(scene(seed), name)).count)
    for file, true in RECORDINGS.items() if data else ():
        if only in file:
            yield row(Path(file).parts[-2], true, measure(sample(data / file)).count)  # type: ignore[operator]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m lightning_kp.studies.counting", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of the animals' walk (default: 0)")
    parser.add_argument("--only", default="", help="only the scenes and files whose name contains this")
    given = parser.parse_args(arguments)
    data = os.environ.get("KP_DATA")
    for line in table(given.only, given.seed, Path(data) if data else None):
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
