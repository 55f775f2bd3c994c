"""What keypoints of digits or clothes tell, beside numbers that are no keypoints (003, 4.6.3.3; Tables 4.12 and 4.20).

``python -m lightning_kp.studies.still_points RUN --data FOLDER --out OUT [--kind mnist] [--train-images N]`` takes a
trained keypoint network, finds the keypoints of training and test images, and trains the same small classifier on them,
on as many principal components of the images, on as many random projections, and on the keypoints of the same network
untrained: an accuracy alone may be that of a hash.  Beside it: the share of keypoints within 1 px of ink, the distance
to the nearest other keypoint, how far keypoints fail to follow a known warp, and how round their heatmaps are.  Writes
``results.json`` and ``keypoints.png``, the keypoints on the first test images.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Pictures
from torch import Tensor

from lightning_kp.batches import floats_in_unit_range
from lightning_kp.checkpoints import load_method
from lightning_kp.datamodules import IdxImages
from lightning_kp.errors import CheckpointError
from lightning_kp.files import replacing, write_whole
from lightning_kp.geometry import to_pixels
from lightning_kp.heatmaps import eigenvalue_ratio
from lightning_kp.images.drawing import draw_keypoints, tile
from lightning_kp.method import KeypointMethod
from lightning_kp.metrics.classes import TopError
from lightning_kp.nn.classifiers import PointClassifier
from lightning_kp.scoring.untrained import untrained_like
from lightning_kp.warps import Splines, original_points, random_splines, warp_image

BATCH = 250
EPOCHS, CLASSIFIER_BATCH, RATE = 30, 64, 1e-3
INK = 0.5
"""Brightness from which a pixel of a drawing on black counts as ink (ours)."""
MEASURED = 1000
"""Test images on which ink, spread and equivariance are measured."""
SHOWN, COLUMNS, ENLARGED_PX = 60, 12, 112
Numbers = tuple[Tensor, Tensor]
"""Features (N, F) of training and of test images."""


@torch.inference_mode()
def points_of(method: KeypointMethod, images: Tensor) -> Tensor:
    """Keypoints (N, K, 2), normalised, of images (N, 3, H, W) uint8."""
    found = [method(floats_in_unit_range(batch)).points[:, 0] for batch in images.split(BATCH)]
    return torch.cat(found)


def principal_components(train: Tensor, test: Tensor, number: int) -> Numbers:
    """The first ``number`` principal components of images (N, P) and (M, P): (N, number) and (M, number)."""
    mean = train.mean(dim=0)
    centred = train - mean
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    axes = vectors[:, -number:]
    return centred @ axes, (test - mean) @ axes


def random_projections(train: Tensor, test: Tensor, number: int, seed: int = 0) -> Numbers:
    """Images (N, P) and (M, P) on ``number`` random directions: (N, number) and (M, number)."""
    axes = torch.randn(train.shape[1], number, generator=torch.Generator().manual_seed(seed))
    return train @ axes, test @ axes


def accuracy(features: Numbers, train_labels: Tensor, test_labels: Tensor, epochs: int = EPOCHS) -> float:
    """Accuracy in per cent on test features (M, F) of a small classifier trained on features (N, F)."""
    torch.manual_seed(0)
    train, test = features
    network = PointClassifier(train.shape[1], int(train_labels.max()) + 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    for _ in range(epochs):
        for rows in torch.randperm(len(train)).split(CLASSIFIER_BATCH):
            if len(rows) > 1:  # one image has no batch statistics
                optimizer.zero_grad()
                F.cross_entropy(network(train[rows]), train_labels[rows]).backward()
                optimizer.step()
    error = TopError()
    with torch.inference_mode():
        error.update(network.eval()(test), test_labels)
    return 100 - error.compute().item()


def on_ink(points: Tensor, images: Tensor, reach_px: float = 1.0, ink: float = INK) -> Tensor:
    """Whether points (B, K, 2), normalised, lie within ``reach_px`` of ink of images (B, 3, H, W) in [0, 1]: (B, K).

    Ink is a pixel whose mean brightness is at least ``ink``; distances are those of pixel centres.
    """
    height, width = images.shape[-2:]
    points_px = to_pixels(points, (height, width))
    x, y = torch.arange(width).to(points_px), torch.arange(height).to(points_px)
    across = (x - points_px[..., :1]) ** 2
    down = (y - points_px[..., 1:]) ** 2
    square = down.unsqueeze(-1) + across.unsqueeze(-2)
    is_ink = (images.mean(dim=1) >= ink).unsqueeze(1)
    return ((square <= reach_px**2) & is_ink).flatten(2).any(dim=-1)


def nearest_other_px(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Points (B, K, 2), normalised -> distances (B, K) to the nearest other keypoint, in pixels of ``size`` (H, W)."""
    points_px = to_pixels(points, size)
    distance = torch.cdist(points_px, points_px)
    return distance.masked_fill(torch.eye(points.shape[1], dtype=torch.bool), torch.inf).amin(dim=-1)


