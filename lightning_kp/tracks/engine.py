"""What computes a network while it tracks: torch, or ONNX Runtime once both agree.

ONNX Runtime needs less time on a CPU.  Its graph computes what ``predict_step`` of the method computes.  It is
exported once for each checkpoint and side of the image, and kept in the folder ``onnx`` of the cache.  A graph is used
only after torch and the graph have agreed on a batch of the video, so that tracks do not depend on the engine beyond
rounding.  That is why the engine is no part of the origin of tracks: changing it does not track again what is done.
"""

import contextlib
import hashlib
import logging
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_kp import __version__
from lightning_kp.batches import Frames
from lightning_kp.errors import ConfigurationError, DataError, ExportError, KeypointError
from lightning_kp.files import default_cache_dir, replacing
from lightning_kp.keypoints import Keypoints
from lightning_kp.method import KeypointMethod, Prediction
from lightning_kp.onnx_export import require_onnx, runtime_errors, tracked_outputs, write_onnx

ENGINES = ("auto", "torch", "onnx")
AGREEMENT_PX = 0.05
"""Largest distance between the points of both engines, in pixels of the network's square image (ours)."""
AGREEMENT_SHARE = 1e-3
"""Largest difference of confidence and covariance, as a share of the largest value or of 1e-3 (ours)."""
WORTH_S = 20.0
"""Seconds of torch from which ``auto`` exports a graph (ours): an export takes about 8 s and saves about 40 %."""
KEPT_GRAPHS = 16
"""Graphs in the cache; the least recently used ones are removed."""

logger = logging.getLogger(__name__)


class Engine:
    """Computes the predictions of a method, with torch until ONNX Runtime has been found to agree.

    Args:
        method: The trained method.
        wanted: ``torch``; ``onnx``, which raises ExportError at the first batch if the method has no graph that
            agrees; or ``auto``, which then stays with torch, and exports only if torch needs more than
            :data:`WORTH_S` seconds.
        content: Digest of the checkpoint, under which the graph is kept.
    """

    def __init__(self, method: KeypointMethod, wanted: str = "torch", content: str = "") -> None:
        self.method = method
        self._wanted, self._content = wanted, content
        self._graph: Graph | None = None
        self._is_decided = wanted == "torch"
        self._is_told = False
        self._seconds, self._done, self._left = 0.0, 0, 0

    @property
    def name(self) -> str:
        """``torch`` or ``onnx``: what computes the next batch."""
        return "torch" if self._graph is None else "onnx"

    def expect(self, frames: int) -> None:
        """Announce the number of images that a video is going to need; 0 if it is not known."""
        self._left = frames

    def predict(self, batch: Frames) -> Prediction:
        """Frames (B, 3, S, S) in [0, 1] on the method's device -> what ``predict_step`` finds in them."""
        if self._graph is not None:
            return self._graph(batch)
        tick = time.perf_counter()
        found = self.method.predict_step(batch)
        if not self._is_decided:
            if batch.image.is_cuda:
                torch.cuda.synchronize(batch.image.device)
            self._seconds += time.perf_counter() - tick
            self._done += len(batch.image)
            self._left -= len(batch.image)
            self._decide(batch, found)
        return found

    def _decide(self, batch: Frames, found: Prediction) -> None:
        """Use a graph from the next batch on, if it is worth its export and agrees with ``found`` on this batch."""
        if self._wanted == "auto" and not self._is_worthwhile(batch.image.shape[-1]):
            self._tell("Computed with torch: too little work to be worth an export; --engine onnx exports.")
            return
        self._is_decided = True
        try:
            self._graph, difference = agreed_graph(self.method, self._content, batch, found)
        except KeypointError as error:
            if self._wanted == "onnx":
                raise
            logger.info("Computed with torch: %s", error.problem)
            return
        logger.info(
            "Computed with ONNX Runtime, whose points differ from torch by at most %.1g px.", difference
        )

    def _is_worthwhile(self, side: int) -> bool:
        expected = self._seconds * (1 + max(0, self._left) / self._done)
        return expected >= WORTH_S or graph_path(self._content, side).exists()

    def _tell(self, line: str) -> None:
        if not self._is_told:
            logger.info(line)
        self._is_told = True


