"""How well animals are found that rest for most of a video: the learnt background against the plain median.

``python -m lightning_kp.studies.resting`` renders arena videos in which the animals rest for given shares of the time,
takes a background from each, and prints a table: in which share of the frames each animal stands out from it, and in
which share something stands out where no animal is.  It takes some minutes on one core.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.arena.body import BODY, NECK, TAIL_BASE, ArenaSettings, ArenaTruth
from lightning_kp.arena.recording import render_frames, simulate
from lightning_kp.geometry import normalise
from lightning_kp.motion import foreground as fg
from lightning_kp.motion.background import sampled_background

WALK_FRAMES = 300
MEDIAN_FRAMES = 128
EVALUATED = 200
ON_ANIMAL = 0.5  # share of three discs along the back that must differ from the background
DISC = 0.02  # radius of these discs, in image sides
FAR = 0.1  # distance from every midline, in image sides, beyond which a difference shows no animal
MANY_PIXELS = 0.002  # share of the image that is a ghost and not noise

Index = NDArray[np.int64]


class Rest(NamedTuple):
    """How an animal spends a video: the share of the time that it rests, at how many places."""

    share: float = 0.0
    places: int = 1


CASES: dict[str, tuple[Rest, Rest]] = {
    "both walk": (Rest(), Rest()),
    "both rest 20 %": (Rest(0.2), Rest(0.2)),
    "both rest 50 %": (Rest(0.5), Rest(0.5)),
    "both rest 60 %": (Rest(0.6), Rest(0.6)),
    "both rest 80 %": (Rest(0.8), Rest(0.8)),
    "both rest 80 %, at 4 places": (Rest(0.8, 4), Rest(0.8, 4)),
    "both rest 95 %": (Rest(0.95), Rest(0.95)),
    "both rest 95 %, at 4 places": (Rest(0.95, 4), Rest(0.95, 4)),
    "one rests 50 %": (Rest(0.5), Rest()),
    "one rests 80 %": (Rest(0.8), Rest()),
    "one rests 95 %": (Rest(0.95), Rest()),
    "one rests 95 %, at 4 places": (Rest(0.95, 4), Rest()),
}


def timeline(frames: int, rest: Rest, walk: int = WALK_FRAMES) -> Index:
    """Frame of a walk of ``walk`` frames that is shown at each of ``frames`` times, (T,).

    The animal walks forth and back at its own speed, and stands still for ``rest.share`` of the time, divided among
    ``rest.places`` equal stops, the first at the beginning.
    """
    resting = round(rest.share * frames)
    moving = frames - resting
    there_and_back = np.concatenate((np.arange(walk), np.arange(walk)[::-1]))
    shown = there_and_back[np.arange(moving) % len(there_and_back)]
    stops = np.linspace(0, moving, rest.places, endpoint=False).astype(int)
    lengths = np.diff(np.linspace(0, resting, rest.places + 1).round().astype(int))
    return np.insert(shown, np.repeat(stops, lengths), np.repeat(shown[stops % max(moving, 1)], lengths))


def rearranged(truth: ArenaTruth, indices: Sequence[Index]) -> ArenaTruth:
    """The truth of a video in which animal i does at time t what it does in frame ``indices[i][t]`` of ``truth``."""
    columns = np.arange(len(indices))
    rows = np.stack(indices, axis=1)
    return dataclasses.replace(
        truth,
        points_px=truth.points_px[rows, columns], visible=truth.visible[rows, columns],
        behaviour=truth.behaviour[rows, columns], gap_px=truth.gap_px[rows, columns],
        midline_px=truth.midline_px[rows, columns], layer=truth.layer[rows, columns],
        camera_px=truth.camera_px[rows[:, 0]],
    )  # fmt: skip


def empty_arena(settings: ArenaSettings, truth: ArenaTruth) -> fg.Images:
    """The arena without animals and noise, (h, w, 3), uint8."""
    empty = dataclasses.replace(truth, midline_px=truth.midline_px[:1, :0], layer=truth.layer[:1, :0])
    return next(render_frames(dataclasses.replace(settings, noise=0.0, frames=1), empty))


def standing_out(images: fg.Images, truth: ArenaTruth, background: fg.Images) -> tuple[float, float]:
    """Share of the animals in images (T, h, w, 3) that differ from a background, and of images that differ elsewhere.

    ``truth`` is that of the images.
    """
    masks = fg.foreground(images, background)
    size = images.shape[1]
    back = normalise(truth.midline_px[:, :, (NECK, BODY, TAIL_BASE)], (size, size))
    share = np.stack(
        [fg.share_under(masks, back[:, i], DISC * size).mean(axis=1) for i in range(back.shape[1])]
    )
    pixels = np.argwhere(np.ones((size, size), dtype=bool))[:, None, ::-1]
    elsewhere = []
    for mask, midlines in zip(masks, truth.midline_px, strict=True):
        changed = pixels[mask.ravel()]
        nodes = midlines.reshape(-1, 2)
        far = np.linalg.norm(changed - nodes, axis=-1).min(axis=1) > FAR * size
        elsewhere.append(far.sum() > MANY_PIXELS * size**2)
    return float((share >= ON_ANIMAL).mean()), float(np.mean(elsewhere))


def compare(
    settings: ArenaSettings, truth: ArenaTruth, rests: tuple[Rest, Rest], frames: int
) -> dict[str, tuple[float, float]]:
    """Result of :func:`standing_out` against the median, the learnt background, and the empty arena."""
    shown = rearranged(truth, [timeline(frames, rest, len(truth.layer)) for rest in rests])
    every = dataclasses.replace(settings, frames=frames)
    images = np.stack(list(render_frames(every, shown)))
    rows = np.linspace(0, frames - 1, EVALUATED).round().astype(int)
    backgrounds = {
        "median": fg.median_background(images, max_images=MEDIAN_FRAMES),
        "learnt": sampled_background(images),
        "empty": empty_arena(settings, truth),
    }
    part = rearranged(shown, [rows] * len(rests))
    return {name: standing_out(images[rows], part, image) for name, image in backgrounds.items()}


def table(cases: Sequence[str], size: int, frames: int, seed: int) -> Iterator[str]:
    """Lines of a Markdown table, one for each of the ``cases``."""
    yield "| | found: median | learnt | empty arena | elsewhere: median | learnt | empty arena |"
    yield "|---|---|---|---|---|---|---|"
    settings = ArenaSettings(size=size, frames=WALK_FRAMES, seed=seed)
    truth = simulate(settings)
    for case in cases:
        result = compare(settings, truth, CASES[case], frames)
        cells = [f"{100 * result[name][column]:.1f} %" for column in (0, 1) for name in result]
        yield f"| {case} | {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m lightning_kp.studies.resting", description=__doc__)
    parser.add_argument("--size", type=int, default=128, help="image side in pixels (default: 128)")
    parser.add_argument("--frames", type=int, default=1000, help="frames of each video (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the animals' walk (default: 0)")
    parser.add_argument("--only", default="", help="only the cases whose name contains this")
    given = parser.parse_args(arguments)
    for line in table([case for case in CASES if given.only in case], given.size, given.frames, given.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
