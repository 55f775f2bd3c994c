"""Speed of ``kp track --engine onnx`` against ``--engine torch``, without decoding and writing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F

from lightning_kp.bench.cache import preset_method
from lightning_kp.bench.measuring import Row, compare, medians
from lightning_kp.frames.stream import FrameBatch
from lightning_kp.method import KeypointMethod
from lightning_kp.methods.bkind import BKinD
from lightning_kp.tracks.engine import Engine
from lightning_kp.tracks.tracking import predict

BATCH_SIZE = 32  # the default of kp track


def rows(*, quick: bool = False) -> list[Row]:
    """Rows for the turning network at 96 px and a ResNet-50 at 256 px, in frames per CPU second."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    repeats = 3 if quick else 5
    with _own_cache():
        return [
            engine_row("turning network", preset_method("turning"), 96, 32 if quick else 96, repeats),
            engine_row("ResNet-50", resnet50_method(), 256, 4 if quick else 16, repeats),
        ]


def engine_row(name: str, method: KeypointMethod, size: int, frames: int, repeats: int) -> Row:
    """Row for prediction of images of side ``size`` in batches by both engines, with as many threads each."""
    method = method.to(memory_format=torch.channels_last).eval()
    batches = [random_frames(part, size) for part in _parts(frames)]
    engine = Engine(method, "onnx", "bench")
    predict(method, batches[0], engine)  # exports, and compares both engines
    times = medians(
        {
            "onnx": lambda: [predict(method, batch, engine) for batch in batches],
            "torch": lambda: [predict(method, batch) for batch in batches],
        },
        repeats=repeats,
    )
    name = f"track, {name} at {size} px: engine onnx / torch"
    return compare(name, frames / times["onnx"], frames / times["torch"], ">= 1.5", "fps")


def resnet50_method() -> BKinD:
    """Untrained B-KinD with the encoder and the pose decoder of the paper; the weights do not change the speed."""
    return BKinD(encoder="resnet50", pretrained=False, reconstruction="structural")


def random_frames(count: int, size: int) -> FrameBatch:
    """Smooth random images (B, 3, S, S), uint8, as :func:`~lightning_kp.frames.stream.stream_frames` gives them."""
    coarse = torch.rand(count, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    image = (255 * F.interpolate(coarse, (size, size), mode="bilinear")).to(torch.uint8)
    whole = torch.tensor([[0.0, 0.0, size, size]], dtype=torch.float64).expand(count, 4)
    still = torch.eye(3, dtype=torch.float64).expand(count, 3, 3)
    number = torch.arange(count)
    return FrameBatch(
        image.contiguous(memory_format=torch.channels_last),
        number,
        number.double(),
        whole,
        still,
        torch.ones(count, dtype=torch.bool),
    )


def _parts(frames: int) -> list[int]:
    """Sizes of the batches, the last of which may be smaller."""
    full, rest = divmod(frames, BATCH_SIZE)
    return [BATCH_SIZE] * full + [rest] * (rest > 0)


@contextmanager
def _own_cache() -> Iterator[None]:
    """Keep exported graphs in a folder that is removed afterwards."""
    before = os.environ.get("KP_CACHE_DIR")
    with TemporaryDirectory() as folder:
        os.environ["KP_CACHE_DIR"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["KP_CACHE_DIR"]
            else:
                os.environ["KP_CACHE_DIR"] = before