def choose_engine(wanted: str, method: KeypointMethod, content: str) -> Engine:
    """Return the engine of that name for a method whose checkpoint has the digest ``content``.

    ``auto`` falls back to torch, and logs one line that says why.  Raises ConfigurationError for another name, or if
    ``onnx`` is wanted and a package or a provider for the method's device is missing.
    """
    if wanted not in ENGINES:
        raise ConfigurationError(f"There is no engine '{wanted}'.", remedy=f"Use {', '.join(ENGINES)}.")
    if wanted != "torch":
        try:
            require_onnx("The engine onnx")
            _providers(method.device)
        except ConfigurationError as error:
            if wanted == "onnx":
                raise
            logger.info("Computed with torch. %s", error)
            wanted = "torch"
    return Engine(method, wanted, content)


class Graph:
    """An exported graph in ONNX Runtime on a device, with as many threads as torch has.

    Raises ExportError for a damaged file, or if ONNX Runtime cannot compute it.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors; they are raised as well
        # Threads that wait for the next batch in a loop would take their cores from the decoder.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        with _as_export_error(path):
            self._session = onnxruntime.InferenceSession(str(path), options, providers=_providers(device))
        if device.type == "cuda" and "CUDAExecutionProvider" not in self._session.get_providers():
            raise ExportError(
                "ONNX Runtime could not start on the GPU.",
                remedy="Install the onnxruntime-gpu that fits your CUDA version, or use --engine torch.",
            )
        self._path = path

    def __call__(self, batch: Frames) -> Prediction:
        """Frames (B, 3, S, S) in [0, 1] -> the prediction, in the memory of the CPU."""
        image = batch.image.contiguous()
        with _as_export_error(self._path):
            outputs = (
                self._on_gpu(image) if image.is_cuda else self._session.run(None, {"image": image.numpy()})
            )
        points, confidence, covariance = (torch.from_numpy(each) for each in outputs)
        return Prediction(Keypoints(points, confidence), covariance, batch.video, batch.index)

    def _on_gpu(self, image: Tensor) -> Any:
        binding = self._session.io_binding()
        index = image.device.index or 0
        binding.bind_input("image", "cuda", index, "float32", tuple(image.shape), image.data_ptr())
        for output in self._session.get_outputs():
            binding.bind_output(output.name, "cpu")
        torch.cuda.synchronize(image.device)  # the other library does not wait for torch's stream
        self._session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()


def agreed_graph(
    method: KeypointMethod, content: str, batch: Frames, found: Prediction
) -> tuple[Graph, float]:
    """Return a graph that finds what torch ``found`` in a batch (B, 3, S, S), and the distance in px of the image.

    A file in the cache that is damaged or does not agree is exported again.  Raises ExportError if the method has no
    graph, or if a new one does not agree, and DataError if the cache cannot be written.
    """
    side = batch.image.shape[-1]
    path = graph_path(content, side)
    if path.exists():
        with contextlib.suppress(OSError):  # of another user
            path.touch()
        with contextlib.suppress(ExportError):
            return _agreed(Graph(path, method.device), batch, found)
    try:
        with replacing(path, several_writers=True) as temporary:
            _export(method, temporary, side)
        _remove_old(path.parent)
    except OSError as error:
        raise DataError(
            f"The graph for ONNX Runtime cannot be written: {error.strerror or error} ({path}).",
            remedy="Set KP_CACHE_DIR to a folder with room, or use --engine torch.",
        ) from error
    return _agreed(Graph(path, method.device), batch, found)


def graph_path(content: str, side: int) -> Path:
    """Return the graph's place in the cache, by digest of the checkpoint, side in px and versions of the exporter."""
    exporter = f"{__version__} {torch.__version__} {version('onnxscript')}"
    digest = hashlib.sha256(f"{content} {side} {exporter}".encode()).hexdigest()
    return default_cache_dir() / "onnx" / f"{digest[:24]}.onnx"


