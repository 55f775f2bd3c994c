"""Learnable clustering against golden values, against Algorithm 1 to the letter, and where proposals run out."""

from typing import Any

import numpy as np
import pytest
import torch
from golden_values import Goldens
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.readout.clustering import Clusters, Proposals, cluster, propose, strongest_maps


@pytest.mark.parametrize("case", range(6))
@pytest.mark.parametrize("floor", [1.0, 1e-6])
def test_golden_clusters(goldens: Goldens, case: int, floor: float) -> None:
    values = goldens("stills/learnable_clustering")

    def of(name: str) -> Any:
        return values[f"case{case}_{name}"]

    features = torch.from_numpy(of("features")).unsqueeze(0)
    size = (features.shape[2], features.shape[3])
    assert strongest_maps(features, int(of("count")))[0].tolist() == of("kept").tolist()
    proposals = propose(features, int(of("count")))
    expected = of("proposals").reshape(len(proposals.cells[0]), -1)
    assert proposals.cells[0].tolist() == expected.argmax(axis=1).tolist()
    found = cluster(
        proposals, size, int(of("k")), threshold=float(of("threshold")), iterations=int(of("n")), floor=floor
    )
    prefix = "" if floor == 1 else "limit_"
    assert found.cells_row_col[0].tolist() == of(f"{prefix}cells_row_col").tolist()
    assert found.votes[0].tolist() == of(f"{prefix}votes").tolist()
    assert found.erased[0].tolist() == of(f"{prefix}erased").tolist()
    np.testing.assert_allclose(found.maps[0], of(f"{prefix}maps"), rtol=1e-5, atol=1e-6)


def literal_cells(
    proposals: Tensor, keypoints: int, iterations: int, threshold: float, floor: float
) -> list[int]:
    """Cells by Algorithm 1 to the letter, for one image: proposals (c, h, w) are 1 at one place."""
    maps = proposals.double().clone()
    width = maps.shape[2]
    cells: list[int] = []
    for _ in range(keypoints):
        alive = maps.flatten(1).amax(dim=1) > 0
        if not alive.any():
            break
        raw = torch.ones(len(maps), dtype=torch.float64)
        places = maps.flatten(1).argmax(dim=1)
        for _ in range(iterations):
            weights = raw.softmax(dim=0)
            summed = torch.tensordot(weights, maps, dims=1).flatten()
            # Sums of equal votes have to be equal: rounding must not decide.
            best = int(summed.round(decimals=9).argmax())
            away = (
                torch.stack((places // width - best // width, places % width - best % width))
                .double()
                .norm(dim=0)
            )
            raw = weights + alive / away.clamp_min(floor)
        cells.append(best)
        maps[alive & (away < threshold)] = 0
    return cells


@settings(max_examples=40)
@given(
    st.integers(0, 10**6),
    st.integers(1, 3),
    st.sampled_from([1.0, 1e-6, 0.3]),
    st.sampled_from([1.0, 2.0, 3.0]),
)
def test_cells_are_those_of_the_algorithm_and_depend_on_the_threshold_alone(
    seed: int, iterations: int, floor: float, threshold: float
) -> None:
    places = torch.randint(0, 30, (2, 12), generator=torch.Generator().manual_seed(seed))
    found = cluster(Proposals(places, places >= 0), (5, 6), 4, threshold=threshold, iterations=1)
    for image, row in enumerate(places):
        maps = torch.nn.functional.one_hot(row, 30).view(12, 5, 6)
        expected = literal_cells(maps, 4, iterations, threshold, floor)
        cells = [r * 6 + c for r, c in found.cells_row_col[image].tolist() if r >= 0]
        assert cells == expected


def test_centroid_and_votes_by_hand() -> None:
    # Cells of a 4 x 4 map: three proposals in row 1, column 1, one beside it, one far away.
    found = cluster(proposals(5, 5, 5, 6, 15), (4, 4), 3, threshold=1.5)
    assert found.cells_row_col.tolist() == [[[1, 1], [3, 3], [-1, -1]]]
    assert found.votes.tolist() == [[3, 1, 0]]
    torch.testing.assert_close(found.centroid_row_col[0, :2], torch.tensor([[1, 1.25], [3, 3]]))


def proposals(*cells: int) -> Proposals:
    places = torch.tensor([cells])
    return Proposals(places, torch.ones_like(places, dtype=torch.bool))


def test_maps_of_zeros_propose_nothing() -> None:
    maps = torch.zeros(1, 3, 4, 4)
    maps[0, 1, 2, 2] = 1
    found = propose(maps, 3)
    assert found.present.tolist() == [[True, False, False]]
    assert cluster(found, (4, 4), 1, threshold=2).votes.tolist() == [[1]]
    nothing: Clusters = cluster(propose(maps * 0, 3), (4, 4), 2, threshold=2)
    assert nothing.votes.sum() == 0
    assert (nothing.cells_row_col == -1).all()
    assert nothing.maps.abs().sum() == 0


@pytest.mark.parametrize("options", [{"threshold": 0}, {"threshold": 9}, {"threshold": 2, "iterations": 0}])
def test_what_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="4x4 cells needs at least 1 keypoint"):
        cluster(proposals(1), (4, 4), 1, **options)
