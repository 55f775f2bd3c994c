"""B1 places and scores the parts of decoded animals, and takes nobody's from a neighbour."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_kp.checkpoints import load_method, write_method
from lightning_kp.direct_pose_decoding import Animals
from lightning_kp.direct_pose_placing import placed_by_maps
from lightning_kp.direct_pose_targets import pose_targets
from lightning_kp.errors import ConfigurationError
from lightning_kp.heatmaps import render_gaussians
from lightning_kp.keypoints import Keypoints
from lightning_kp.methods import DirectPose
from lightning_kp.nn.direct_pose import Branches

SIDE, CELL = 16, 2 / 16


def animals(points: Tensor, spread: float = 0.5 * CELL, confidence: float = 0.9) -> Animals:
    """Points (I, K, 2) in one image, whose proposals scatter by ``spread``."""
    covariance = torch.tensor([spread**2, spread**2, 0.0]).expand(1, *points.shape[:2], 3)
    return Animals(points.unsqueeze(0), covariance, torch.full((1, *points.shape[:2]), confidence))


def seen(parts: Tensor) -> Tensor:
    """Logits of B1 (1, K, h, w) that are near 1 within a cell or so of parts (I, K, 2)."""
    maps = torch.stack([render_gaussians(each.unsqueeze(0), (SIDE, SIDE), 1.5 * CELL)[0] for each in parts])
    return torch.logit(maps.amax(dim=0).clamp(0.01, 0.99)).unsqueeze(0)


PART = torch.tensor([[[0.1, -0.2]]])


@pytest.mark.parametrize("off", [(0.4, 0.0), (-0.5, 0.5), (0.0, -0.7)])
def test_a_part_goes_where_the_map_shows_it(off: tuple[float, float]) -> None:
    given = PART + CELL * torch.tensor(off)
    found = placed_by_maps(animals(given), seen(PART))
    before, after = ((each - PART).norm() for each in (given, found.points[0]))
    assert float(after) < 0.5 * float(before)


def test_a_part_that_is_where_the_map_shows_it_stays() -> None:
    found = placed_by_maps(animals(PART), seen(PART))
    assert float((found.points[0] - PART).norm()) < 0.05 * CELL


def test_the_map_says_how_sure_a_part_is() -> None:
    there = placed_by_maps(animals(PART), seen(PART)).confidence
    nowhere = placed_by_maps(animals(-PART), seen(PART)).confidence
    assert 0.7 < float(there) < 0.9
    assert float(nowhere) < 0.4 * float(there)


def test_nobody_is_drawn_to_the_neighbours_part() -> None:
    """One map shows two parts two cells apart; both animals begin half a cell on the other's side."""
    parts = torch.stack((PART[0], PART[0] + torch.tensor([2.0 * CELL, 0])))
    given = parts + CELL * torch.tensor([[[0.4, 0.0]], [[-0.4, 0.0]]])
    maps = seen(parts)
    together = placed_by_maps(animals(given), maps).points[0]
    alone = torch.stack([placed_by_maps(animals(each.unsqueeze(0)), maps).points[0, 0] for each in given])
    assert float((together - parts).norm(dim=-1).max()) < float((alone - parts).norm(dim=-1).max())
    assert float((together - parts).norm(dim=-1).max()) < 0.4 * CELL


def test_an_animal_that_is_not_there_takes_nothing() -> None:
    both = animals(torch.cat((PART + 0.2 * CELL, PART)))
    there = both._replace(confidence=both.confidence * torch.tensor([[[1.0], [0.0]]]))
    found, alone = placed_by_maps(there, seen(PART)), placed_by_maps(animals(PART + 0.2 * CELL), seen(PART))
    torch.testing.assert_close(found.points[:, :1], alone.points)
    assert float(found.confidence[0, 1, 0]) == 0


def test_proposals_that_agree_exactly_are_left_where_they_are() -> None:
    given = PART + 0.3 * CELL
    found = placed_by_maps(animals(given, spread=1e-4 * CELL), seen(PART))
    torch.testing.assert_close(found.points[0], given, atol=1e-4 * CELL, rtol=0)


@pytest.mark.parametrize("level", [-30.0, 0.0])
def test_a_map_that_says_nothing_moves_nothing(level: float) -> None:
    found = placed_by_maps(animals(PART), torch.full((1, 1, SIDE, SIDE), level))
    torch.testing.assert_close(found.points[0], PART, atol=0.05 * CELL, rtol=0)


def test_what_lies_far_outside_stays_finite() -> None:
    found = placed_by_maps(animals(torch.tensor([[[7.0, -9.0]]])), seen(PART))
    assert all(bool(each.isfinite().all()) for each in found)
    torch.testing.assert_close(found.points[0, 0, 0], torch.tensor([7.0, -9.0]))


def test_gathered_as_one_would_write_it() -> None:
    """Against loops over animals and cells."""
    torch.manual_seed(0)
    points, maps = torch.rand(4, 2, 2) - 0.5, torch.randn(1, 2, SIDE, SIDE)
    given = animals(points, spread=2 * CELL)
    found = placed_by_maps(given, maps)
    centre = (torch.arange(SIDE) + 0.5) * CELL - 1
    grid = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), dim=-1)
    for part in range(2):
        windows = [(-((grid - each[part]) / (0.85 * CELL)).square().sum(-1) / 2).exp() for each in points]
        score = maps[0, part].sigmoid()
        for number, window in enumerate(windows):
            own = window * window / sum(windows).clamp_min(1e-6)  # type: ignore[attr-defined]
            weight = own * score**4
            middle = (weight.unsqueeze(-1) * grid).sum((0, 1)) / weight.sum()
            share = 4 / (4 + 0.03**2)
            torch.testing.assert_close(
                found.points[0, number, part], points[number, part].lerp(middle, share), atol=1e-4, rtol=0
            )
            said = (own * score).sum() / window.sum()
            torch.testing.assert_close(found.confidence[0, number, part], (0.9 * said).sqrt())


def small(**options: object) -> DirectPose:
    return DirectPose(["a", "b"], 3, "tiny", False, 4, 8, 1, 4, **options)  # type: ignore[arg-type]


def test_the_method_reads_its_maps_unless_told_otherwise(tmp_path: Path) -> None:
    torch.manual_seed(0)
    target = pose_targets(
        Keypoints(torch.tensor([[[[0.0, 0.1], [0.5, 0.3]]]]), torch.ones(1, 1, 2)), (SIDE, SIDE)
    )
    vectors = target.vectors + 0.05 * torch.randn_like(target.vectors)
    branches = Branches(3 * torch.randn(1, 2, SIDE, SIDE), 8 * target.boxes - 4, vectors)
    by_maps, by_proposals = small().decode(branches), small(placement="proposals").decode(branches)
    assert float((by_maps.points - by_proposals.points).abs().max()) > 1e-3
    untaught = small(weights=DirectPose.weights_type(keypoints=0.0))
    write_method(tmp_path / "last.ckpt", untaught, {})
    for each in (untaught, load_method(tmp_path / "last.ckpt")):
        assert isinstance(each, DirectPose)
        torch.testing.assert_close(each.decode(branches).points, by_proposals.points)
        torch.testing.assert_close(each.decode(branches).peak, by_proposals.peak)


def test_a_placement_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match="placement is middle"):
        small(placement="middle")
