"""Picture of what each preprocessing does to a video: frames, and the differences that a method would see."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_kp.errors import DataError
from lightning_kp.files import printable, writing
from lightning_kp.frames.placements import Placements
from lightning_kp.frames.preprocessing import MIN_SCENE_FRAMES, Preprocessing, Preprocessor
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
"""Preprocessings by name: the first three are values of ``shadow``, the others of ``registration``."""
PAIRS_SHOWN = 3
SCENE_FRAMES = 24  # further frames, from which the scene is learnt


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
    """Write one PNG with a row for the unprocessed frames and one for each preprocessing; return its path.

    Each row shows three frames from the first ``frames`` frames of the video.  Beside each frame are its SSIM
    difference and its absolute difference from the frame ``gap`` later.

    Args:
        video: Video file or folder of images.
        path: PNG file to write.
        names: Keys of :data:`CHOICES`.
        gap: Gap of a frame pair, in frames.
        size: Side of the network's image, in pixels.
        fit: How a frame is fitted into the square.
        boxes: Crop, as in ``--data.boxes``.
        frames: Number of frames used, from the beginning of the video.

    Raises:
        DataError: if the video is too short or the file cannot be written.
    """
    now, later, spread, placements = _sampled(video, gap, size, fit, boxes, frames)
    rows = [("unprocessed", now, later)]
    for name in names:
        preprocessor = Preprocessor.learn(CHOICES[name], placements(0), spread, str(video))
        rows.append((name, preprocessor(now).squares, preprocessor(later).squares))
    try:
        with writing(path) as file:
            _canvas(
                rows, f"{printable(Path(video).name)}: effect of preprocessing; differences over {gap} frames"
            ).print_png(file)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror}.", remedy="Choose another --out."
        ) from error
    return path


def _sampled(
    video: str | Path, gap: int, size: int, fit: Fit, boxes: Boxes, frames: int
) -> tuple[Image, Image, Image, Placements]:
    """Frames to show, the frames ``gap`` later, and further frames of the scene: uint8 (N, size, size, 3) each."""
    with open_video(video) as reader:
        placements = Placements(reader.info, size, fit, boxes)
        count = min(reader.info.n_frames or frames, frames)
        if count < gap + MIN_SCENE_FRAMES:
            raise DataError(
                f"{video} has {count} frames; a preview with a gap of {gap} frames "
                f"needs at least {gap + MIN_SCENE_FRAMES}.",
                remedy="Give a longer video.",
            )
        shown = [int(i) for i in np.linspace(0, count - gap - 1, PAIRS_SHOWN + 2).round()[1:-1]]
        spread = {int(i) for i in np.linspace(0, count - 1, SCENE_FRAMES).round()}
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
        raise DataError(
            f"{video} has fewer frames than its header states.", remedy="Convert the video again."
        )
    now, later = (np.stack([kept[i + by] for i in shown]) for by in (0, gap))
    return now, later, np.stack([kept[i] for i in sorted(spread & kept.keys())]), placements


def _decoded(reader: Any) -> Any:
    yield from reader.decode()


def _canvas(rows: Sequence[tuple[str, Image, Image]], title: str) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(2 * 3 * PAIRS_SHOWN, 2.15 * len(rows) + 0.6), layout="constrained", facecolor="white"
    )
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots(len(rows), 3 * PAIRS_SHOWN, squeeze=False)
    for number, (line, (name, now, later)) in enumerate(zip(axes, rows, strict=True)):
        pictures = _pictures(now, later)
        for column, (axis, (label, picture)) in enumerate(zip(line, pictures, strict=True)):
            axis.imshow(picture, **({"cmap": "gray", "vmin": 0, "vmax": 1} if picture.ndim == 2 else {}))
            axis.set(xticks=[], yticks=[])
            if number == 0:
                axis.set_title(label, fontsize=9)
            if column == 0:
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
