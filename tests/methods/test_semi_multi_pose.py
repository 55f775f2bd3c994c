"""SemiMultiPose: eq. 9 worked out by hand, its gradients, and its cost when it is switched off."""

import math
from typing import Any

import pytest
import torch
from two_animals import SMALL, train, two_animals

from lightning_kp.batches import LabelledAndUnlabelled
from lightning_kp.methods import DirectPose, SemiMultiPose
from lightning_kp.nn.direct_pose import Branches


def small(**options: Any) -> SemiMultiPose:
    torch.manual_seed(0)
    return SemiMultiPose(**{**SMALL, **options})


def batch(unlabelled: int = 1) -> LabelledAndUnlabelled:
    labelled = two_animals()
    return LabelledAndUnlabelled(*labelled, labelled.image[:unlabelled])


def proposal(score: float = 0.6) -> Branches:
    """One cell of B2 has ``score``, B3 points from it to its own centre, and B1 is undecided."""
    boxes = torch.full((1, 1, 4, 4), -20.0)
    boxes[0, 0, 1, 1] = math.log(score / (1 - score))
    vectors = torch.zeros(1, 1, 2, 4, 4)
    return Branches(*(each.requires_grad_() for each in (torch.zeros(1, 1, 4, 4), boxes, vectors)))


def test_equation_9_by_hand() -> None:
    found = small(window=0).fusion(proposal())
    # A square of one cell, as high as 0.6; everywhere p = 0.5.  Divided by the sum of the target, or 1 if that is more.
    quarter = math.log(2) / 4
    expected = 0.6 * 0.25 * quarter + 0.4 * 0.75 * quarter + 15 * 0.75 * quarter
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_gradients_reach_b1_and_b3_and_not_b2() -> None:
    branches = proposal()
    moved = branches._replace(vectors=branches.vectors + 0.1)
    logits = moved.keypoints + torch.arange(16.0).view(1, 1, 4, 4)  # B1 prefers one side
    small().fusion(moved._replace(keypoints=logits)).backward()
    assert branches.keypoints.grad is not None
    assert branches.keypoints.grad.any()
    assert branches.vectors.grad is not None
    assert branches.vectors.grad[0, 0, :, 1, 1].all()
    assert branches.boxes.grad is None


def test_b3_is_drawn_to_where_b1_is_sure() -> None:
    branches = proposal(0.99)
    moved = branches._replace(vectors=branches.vectors + 0.1)
    logits = torch.full((1, 1, 4, 4), -3.0)
    logits[..., 3] = 3.0  # the column on the right
    small(window=0).fusion(moved._replace(keypoints=logits)).backward()
    assert branches.vectors.grad is not None
    # No square reaches that column from here, so that the point stays.
    beside = moved._replace(vectors=branches.vectors + 0.75, keypoints=logits)
    branches.vectors.grad = None
    small(window=0).fusion(beside).backward()
    assert branches.vectors.grad is not None
    assert branches.vectors.grad[0, 0, 0, 1, 1] < 0  # descending moves it to the right


def test_below_the_threshold_nothing_is_proposed() -> None:
    without = small(window=0).fusion(proposal(0.04))
    assert without.item() == pytest.approx(16 * 0.75 * math.log(2) / 4, rel=1e-5)


def test_terms_come_and_go_with_their_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    supervised = {"keypoints", "boxes", "vectors"}
    assert set(model.terms(batch())) == supervised | {"fusion_labelled", "fusion_unlabelled"}
    assert set(model.terms(batch(0))) == supervised | {"fusion_labelled"}
    model.loss_weights.update(fusion_labelled=0.0, fusion_unlabelled=0.0)
    passes = []
    raw = SemiMultiPose.raw
    monkeypatch.setattr(
        SemiMultiPose, "raw", lambda self, image: passes.append(len(image)) or raw(self, image)
    )
    assert set(model.terms(batch())) == supervised
    assert passes == [2]  # unlabelled frames are not computed


def test_without_fusion_it_is_direct_pose() -> None:
    model = small()
    model.loss_weights.update(fusion_labelled=0.0, fusion_unlabelled=0.0)
    torch.manual_seed(0)
    plain = DirectPose(**SMALL)
    for name, term in plain.terms(two_animals()).items():
        torch.testing.assert_close(model.terms(batch())[name], term)


def test_fusion_falls_with_training() -> None:
    """Once B2 proposes something, B1 and B3 come to agree on it, on frames without labels too."""
    model = small(owner="animal", weights=None)
    train(model, batch(), steps=30)
    model.loss_weights.update(fusion_labelled=1.0, fusion_unlabelled=1.0)
    first, last = train(model, batch(), steps=25)
    assert last["fusion_labelled"] < first["fusion_labelled"]
    assert last["fusion_unlabelled"] < first["fusion_unlabelled"]


def test_the_papers_weights() -> None:
    """Section 5: alpha 0.01, beta 0.1, gamma 2, kappa 0.25, delta 0.05."""
    model = small()
    assert model.loss_weights["fusion_labelled"] == 0.01
    assert model.loss_weights["fusion_unlabelled"] == 0.1
    assert (model.gamma, model.kappa, model.threshold) == (2.0, 0.25, 0.05)


def test_unlabelled_images_change_with_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    step = [0]
    monkeypatch.setattr(SemiMultiPose, "global_step", property(lambda self: step[0]))
    model, image = small(augment=True).train(), two_animals().image
    first = model._changed(image)
    torch.testing.assert_close(model._changed(image), first)
    step[0] = 1
    assert not torch.allclose(model._changed(image), first)
