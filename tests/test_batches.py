"""Batch types keep their type in collation and transfer; uint8 images become floats once."""

import pytest
import torch
from torch import tensor
from torch.utils.data import DataLoader, default_collate

from lightning_kp import batches
from lightning_kp.batches import (
    ClassifiedImages,
    CrowdImages,
    FramePairs,
    Frames,
    Images,
    LabelledAndUnlabelled,
    LabelledImages,
    LabelledWindows,
    PairsAndLabels,
    floats_in_unit_range,
)

IMAGE = torch.zeros(3, 4, 4, dtype=torch.uint8)
SAMPLES = [
    Images(IMAGE),
    ClassifiedImages(IMAGE, tensor(3)),
    Frames(IMAGE, tensor(1), tensor(7)),
    FramePairs(IMAGE, IMAGE + 1, tensor(1), tensor(7)),
    LabelledImages(IMAGE, torch.zeros(1, 5, 2), torch.ones(1, 5)),
    PairsAndLabels(IMAGE, IMAGE + 1, tensor(1), tensor(7), IMAGE, torch.zeros(1, 5, 2), torch.ones(1, 5)),
    CrowdImages(
        IMAGE,
        torch.zeros(2, 5, 2),
        torch.ones(2, 5),
        torch.ones(2),
        tensor(80.0),
        torch.ones(4, 4, dtype=torch.bool),
        torch.zeros(1, 4),
    ),
    LabelledAndUnlabelled(IMAGE, torch.zeros(2, 5, 2), torch.ones(2, 5), IMAGE + 1),
    LabelledWindows(torch.zeros(9, 4), tensor(2), tensor(1), tensor(7)),
]
TYPES = [kind for kind in vars(batches).values() if isinstance(kind, type) and hasattr(kind, "_fields")]


def test_every_batch_type_has_a_sample() -> None:
    assert {type(sample) for sample in SAMPLES} == set(TYPES)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_collate_keeps_type_and_fields(sample) -> None:
    batch = default_collate([sample, sample, sample])
    assert type(batch) is type(sample)
    for field, single in zip(batch, sample, strict=True):
        assert field.dtype == single.dtype
        assert field.shape == (3, *single.shape)
        assert field[1].equal(single)


def test_a_loader_yields_the_type() -> None:
    samples = [FramePairs(IMAGE, IMAGE, tensor(0), tensor(i)) for i in range(5)]
    found = list(DataLoader(samples, batch_size=2))  # type: ignore[arg-type]
    assert [type(batch) for batch in found] == [FramePairs] * 3
    assert [batch.index.tolist() for batch in found] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("kind", TYPES)
def test_no_field_is_optional(kind) -> None:
    """The default collate handles neither None nor default values."""
    assert kind._field_defaults == {}


def test_bytes_become_floats_in_unit_range() -> None:
    found = floats_in_unit_range(tensor([0, 51, 255], dtype=torch.uint8))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, tensor([0.0, 0.2, 1.0]))


@pytest.mark.parametrize("value", [tensor([0.5, 200.0]), tensor([3, 4]), tensor([True])])
def test_anything_else_is_unchanged(value: torch.Tensor) -> None:
    assert floats_in_unit_range(value) is value


def test_the_bytes_stay_as_they_were() -> None:
    image = tensor([10, 20], dtype=torch.uint8)
    floats_in_unit_range(image)
    assert image.tolist() == [10, 20]


def test_channels_last_survives() -> None:
    image = torch.zeros(2, 3, 4, 4, dtype=torch.uint8).to(memory_format=torch.channels_last)
    assert floats_in_unit_range(image).is_contiguous(memory_format=torch.channels_last)
