"""``kp wind TRACKS --speeds FILE``: wind speed from the sway of keypoints on a tree."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_kp.command.arguments import VerbParser

if TYPE_CHECKING:
    from lightning_kp.behaviour.wind import Clip

SUMMARY = (
    "Fit wind speed to the fourth root of the standard deviation of the keypoints' hull area, or apply a known "
    "factor; writes wind.csv, wind.json and wind.png."
)


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = VerbParser("wind", SUMMARY)
    parser.add_argument("tracks", nargs="+", help=".csv, .slp or .dlc files of kp track, one per clip")
    parser.add_argument("--speeds", help="csv with the columns video, speed and, if known, start_s, stop_s")
    parser.add_argument(
        "--coefficient", type=float, help="a factor fitted before, for clips without --speeds"
    )
    parser.add_argument("--out", default="runs/wind", help="folder of the results (default: runs/wind)")
    given = parser.parse_args(arguments)

    from lightning_kp.behaviour.wind import WindLaw, fit_wind, write_wind
    from lightning_kp.errors import ConfigurationError

    if given.speeds is None and given.coefficient is None:
        raise ConfigurationError(
            "kp wind needs measured speeds to fit a law, or the factor of one.",
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
    """One clip for each measured part, or for each whole file where nothing was measured."""
    from lightning_kp.behaviour.recordings import one_of_each, stem_of
    from lightning_kp.behaviour.wind import Clip, read_speeds, sway
    from lightning_kp.errors import DataError
    from lightning_kp.tracks.reading import read_tracks

    measured = read_speeds(Path(speeds)) if speeds is not None else []
    files = one_of_each(files)
    names = {stem_of(file) for file in files}
    if unknown := sorted({video for video, *_ in measured} - names):
        raise DataError(
            f"{speeds} names {unknown[0]}, of which there are no tracks.",
            remedy=f"There are: {', '.join(sorted(names))}.",
        )
    clips = []
    for file in files:
        name, tracks = stem_of(file), read_tracks(file)
        parts = [part for part in measured if part[0] == name] or [(name, 0.0, math.inf, math.nan)]
        for _, start, stop, speed in parts:
            end = min(stop, float(tracks.times_s[-1])) if len(tracks) else stop
            clips.append(Clip(name, start, end, sway(tracks, start, stop), speed))
    return clips