def equivariance_px(original: Tensor, warped: Tensor, splines: Splines, size: tuple[int, int]) -> Tensor:
    """How far keypoints fail to follow a warp: distances (B, K) in pixels of ``size`` (H, W).

    ``original`` and ``warped`` (B, K, 2), normalised, were found in the images and in the images warped by ``splines``;
    a point q of the warped image lies at T(q) of the original.
    """
    back = original_points(warped, splines)
    away: Tensor = torch.linalg.vector_norm(to_pixels(back, size) - to_pixels(original, size), dim=-1)
    return away


def measures(method: KeypointMethod, images: Tensor, deviation: float = 0.1) -> dict[str, float]:
    """Figures without classes, of images (N, 3, H, W) uint8; warps have 5 x 5 control points N(0, ``deviation``)."""
    size = (images.shape[-2], images.shape[-1])
    splines = random_splines(len(images), 5, deviation, torch.Generator().manual_seed(0))
    unit = floats_in_unit_range(images)
    points = points_of(method, images)
    warped = points_of(method, (255 * warp_image(unit, splines)).round().to(torch.uint8))
    with torch.inference_mode():
        heatmaps = method.heatmaps(unit)
    return {
        "on ink, %": 100 * on_ink(points, unit).float().mean().item(),
        "nearest other keypoint, px": nearest_other_px(points, size).mean().item(),
        "equivariance error, px": equivariance_px(points, warped, splines, size).mean().item(),
        "moved by the warp, px": equivariance_px(points, points, splines, size).mean().item(),
        "eigenvalue ratio of heatmaps": eigenvalue_ratio(heatmaps).mean().item(),
    }


def sheet(images: Tensor, points: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Images (N, 3, H, W) uint8, enlarged, with their keypoints (N, K, 2), side by side."""
    drawn = []
    for image, found in zip(images, points, strict=True):
        large = Pictures.fromarray(image.permute(1, 2, 0).numpy()).resize((ENLARGED_PX, ENLARGED_PX), 0)
        px = to_pixels(found, (ENLARGED_PX, ENLARGED_PX)).numpy()
        drawn.append(draw_keypoints(np.asarray(large), px, np.ones(len(px))))
    return tile(drawn, COLUMNS)


def accuracies(
    method: KeypointMethod,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    say: Callable[[str], None],
) -> dict[str, float]:
    """Accuracies in per cent by features, from images (N, 3, H, W) uint8 and labels (N,) of both parts."""
    flat = [floats_in_unit_range(part[0][:, 0]).flatten(1) for part in (train, test)]
    points = [points_of(method, part[0]) for part in (train, test)]
    number = points[0][0].numel()
    untrained = untrained_like(method, train[0][:BATCH])
    features: dict[str, Numbers] = {
        "keypoints": (points[0].flatten(1), points[1].flatten(1)),
        f"{number} principal components": principal_components(flat[0], flat[1], number),
        f"{number} random projections": random_projections(flat[0], flat[1], number),
        "keypoints, untrained": tuple(points_of(untrained, part[0]).flatten(1) for part in (train, test)),  # type: ignore[dict-item]  # two parts
    }
    found = {}
    for name, each in features.items():
        found[name] = accuracy(each, train[1], test[1])
        say(f"accuracy, {name}: {found[name]:.1f} %")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(prog="python -m lightning_kp.studies.still_points", description=__doc__)
    parser.add_argument("run", help="run folder or checkpoint of a keypoint network")
    parser.add_argument("--data", required=True, help="folder that holds MNIST/raw or FashionMNIST/raw")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kind", choices=("mnist", "fashionmnist"), default="mnist")
    parser.add_argument("--train-images", type=int, default=12000)
    parser.add_argument("--test-images", type=int, default=0, help="of the official test images; 0: all")
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    method = load_method(options.run)
    if not isinstance(method, KeypointMethod):
        raise CheckpointError(
            f"{options.run} holds a {type(method).__name__}, which finds no keypoints.",
            remedy="Give the folder of a run that does.",
        )
    data = IdxImages(options.kind, options.train_images, val_fraction=0, root=options.data)
    data.setup()
    train, test = (_part(data, part) for part in ("train", "test"))
    test = (test[0][: options.test_images or None], test[1][: options.test_images or None])
    found = accuracies(method, train, test, print)
    for name, value in (figures := measures(method, test[0][:MEASURED])).items():
        print(f"{name}: {value:.2f}")
    options.out.mkdir(parents=True, exist_ok=True)
    write_whole(options.out / "results.json", json.dumps({"accuracy": found, **figures}, indent=2))
    shown = test[0][:SHOWN]
    with replacing(options.out / "keypoints.png") as temporary:
        Pictures.fromarray(sheet(shown, points_of(method, shown))).save(temporary, format="png")


def _part(data: IdxImages, name: str) -> tuple[Tensor, Tensor]:
    """All images (N, 3, S, S) uint8 and labels (N,) of a part."""
    dataset = data.datasets[name]
    batch = dataset.__getitems__(list(range(len(dataset))))  # type: ignore[attr-defined,arg-type]
    return batch.image, batch.label


if __name__ == "__main__":
    main()
