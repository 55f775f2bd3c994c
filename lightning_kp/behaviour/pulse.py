"""Pulse rate: the frequency at which the keypoints of an animal contract and expand (000, 5.7, jellyfish).

The signal is the mean distance between all pairs of the most confident keypoints; its spectrogram has a band at the
frequency of the pulse.  Ours: the frequency over time, and the times without a pulse.
"""

import csv
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.files import writing, writing_text
from lightning_kp.tracks.table import Tracks
from lightning_kp.tracks.trajectories import fill_gaps

Floats = NDArray[np.floating[Any]]
KEYPOINTS_USED = 5  # the most confident ones (000, 5.7)
MIN_SHARE = 0.5  # of a window's power that lies in the highest peak if there is a pulse (ours)
HALF_PEAK = 2.0  # half the width of a peak in 1 / window, that of the main lobe of a Hann window
HOPS_PER_WINDOW = 8  # overlap of the windows: each starts one hop after the one before


@dataclass(frozen=True, eq=False)
class Pulse:
    """Pulse of one animal: N frames, M windows, F frequencies.

    Attributes:
        seconds: Times (N,) of the frames.
        signal_px: Mean distance (N,) of the keypoints in pixels.
        window_seconds: Times (M,) of the middle of each window.
        frequency_hz: Frequency (M,) of the highest peak.
        share: Share (M,) of the power that lies in this peak, in [0, 1].
        amplitude_px: Standard deviation (M,) of the signal in pixels.
        frequencies_hz: Frequencies (F,) of the spectrogram.
        power: Spectrogram (M, F).
        keypoints: Names of the keypoints that were used.
    """

    seconds: Floats
    signal_px: Floats
    window_seconds: Floats
    frequency_hz: Floats
    share: Floats
    amplitude_px: Floats
    frequencies_hz: Floats
    power: Floats
    keypoints: tuple[str, ...]

    @property
    def is_pulsing(self) -> NDArray[np.bool_]:
        """Windows (M,) bool in which one frequency has most of the power."""
        return np.asarray(self.share >= MIN_SHARE)

    @property
    def typical_hz(self) -> float:
        """Median frequency of the pulsing windows; NaN without a pulse."""
        return float(np.median(self.frequency_hz[self.is_pulsing])) if self.is_pulsing.any() else float("nan")


