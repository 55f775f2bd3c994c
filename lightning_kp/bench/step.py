"""Speed of a B-KinD training step, against a literal port of the reference code and against the bare networks.

The literal port has the same mathematics and the reference code's order of operations: each set of images (the
two frames, three turned copies) passes encoder and pose decoder on its own, in PyTorch's default memory layout,
and VGG-19's parameters and the target's features take part in the backward pass.
"""

import copy
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lightning_kp.batches import FramePairs
from lightning_kp.bench.measuring import Row, compare, medians
from lightning_kp.geometry import QUARTER_TURNS, rotate_image
from lightning_kp.heatmaps import expectation, reference_amplitude, render_gaussians, spatial_softmax
from lightning_kp.images.differences import difference_target
from lightning_kp.losses.reconstruction import feature_errors, perceptual_loss, structural_loss
from lightning_kp.losses.rotation import rotation_loss
from lightning_kp.losses.separation import separation_loss
from lightning_kp.method import Method
from lightning_kp.methods.bkind import BKinD
from lightning_kp.nn.pose_decoder import GlobalNet

# The networks of the laptop preset without its additional terms, so that both sides compute eq. 5.4.
LAPTOP: dict[str, Any] = {
    "keypoints": 8, "encoder": "fine", "pretrained": False, "target": "absolute",
    "reconstruction": "structural", "pose_width": 48, "sharpness": 5.0, "decoder_widths": (96, 48, 32),
    "variances": (0.1, 0.03, 0.005), "unit_amplitude": True, "rotation_variance": 0.02,
}  # fmt: skip
# The paper's networks; speed does not depend on the weights, so none are downloaded.
PAPER: dict[str, Any] = {"keypoints": 10, "pretrained": False, "perceptual_weights": False}


def rows(*, quick: bool = False) -> list[Row]:
    """Rows for the laptop preset at 96 px and the paper's networks at 128 px with a batch of 5.

    CPU seconds with OMP_NUM_THREADS threads. ``quick`` measures the small networks only.
    """
    repeats = 3 if quick else 5
    found = cpu_rows("laptop, 96 px", LAPTOP, size=96, batch_size=8, repeats=repeats)
    if not quick:
        found += cpu_rows("ResNet-50, 128 px", PAPER, size=128, batch_size=5, repeats=repeats)
        if torch.cuda.is_available():
            found += gpu_rows(PAPER, size=256, batch_size=32)
    return found


def cpu_rows(name: str, options: dict[str, Any], *, size: int, batch_size: int, repeats: int) -> list[Row]:
    """Rows for forward and backward: all turns / literal, one turn / literal, all turns / bare networks."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    batch = random_pairs(batch_size, size)
    method = BKinD(**options)
    one = BKinD(**options, rotations="one")
    one.load_state_dict(method.state_dict())
    literal = as_literal(method)
    times = medians(
        {
            "all": lambda: backward(method, step(method, batch)),
            "one": lambda: backward(one, step(one, batch)),
            "literal": lambda: backward(literal, literal_step(literal, batch)),
            "bare": bare_step(method, batch),
        },
        repeats=repeats,
    )
    return [
        compare(f"step, {name}: all turns / literal", times["all"], times["literal"], "<= 0.8"),
        compare(f"step, {name}: one turn / literal", times["one"], times["literal"], "<= 0.6"),
        compare(f"step, {name}: all turns / bare networks", times["all"], times["bare"], "<= 1.25"),
    ]


def gpu_rows(options: dict[str, Any], *, size: int, batch_size: int, repeats: int = 10) -> list[Row]:
    """Rows for bf16 with channels last against the literal port in fp32 with PyTorch's defaults."""
    batch = FramePairs(*(field.cuda() for field in random_pairs(batch_size, size)))
    method = BKinD(**options).cuda()
    literal = as_literal(method)

    def ours() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = step(method, batch)
        backward(method, loss)
        torch.cuda.synchronize()

    def theirs() -> None:
        backward(literal, literal_step(literal, batch))
        torch.cuda.synchronize()

    times = medians({"ours": ours, "literal": theirs}, repeats=repeats, clock=time.perf_counter)
    name = f"step, ResNet-50, {size} px, GPU: bf16 / literal fp32"
    shares = share_rows(f"ResNet-50, {size} px, bf16", method, batch, side=8192, repeats=repeats)
    return [compare(name, times["ours"], times["literal"], "<= 0.3"), *shares]


def share_rows(name: str, method: BKinD, batch: FramePairs, *, side: int, repeats: int) -> list[Row]:
    """Rows for operations per second of training and of tracking in bf16, against a product of square matrices.

    Operations are those that PyTorch's counter sees: convolutions and matrix products, two per multiplication.
    """
    device = batch.frame.device
    matrix = torch.rand(side, side, device=device, dtype=torch.bfloat16)
    tracker = copy.deepcopy(method).eval()

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def train() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = step(method, batch)
        backward(method, loss)
        wait()

    def track() -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            tracker(batch.frame)
        wait()

    def product() -> None:
        _ = matrix @ matrix
        wait()

    sides = {"training": train, "tracking": track}
    times = medians(sides | {"matrix": product}, repeats=repeats, clock=time.perf_counter)
    rate = 2 * side**3 / times["matrix"] / 1e12
    found = []
    for part, unit in (("training", "pairs"), ("tracking", "frames")):
        with FlopCounterMode(display=False) as counter:
            sides[part]()
        done = counter.get_total_flops() / times[part] / 1e12
        label = f"{part}, {name} ({len(batch.frame) / times[part]:.0f} {unit}/s): arithmetic / matrix product"
        found.append(compare(label, done, rate, "", "TFLOP/s"))
    return found


