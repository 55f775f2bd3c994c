"""``kp track RUN VIDEOS``: keypoints of new videos with a trained network."""

from lightning_kp.command.arguments import VerbParser, positive, share
from lightning_kp.command.terminal import messages_on_terminal

SUMMARY = "Write the keypoints of every displayed frame. A second call continues where the first one stopped."


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    given = _parser().parse_args(arguments)

    from lightning_kp.api.tracking import track
    from lightning_kp.smoothing.refining import flip_lines
    from lightning_kp.tracks.identity_files import summary_lines

    formats = [name.strip() for name in given.formats.split(",") if name.strip()]
    with messages_on_terminal():
        found = track(
            given.checkpoint, given.videos, out=given.out, boxes=given.boxes, animals=given.animals,
            threshold=given.threshold, batch_size=given.batch_size, device=given.device, engine=given.engine,
            formats=formats, mend=not given.no_mend, smooth=given.smooth, overlay=given.overlay,
        )  # fmt: skip
    for line in (*summary_lines(found.swaps or {}), *flip_lines(found.flips or {})):
        print(line)
    print(f"Results: {found.path / 'tracks'}")
    return 0


def _parser() -> VerbParser:
    parser = VerbParser("track", SUMMARY)
    parser.add_argument("checkpoint", help="a .ckpt file or the folder of a run")
    parser.add_argument("videos", nargs="+", help="video files, folders or globs")
    parser.add_argument("--out", help="folder for tracks/ and overlays/ (default: the run's folder, else .)")
    parser.add_argument(
        "--boxes",
        help="crop frames: follow, follow:N, FILE.csv or left,top,right,bottom (default: as in training)",
    )
    parser.add_argument(
        "--animals",
        type=positive,
        metavar="N",
        help="follow N animals with a square each (default: as in training)",
    )
    parser.add_argument(
        "--threshold",
        "--least",
        dest="threshold",
        metavar="SCORE",
        type=share,
        default=0.0,
        help="leave out animals whose points' mean confidence is lower (`kp score` prints the best threshold)",
    )
    parser.add_argument("--batch-size", type=positive, default=32, help="frames per network pass")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    parser.add_argument(
        "--engine",
        default="auto",
        choices=("auto", "torch", "onnx"),
        help="what computes the network: torch, onnx (ONNX Runtime; faster on a CPU, needs lightning-kp[onnx]), or "
        "auto: onnx where it is installed, agrees with torch and is worth an export (default)",
    )
    parser.add_argument("--formats", default="slp,csv,dlc_csv,dlc_h5", help="which files to write")
    parser.add_argument(
        "--smooth",
        action="store_true",
        help="smooth positions over time (Kalman smoother), never across a gap",
    )
    parser.add_argument(
        "--no-mend",
        action="store_true",
        help="leave keypoints that exchange head and tail as they are; list them only",
    )
    parser.add_argument("--overlay", action="store_true", help="also draw overlays/<video>.mp4")
    return parser