def find_pulse(
    tracks: Tracks,
    *,
    keypoints: int = KEYPOINTS_USED,
    animal: int = 0,
    window_s: float = 4.0,
    low_hz: float = 0.5,
    high_hz: float | None = None,
) -> Pulse:
    """Measure the pulse of one animal.

    Args:
        tracks: Points (N, I, K, 2) in pixels.
        keypoints: Number of keypoints to use, the most confident ones.
        animal: Index of the animal, from 0.
        window_s: Length of a window in seconds.
        low_hz: Lowest frequency of a pulse.
        high_hz: Highest frequency of a pulse; by default half the frame rate.

    Raises:
        ConfigurationError: An option does not fit the tracks.
        DataError: The frame rate is unknown, or the tracks are shorter than a window.
    """
    fps = tracks.fps
    _check(tracks, keypoints, animal, window_s, low_hz)
    chosen = most_confident(tracks, keypoints, animal)
    signal = mean_distance(tracks.points_px[:, animal, chosen])
    length = round(window_s * fps)
    starts = np.arange(0, len(signal) - length + 1, max(1, length // HOPS_PER_WINDOW))
    parts = np.lib.stride_tricks.sliding_window_view(signal, length)[starts]
    parts = parts - parts.mean(axis=1, keepdims=True)
    padded = 4 * length  # zero padding gives finer steps of frequency, and so a more exact peak
    power = np.abs(np.fft.rfft(parts * np.hanning(length), padded, axis=1)) ** 2
    frequencies = np.fft.rfftfreq(padded, 1 / fps)
    inside = (frequencies >= low_hz) & (frequencies <= (high_hz or fps / 2))
    if not inside.any():
        raise ConfigurationError(
            f"No frequency lies between {low_hz} and {high_hz} Hz at {fps:g} frames per second.",
            remedy="Give --low-hz and --high-hz below half the frame rate.",
        )
    own = np.where(_is_flank(power, inside), 0, power)[:, inside]
    frequencies, power = frequencies[inside], power[:, inside]
    peak = frequencies[own.argmax(axis=1)]
    near = np.abs(frequencies[None] - peak[:, None]) <= HALF_PEAK / window_s
    return Pulse(
        tracks.times_s, signal, tracks.times_s[0] + (starts + length / 2) / fps, peak,
        (own * near).sum(axis=1) / np.maximum(power.sum(axis=1), 1e-12),
        parts.std(axis=1), frequencies, power, tuple(tracks.keypoint_names[k] for k in chosen),
    )  # fmt: skip


def _is_flank(power: Floats, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where spectra (M, F) still fall from the lower end of the band: leakage of a slower motion, not a pulse."""
    rises = np.diff(power, axis=1, prepend=0) >= 0
    return np.asarray(np.maximum.accumulate(rises & inside, axis=1) == 0)


def most_confident(tracks: Tracks, number: int, animal: int = 0) -> list[int]:
    """Indices of the keypoints of the highest mean confidence, in ascending order; absent keypoints count as 0."""
    confidence = np.nan_to_num(tracks.confidence[:, animal]).mean(axis=0)
    return sorted(np.argsort(-confidence, kind="stable")[:number].tolist())


def mean_distance(points_px: NDArray[np.float32]) -> Floats:
    """Mean distance (N,) in pixels between all pairs of points (N, K, 2); gaps (NaN) are interpolated linearly."""
    filled = fill_gaps(points_px, len(points_px)).astype(np.float64)
    pairs = list(combinations(range(filled.shape[1]), 2))
    total = sum(np.linalg.norm(filled[:, a] - filled[:, b], axis=-1) for a, b in pairs)
    return np.asarray(total / len(pairs))


def write_pulse(pulse: Pulse, folder: Path, name: str) -> list[Path]:
    """Write ``<name>.pulse.csv``, one row per window, and the plot ``<name>.pulse.png``; returns both paths."""
    table, picture = folder / f"{name}.pulse.csv", folder / f"{name}.pulse.png"
    with writing_text(table) as file:
        writer = csv.writer(file)
        writer.writerow(("time_s", "frequency_hz", "share", "amplitude_px", "pulsing"))
        columns = (pulse.window_seconds, pulse.frequency_hz, pulse.share, pulse.amplitude_px)
        for *numbers, pulsing in zip(*columns, pulse.is_pulsing, strict=True):
            writer.writerow((*(f"{number:.4f}" for number in numbers), int(pulsing)))
    _draw(pulse, picture)
    return [table, picture]


def _draw(pulse: Pulse, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.6), layout="constrained", facecolor="white")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    above.plot(pulse.seconds, pulse.signal_px, color="#0072B2", linewidth=0.7)
    above.set_ylabel("mean distance (px)")
    above.set_title(f"{', '.join(pulse.keypoints)}: {_summary(pulse)}", fontsize=10, loc="left")
    decibels = 10 * np.log10(pulse.power.T / max(pulse.power.max(), 1e-12) + 1e-12)
    image: Any = below.pcolormesh(
        pulse.window_seconds,
        pulse.frequencies_hz,
        decibels,
        vmin=-50,
        vmax=0,
        cmap="cividis",
        shading="nearest",
    )
    shown = np.where(pulse.is_pulsing, pulse.frequency_hz, np.nan)
    below.plot(pulse.window_seconds, shown, ".", color="#D55E00", markersize=3, label="pulse")
    below.set(xlabel="time (s)", ylabel="frequency (Hz)")
    below.legend(loc="upper right", frameon=True)
    figure.colorbar(image, ax=below, label="power (dB)")
    with writing(path) as file:
        FigureCanvasAgg(figure).print_png(file)


def _summary(pulse: Pulse) -> str:
    if not pulse.is_pulsing.any():
        return "no pulse"
    return f"{pulse.typical_hz:.2f} Hz while pulsing ({pulse.is_pulsing.mean():.0%} of the time)"


def _check(tracks: Tracks, keypoints: int, animal: int, window_s: float, low_hz: float) -> None:
    animals, number = tracks.points_px.shape[1:3]
    if not tracks.fps > 0:
        raise DataError(
            f"The frame rate of {tracks.video or 'these tracks'} is unknown.",
            remedy="Use tracks with their .json file beside them, as `kp track` writes them.",
        )
    if not 2 <= keypoints <= number:
        raise ConfigurationError(
            f"{keypoints} keypoints were requested, but the tracks have {number}.",
            remedy=f"Give --keypoints from 2 to {number}."
            if number >= 2
            else "Give tracks of at least 2 keypoints.",
        )
    if not 0 <= animal < animals:
        raise ConfigurationError(
            f"There is no animal {animal + 1}; the tracks have {animals}.",
            remedy=f"Give --animal from 1 to {animals}.",
        )
    if window_s * low_hz < 1 or window_s * tracks.fps < 8:
        raise ConfigurationError(
            f"A window of {window_s:g} s is too short for {low_hz:g} Hz at {tracks.fps:g} frames per second.",
            remedy="Give a longer --window-s, or a higher --low-hz.",
        )
    if len(tracks) < window_s * tracks.fps:
        raise DataError(
            f"The tracks last {len(tracks) / tracks.fps:.1f} s, shorter than one window of {window_s:g} s.",
            remedy="Give a shorter --window-s.",
        )
