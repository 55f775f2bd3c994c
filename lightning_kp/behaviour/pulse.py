"""How fast something pulses: the frequency at which its keypoints come together and part (000, 5.7, jellyfish).

The signal is the mean distance between all pairs of confident keypoints; its spectrogram shows a band at the
frequency of the pulse.  Ours: the frequency over time, and the times at which there is no pulse.
"""

import csv
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.tracks.table import Tracks
from lightning_kp.tracks.trajectories import fill_gaps

Floats = NDArray[np.floating[Any]]
CONFIDENT = 5  # keypoints (000, 5.7)
SHARE = 0.5  # of a window's power that lies in the peak where something pulses (ours)
HALF_PEAK = 2.0  # half the width of a peak, in 1 / window: that of a Hann window's main lobe
HOP = 8  # windows overlap so that each is this many hops long


@dataclass(frozen=True, eq=False)
class Pulse:
    """``signal_px`` (N,) at ``seconds`` (N,); per window (M,) of the spectrogram its middle ``window_seconds``,
    ``frequency_hz`` of the highest peak, ``share`` of the power that lies in it, ``amplitude_px`` (standard
    deviation of the signal); ``power`` (M, F) at ``frequencies_hz`` (F,); ``keypoints`` that were used."""  # noqa: D205, D209

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
        """Windows (M,) in which one frequency holds most of the power."""
        return np.asarray(self.share >= SHARE)

    @property
    def typical_hz(self) -> float:
        """Median frequency while pulsing; NaN where nothing pulses."""
        return float(np.median(self.frequency_hz[self.is_pulsing])) if self.is_pulsing.any() else float("nan")


def find_pulse(
    tracks: Tracks,
    *,
    keypoints: int = CONFIDENT,
    animal: int = 0,
    window_s: float = 4.0,
    low_hz: float = 0.5,
    high_hz: float | None = None,
) -> Pulse:
    """The pulse of one animal between ``low_hz`` and ``high_hz`` (default: half the frame rate).

    Raises ConfigurationError or DataError where frame rate, length or keypoints do not suffice.
    """
    fps = tracks.fps
    _check(tracks, keypoints, animal, window_s, low_hz)
    chosen = most_confident(tracks, keypoints, animal)
    signal = mean_distance(tracks.points_px[:, animal, chosen])
    length = round(window_s * fps)
    starts = np.arange(0, len(signal) - length + 1, max(1, length // HOP))
    parts = np.lib.stride_tricks.sliding_window_view(signal, length)[starts]
    parts = parts - parts.mean(axis=1, keepdims=True)
    padded = 4 * length  # finer steps between the frequencies, for reading the peak off
    power = np.abs(np.fft.rfft(parts * np.hanning(length), padded, axis=1)) ** 2
    frequencies = np.fft.rfftfreq(padded, 1 / fps)
    inside = (frequencies >= low_hz) & (frequencies <= (high_hz or fps / 2))
    if not inside.any():
        raise ConfigurationError(
            f"No frequency lies between {low_hz} and {high_hz} Hz at {fps:g} frames per second.",
            remedy="Choose --low-hz and --high-hz below half the frame rate.",
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
    """Where spectra (M, F) only fall from the lower end of the band on: what leaks from a slower motion, no pulse."""
    rises = np.diff(power, axis=1, prepend=0) >= 0
    return np.asarray(np.maximum.accumulate(rises & inside, axis=1) == 0)


def most_confident(tracks: Tracks, number: int, animal: int = 0) -> list[int]:
    """The keypoints of highest mean confidence (absent counts as 0), in their own order."""
    confidence = np.nan_to_num(tracks.confidence[:, animal]).mean(axis=0)
    return sorted(np.argsort(-confidence, kind="stable")[:number].tolist())


def mean_distance(points_px: NDArray[np.float32]) -> Floats:
    """Mean distance (N,) between all pairs of points (N, K, 2); gaps are bridged by straight lines."""
    filled = fill_gaps(points_px, len(points_px)).astype(np.float64)
    pairs = list(combinations(range(filled.shape[1]), 2))
    total = sum(np.linalg.norm(filled[:, a] - filled[:, b], axis=-1) for a, b in pairs)
    return np.asarray(total / len(pairs))


def write_pulse(pulse: Pulse, folder: Path, name: str) -> list[Path]:
    """``<name>.pulse.csv``, one row per window, and the picture ``<name>.pulse.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    table, picture = folder / f"{name}.pulse.csv", folder / f"{name}.pulse.png"
    with table.open("w", newline="", encoding="utf-8") as file:
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
    above.set_title(f"{', '.join(pulse.keypoints)}: {_told(pulse)}", fontsize=10, loc="left")
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
    below.set(xlabel="seconds", ylabel="frequency (Hz)")
    below.legend(loc="upper right", frameon=True)
    figure.colorbar(image, ax=below, label="power (dB)")
    with path.open("wb") as file:
        FigureCanvasAgg(figure).print_png(file)


def _told(pulse: Pulse) -> str:
    if not pulse.is_pulsing.any():
        return "no pulse"
    return f"{pulse.typical_hz:.2f} Hz while pulsing ({pulse.is_pulsing.mean():.0%} of the time)"


def _check(tracks: Tracks, keypoints: int, animal: int, window_s: float, low_hz: float) -> None:
    animals, number = tracks.points_px.shape[1:3]
    if not tracks.fps > 0:
        raise DataError(
            f"The frame rate of {tracks.video or 'these tracks'} is not known.",
            remedy="Use tracks with their .json beside them, as `kp track` writes.",
        )
    if not 2 <= keypoints <= number:
        raise ConfigurationError(
            f"{keypoints} keypoints were asked for, the tracks have {number}.",
            remedy="Give --keypoints from 2 to their number.",
        )
    if not 0 <= animal < animals:
        raise ConfigurationError(f"The tracks hold {animals} animals.", remedy="Give --animal from 1 on.")
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
