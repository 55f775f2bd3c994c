from pathlib import Path

import numpy as np
import pytest
import torch
from golden_values import Goldens
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor
from torchmetrics.functional.classification import multiclass_accuracy
from two_processes import on_two_processes

from lightning_kp.heatmaps import map_entropy
from lightning_kp.metrics.classes import MapEntropy, TopError

SCORES = tensor([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
LABEL = tensor([1, 2, 0, 0])


def error(guesses: int, *batches: tuple[torch.Tensor, torch.Tensor]) -> float:
    metric = TopError(guesses)
    for batch in batches:
        metric.update(*batch)
    return float(metric.compute())


@pytest.mark.parametrize(("guesses", "expected"), [(1, 50.0), (2, 25.0), (3, 0.0)])
def test_values_by_hand(guesses: int, expected: float) -> None:
    """Ranks of the labels: 1, 2, 3, 1."""
    assert error(guesses, (SCORES, LABEL)) == expected
    assert error(guesses, (SCORES[:1], LABEL[:1]), (SCORES[1:], LABEL[1:])) == expected


@given(st.integers(0, 1000), st.integers(1, 5))
def test_agrees_with_an_independent_implementation(seed: int, guesses: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(20, 6, generator=generator)
    label = torch.randint(0, 6, (20,), generator=generator)
    right = multiclass_accuracy(scores, label, num_classes=6, top_k=guesses, average="micro")
    assert error(guesses, (scores, label)) == pytest.approx(100 * (1 - float(right)), abs=1e-4)


@pytest.mark.parametrize("value", [0.0, torch.nan])
def test_an_output_that_says_nothing_is_wrong(value: float) -> None:
    assert error(1, (torch.full((3, 4), value), tensor([0, 1, 2]))) == 100


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_without_an_image_there_is_no_error() -> None:
    assert TopError().compute().isnan()


def measure(rank: int, world: int) -> float:
    """7 of 24 images for process 0, the rest for process 1."""
    share = slice(None) if world == 1 else (slice(0, 7), slice(7, None))[rank]
    random = torch.Generator().manual_seed(0)
    scores, label = torch.rand(24, 5, generator=random), torch.randint(0, 5, (24,), generator=random)
    error = TopError(2)
    error.update(scores[share], label[share])
    return float(error.compute())


def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    expected = measure(0, 1)
    assert 0 < expected < 100
    assert on_two_processes(measure, tmp_path) == [expected, expected]


def test_golden_entropies(goldens: Goldens) -> None:
    values = goldens("stills/leaky_max_pooling")
    maps = torch.from_numpy(values["features"])
    np.testing.assert_allclose(map_entropy(maps), values["entropy"], rtol=1e-6)
    metric = MapEntropy()
    metric.update(maps[:1])
    metric.update(maps[1:])
    mean, dead = metric.compute()
    assert mean.item() == pytest.approx(float(np.nanmean(values["entropy"])), rel=1e-6)
    assert dead.item() == pytest.approx(float(np.isnan(values["entropy"]).mean()))
