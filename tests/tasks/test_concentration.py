"""Concentration of heatmaps against golden values, in all three readings of equation 4.2 of 003."""

import numpy as np
import pytest
import torch
from golden_values import Goldens
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.heatmaps import expectation, pixel_gaussians, spatial_softmax
from lightning_kp.tasks.concentration import Concentration, Reading, concentration_loss
from lightning_kp.tasks.task import Maps

READINGS: tuple[Reading, ...] = ("raw", "mass", "peak")


def concentration(logits: Tensor, sigma_px: float, reading: Reading, held: bool) -> Tensor:
    heatmaps = spatial_softmax(logits)
    points = expectation(heatmaps)
    maps = Maps(logits, heatmaps, heatmaps, sigma_px, points[:0].unsqueeze(0))
    task = Concentration(logits.shape[1], reading, held)
    return task.loss(points, maps, torch.zeros(0), torch.Generator())


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("reading", READINGS)
def test_golden_losses_and_gradients(goldens: Goldens, reading: Reading, held: bool) -> None:
    values = goldens("stills/concentration")
    logits = torch.from_numpy(values["logits"]).requires_grad_()
    loss = concentration(logits, float(values["sigma_px"]), reading, held)
    assert loss.item() == pytest.approx(float(values[f"loss_{reading}"]), rel=1e-6)
    loss.backward()
    expected = values[f"gradient_{reading}_{'held' if held else 'following'}"]
    assert logits.grad is not None
    found = logits.grad.numpy()
    if reading == "peak":  # a flat map has no single peak, and so no gradient of it
        found, expected = found.copy(), expected.copy()
        found[1, 1] = expected[1, 1] = 0
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_heatmap_that_is_its_gaussian_costs_nothing() -> None:
    blob = pixel_gaussians(
        torch.tensor([[[0.125, -0.225]]], dtype=torch.float64), (40, 40), 1.5
    )  # at a pixel
    heatmap = blob / blob.sum()
    point = expectation(heatmap)
    for reading in ("mass", "peak"):
        assert concentration_loss(blob, heatmap, point, 1.5, reading).item() < 1e-9


def test_raw_at_its_minimum_has_every_point_at_the_centre() -> None:
    # Why raw is not the default: the soft arg-max of logits that equal a blob of peak 1 lies at the centre.
    blob = pixel_gaussians(torch.tensor([[[0.8, 0.8]]]), (28, 28), 0.9)
    assert expectation(spatial_softmax(blob)).abs().max() < 0.01


def test_a_reading_that_does_not_exist() -> None:
    with pytest.raises(ConfigurationError, match="one of mass, peak, raw, got 'sum'"):
        Concentration(3, "sum")  # type: ignore[arg-type]
