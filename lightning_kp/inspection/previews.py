"""A picture of what each preprocessing does to a video: frames, and the differences that a method would see."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_kp.errors import DataError
from lightning_kp.frames.placements import Placements
from lightning_kp.frames.preprocessing import FEWEST, Preprocessing, Preprocessor
from lightning_kp.frames.stream import channels_last
from lightning_kp.geometry import Fit
from lightning_kp.images.differences import ssim_difference
from lightning_kp.images.files import Image
from lightning_kp.motion.boxes import Boxes
from lightning_kp.video.opening import open_video

CHOICES: dict[str, Preprocessing] = {
    "hsv": Preprocessing(shadow="hsv"),
    "ssim": Preprocessing(shadow="ssim"),
    "filter": Preprocessing(shadow="filter"),
    "translation": Preprocessing(registration="translation"),
    "similarity": Preprocessing(registration="similarity"),
}
"""What can be previewed, by name; the first three are values of ``shadow``, the others of ``registration``."""
SHOWN = 3  # pairs of frames
SPREAD = 24  # frames beside them, from which the scene is learnt


def write_preview(
    video: str | Path,
    path: Path,
    names: Sequence[str] = tuple(CHOICES),
    *,
    gap: int = 5,
    size: int = 160,
    fit: Fit = "pad",
    boxes: Boxes = None,
    frames: int = 3000,
) -> Path:
    """Write one PNG: a row for the frames as they are and one for each preprocessing; the path.

    For each of three places of the video's first ``frames`` frames: the frame, its SSIM difference
    and its absolute difference to the frame ``gap`` later.  Raises DataError for a video that is too
    short, or a place that cannot be written to.
    """
    now, later, spread, placements = _sampled(video, gap, size, fit, boxes, frames)
    rows = [("as it is", now, later)]
    for name in names:
        preprocessor = Preprocessor.learn(CHOICES[name], placements(0), spread, str(video))
        rows.append((name, preprocessor(now).squares, preprocessor(later).squares))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            _canvas(rows, f"{Path(video).name}: preprocessing, and differences over {gap} frames").print_png(
                file
            )
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror}.", remedy="Choose another --out."
        ) from error
    return path


def _sampled(
    video: str | Path, gap: int, size: int, fit: Fit, boxes: Boxes, frames: int
) -> tuple[Image, Image, Image, Placements]:
    """Frames to show, those ``gap`` later, and others for the scene, as squares."""
    with open_video(video) as reader:
        placements = Placements(reader.info, size, fit, boxes)
        count = min(reader.info.n_frames or frames, frames)
        if count < gap + FEWEST:
            raise DataError(f"{video} has {count} frame(s).", remedy="A preview needs longer videos.")
        shown = [int(i) for i in np.linspace(0, count - gap - 1, SHOWN + 2).round()[1:-1]]
        spread = {int(i) for i in np.linspace(0, count - 1, SPREAD).round()}
        wanted = spread | {start + later for start in shown for later in (0, gap)}
        kept: dict[int, Image] = {}
        with closing(_decoded(reader)) as decoded:
            for frame in decoded:
                if frame.index >= count:
                    break
                if frame.index in wanted:
                    kept[frame.index] = frame.prepared(placements(0))
    missing = [i for i in shown if i not in kept or i + gap not in kept]
    if missing:
        raise DataError(f"{video} holds fewer frames than it promises.", remedy="Convert it again.")
    now, later = (np.stack([kept[i + by] for i in shown]) for by in (0, gap))
    return now, later, np.stack([kept[i] for i in sorted(spread & kept.keys())]), placements


def _decoded(reader: Any) -> Any:
    yield from reader.decode()


def _canvas(rows: Sequence[tuple[str, Image, Image]], title: str) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 * 3 * SHOWN, 2.15 * len(rows) + 0.6), layout="constrained", facecolor="white")
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots(len(rows), 3 * SHOWN, squeeze=False)
    for line, (name, now, later) in zip(axes, rows, strict=True):
        pictures = _pictures(now, later)
        for place, (axis, (what, picture)) in enumerate(zip(line, pictures, strict=True)):
            axis.imshow(picture, **({"cmap": "gray", "vmin": 0, "vmax": 1} if picture.ndim == 2 else {}))
            axis.set(xticks=[], yticks=[])
            if line is axes[0]:
                axis.set_title(what, fontsize=9)
            if place == 0:
                axis.set_ylabel(name, fontsize=11)
    return FigureCanvasAgg(figure)


def _pictures(now: Image, later: Image) -> list[tuple[str, Any]]:
    first, second = (channels_last(part).float() / 255 for part in (now, later))
    structure = ssim_difference(first, second)[:, 0].clamp(0, 1).numpy()
    absolute = torch.clamp((second - first).abs().amax(dim=1) * 3, max=1).numpy()
    shown = []
    for i in range(len(now)):
        shown += [("frame", now[i]), ("SSIM difference", structure[i]), ("|difference| x 3", absolute[i])]
    return shown
