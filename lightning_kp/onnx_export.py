"""Keypoint methods -> ONNX files, checked against torch before they are left behind.

The graph takes ``image`` (batch, 3, S, S), float32 RGB in [0, 1], and gives what
:meth:`lightning_kp.method.KeypointMethod.exported` says; the batch is free, the side is not.  How frames become
images, the names of the keypoints and the meaning of the outputs are kept in the file's metadata.
"""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_kp import __version__
from lightning_kp.errors import ConfigurationError, ExportError
from lightning_kp.method import KeypointMethod, class_path

METADATA_KEY = "lightning_kp"
NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE_PX = 0.01
"""Greatest difference of a coordinate that counts as equal, in pixels of the image (ours)."""
TOLERANCE = 1e-3
"""The same of every other output, as a share of its greatest absolute value, but at least of 1e-3 (ours)."""
COORDINATES = ("points",)


class _Graph(nn.Module):
    """A method as a function of images alone, its outputs in a fixed order."""

    def __init__(self, method: KeypointMethod) -> None:
        super().__init__()
        self.method = method

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.method.exported(image).values())


def require_onnx() -> None:
    """Raise ConfigurationError that says what to install."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"Export needs {', '.join(missing)}.", remedy="Install them: pip install 'lightning-kp[onnx]'."
        )


def write_onnx(method: KeypointMethod, path: Path, size: int, notes: Mapping[str, Any]) -> tuple[str, ...]:
    """Export ``method`` for images of side ``size`` to ``path``; returns the names of the outputs.

    ``notes`` are added to the metadata.  Raises ExportError where a step of the method has no ONNX counterpart.
    """
    method = method.eval().cpu()
    image = torch.rand(2, 3, size, size)
    with torch.no_grad():
        names = tuple(method.exported(image))
    free = {"image": {0: torch.export.Dim("batch")}}
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                _Graph(method).eval(), (image,), dynamo=True, input_names=["image"], output_names=list(names),
                dynamic_shapes=free, verbose=False,
            )  # fmt: skip
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            raise ExportError(
                f"{type(method).__name__} cannot become an ONNX graph: {_cause(error)}.",
                remedy="Let its `exported(image)` return what the network computes, before that step.",
            ) from error
    if program is None:
        raise ExportError(
            f"{type(method).__name__} gave no graph.", remedy="Set KP_DEBUG=1 for the whole log."
        )
    program.model.metadata_props[METADATA_KEY] = json.dumps(_metadata(method, size, names) | dict(notes))
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(path), external_data=False)
    return names


def largest_differences(
    method: KeypointMethod, path: Path, images: Sequence[Tensor]
) -> dict[str, tuple[float, float]]:
    """By output: the greatest difference between torch and ONNX Runtime over batches of images, and its bound.

    Differences of coordinates are in pixels of the image, others in the output's own unit.  Raises ExportError where
    shapes differ or the graph does not run.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except (runtime.NotImplemented, runtime.InvalidGraph, runtime.Fail) as error:
        raise ExportError(
            f"ONNX Runtime {onnxruntime.__version__} cannot run the graph, so that nothing was compared: "
            f"{_cause(error)}.",
            remedy="Install a newer one: pip install --upgrade onnxruntime.",
        ) from error
    method = method.eval().cpu()
    worst: dict[str, tuple[float, float]] = {}
    for batch in images:
        with torch.no_grad():
            wanted = {name: value.numpy() for name, value in method.exported(batch).items()}
        try:
            outputs = session.run(list(wanted), {"image": batch.numpy()})
        except (runtime.InvalidArgument, runtime.Fail, runtime.RuntimeException) as error:
            raise ExportError(
                f"The exported graph does not run on {batch.shape[0]} images: {_cause(error)}.",
                remedy="If it took the number of images for a constant: use tensor.shape[0], not len(tensor).",
            ) from error
        found = dict(zip(wanted, outputs, strict=True))
        for name, value in wanted.items():
            difference, bound = _difference(name, value, found[name], batch.shape[-1])
            before = worst.get(name, (0.0, bound))
            worst[name] = (max(difference, before[0]), max(bound, before[1]))
    return worst


def _difference(name: str, wanted: NDArray[Any], found: NDArray[Any], side: int) -> tuple[float, float]:
    if wanted.shape != found.shape:
        raise ExportError(
            f"Output {name} has shape {found.shape} in ONNX and {wanted.shape} in torch.",
            remedy="A step of the method depends on values in a way that the graph does not hold.",
        )
    if not wanted.size:
        return 0.0, TOLERANCE
    difference = float(np.abs(wanted.astype(np.float64) - found).max())
    if name in COORDINATES:
        return difference * side / 2, TOLERANCE_PX
    return difference, TOLERANCE * max(1e-3, float(np.abs(wanted).max()))


def refuse_differences(path: Path, differences: Mapping[str, tuple[float, float]]) -> None:
    """Remove the file and raise ExportError if an output differs by more than its bound, or is not a number."""
    wrong = [
        f"{name} by {difference:.3g} (allowed {bound:.3g})"
        for name, (difference, bound) in differences.items()
        if not difference <= bound
    ]
    if wrong:
        path.unlink(missing_ok=True)
        raise ExportError(
            f"The exported graph computes something else: {', '.join(wrong)}; it was removed.",
            remedy="Try --video with one of your own; newer versions of onnxscript and onnxruntime may help.",
        )


def _metadata(method: KeypointMethod, size: int, names: Sequence[str]) -> dict[str, Any]:
    return {
        "version": __version__,
        "class_path": class_path(type(method)),
        "image": f"float32 (batch, 3, {size}, {size}), RGB in [0, 1]",
        "outputs": list(names),
        "coordinates": "points are (x, y) in [-1, 1]; -1 and +1 are the outer edges of the image",
        "keypoint_names": list(method.keypoint_names),
        "size": size,
        "note": note_of(method),
    }


def note_of(method: KeypointMethod) -> str:
    """In what the graph differs from the method; empty for most."""
    return str(getattr(method, "export_note", ""))


def _cause(error: BaseException) -> str:
    """The innermost reason, its first line."""
    link: BaseException = error
    while link.__cause__ is not None:
        link = link.__cause__
    return (str(link).strip().splitlines() or [type(link).__name__])[0].rstrip(".")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and its warnings about itself from the terminal."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
