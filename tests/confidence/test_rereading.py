"""Copies of images are read again, and points that move with the image come back to where they were."""

from typing import Any

import numpy as np
import torch
from dots import SIZE, ColourDots, draw, ring
from torch import Tensor

from lightning_kp.batches import FramePairs
from lightning_kp.confidence.rereading import VIEWS, Rereader, reread
from lightning_kp.geometry import normalise, to_pixels
from lightning_kp.heatmaps import Moments


def image(points_px: np.ndarray) -> Tensor:
    """An image (1, 3, S, S) in [0, 1] with a dot at each point (5, 2)."""
    return torch.from_numpy(draw(points_px)).permute(2, 0, 1)[None].float() / 255


def test_dots_are_found_where_they_are_in_every_copy() -> None:
    points = ring(16.0)
    found = reread(ColourDots(), image(points))
    assert found.shape == (1, len(VIEWS), 1, 5, 2)
    apart = to_pixels(found, (SIZE, SIZE))[0, :, 0] - torch.from_numpy(points)
    assert apart.norm(dim=-1).max() < 0.6  # a third of a heatmap's mass lies on the black of the picture


class Corner(ColourDots):
    """Finds its points in the image's corner, whatever the image shows."""

    def locate(self, image: Tensor) -> Moments:
        found = super().locate(image)
        return found._replace(points=torch.full_like(found.points, -0.8))


def test_a_point_that_does_not_follow_the_image_comes_back_elsewhere() -> None:
    found = reread(Corner(), image(ring(16.0)))[0, :, 0, 0]
    away = (found + 0.8).norm(dim=-1) * SIZE / 2
    assert away.min() > 1  # px; the copies are shifted by a few pixels or turned
    # By hand: the third copy is turned by 40 degrees about the centre.
    turned = torch.tensor([[np.cos(0.698132), -np.sin(0.698132)], [np.sin(0.698132), np.cos(0.698132)]])
    torch.testing.assert_close(
        found[2], (turned @ torch.full((2,), -0.8, dtype=torch.float64)).float(), atol=1e-4, rtol=0
    )


def test_batches_pass_unchanged_and_training_mode_is_kept() -> None:
    frames = (255 * torch.cat([image(ring(14.0)), image(ring(18.0))])).to(torch.uint8)
    numbers = torch.zeros(2, dtype=torch.int64)
    batch = FramePairs(frames, frames, numbers, torch.arange(2))
    method: Any = ColourDots()
    method.train()
    rereader = Rereader(method)
    passed = list(rereader.watch([batch, batch]))
    assert [each is batch for each in passed] == [True, True]
    assert method.training
    assert rereader.points().shape == (4, len(VIEWS), 1, 5, 2)
    np.testing.assert_array_equal(rereader.points()[:2], rereader.points()[2:])
    expected = normalise(torch.from_numpy(np.stack([ring(14.0), ring(18.0)])), (SIZE, SIZE)).numpy()
    assert np.abs(rereader.points()[:2, :, 0] - expected[:, None]).max() * SIZE / 2 < 0.6
