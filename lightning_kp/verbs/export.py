"""``kp export RUN``: an ONNX file of a trained keypoint method, compared with torch."""

from pathlib import Path

from lightning_kp.command.arguments import VerbParser
from lightning_kp.command.terminal import messages_on_terminal

SUMMARY = "Write model.onnx for other programs, compared with torch on frames of a video or on random images."


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = VerbParser("export", SUMMARY)
    parser.add_argument("checkpoint", help="a .ckpt file or the folder of a run")
    parser.add_argument("--out", type=Path, help="file to write (default: model.onnx in the run's folder)")
    parser.add_argument("--video", help="compare on frames of this video (default: random images)")
    given = parser.parse_args(arguments)

    from lightning_kp.api.exporting import export

    with messages_on_terminal():
        exported = export(given.checkpoint, out=given.out, video=given.video)
    print(*exported.lines(), f"Result: {exported.path}", sep="\n")
    return 0