def random_pairs(batch_size: int, size: int) -> FramePairs:
    """Pairs of noise images (B, 3, size, size) in [0, 1]; speed does not depend on what an image shows."""
    frame, future = torch.rand(2, batch_size, 3, size, size)
    numbers = torch.arange(batch_size)
    return FramePairs(frame, future, torch.zeros_like(numbers), numbers)


def step(method: Method, batch: Any) -> Tensor:
    """Weighted loss () of a training step, without the bookkeeping of a Trainer."""
    terms = method.terms(batch)
    return torch.stack([method.loss_weights[name] * term for name, term in terms.items()]).sum()


def backward(method: Method, loss: Tensor) -> None:
    """Compute the gradients of all parameters anew, from a scalar loss ()."""
    method.zero_grad(set_to_none=True)
    loss.backward()


def as_literal(method: BKinD) -> BKinD:
    """Copy of the method as in the reference code: VGG-19 with gradients, PyTorch's default memory layout."""
    literal = copy.deepcopy(method).to(memory_format=torch.contiguous_format)
    if literal.perceptual is not None:
        literal.perceptual.requires_grad_(True)
    return literal


def literal_step(method: BKinD, batch: FramePairs) -> Tensor:
    """Loss () of eq. 5.4, computed as in the reference code: one set of images after another."""
    images = [batch.future, batch.frame, *(rotate_image(batch.future, turn) for turn in QUARTER_TURNS)]
    pyramids = [method.encoder((image - method.normalise.mean) / method.normalise.std) for image in images]
    heatmaps = [spatial_softmax(_literal_pose(method.pose_decoder, pyramid)) for pyramid in pyramids]
    future, now, *turned = [expectation(each) for each in heatmaps]
    prediction = method.decoder(pyramids[1][-1], now, future)
    weights = method.loss_weights
    loss = weights["reconstruction"] * _literal_reconstruction(method, prediction, batch)
    size = (2 * heatmaps[0].shape[-2], 2 * heatmaps[0].shape[-1])
    amplitude = 1.0 if method.unit_amplitude else None
    variance = method.rotation_variance
    for turn, found in zip(QUARTER_TURNS, turned, strict=True):
        rotation = rotation_loss(future, found, turn, size, variance=variance, amplitude=amplitude)
        loss = loss + weights["rotation"] / len(QUARTER_TURNS) * rotation
    for found in (future, *turned):
        loss = loss + weights["mean_separation"] / 4 * separation_loss(found, method.separation_sigma)
    return loss


def _literal_pose(decoder: GlobalNet, pyramid: Sequence[Tensor]) -> Tensor:
    """Logits (B, K, h, w) in the reference code's order: maps are upsampled before their 1x1 convolution."""
    merged = decoder.laterals[0](pyramid[-1])
    for level, features in enumerate(reversed(pyramid[:-1]), start=1):
        larger = F.interpolate(merged, size=features.shape[-2:], mode="bilinear")
        merged = decoder.laterals[level](features) + decoder.upsamples[level - 1](larger)
    logits: Tensor = decoder.heads[str(len(pyramid) - 1)](merged, merged.shape[-2:], False)
    return logits


def _literal_reconstruction(method: BKinD, prediction: Tensor, batch: FramePairs) -> Tensor:
    target = difference_target(method.target, batch.frame, batch.future)
    target = F.adaptive_avg_pool2d(target, (prediction.shape[-2], prediction.shape[-1]))
    if method.perceptual is None:
        return structural_loss(prediction, target)
    return perceptual_loss(feature_errors(method.perceptual(prediction), method.perceptual(target)))


def bare_step(method: BKinD, batch: FramePairs) -> Callable[[], None]:
    """Return a function that runs the same networks forward and backward on ready tensors, without targets or loss.

    It runs encoder and pose decoder on all five sets of images in one pass, the reconstruction decoder on
    ready maps, and VGG-19 on prediction and target.
    """
    copies = (rotate_image(batch.future, turn) for turn in QUARTER_TURNS)
    images = method.normalise(torch.cat((batch.future, batch.frame, *copies)))
    with torch.no_grad():
        pyramid = method.encoder(images[:1])
        logits = method.pose_decoder(pyramid)
    count, keypoints = len(batch.frame), logits.shape[1]
    height, width = pyramid[-1].shape[-2:]
    points = 2 * torch.rand(count, 2 * keypoints, 2) - 1
    maps = [
        render_gaussians(points, (height << level, width << level), v**0.5, amplitude=reference_amplitude(v))
        for level, v in enumerate(method.decoder.variances, start=1)
    ]

    def run() -> None:
        features = method.encoder(images)
        logits = method.pose_decoder(features)
        prediction = method.decoder.decode(features[-1][count : 2 * count], maps)
        outputs = [logits, prediction]
        if method.perceptual is not None:
            with torch.no_grad():
                method.perceptual(batch.future)
            outputs = [logits, *method.perceptual(prediction)]
        backward(method, torch.stack([output.mean() for output in outputs]).sum())

    return run
