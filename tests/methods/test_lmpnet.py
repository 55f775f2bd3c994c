"""LMPNet: keypoints where the filters fire, the masked region, the replica's votes, and what it refuses."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_kp.batches import ClassifiedImages
from lightning_kp.errors import ConfigurationError
from lightning_kp.methods import LMPNet
from lightning_kp.methods.lmpnet import FilterClassifier, LMPNetWeights, Readout

SMALL: dict[str, Any] = {"encoder": "tiny", "pretrained": False, "stride": 8, "classes": ["a", "b"]}
SIDE, CELLS = 32, 4  # stride 8


def method_that_sees(*fires: tuple[tuple[int, int], ...], readout: Readout = "centroid") -> LMPNet:
    """A method whose networks answer every image with filters that fire at the given cells (row, column)."""
    weights = LMPNetWeights(replica=float(len(fires) > 1))
    method = LMPNet(keypoints=2, threshold=1.5, readout=readout, weights=weights, **SMALL).eval()
    for network, cells in zip(method._each(), fires, strict=True):
        maps = torch.zeros(1, len(cells), CELLS, CELLS)
        for channel, (row, column) in enumerate(cells):
            maps[0, channel, row, column] = 1
        network.maps = lambda image, maps=maps: maps.expand(len(image), -1, -1, -1)  # type: ignore[method-assign]
    return method


def test_keypoints_lie_where_filters_fire() -> None:
    cells = ((1, 1), (1, 1), (1, 2), (3, 3))
    found = method_that_sees(cells).locate(torch.rand(2, 3, SIDE, SIDE))
    # Column 4/3 of 4 cells is 2 * (4/3 + 1/2) / 4 - 1.
    torch.testing.assert_close(found.points[0, 0], torch.tensor([[-1 / 12, -0.25], [0.75, 0.75]]))
    torch.testing.assert_close(found.peak[0, 0], torch.tensor([0.75, 0.25]))
    centre = method_that_sees(cells, readout="cell").locate(torch.rand(1, 3, SIDE, SIDE))
    torch.testing.assert_close(centre.points[0, 0, 0], torch.tensor([-0.25, -0.25]))


def test_a_keypoint_without_votes_is_absent() -> None:
    found = method_that_sees(((1, 1), (1, 2)))(torch.rand(1, 3, SIDE, SIDE))
    assert found.confidence[0, 0].tolist() == [1, 0]
    assert found.points.isfinite().all()


def test_the_replica_votes_too() -> None:
    found = method_that_sees(((1, 1),), ((3, 3), (3, 3)))(torch.rand(1, 3, SIDE, SIDE))
    torch.testing.assert_close(found.points[0, 0], torch.tensor([[0.75, 0.75], [-0.25, -0.25]]))


def test_the_replica_sees_the_image_without_the_first_keypoint() -> None:
    method = method_that_sees(((1, 1), (1, 1), (3, 3)), ((0, 0),))
    image = torch.rand(1, 3, SIDE, SIDE)
    seen: list[Tensor] = []

    def look(masked: Tensor) -> Tensor:
        seen.append(masked)
        return torch.ones(1, 1, CELLS, CELLS)

    method._each()[1].maps = look  # type: ignore[method-assign]
    method.clusters(image)
    # The circle around the centre of cell (1, 1), 12 px from the top left, has a radius of 1.5 cells, 12 px.
    place = torch.arange(SIDE) + 0.5 - 12
    inside = place.square().unsqueeze(1) + place.square() < 12**2
    mean = image.mean(dim=(2, 3), keepdim=True).expand_as(image)
    torch.testing.assert_close(seen[0], torch.where(inside, mean, image))


@pytest.mark.parametrize(("replica", "networks"), [(1.0, 2), (0.0, 1)])
def test_training_lowers_its_terms(replica: float, networks: int) -> None:
    torch.manual_seed(0)
    method = LMPNet(keypoints=2, threshold=1.0, weights=LMPNetWeights(replica=replica), **SMALL)
    assert len(method.networks) == networks
    label = torch.arange(8) % 2
    image = torch.rand(8, 3, SIDE, SIDE) * 0.2
    image[:, 0] += 0.6 * label[:, None, None]
    batch, optimizer = ClassifiedImages(image, label), method.default_optimizer()
    first = {name: term.item() for name, term in method.terms(batch).items()}
    for _ in range(15):
        optimizer.zero_grad()
        torch.stack(list(method.terms(batch).values())).sum().backward()
        optimizer.step()
    last = {name: term.item() for name, term in method.terms(batch).items()}
    assert all(last[name] < 0.7 * first[name] for name in first)


def test_a_replica_that_has_not_started_costs_nothing() -> None:
    method = LMPNet(keypoints=2, threshold=1.0, **SMALL)
    method.loss_weights["replica"] = 0.0
    assert set(method.terms(ClassifiedImages(torch.rand(2, 3, SIDE, SIDE), torch.tensor([0, 1])))) == {
        "classification"
    }


@pytest.mark.parametrize(("encoder", "size"), [("tiny", 64), ("resnet18", 128)])
def test_maps_are_those_of_the_stride_and_no_later_stage_remains(encoder: str, size: int) -> None:
    network = FilterClassifier(encoder, False, 8, "leaky", 0.1)
    network.build(2)
    maps, logits = network(torch.rand(2, 3, SIDE, SIDE))
    assert maps.shape == (2, size, CELLS, CELLS)
    assert (maps >= 0).all()
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 5}, "strides 4, 8, 16, 32, not at 5"),
        ({"filters": 0}, "at least 1 filter"),
        ({"readout": "peak"}, "readout of centroid or cell"),
        ({"eps": -1.0}, "eps of at least 0"),
        ({"classes": ["one"]}, "at least 2 classes, got 1"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        LMPNet(**SMALL | options)


def test_a_threshold_that_is_larger_than_the_map() -> None:
    with pytest.raises(ConfigurationError, match=r"4x4 cells .* at most 5\.7 cells; got 1, 3 and 6"):
        LMPNet(keypoints=2, threshold=6, **SMALL).eval()(torch.rand(1, 3, SIDE, SIDE))
