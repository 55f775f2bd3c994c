"""DirectPose: its terms worked out by hand, learning, errors."""

import math
from typing import Any

import pytest
import torch
from sixteen_bits import agrees_in_sixteen_bits
from two_animals import SMALL, train, two_animals

from lightning_kp.batches import LabelledImages
from lightning_kp.errors import ConfigurationError
from lightning_kp.keypoints import Keypoints, in_view
from lightning_kp.methods import DirectPose
from lightning_kp.nn.direct_pose import Branches


def small(**options: Any) -> DirectPose:
    torch.manual_seed(0)
    return DirectPose(**{**SMALL, **options})


def perfect(model: DirectPose, batch: LabelledImages, sure: float = 8.0) -> Branches:
    """Branches that equal the targets."""
    blank = torch.zeros(2, 2, 16, 16)
    labelled = Keypoints(batch.points, batch.confidence)
    target = model.targets(labelled, Branches(blank, blank, blank))
    logits = (2 * target.keypoints - 1) * sure, (2 * target.boxes - 1) * sure
    return Branches(*logits, target.vectors)


def test_terms_by_hand() -> None:
    model, batch = small(window=0, reach=0.2), two_animals()
    labelled = Keypoints(batch.points, batch.confidence)
    ideal = perfect(model, batch)
    even = Branches(torch.zeros_like(ideal.keypoints), torch.zeros_like(ideal.boxes), ideal.vectors + 0.1)
    found = model.supervised(even, labelled)
    # Two images, two parts, two animals: 8 cells of 1024 are 1.  p = 0.5: eq. 4 gives kappa log 2 / 4 and so on.
    positive, negative = 0.25 * math.log(2) / 4, 0.75 * math.log(2) / 4
    assert found["keypoints"].item() == pytest.approx((8 * positive + 1016 * negative) / 8, rel=1e-5)
    assert found["vectors"].item() == pytest.approx((0.1 / 0.2) ** 2, rel=1e-4)
    inside = int(model.targets(labelled, even).boxes.sum())
    boxes = (inside * positive + (1024 - inside) * negative) / inside
    assert found["boxes"].item() == pytest.approx(boxes, rel=1e-5)


def test_perfect_branches_cost_nothing_and_give_the_animals_back() -> None:
    model, batch = small(owner="animal"), two_animals()
    ideal = perfect(model, batch)
    terms = model.supervised(ideal, Keypoints(batch.points, batch.confidence))
    assert all(term.item() < 1e-4 for term in terms.values())
    found = model.decode(ideal)
    assert (found.peak > 0).all(dim=-1).sum(dim=1).tolist() == [2, 2]
    pairs = (found.points[:, :2].unsqueeze(2) - batch.points.unsqueeze(1)).norm(dim=-1).mean(dim=-1)
    assert float(pairs.amin(dim=1).max()) < 1e-4


def test_a_missing_part_has_no_gradient_within_its_animal() -> None:
    model, batch = small(), two_animals()
    seen = batch.confidence.clone()
    seen[0, 0, 1] = 0
    logits = torch.zeros(2, 2, 16, 16, requires_grad=True)
    branches = Branches(logits, logits, torch.zeros(2, 2, 2, 16, 16))
    labelled = Keypoints(batch.points, seen)
    sum(model.supervised(branches, labelled).values(), torch.zeros(())).backward()
    assert logits.grad is not None
    hidden = ~model.targets(labelled, branches).counted
    assert hidden[0, 1].any()
    assert not logits.grad[hidden].any()


def test_each_term_falls() -> None:
    first, last = train(small(owner="animal"), two_animals())
    assert all(last[name] < 0.5 * first[name] for name in first), (first, last)


def test_a_term_without_weight_is_left_out() -> None:
    model = small()
    model.loss_weights["vectors"] = 0
    assert set(model.terms(two_animals())) == {"keypoints", "boxes"}


def test_augmentation_is_for_training_alone() -> None:
    model, batch = small(augment=True), two_animals()
    model.eval()
    assert model._augmented(batch) is batch
    model.train()
    turned = model._augmented(batch)
    assert not torch.equal(turned.points, batch.points)
    assert ((turned.points.abs() < 1).all(dim=-1) == (turned.confidence > 0)).all()


def test_the_papers_schedule() -> None:
    """Section 5: SGD with learning rate 0.01, and a hundredth of it after 5000 iterations."""
    found = small(decay_after=2).configure_optimizers()
    optimizer, scheduler = found["optimizer"], found["lr_scheduler"]["scheduler"]
    assert found["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.01, 0.01, 1e-4, 1e-4])
    assert isinstance(optimizer, torch.optim.SGD)
    assert DirectPose(**SMALL).decay_after == 5000


def test_heatmaps_sum_to_one() -> None:
    found = small().heatmaps(torch.rand(1, 3, 64, 64))
    torch.testing.assert_close(found.sum(dim=(-2, -1)), torch.ones(1, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": []}, "names must hold at least 1 keypoint, got 0 keypoints"),
        ({"instances": 0}, "instances must be at least 1, got 0"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"convolutions": 0}, "convolutions must be at least 1, got 0"),
        ({"reach": 0.0}, r"reach must be above 0, got 0\.0"),
        ({"window": -1}, "window must be at least 0, got -1"),
        ({"threshold": 1.0}, r"threshold must be above 0 and below 1, got 1\.0"),
        ({"kappa": 1.5}, r"kappa 1\.5"),
        ({"gamma": -2.0}, r"gamma -2\.0"),
        ({"placement": "boxes"}, "placement must be maps or proposals, got 'boxes'"),
        ({"owner": "box"}, "owner must be keypoint or animal, got 'box'"),
        ({"stride": 3}, "'tiny' has strides 4, 8, 16, 32, not 3"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        small(**options)


def many(model: DirectPose) -> LabelledImages:
    """Sixteen copies of animals near the border, augmented."""
    batch = two_animals()
    points = (1.6 * batch.points).clamp(-0.98, 0.98)
    model.train()
    return model._augmented(
        LabelledImages(*(torch.cat([each] * 8) for each in batch._replace(points=points)))
    )


def test_a_part_that_is_turned_out_of_view_is_absent() -> None:
    found = many(small(augment=True))
    outside = (found.points.abs() > 1).any(dim=-1)
    assert outside.any()
    assert torch.equal(in_view(found.points, found.confidence).present, ~outside)


def test_every_step_has_its_own_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    step = [0]
    monkeypatch.setattr(DirectPose, "global_step", property(lambda self: step[0]))
    model = small(augment=True)
    first, again = many(model), many(model)
    torch.testing.assert_close(first.points, again.points)
    step[0] = 1
    assert not torch.allclose(many(model).points, first.points)


def test_sixteen_bits_train() -> None:
    agrees_in_sixteen_bits(small(), two_animals(), rtol=0.03)
