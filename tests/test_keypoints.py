"""The Keypoints value type."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from lightning_kp.keypoints import Keypoints, from_missing


def test_present_select_and_flip_by_hand() -> None:
    # Nose, left ear, right ear (absent).
    keypoints = Keypoints(tensor([[[[0.1, 0.5], [-0.3, 0.2], [0.4, 0.6]]]]), tensor([[[1.0, 0.5, 0.0]]]))
    assert keypoints.present.tolist() == [[[True, True, False]]]
    chosen = keypoints.select(tensor([2, 0]))
    torch.testing.assert_close(chosen.points, tensor([[[[0.4, 0.6], [0.1, 0.5]]]]))
    assert chosen.confidence.tolist() == [[[0.0, 1.0]]]
    flipped = keypoints.flip(tensor([0, 2, 1]))
    torch.testing.assert_close(flipped.points, tensor([[[[-0.1, 0.5], [-0.4, 0.6], [0.3, 0.2]]]]))
    assert flipped.confidence.tolist() == [[[1.0, 0.0, 0.5]]]


def test_score_is_the_mean_of_what_is_present() -> None:
    """Of two animals in the first image the second has one keypoint; the second image has one animal."""
    confidence = tensor([[[0.5, 1.0], [0.4, 0.0]], [[0.2, 0.4], [0.0, 0.0]]])
    score = Keypoints(torch.zeros(2, 2, 2, 2), confidence).score
    torch.testing.assert_close(score, tensor([[0.75, 0.4], [0.3, 0.0]]))


@given(st.data())
def test_flip_twice_is_nothing(data: st.DataObject) -> None:
    """For every mirror: some keypoints lie on the axis, the others come in pairs."""
    order = data.draw(st.permutations(range(5)))
    mirror = torch.arange(5)
    for first, second in zip(order[0:4:2], order[1:4:2], strict=True):
        if data.draw(st.booleans()):
            mirror[first], mirror[second] = second, first
    dimensions = data.draw(st.sampled_from([2, 3]))
    keypoints = Keypoints(torch.randn(2, 3, 5, dimensions), torch.rand(2, 3, 5))
    twice = keypoints.flip(mirror).flip(mirror)
    assert twice.points.equal(keypoints.points)
    assert twice.confidence.equal(keypoints.confidence)


def test_flip_mirrors_only_x() -> None:
    points = torch.randn(1, 1, 4, 3)
    flipped = Keypoints(points, torch.ones(1, 1, 4)).flip(torch.arange(4))
    torch.testing.assert_close(flipped.points, points * tensor([-1.0, 1.0, 1.0]))


def test_missing_points_become_finite_and_absent() -> None:
    nan = torch.nan
    points = tensor([[[[0.5, 0.25], [nan, 0.1], [nan, nan]]]])
    keypoints = from_missing(points, placeholder=-0.5)
    assert keypoints.points.tolist() == [[[[0.5, 0.25], [-0.5, -0.5], [-0.5, -0.5]]]]
    assert keypoints.confidence.tolist() == [[[1.0, 0.0, 0.0]]]
    assert points[0, 0, 2].isnan().all()  # the caller's tensor is not touched


def test_nan_of_a_missing_point_stays_out_of_gradients() -> None:
    points = tensor([[[[0.5, 0.25], [torch.nan, 0.1]]]], requires_grad=True)
    keypoints = from_missing(points)
    (keypoints.points.square().sum(dim=-1) * keypoints.confidence).sum().backward()
    assert points.grad is not None
    assert points.grad.tolist() == [[[[1.0, 0.5], [0.0, 0.0]]]]
