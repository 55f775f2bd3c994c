"""Two labelled animals in small pictures, and a DirectPose network for them."""

from typing import Any

import torch
from torch import Tensor

from lightning_kp.batches import LabelledImages
from lightning_kp.methods import DirectPose

SMALL: dict[str, Any] = {
    "names": ["head", "tail"], "instances": 4, "encoder": "tiny", "pretrained": False, "stride": 4, "width": 8,
    "convolutions": 1, "each": 4,
}  # fmt: skip


def two_animals(size: int = 64) -> LabelledImages:
    """Two bars, bright at the head and dark at the tail, on grey."""
    image = torch.full((2, 3, size, size), 0.5)
    points = torch.tensor([[[[-0.6, -0.5], [-0.2, -0.5]], [[0.3, 0.2], [0.3, 0.7]]]]).repeat(2, 1, 1, 1)
    points[1] = -points[1]
    for b in range(2):
        for head, tail in ((points[b] + 1) / 2 * size).tolist():
            for part, colour in ((head, 1.0), (tail, 0.0)):
                x, y = int(part[0]), int(part[1])
                image[b, :, y - 3 : y + 4, x - 3 : x + 4] = colour
    return LabelledImages(image, points, torch.ones(2, 2, 2))


def train(model: DirectPose, batch: Any, steps: int = 25) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    history = []
    for _ in range(steps):
        terms = model.terms(batch)
        history.append({name: term.detach() for name, term in terms.items()})
        loss = torch.stack([model.loss_weights[name] * term for name, term in terms.items()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return history[0], history[-1]