def _export(method: KeypointMethod, path: Path, side: int) -> None:
    """Export the method, whose device is kept; inference mode, in which frames are predicted, allows no export."""
    device = method.device
    with torch.inference_mode(False):
        try:
            write_onnx(method, path, side, {}, outputs=tracked_outputs)
        finally:
            method.to(device)


def _remove_old(folder: Path) -> None:
    newest_first = sorted(folder.glob("*.onnx"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[KEPT_GRAPHS:]:
        path.unlink(missing_ok=True)


def _agreed(graph: Graph, batch: Frames, found: Prediction) -> tuple[Graph, float]:
    """Return the graph and its distance to ``found`` in px of the image.  Raises ExportError if they disagree.

    The first image is computed alone as well, since a step of the method may have made the number of images a constant.
    """
    alone, together = (graph(Frames(*(each[:number] for each in batch))) for number in (1, len(batch.image)))
    wanted = [torch.cat((each[:1], each)).detach().cpu() for each in (*found.keypoints, found.covariance)]
    pairs = zip((*alone.keypoints, alone.covariance), (*together.keypoints, together.covariance), strict=True)
    given = [torch.cat(pair) for pair in pairs]
    remedy = "Use --engine torch."
    if [each.shape for each in wanted] != [each.shape for each in given]:
        raise ExportError("ONNX Runtime finds another number of keypoints than torch.", remedy=remedy)
    is_seen = ((wanted[1] > 0) | (given[1] > 0)).unsqueeze(-1)  # points of confidence 0 mean nothing
    distance = _largest(wanted[0], given[0], is_seen) * batch.image.shape[-1] / 2
    if not distance <= AGREEMENT_PX:
        raise ExportError(
            f"ONNX Runtime and torch differ by {distance:.2g} px, more than {AGREEMENT_PX} px of the network's image.",
            remedy=remedy,
        )
    for name, one, two in zip(("confidence", "covariance"), wanted[1:], given[1:], strict=True):
        difference = _largest(one, two, is_seen if name == "covariance" else is_seen.squeeze(-1))
        if not difference <= AGREEMENT_SHARE * max(1e-3, float(one.nan_to_num(0).abs().max())):
            raise ExportError(f"ONNX Runtime and torch differ in {name} by {difference:.2g}.", remedy=remedy)
    return graph, distance


def _largest(one: Tensor, two: Tensor, counts: Tensor) -> float:
    """Largest difference where ``counts``; values that are NaN in both are equal, in one of them the result is NaN."""
    difference = torch.where(one.isnan() & two.isnan() | ~counts, 0, one.double() - two.double())
    return float(difference.abs().max()) if difference.numel() else 0.0


def _providers(device: torch.device) -> list[Any]:
    """ONNX Runtime's providers for a device of torch.  Raises ConfigurationError if it has none."""
    if device.type == "cpu":
        return ["CPUExecutionProvider"]
    import onnxruntime

    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return [("CUDAExecutionProvider", {"device_id": device.index or 0}), "CPUExecutionProvider"]
    for_gpu = "Install onnxruntime-gpu in place of onnxruntime, or use --device cpu."
    raise ConfigurationError(
        f"The engine onnx, as installed, does not compute on the device {device}.",
        remedy=for_gpu if device.type == "cuda" else "Use --device cpu.",
    )


@contextlib.contextmanager
def _as_export_error(path: Path) -> Iterator[None]:
    """Turn the errors of ONNX Runtime into ExportError."""
    try:
        yield
    except runtime_errors() as error:
        raise ExportError(
            f"ONNX Runtime cannot compute the graph {path}: {str(error).splitlines()[0]}",
            remedy="Use --engine torch, or install a newer version: pip install --upgrade onnxruntime.",
        ) from error
