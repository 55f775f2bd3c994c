"""``kp measure pulse|wind TRACKS``: physical quantities from the tracks of keypoints (000, section 5.7)."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_kp.command.arguments import VerbParser, positive
from lightning_kp.errors import ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from lightning_kp.behaviour.wind import Clip

PULSE = (
    "Compute the spectrogram of the mean distance between the most confident keypoints, and the pulse frequency "
    "over time. Writes <name>.pulse.csv and <name>.pulse.png."
)
WIND = (
    "Fit wind speed to the fourth root of the standard deviation of the keypoints' hull area, or apply a factor "
    "that was fitted before. Writes wind.csv, wind.json and wind.png."
)
MAX_KEYPOINTS = 5  # of the pulse, unless --keypoints is given
TRACKS_HELP = ".csv, .slp or .dlc files written by kp track"


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    quantities = {"pulse": pulse, "wind": wind}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            "usage: kp measure pulse|wind TRACKS ...",
            "",
            f"  pulse  {PULSE}",
            f"  wind   {WIND}",
            "",
            "kp measure pulse --help and kp measure wind --help list the options.",
            sep="\n",
        )
        return 0
    if arguments[0] not in quantities:
        raise ConfigurationError(
            f"kp measure cannot measure '{arguments[0]}'.",
            remedy=did_you_mean(arguments[0], quantities)
            or "Type kp measure pulse TRACKS or kp measure wind TRACKS.",
        )
    return quantities[arguments[0]](arguments[1:])


def pulse(arguments: list[str]) -> int:
    """``kp measure pulse``: how fast a jellyfish, or anything else, pulses."""
    parser = VerbParser("measure pulse", PULSE)
    parser.add_argument("tracks", nargs="+", help=TRACKS_HELP)
    parser.add_argument("--out", default="runs/pulse", help="folder of the results (default: runs/pulse)")
    parser.add_argument(
        "--keypoints",
        type=positive,
        help=f"use this many of the most confident keypoints (default: {MAX_KEYPOINTS}, or all if there are fewer)",
    )
    parser.add_argument(
        "--animal", type=positive, default=1, help="number of the animal, from 1 (default: 1)"
    )
    parser.add_argument("--window-s", type=float, default=4.0, help="window length in seconds (default: 4)")
    parser.add_argument("--low-hz", type=float, default=0.5, help="lowest frequency in Hz (default: 0.5)")
    parser.add_argument(
        "--high-hz", type=float, help="highest frequency in Hz (default: half the frame rate)"
    )
    given = parser.parse_args(arguments)

    from lightning_kp.behaviour.pulse import find_pulse, write_pulse
    from lightning_kp.behaviour.recordings import recording_name, unique_recordings
    from lightning_kp.tracks.reading import read_tracks

    for file in unique_recordings([Path(name) for name in given.tracks]):
        tracks = read_tracks(file)
        found = find_pulse(
            tracks, keypoints=given.keypoints or min(MAX_KEYPOINTS, tracks.points_px.shape[2]),
            animal=given.animal - 1, window_s=given.window_s, low_hz=given.low_hz, high_hz=given.high_hz,
        )  # fmt: skip
        write_pulse(found, Path(given.out), recording_name(file))
        share = found.is_pulsing.mean()
        result = f"{found.typical_hz:.2f} Hz while pulsing, {share:.0%} of the time" if share else "no pulse"
        print(f"{recording_name(file)}: {result}")
    print(f"Results: {given.out}")
    return 0


def wind(arguments: list[str]) -> int:
    """``kp measure wind``: wind speed from the sway of keypoints on a tree."""
    parser = VerbParser("measure wind", WIND)
    parser.add_argument("tracks", nargs="+", help=f"{TRACKS_HELP}, one per clip")
    parser.add_argument(
        "--speeds", help="csv with the columns video and speed and, optionally, start_s and stop_s"
    )
    parser.add_argument("--coefficient", type=float, help="factor fitted before, for clips without --speeds")
    parser.add_argument("--out", default="runs/wind", help="folder of the results (default: runs/wind)")
    given = parser.parse_args(arguments)

    from lightning_kp.behaviour.wind import WindLaw, fit_wind, write_wind

    if given.speeds is None and given.coefficient is None:
        raise ConfigurationError(
            "kp measure wind needs measured wind speeds, or a factor that was fitted before.",
            remedy="Give --speeds FILE or --coefficient NUMBER.",
        )
    clips = _clips([Path(name) for name in given.tracks], given.speeds)
    law = fit_wind(clips) if given.coefficient is None else WindLaw(given.coefficient)
    write_wind(clips, law, Path(given.out))
    for clip in clips:
        measured = "" if math.isnan(clip.speed) else f" (measured {clip.speed:.2f})"
        print(f"{clip.video}: {law.speed(clip.sway):.2f}{measured}")
    fitted = "" if math.isnan(law.r2) else f", R2 = {law.r2:.2f}"
    print(f"speed = {law.coefficient:.4g} * sway{fitted}", f"Results: {given.out}", sep="\n")
    return 0


def _clips(files: list[Path], speeds: str | None) -> "list[Clip]":
    """One clip for each interval with a measured speed, or for each whole file without one."""
    from lightning_kp.behaviour.recordings import recording_name, unique_recordings
    from lightning_kp.behaviour.wind import Clip, read_speeds, sway
    from lightning_kp.errors import DataError
    from lightning_kp.tracks.reading import read_tracks

    measured = read_speeds(Path(speeds)) if speeds is not None else []
    files = unique_recordings(files)
    names = {recording_name(file) for file in files}
    if unknown := sorted({video for video, *_ in measured} - names):
        raise DataError(
            f"{speeds} names the video {unknown[0]}, for which no tracks are given.",
            remedy=f"Tracks are given for: {', '.join(sorted(names))}.",
        )
    clips = []
    for file in files:
        name, tracks = recording_name(file), read_tracks(file)
        parts = [part for part in measured if part[0] == name] or [(name, 0.0, math.inf, math.nan)]
        for _, start, stop, speed in parts:
            end = min(stop, float(tracks.times_s[-1])) if len(tracks) else stop
            clips.append(Clip(name, start, end, sway(tracks, start, stop), speed))
    return clips
