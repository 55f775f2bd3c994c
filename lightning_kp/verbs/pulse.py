"""``kp pulse TRACKS``: how fast something pulses, from the tracks of its keypoints."""

from pathlib import Path

from lightning_kp.command.arguments import VerbParser, positive

SUMMARY = (
    "Spectrogram of the mean distance between the most confident keypoints, and the frequency over time; "
    "writes <name>.pulse.csv and <name>.pulse.png."
)


MOST = 5  # keypoints whose distances are looked at, unless told


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = VerbParser("pulse", SUMMARY)
    parser.add_argument("tracks", nargs="+", help=".csv, .slp or .dlc files of kp track")
    parser.add_argument("--out", default="runs/pulse", help="folder of the results (default: runs/pulse)")
    parser.add_argument(
        "--keypoints", type=positive, help="how many, the most confident (default: 5, of fewer all)"
    )
    parser.add_argument("--animal", type=positive, default=1, help="which animal, counted from 1")
    parser.add_argument("--window-s", type=float, default=4.0, help="seconds of a window (default: 4)")
    parser.add_argument("--low-hz", type=float, default=0.5, help="lowest frequency (default: 0.5)")
    parser.add_argument("--high-hz", type=float, help="highest frequency (default: half the frame rate)")
    given = parser.parse_args(arguments)

    from lightning_kp.behaviour.pulse import find_pulse, write_pulse
    from lightning_kp.behaviour.recordings import one_of_each, stem_of
    from lightning_kp.tracks.reading import read_tracks

    for file in one_of_each([Path(name) for name in given.tracks]):
        tracks = read_tracks(file)
        found = find_pulse(
            tracks, keypoints=given.keypoints or min(MOST, tracks.points_px.shape[2]), animal=given.animal - 1,
            window_s=given.window_s, low_hz=given.low_hz, high_hz=given.high_hz,
        )  # fmt: skip
        write_pulse(found, Path(given.out), stem_of(file))
        share = found.is_pulsing.mean()
        told = f"{found.typical_hz:.2f} Hz while pulsing, {share:.0%} of the time" if share else "no pulse"
        print(f"{stem_of(file)}: {told}")
    print(f"Results: {given.out}")
    return 0
