"""Wind speed from the sway of keypoints on a tree (000, 5.7; Cardona and Dabiri 2021).

The area of the convex hull of the keypoints varies as the branches sway.  Its standard deviation over a clip is the
square of an equivalent sway amplitude, and the mean wind speed is proportional to the square root of that amplitude,
so that it is proportional to the fourth root of the standard deviation of the area.  The factor is valid for one tree
and one camera; it is fitted by least squares to clips with measured wind.
"""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.files import write_whole, writing, writing_text
from lightning_kp.tracks.table import Tracks
from lightning_kp.tracks.trajectories import fill_gaps

Floats = NDArray[np.floating[Any]]


class Clip(NamedTuple):
    """A clip, or the part of one from ``start_s`` to ``stop_s``.

    ``sway`` is the fourth root of the standard deviation of the hull's area, in px^(1/2); ``speed`` the measured mean
    wind speed, NaN = not measured.
    """

    video: str
    start_s: float
    stop_s: float
    sway: float
    speed: float


@dataclass(frozen=True)
class WindLaw:
    """speed = ``coefficient`` * sway; ``r2`` over the clips of the fit, NaN if the coefficient was given."""

    coefficient: float
    r2: float = float("nan")

    def speed(self, sway: float) -> float:
        """Wind speed in the unit of the measured speeds, from a sway in px^(1/2)."""
        return self.coefficient * sway


def hull_area(points: Floats) -> Floats:
    """Area (N,) of the convex hull of points (N, K, 2), in the squared unit of the points; 0 for fewer than three.

    Gift wrapping of all frames at once: from each corner of the hull to the point that has all others on the same
    side.

    Example:
        >>> hull_area(np.array([[[0, 0], [2, 0], [2, 2], [0, 2], [1, 1]]]))
        array([4.])
    """
    points = points.astype(np.float64)
    frames, number = points.shape[:2]
    row = np.arange(frames)
    start = np.lexsort((points[..., 0], points[..., 1]), axis=-1)[:, 0]  # lowest y, then lowest x
    corner, is_open, area = start, np.ones(frames, bool), np.zeros(frames)
    for _ in range(number):
        here = points[row, corner]
        following = np.where(corner == 0, min(1, number - 1), 0)
        for candidate in range(number):
            best, other = points[row, following] - here, points[:, candidate] - here
            turn = _cross(best, other)
            is_farther = (other**2).sum(-1) > (best**2).sum(-1)
            is_better = (turn < 0) | ((turn == 0) & is_farther)
            following = np.where(is_better & (candidate != corner), candidate, following)
        area += np.where(is_open, _cross(here, points[row, following]), 0)
        # compare coordinates, not indices: two points may coincide
        is_open &= (points[row, following] != points[row, start]).any(axis=-1)
        corner = following
        if not is_open.any():
            break
    return np.abs(area) / 2


def sway(tracks: Tracks, start_s: float = 0.0, stop_s: float = math.inf) -> float:
    """Fourth root of the standard deviation of the hull's area in a part of a clip, in px^(1/2).

    Args:
        tracks: Points (N, I, K, 2) in pixels; all keypoints of all animals count, gaps are interpolated linearly.
        start_s: Start of the part in seconds.
        stop_s: End of the part in seconds.

    Raises:
        DataError: The part has fewer than 2 frames or 3 keypoints.
    """
    inside = (tracks.times_s >= start_s) & (tracks.times_s < stop_s)
    if inside.sum() < 2 or tracks.points_px.shape[1] * tracks.points_px.shape[2] < 3:
        raise DataError(
            f"{tracks.video or 'The tracks'}: {int(inside.sum())} frames with "
            f"{tracks.points_px.shape[1] * tracks.points_px.shape[2]} keypoints are too few to measure sway.",
            remedy="Give tracks of at least 3 keypoints, and a part of at least 2 frames.",
        )
    points = fill_gaps(tracks.points_px.reshape(len(tracks), -1, 2), len(tracks))[inside]
    return float(hull_area(points).std() ** 0.25)


def fit_wind(clips: Sequence[Clip]) -> WindLaw:
    """Fit the wind law by least squares without intercept to the clips with a measured wind speed.

    R2 is 1 - residual / total sum of squares, the total about the mean speed; it can be negative.
    Raises DataError for fewer than 2 such clips, or if no clip sways.
    """
    known = [clip for clip in clips if not math.isnan(clip.speed)]
    if len(known) < 2:
        raise DataError(
            f"Fitting the wind law needs measured speeds of at least 2 clips, got {len(known)}.",
            remedy="Give more clips with --speeds, or a known --coefficient.",
        )
    x, y = np.array([clip.sway for clip in known]), np.array([clip.speed for clip in known])
    if not (x**2).sum() > 0:
        raise DataError(
            "The keypoints of these clips do not move.", remedy="Check the tracks with `kp track --overlay`."
        )
    coefficient = float((x * y).sum() / (x**2).sum())
    total = ((y - y.mean()) ** 2).sum()
    r2 = 1 - ((y - coefficient * x) ** 2).sum() / total if total > 0 else float("nan")
    return WindLaw(coefficient, float(r2))


def write_wind(clips: Sequence[Clip], law: WindLaw, folder: Path) -> list[Path]:
    """Write ``wind.csv`` (one row per clip), ``wind.json`` (the law) and ``wind.png``; returns the three paths."""
    table, law_file, picture = (folder / f"wind.{kind}" for kind in ("csv", "json", "png"))
    with writing_text(table) as file:
        writer = csv.writer(file)
        writer.writerow((*Clip._fields, "predicted"))
        writer.writerows((*clip, law.speed(clip.sway)) for clip in clips)
    r2 = None if math.isnan(law.r2) else law.r2
    write_whole(law_file, json.dumps({"coefficient": law.coefficient, "r2": r2}) + "\n")
    _draw(clips, law, picture)
    return [table, law_file, picture]


def read_speeds(path: Path) -> list[tuple[str, float, float, float]]:
    """Read a csv of measured wind speeds as (video without suffix, start_s, stop_s, speed) of each line.

    Without start_s and stop_s a speed is that of the whole video.  Raises DataError for an unreadable file or line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"The file of wind speeds {path} cannot be read ({error.strerror}).") from error
    found = []
    for number, line in enumerate(lines, start=2):
        try:
            start, stop = float(line.get("start_s") or 0), float(line.get("stop_s") or math.inf)
            found.append((Path(line["video"]).stem, start, stop, float(line["speed"])))
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(
                f"{path}, line {number}: {error}.", remedy="It needs the columns video and speed."
            ) from error
    return found


def _cross(a: Floats, b: Floats) -> Floats:
    """Cross product (...) of vectors (..., 2)."""
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def _draw(clips: Sequence[Clip], law: WindLaw, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained", facecolor="white")
    panel = figure.subplots()
    known = [clip for clip in clips if not math.isnan(clip.speed)]
    panel.plot(
        [clip.sway for clip in known], [clip.speed for clip in known], "o", color="#0072B2", label="clips"
    )
    reach = np.array([0, max(clip.sway for clip in clips) * 1.05])
    quality = "" if math.isnan(law.r2) else f", R² = {law.r2:.2f}"
    panel.plot(reach, law.coefficient * reach, color="black", label=f"U = {law.coefficient:.3g} s{quality}")
    panel.set(xlabel="s: fourth root of the standard deviation of the hull's area (px$^{1/2}$)")
    panel.set(ylabel="mean wind speed U", xlim=(0, reach[1]), ylim=(0, None))
    panel.legend(loc="upper left", frameon=False)
    with writing(path) as file:
        FigureCanvasAgg(figure).print_png(file)
