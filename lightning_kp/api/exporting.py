"""Write a network for other programs: ``kp.export(run)``."""

from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.api.paths import PathLike
from lightning_kp.batches import floats_in_unit_range
from lightning_kp.checkpoints import find_checkpoint
from lightning_kp.command.trained import load_for_tracking
from lightning_kp.files import replacing
from lightning_kp.frames.stream import stream_frames
from lightning_kp.frames.view import ViewSettings
from lightning_kp.motion.boxes import boxes_per_animal
from lightning_kp.onnx_export import (
    export_note,
    largest_differences,
    refuse_differences,
    require_onnx,
    write_onnx,
)

BATCH_SIZES = (1, 3)
"""Images per batch in the comparison: the graph has to accept any number."""
BATCHES_PER_SIZE = 4
"""Batches of a video that are compared, at most."""


@dataclass(frozen=True, repr=False)
class ExportedNetwork:
    """An ONNX file whose outputs agree with torch.

    Attributes:
        path: The file.
        differences: Largest difference between torch and ONNX of each output by name; ``points`` in pixels of the
            network's image.
        notes: What a program that uses the file has to do itself.

    Example:
        exported = kp.export("runs/me", out="network.onnx")
        print(exported, exported.notes)
    """

    path: Path
    differences: dict[str, float]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return "\n".join([f"Result: {self.path}", *self.lines()])

    def lines(self) -> list[str]:
        """The notes and differences for a terminal."""
        compared = (
            f"{name}: torch and ONNX differ by at most {value:.2g}{' px' if name == 'points' else ''}"
            for name, value in self.differences.items()
        )
        return [*self.notes, *compared]


def export(run: PathLike, *, out: PathLike | None = None, video: PathLike | None = None) -> ExportedNetwork:
    """Write an ONNX file of a trained keypoint method and compare it with torch.

    Args:
        run: A run folder or a checkpoint file.
        out: The file to write; by default model.onnx in the run's folder.
        video: Compare on frames of this video; by default on random smooth images.

    Raises:
        ConfigurationError: The extra ``onnx`` is not installed.
        ExportError: The method has no ONNX graph, or its graph computes different values.

    Example:
        exported = kp.export("runs/me")
        print(exported.path, exported.differences["points"])
    """
    require_onnx()
    checkpoint = find_checkpoint(Path(run))
    method, view = load_for_tracking(checkpoint, "cpu")
    images = _video_batches(Path(video), view) if video is not None else _random_batches(view.size)
    path = Path(out) if out is not None else _run_path(checkpoint) / "model.onnx"
    about = {"fit": view.fit, "preprocessing": view.preprocessing.is_on}
    with replacing(path) as temporary:  # a graph gets its name, and replaces another, when it was found right
        names = write_onnx(method, temporary, view.size, about)
        differences = largest_differences(method, temporary, images)
        refuse_differences(differences)
    notes = [export_note(method)]
    if view.preprocessing.is_on:
        notes.insert(
            0, "Frames were preprocessed in training (shadows, registration); the graph does not do that."
        )
    found = {name: differences[name][0] for name in names}
    return ExportedNetwork(path, found, tuple(note for note in notes if note))


def _run_path(checkpoint: Path) -> Path:
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


def _random_batches(size: int) -> list[Tensor]:
    """Smooth random images (B, 3, S, S) in [0, 1]; in pure noise, maxima lie within a rounding error of each other."""
    generator = torch.Generator().manual_seed(0)
    coarse = [torch.rand(number, 3, 9, 9, generator=generator) for number in BATCH_SIZES]
    return [F.interpolate(each, (size, size), mode="bicubic").clamp(0, 1) for each in coarse]


def _video_batches(video: Path, view: ViewSettings) -> list[Tensor]:
    """The first frames of a video (B, 3, S, S) in [0, 1] as the network sees them."""
    boxes = boxes_per_animal(view.boxes)[0]
    frames: list[Tensor] = []
    for number in BATCH_SIZES:
        stream = stream_frames(
            video, size=view.size, fit=view.fit, boxes=boxes, batch_size=number,
            preprocessing=view.preprocessing,
        )  # fmt: skip
        with closing(stream):
            batches = islice(stream, BATCHES_PER_SIZE)
            frames += [floats_in_unit_range(batch.image).contiguous() for batch in batches]
    return frames
