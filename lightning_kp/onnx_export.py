"""Export of keypoint methods as ONNX files, which are checked against torch.

The graph takes ``image`` (B, 3, S, S), float32 RGB in [0, 1], and returns the outputs of
:meth:`lightning_kp.method.KeypointMethod.exported`; B is free, S is fixed.  The file's metadata hold how frames become
images, the names of the keypoints and the meaning of the outputs.
"""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_kp import __version__
from lightning_kp.batches import Frames
from lightning_kp.errors import ConfigurationError, ExportError
from lightning_kp.files import replacing
from lightning_kp.method import KeypointMethod, class_path

METADATA_KEY = "lightning_kp"
REQUIRED_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE_PX = 0.01
"""Largest difference at which a coordinate counts as equal, in pixels of the image (ours)."""
RELATIVE_TOLERANCE = 1e-3
"""Largest difference of every other output, as a share of its largest absolute value or of 1e-3 (ours)."""
COORDINATES = ("points",)
"""Outputs that are normalised coordinates."""


Outputs = Callable[[KeypointMethod, Tensor], dict[str, Tensor]]
"""What a graph computes: method and images (B, 3, S, S) -> outputs by name."""


def exported_outputs(method: KeypointMethod, image: Tensor) -> dict[str, Tensor]:
    """Images (B, 3, S, S) -> what other programs get from ``kp export``."""
    return method.exported(image)


def tracked_outputs(method: KeypointMethod, image: Tensor) -> dict[str, Tensor]:
    """Images (B, 3, S, S) -> ``points`` (B, I, K, 2), ``confidence`` and ``covariance`` of ``predict_step``."""
    number = torch.zeros(image.shape[0], dtype=torch.int64, device=image.device)
    found = method.predict_step(Frames(image, number, number))
    points, confidence = found.keypoints
    return {"points": points, "confidence": confidence, "covariance": found.covariance}


class _Graph(nn.Module):
    """A method as a function of images (B, 3, S, S) alone, with its outputs in a fixed order."""

    def __init__(self, method: KeypointMethod, outputs: Outputs) -> None:
        super().__init__()
        self.method = method
        self.outputs = outputs

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.outputs(self.method, image).values())


def require_onnx(purpose: str = "Export") -> None:
    """Raise ConfigurationError that lists the packages to install for a purpose, if any is missing."""
    missing = [name for name in REQUIRED_PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"{purpose} needs {', '.join(missing)}.", remedy="Install them: pip install 'lightning-kp[onnx]'."
        )


def write_onnx(
    method: KeypointMethod,
    path: Path,
    size: int,
    notes: Mapping[str, Any],
    *,
    outputs: Outputs = exported_outputs,
) -> tuple[str, ...]:
    """Export ``method`` for images (B, 3, size, size) to ``path`` and return the names of the outputs.

    ``notes`` are added to the metadata.  The method is moved to the CPU.  Raises ExportError for a step of the method
    without an ONNX counterpart.
    """
    method = method.eval().cpu()
    image = torch.rand(2, 3, size, size)
    with torch.no_grad():
        names = tuple(outputs(method, image))
    free = {"image": {0: torch.export.Dim("batch")}}
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                _Graph(method, outputs).eval(), (image,), dynamo=True, input_names=["image"], output_names=list(names),
                dynamic_shapes=free, verbose=False,
            )  # fmt: skip
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            raise ExportError(
                f"{type(method).__name__} cannot be exported as an ONNX graph: {_cause(error)}.",
                remedy="Let its `exported(image)` return the outputs of the network before that step.",
            ) from error
    if program is None:
        raise ExportError(
            f"The export of {type(method).__name__} returned no graph.",
            remedy="Set KP_DEBUG=1 for the whole log.",
        )
    program.model.metadata_props[METADATA_KEY] = json.dumps(_metadata(method, size, names) | dict(notes))
    with replacing(path) as temporary:
        program.save(str(temporary), external_data=False)
    return names


def largest_differences(
    method: KeypointMethod, path: Path, images: Sequence[Tensor]
) -> dict[str, tuple[float, float]]:
    """Return, by output, the largest difference between torch and ONNX Runtime over batches of images, and its bound.

    ``images`` are batches (B, 3, S, S) in [0, 1].  Differences of coordinates are in pixels of the image, others in
    the unit of the output.  Raises ExportError if shapes differ or the graph does not run.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except (runtime.NotImplemented, runtime.InvalidGraph, runtime.Fail) as error:
        raise ExportError(
            f"ONNX Runtime {onnxruntime.__version__} cannot run the graph, so it could not be checked: "
            f"{_cause(error)}.",
            remedy="Install a newer version: pip install --upgrade onnxruntime.",
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
                remedy="Use tensor.shape[0] instead of len(tensor), which makes the number of images a constant.",
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
            remedy="A step of the method depends on values in a way that a graph cannot represent.",
        )
    if not wanted.size:
        return 0.0, RELATIVE_TOLERANCE
    difference = float(np.abs(wanted.astype(np.float64) - found).max())
    if name in COORDINATES:
        return difference * side / 2, TOLERANCE_PX
    return difference, RELATIVE_TOLERANCE * max(1e-3, float(np.abs(wanted).max()))


def refuse_differences(differences: Mapping[str, tuple[float, float]]) -> None:
    """Raise ExportError if an output is NaN or differs by more than its bound."""
    wrong = [
        f"{name} by {difference:.3g} (allowed {bound:.3g})"
        for name, (difference, bound) in differences.items()
        if not difference <= bound
    ]
    if wrong:
        raise ExportError(
            f"The exported graph differs from the method: {', '.join(wrong)}. Nothing was written.",
            remedy="Try --video with a video of your own; newer versions of onnxscript and onnxruntime may help.",
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
        "note": export_note(method),
    }


def export_note(method: KeypointMethod) -> str:
    """Return how the graph differs from the method on purpose; empty for most methods."""
    return str(getattr(method, "export_note", ""))


def runtime_errors() -> tuple[type[Exception], ...]:
    """Return the errors of ONNX Runtime, which have no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    kinds = (value for value in vars(runtime).values() if isinstance(value, type))
    return tuple(kind for kind in kinds if issubclass(kind, Exception))


def _cause(error: BaseException) -> str:
    """Return the first line of the innermost error."""
    link: BaseException = error
    while link.__cause__ is not None:
        link = link.__cause__
    return (str(link).strip().splitlines() or [type(link).__name__])[0].rstrip(".")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporter's progress and its warnings about itself."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
