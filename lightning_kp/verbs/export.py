"""``kp export RUN``: an ONNX file of a trained keypoint method, compared with torch before it is left."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_kp.command.arguments import VerbParser

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_kp.frames.view import ViewSettings

SUMMARY = (
    "Write model.onnx for other programs, checked against torch on frames of a video or on made-up images."
)
CHECKED = (1, 3)  # images per batch: the graph has to take any number


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = VerbParser("export", SUMMARY)
    parser.add_argument("checkpoint", help="a .ckpt file or the folder of a run")
    parser.add_argument("--out", type=Path, help="file to write (default: model.onnx in the run's folder)")
    parser.add_argument("--video", help="compare on frames of this video (default: made-up images)")
    given = parser.parse_args(arguments)

    from lightning_kp.checkpoints import find_checkpoint
    from lightning_kp.command.trained import load_for_tracking
    from lightning_kp.errors import ExportError
    from lightning_kp.onnx_export import (
        largest_differences,
        note_of,
        refuse_differences,
        require_onnx,
        write_onnx,
    )

    require_onnx()
    checkpoint = find_checkpoint(given.checkpoint)
    method, view = load_for_tracking(checkpoint, "cpu")
    images = _frames(given.video, view) if given.video else _made_up(view.size)
    path = given.out or _beside(checkpoint)
    names = write_onnx(method, path, view.size, {"fit": view.fit, "preprocessing": view.preprocessing.is_on})
    try:
        differences = largest_differences(method, path, images)
    except ExportError:  # a graph that was not compared is none to be used
        path.unlink(missing_ok=True)
        raise
    refuse_differences(path, differences)
    if view.preprocessing.is_on:
        print("Frames were preprocessed in training (shadows, registration); the graph does not do that.")
    if note := note_of(method):
        print(note)
    for name in names:
        unit = " px" if name == "points" else ""
        print(f"{name}: torch and ONNX differ by at most {differences[name][0]:.2g}{unit}")
    print(f"Result: {path}")
    return 0


def _beside(checkpoint: Path) -> Path:
    run = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    return run / "model.onnx"


def _made_up(size: int) -> "list[Tensor]":
    """Smooth random images: pure noise has maxima that lie within a rounding error of each other."""
    import torch
    import torch.nn.functional as F

    generator = torch.Generator().manual_seed(0)
    coarse = [torch.rand(number, 3, 9, 9, generator=generator) for number in CHECKED]
    return [F.interpolate(each, (size, size), mode="bicubic").clamp(0, 1) for each in coarse]


def _frames(video: str, view: "ViewSettings") -> "list[Tensor]":
    """The first frames of a video as the network sees them."""
    from contextlib import closing

    from lightning_kp.batches import floats_in_unit_range
    from lightning_kp.frames.stream import stream_frames
    from lightning_kp.motion.boxes import per_animal

    boxes = per_animal(view.boxes)[0]
    frames: list[Tensor] = []
    for number in CHECKED:
        stream = stream_frames(
            video, size=view.size, fit=view.fit, boxes=boxes, batch_size=number,
            preprocessing=view.preprocessing,
        )  # fmt: skip
        with closing(stream):
            frames += [floats_in_unit_range(batch.image).contiguous() for batch in islice(stream, 4)]
    return frames
