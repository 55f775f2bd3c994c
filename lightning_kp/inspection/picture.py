"""Picture of an inspection: the background, and where, when and how far animals move."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_kp.errors import DataError
from lightning_kp.files import printable, writing
from lightning_kp.inspection.advice import crop_text
from lightning_kp.inspection.videos import Inspection, VideoInspection
from lightning_kp.motion.boxes import followed_animals

# Okabe and Ito's colours, which colour-blind readers can distinguish.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#6e6e6e"
MAX_VIDEOS = 8  # in one picture; more would be too small to read
MAX_STEP = 2.0  # animal sizes; longer steps are drawn here


def write_picture(inspection: Inspection, path: Path) -> Path:
    """Write one PNG with four panels for each of the first eight videos; return its path.

    Raises DataError if it cannot be written.
    """
    try:
        with writing(path) as file:
            _canvas(inspection.videos[:MAX_VIDEOS]).print_png(file)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror}.", remedy="Choose another --out."
        ) from error
    return path


def _canvas(videos: Sequence[VideoInspection]) -> Any:
    """Canvas with one block of panels for each video."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.2 * len(videos)), layout="constrained", facecolor="white")
    for part, video in zip(figure.subfigures(len(videos), 1, squeeze=False)[:, 0], videos, strict=True):
        _draw(part, video)
    return FigureCanvasAgg(figure)


def _draw(figure: Any, video: VideoInspection) -> None:
    gap, box, size, keypoints = (choice.value for choice in video.suggestion)
    crop = (
        "crop follows the animal"
        if followed_animals(box)
        else "no crop"
        if box is None
        else f"crop {crop_text(box)}"
    )
    figure.suptitle(
        f"{printable(video.info.path.name)}\n"
        f"suggested: gap {gap} frames, image size {size} px, {keypoints} keypoints, {crop}",
        fontsize=11,
    )
    (scene, motion_map), (times, steps) = figure.subplots(2, 2, height_ratios=(1.6, 1))
    _draw_scene(scene, video)
    _draw_motion_map(motion_map, video)
    _draw_times(times, video)
    _draw_steps(steps, video)


def _extent(video: VideoInspection) -> tuple[float, float, float, float]:
    height, width = video.info.frame_size
    return (0, width, height, 0)


def _draw_scene(axes: Any, video: VideoInspection) -> None:
    axes.imshow(video.measured.background, extent=_extent(video))
    if video.measured.size_px > 0:
        _draw_size_square(axes, video)
    axes.set_title("Background: the scene without anything that moves", fontsize=9)
    axes.tick_params(labelsize=8)


def _draw_size_square(axes: Any, video: VideoInspection) -> None:
    """Draw a square of the measured size in the corner, so that a wrong size is noticed at once."""
    from matplotlib.patches import Rectangle

    height, width = video.info.frame_size
    side, margin = video.measured.size_px, 0.02 * max(height, width)
    corner = (margin, height - margin - side)
    axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=ORANGE, linewidth=2))
    axes.annotate(
        f"measured size of the animal: {side:.0f} px",
        (margin + side, height - margin - side / 2),
        xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=ORANGE,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip


def _draw_motion_map(axes: Any, video: VideoInspection) -> None:
    from matplotlib.patches import Rectangle

    measured = video.measured
    grey = measured.background.mean(axis=-1)
    axes.imshow(0.35 * grey + 160, cmap="gray", vmin=0, vmax=255, extent=_extent(video))
    busy = np.ma.masked_less_equal(measured.occupancy, 0)
    axes.imshow(np.sqrt(busy), cmap="viridis", extent=_extent(video), vmin=0)
    title = "Where something moved (yellow: often)"
    box = video.suggestion.box.value
    if box is not None and not isinstance(box, str):
        left, top, right, bottom = box
        frame = Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=ORANGE, linewidth=2)
        axes.add_patch(frame)
        title += "; orange: suggested crop"
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=8)


def _draw_times(axes: Any, video: VideoInspection) -> None:
    measured = video.measured
    axes.plot(measured.time_s, 100 * measured.motion, ".", color=BLUE, markersize=3)
    axes.set(xlabel="time (s)", ylabel="% of the frame", ylim=(0, None))
    axes.set_title("Share of the frame that differs from the background", fontsize=9)
    _tidy(axes)


def _draw_steps(axes: Any, video: VideoInspection) -> None:
    steps, gap = video.measured.steps, video.suggestion.gap.value
    axes.set_title(f"Distance moved within the suggested gap of {gap} frames", fontsize=9)
    axes.set(xlabel="distance (animal sizes)", ylabel="% of the frames")
    _tidy(axes)
    if not len(steps) or not math.isfinite(video.measured.speed):
        axes.text(0.5, 0.5, "nothing moved", ha="center", va="center", transform=axes.transAxes, color=GREY)
        return
    share = np.full(len(steps), 100 / len(steps))
    axes.hist((steps * gap).clip(0, MAX_STEP), bins=np.linspace(0, MAX_STEP, 41), weights=share, color=BLUE)
    lively = video.measured.speed * gap / video.info.fps
    if lively < MAX_STEP:
        axes.axvline(lively, color=ORANGE, linewidth=2)
        axes.annotate(
            "a quarter of the frames is\nto the right of this line",
            (lively, 0.95), xycoords=("data", "axes fraction"), xytext=(5, 0), textcoords="offset points",
            va="top", fontsize=8, color=ORANGE,
        )  # fmt: skip


def _tidy(axes: Any) -> None:
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
