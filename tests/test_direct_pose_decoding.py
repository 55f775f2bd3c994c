"""Branches that are right give the animals back; doubles and strangers are dropped."""

import math

import pytest
import torch
from torch import Tensor

from lightning_kp.direct_pose_decoding import Animals, _mean, _unlike_higher, decode_animals
from lightning_kp.direct_pose_targets import pose_targets
from lightning_kp.keypoints import Keypoints
from lightning_kp.methods import DirectPose
from lightning_kp.nn.direct_pose import Branches


def decoded(
    labelled: Keypoints, size: tuple[int, int] = (32, 32), noise: float = 0.0, **options: int
) -> Animals:
    target = pose_targets(labelled, size, owner="animal")
    branches = Branches(target.keypoints, target.boxes, target.vectors)
    points = branches.points + noise * torch.randn_like(branches.points)
    return decode_animals(0.9 * target.boxes, points, options.get("animals", 6))


def some(seed: int = 0) -> Keypoints:
    """Four animals apart from one another, in two images."""
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
    """As a difference of squares, in 32 bits, that of proposals that agree was rounding alone."""
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
    """Against the loop that one would write, on random similarities."""
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
