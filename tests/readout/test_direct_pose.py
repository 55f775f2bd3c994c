"""Correct network outputs give the animals back; duplicates and foreign proposals are dropped."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_kp.checkpoints import load_method, write_method
from lightning_kp.errors import ConfigurationError
from lightning_kp.heatmaps import render_gaussians
from lightning_kp.keypoints import Keypoints
from lightning_kp.losses.direct_pose import pose_targets
from lightning_kp.methods import DirectPose
from lightning_kp.nn.direct_pose import Branches
from lightning_kp.readout.direct_pose import Animals, _mean, _unlike_higher, decode_animals, refine_with_maps

SIDE, CELL = 16, 2 / 16
PART = torch.tensor([[[0.1, -0.2]]])


def decoded(
    labelled: Keypoints, size: tuple[int, int] = (32, 32), noise: float = 0.0, **options: int
) -> Animals:
    target = pose_targets(labelled, size, owner="animal")
    branches = Branches(target.keypoints, target.boxes, target.vectors)
    points = branches.points + noise * torch.randn_like(branches.points)
    return decode_animals(0.9 * target.boxes, points, options.get("animals", 6))


def some(seed: int = 0) -> Keypoints:
    """Four animals, apart from each other, in two images."""
    torch.manual_seed(seed)
    middle = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]])
    points = middle.view(1, 4, 1, 2) + 0.3 * (torch.rand(2, 4, 3, 2) - 0.5)
    return Keypoints(points, torch.ones(2, 4, 3))


def apart(found: Animals, labelled: Keypoints) -> Tensor:
    """Distance of each label (B, I) to the nearest animal that was found."""
    pairs = (found.points.unsqueeze(1) - labelled.points.unsqueeze(2)).norm(dim=-1).mean(dim=-1)
    absent = (found.confidence == 0).all(dim=-1).unsqueeze(1)
    return pairs.masked_fill(absent, torch.inf).amin(dim=-1)


@pytest.mark.parametrize("seed", range(3))
def test_what_was_rendered_is_found(seed: int) -> None:
    labelled = some(seed)
    found = decoded(labelled)
    assert found.points.shape == (2, 6, 3, 2)
    assert ((found.confidence > 0).all(dim=-1).sum(dim=1) == 4).all()
    torch.testing.assert_close(found.confidence[:, :4], torch.full((2, 4, 3), 0.9))
    assert float(apart(found, labelled).max()) < 1e-4


def test_the_mean_of_proposals_is_nearer_than_one_of_them() -> None:
    labelled = some()
    found = decoded(labelled, noise=0.01)
    assert float(apart(found, labelled).mean()) < 0.0075  # one proposal is 0.0125 off in the mean
    assert float(found.covariance[:, :4, :, :2].min()) > 1e-5
    assert float(found.covariance[:, :4, :, :2].mean()) == pytest.approx(1e-4, rel=0.4)


@pytest.mark.parametrize("noise", [0.0, 1e-5, 1e-3])
def test_covariances_are_none_of_negative_variance(noise: float) -> None:
    """As a difference of squares in 32 bits, the covariance of identical proposals was only rounding error."""
    found = decoded(some(), noise=noise)
    var_x, var_y, cov = found.covariance[:, :4].double().unbind(-1)
    assert float((var_x * var_y - cov**2).min()) >= -1e-6 * float(var_x.max() * var_y.max())
    assert float(found.covariance[:, :4, :, :2].mean()) == pytest.approx(noise**2, rel=0.4, abs=1e-12)


def test_fewer_places_than_animals_keep_the_surest() -> None:
    labelled = some()
    target = pose_targets(labelled, (32, 32), owner="animal")
    scores = 0.3 * target.boxes
    scores[..., :16, 16:] *= 3  # the animal top right
    found = decode_animals(scores, Branches(target.keypoints, target.boxes, target.vectors).points, 1)
    assert found.points.shape == (2, 1, 3, 2)
    torch.testing.assert_close(found.points[:, 0], labelled.points[:, 1], atol=1e-4, rtol=0)


def test_an_empty_image_has_no_animals() -> None:
    found = decode_animals(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 2, 8, 8), 5)
    assert not found.confidence.any()
    assert all(value.isfinite().all() for value in found)


def test_more_places_than_cells() -> None:
    found = decode_animals(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2, 2), 9)
    assert found.confidence.shape == (1, 9, 3)


def test_suppression_is_the_greedy_one() -> None:
    """Compared with a plain loop, on random similarities."""
    torch.manual_seed(0)
    for _ in range(50):
        similarity = torch.rand(1, 12, 12)
        value = torch.rand(1, 12).sort(descending=True).values
        value[0, 10:] = 0
        kept: list[int] = []
        for seed in range(10):
            if all(similarity[0, seed, other] <= 0.7 for other in kept):
                kept.append(seed)
        assert _unlike_higher(similarity, value, 0.7)[0].nonzero().flatten().tolist() == kept


def test_a_proposal_speaks_for_the_animal_that_it_resembles_most() -> None:
    """Two animals 0.25 apart; OKS is exp(-d^2 / 0.04): the third proposal resembles both, and B more."""
    a, b, between = (torch.tensor([[0.0, y], [1.0, y]]) for y in (0.0, 0.25, 0.14))
    found = _mean(
        torch.stack((a, b, between)).unsqueeze(0), torch.ones(1, 3, 2), torch.ones(1, 3),
        torch.stack((a, b)).unsqueeze(0), torch.ones(1, 2), similar=0.5, sigma=0.1,
    )  # fmt: skip
    torch.testing.assert_close(found.points[0, 0], a)
    share = math.exp(-(0.11**2) / 0.04)
    torch.testing.assert_close(
        found.points[0, 1, :, 1], torch.full((2,), (0.25 + 0.14 * share) / (1 + share))
    )


@pytest.mark.parametrize("sixteen", [torch.bfloat16, torch.float16])
def test_mixed_precision_moves_no_animal(sixteen: torch.dtype) -> None:
    model = DirectPose(["a", "b", "c"], 6, "tiny", False, 4, 8, 1, 4)
    target = pose_targets(some(), (128, 128), owner="animal")
    branches = Branches(target.keypoints, 8 * target.boxes - 4, target.vectors)
    exact = model.decode(branches)
    with torch.autocast("cpu", sixteen):
        rounded = model.decode(branches)
    assert rounded.points.dtype == torch.float32
    torch.testing.assert_close(rounded.points, exact.points)


def animals(points: Tensor, spread: float = 0.5 * CELL, confidence: float = 0.9) -> Animals:
    """Points (I, K, 2) in one image, whose proposals scatter by ``spread``."""
    covariance = torch.tensor([spread**2, spread**2, 0.0]).expand(1, *points.shape[:2], 3)
    return Animals(points.unsqueeze(0), covariance, torch.full((1, *points.shape[:2]), confidence))


def seen(parts: Tensor) -> Tensor:
    """Logits of B1 (1, K, h, w) that are near 1 within about a cell of the keypoints (I, K, 2)."""
    maps = torch.stack([render_gaussians(each.unsqueeze(0), (SIDE, SIDE), 1.5 * CELL)[0] for each in parts])
    return torch.logit(maps.amax(dim=0).clamp(0.01, 0.99)).unsqueeze(0)


@pytest.mark.parametrize("off", [(0.4, 0.0), (-0.5, 0.5), (0.0, -0.7)])
def test_a_part_goes_where_the_map_shows_it(off: tuple[float, float]) -> None:
    given = PART + CELL * torch.tensor(off)
    found = refine_with_maps(animals(given), seen(PART))
    before, after = ((each - PART).norm() for each in (given, found.points[0]))
    assert float(after) < 0.5 * float(before)


def test_a_part_that_is_where_the_map_shows_it_stays() -> None:
    found = refine_with_maps(animals(PART), seen(PART))
    assert float((found.points[0] - PART).norm()) < 0.05 * CELL


def test_the_map_says_how_sure_a_part_is() -> None:
    there = refine_with_maps(animals(PART), seen(PART)).confidence
    nowhere = refine_with_maps(animals(-PART), seen(PART)).confidence
    assert 0.7 < float(there) < 0.9
    assert float(nowhere) < 0.4 * float(there)


def test_nobody_is_drawn_to_the_neighbours_part() -> None:
    """One map shows two keypoints two cells apart; both animals start half a cell towards the other."""
    parts = torch.stack((PART[0], PART[0] + torch.tensor([2.0 * CELL, 0])))
    given = parts + CELL * torch.tensor([[[0.4, 0.0]], [[-0.4, 0.0]]])
    maps = seen(parts)
    together = refine_with_maps(animals(given), maps).points[0]
    alone = torch.stack([refine_with_maps(animals(each.unsqueeze(0)), maps).points[0, 0] for each in given])
    assert float((together - parts).norm(dim=-1).max()) < float((alone - parts).norm(dim=-1).max())
    assert float((together - parts).norm(dim=-1).max()) < 0.4 * CELL


def test_an_animal_that_is_not_there_takes_nothing() -> None:
    both = animals(torch.cat((PART + 0.2 * CELL, PART)))
    there = both._replace(confidence=both.confidence * torch.tensor([[[1.0], [0.0]]]))
    found, alone = (
        refine_with_maps(there, seen(PART)),
        refine_with_maps(animals(PART + 0.2 * CELL), seen(PART)),
    )
    torch.testing.assert_close(found.points[:, :1], alone.points)
    assert float(found.confidence[0, 1, 0]) == 0


def test_proposals_that_agree_exactly_are_left_where_they_are() -> None:
    given = PART + 0.3 * CELL
    found = refine_with_maps(animals(given, spread=1e-4 * CELL), seen(PART))
    torch.testing.assert_close(found.points[0], given, atol=1e-4 * CELL, rtol=0)


@pytest.mark.parametrize("level", [-30.0, 0.0])
def test_a_map_that_says_nothing_moves_nothing(level: float) -> None:
    found = refine_with_maps(animals(PART), torch.full((1, 1, SIDE, SIDE), level))
    torch.testing.assert_close(found.points[0], PART, atol=0.05 * CELL, rtol=0)


def test_what_lies_far_outside_stays_finite() -> None:
    found = refine_with_maps(animals(torch.tensor([[[7.0, -9.0]]])), seen(PART))
    assert all(bool(each.isfinite().all()) for each in found)
    torch.testing.assert_close(found.points[0, 0, 0], torch.tensor([7.0, -9.0]))


def test_gathered_as_one_would_write_it() -> None:
    """Compared with loops over animals and cells."""
    torch.manual_seed(0)
    points, maps = torch.rand(4, 2, 2) - 0.5, torch.randn(1, 2, SIDE, SIDE)
    given = animals(points, spread=2 * CELL)
    found = refine_with_maps(given, maps)
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
            mean_score = (own * score).sum() / window.sum()
            torch.testing.assert_close(found.confidence[0, number, part], (0.9 * mean_score).sqrt())


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
    with pytest.raises(ConfigurationError, match="placement must be maps or proposals, got 'middle'"):
        small(placement="middle")
