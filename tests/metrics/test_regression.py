"""Regressors from discovered to labelled points, against values by hand and loops in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, tensor

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.metrics.regression import (
    LinearStatistics,
    MatchedStatistics,
    fit_linear,
    fit_matched,
    landmark_error,
    linear_statistics,
    matched_statistics,
    mean_pose_error,
    solve_linear,
    solve_matched,
)
from lightning_kp.metrics.scores import average_present


def draw(images: int, discovered: int = 3, labelled: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Discovered points, labelled points that depend on them with noise, and a confidence with gaps."""
    random = torch.Generator().manual_seed(seed)
    points = torch.rand(images, discovered, 2, generator=random) * 1.6 - 0.8
    mix = torch.randn(2 * discovered, 2 * labelled, generator=torch.Generator().manual_seed(99)) * 0.3
    target = (points.flatten(1) @ mix).view(images, labelled, 2)
    target = target + 0.05 * torch.randn(target.shape, generator=random)
    confidence = (torch.rand(images, labelled, generator=random) > 0.25).float()
    return points, target, confidence


# Linear


def test_linear_map_without_bias_by_hand() -> None:
    # x = +1 and -1, target 0.5 both times: the best slope is 0, so the error is 0.5 of 2 units = 25 %.
    discovered = tensor([[[1.0, 0.0]], [[-1.0, 0.0]]])
    labelled = tensor([[[0.5, 0.0]], [[0.5, 0.0]]])
    regressor = fit_linear(discovered, labelled)
    assert regressor.weights.abs().max() < 1e-12
    assert regressor.score(discovered, labelled).mean == pytest.approx(25.0)
    with_bias = fit_linear(discovered, labelled, bias=True)
    assert with_bias.score(discovered, labelled).mean == pytest.approx(0.0, abs=1e-9)


def test_linear_map_uses_all_coordinates() -> None:
    # The label swaps x and y of the first point and adds twice the second: all eight weights are known.
    discovered = torch.rand(20, 2, 2) - 0.5
    labelled = (discovered[:, 0].flip(-1) + 2 * discovered[:, 1]).unsqueeze(1)
    weights = fit_linear(discovered, labelled).weights
    expected = tensor([[[0.0, 1.0], [1.0, 0.0], [2.0, 0.0], [0.0, 2.0]]])
    torch.testing.assert_close(weights, expected.double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("bias", [False, True])
def test_linear_agrees_with_numpy_point_by_point(bias: bool) -> None:
    discovered, labelled, confidence = draw(40)
    test_discovered, test_labelled, test_confidence = draw(30, seed=1)
    scores = fit_linear(discovered, labelled, confidence, bias=bias).score(
        test_discovered, test_labelled, test_confidence
    )

    def columns(points: Tensor) -> np.ndarray:
        flat = points.double().numpy().reshape(len(points), -1)
        return np.hstack([flat, np.ones((len(flat), 1))]) if bias else flat

    everything = []
    for point in range(labelled.shape[1]):
        use, test = confidence[:, point].bool().numpy(), test_confidence[:, point].bool().numpy()
        weights = np.linalg.lstsq(columns(discovered)[use], labelled[:, point].double().numpy()[use])[0]
        residual = columns(test_discovered)[test] @ weights - test_labelled[:, point].double().numpy()[test]
        distances = 100 * np.hypot(residual[:, 0], residual[:, 1]) / 2
        assert scores.per_keypoint[point].item() == pytest.approx(distances.mean(), rel=1e-9)
        assert scores.counted[point] == test.sum()
        everything.extend(distances)
    assert scores.mean.item() == pytest.approx(np.mean(everything), rel=1e-9)


def test_linear_survives_the_flat_heatmaps_of_an_untrained_network() -> None:
    """Tiny, nearly parallel features: the normal equations must not throw them away."""
    discovered, labelled, _ = draw(60)
    flat = 1e-4 * (discovered.double() @ tensor([[1.0, 0.9995], [0.9995, 1.0]]).double())
    normal, tiny = fit_linear(discovered, labelled), fit_linear(flat, labelled)
    torch.testing.assert_close(tiny.predict(flat), normal.predict(discovered), atol=1e-6, rtol=1e-6)


@given(order=st.permutations(range(3)), scale=st.floats(0.1, 10))
def test_linear_prediction_ignores_order_and_scale_of_the_discovered(order: list[int], scale: float) -> None:
    discovered, labelled, _ = draw(25)
    other = discovered[:, list(order)] * scale
    expected = fit_linear(discovered, labelled).predict(discovered)
    torch.testing.assert_close(fit_linear(other, labelled).predict(other), expected, atol=1e-5, rtol=1e-5)


# Matched


def test_matched_by_hand() -> None:
    # Keypoint 1 is the label minus (0.1, 0.2) exactly; keypoint 0 is nearer on average, but swings.
    labelled = tensor([[[0.0, 0.0]], [[0.4, 0.0]]])
    discovered = torch.cat((tensor([[[0.05, 0.0]], [[0.35, 0.0]]]), labelled - tensor([0.1, 0.2])), dim=1)
    regressor = fit_matched(discovered, labelled)
    assert regressor.match.tolist() == [1]
    torch.testing.assert_close(regressor.offset, tensor([[0.1, 0.2]]).double(), atol=1e-7, rtol=0)
    moved = discovered + tensor([[0.9, 0.9], [0.3, 0.4]])  # keypoint 1 is off by a distance of 0.5 = 25 %
    assert regressor.score(moved, labelled).mean == pytest.approx(25.0, rel=1e-6)


def test_matched_agrees_with_loops_in_numpy() -> None:
    discovered, labelled, confidence = draw(40)
    test_discovered, test_labelled, test_confidence = draw(30, seed=1)
    regressor = fit_matched(discovered, labelled, confidence)
    scores = regressor.score(test_discovered, test_labelled, test_confidence)
    d, t = discovered.double().numpy(), labelled.double().numpy()
    for point in range(4):
        use, test = confidence[:, point].bool().numpy(), test_confidence[:, point].bool().numpy()
        losses, offsets = [], []
        for keypoint in range(3):
            offset = (t[use, point] - d[use, keypoint]).mean(axis=0)
            offsets.append(offset)
            losses.append(np.mean(np.sum((d[use, keypoint] + offset - t[use, point]) ** 2, axis=1)))
        best = int(np.argmin(losses))
        assert regressor.match[point] == best
        residual = test_discovered.double().numpy()[test, best] + offsets[best]
        residual = residual - test_labelled.double().numpy()[test, point]
        expected = np.mean([np.sqrt(x * x + y * y) * 50 for x, y in residual])
        assert scores.per_keypoint[point].item() == pytest.approx(expected, rel=1e-9)
    assert len(set(regressor.match.tolist())) > 1  # else the choice was not tested


def test_matched_ignores_where_a_keypoint_sits_on_the_body() -> None:
    discovered, labelled, _ = draw(25)
    shifted = discovered + tensor([[0.3, -0.2], [0.0, 0.5], [-0.4, 0.1]])
    expected, moved = fit_matched(discovered, labelled), fit_matched(shifted, labelled)
    assert moved.match.tolist() == expected.match.tolist()
    torch.testing.assert_close(moved.predict(shifted), expected.predict(discovered), atol=1e-6, rtol=0)


def test_matched_exposes_tiny_readouts_that_linear_accepts() -> None:
    """Why both are reported: points that follow the animal at a hundredth of its size."""
    animal = torch.rand(50, 1, 2) * 1.6 - 0.8
    untrained = animal * 0.01
    assert fit_linear(untrained, animal).score(untrained, animal).mean < 0.01
    mean_pose = mean_pose_error(animal, animal).mean
    assert fit_matched(untrained, animal).score(untrained, animal).mean > 0.95 * mean_pose


# What all share


def test_mean_pose_by_hand() -> None:
    # Fitted: (0, 0), (1, 0) and one absent point; mean (0.5, 0). Scored: 0.3 units away = 15 %.
    fit = tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[9.0, 9.0]], [[torch.nan, 0.0]]])
    seen = tensor([[1.0], [1.0], [0.0], [1.0]])
    scores = mean_pose_error(fit, tensor([[[0.5, 0.3]]]), seen)
    assert scores.mean == pytest.approx(15.0)
    assert scores.counted.tolist() == [1]


def test_mean_is_over_points_not_over_keypoints() -> None:
    predicted = torch.zeros(3, 2, 2)
    labelled = tensor([[[0.2, 0], [0.4, 0]], [[0.2, 0], [torch.nan, 0]], [[0.2, 0], [torch.nan, 0]]])
    scores = landmark_error(predicted, labelled)
    torch.testing.assert_close(scores.per_keypoint, tensor([10.0, 20.0]))
    assert scores.mean == pytest.approx((3 * 10 + 20) / 4)


@pytest.mark.parametrize("fit", [fit_linear, fit_matched])
def test_unlabelled_points_never_matter(fit) -> None:
    discovered, labelled, confidence = draw(40)
    garbage = torch.where(confidence.bool().unsqueeze(-1), labelled, 1e6)
    missing = torch.where(confidence.bool().unsqueeze(-1), labelled, torch.nan)
    expected = fit(discovered, labelled, confidence)
    for other in (fit(discovered, garbage, confidence), fit(discovered, missing)):
        torch.testing.assert_close(other.predict(discovered), expected.predict(discovered))
    ours = expected.score(discovered, garbage, confidence)
    torch.testing.assert_close(ours.mean, expected.score(discovered, missing).mean)
    # ... while a labelled point does.
    labelled[confidence.bool()] += 0.5
    assert not torch.allclose(
        fit(discovered, labelled, confidence).predict(discovered), expected.predict(discovered)
    )


@pytest.mark.parametrize("fit", [fit_linear, fit_matched])
def test_point_never_labelled_is_left_out(fit) -> None:
    discovered, labelled, confidence = draw(40)
    confidence[:, 2] = 0
    regressor = fit(discovered, labelled, confidence)
    scores = regressor.score(discovered, labelled)
    assert scores.per_keypoint.isnan().tolist() == [False, False, True, False]
    assert scores.counted.tolist() == [40, 40, 0, 40]
    assert scores.mean.item() == pytest.approx(scores.per_keypoint[[0, 1, 3]].mean().item())


def test_statistics_of_parts_add_up() -> None:
    discovered, labelled, confidence = draw(41)
    parts = [slice(0, 7), slice(7, 8), slice(8, 8), slice(8, 41)]
    linear = [linear_statistics(discovered[part], labelled[part], confidence[part]) for part in parts]
    matched = [matched_statistics(discovered[part], labelled[part], confidence[part]) for part in parts]
    one = solve_linear(LinearStatistics(*(sum(field) for field in zip(*linear, strict=True))))
    torch.testing.assert_close(one.weights, fit_linear(discovered, labelled, confidence).weights)
    two = solve_matched(MatchedStatistics(*(sum(field) for field in zip(*matched, strict=True))))
    expected = fit_matched(discovered, labelled, confidence)
    assert two.match.tolist() == expected.match.tolist()
    torch.testing.assert_close(two.offset, expected.offset)


@pytest.mark.parametrize("fit", [fit_linear, fit_matched])
def test_wrong_input_is_refused(fit) -> None:
    discovered, labelled, _ = draw(5)
    with pytest.raises(ConfigurationError, match=r"\(5, 3, 2\) and \(4, 4, 2\)"):
        fit(discovered, labelled[:4])
    with pytest.raises(ConfigurationError, match=r"\(5, 3\)"):
        fit(discovered[..., 0], labelled)
    discovered[3, 1, 0] = torch.nan
    with pytest.raises(DataError, match="NaN"):
        fit(discovered, labelled)


def test_tables() -> None:
    scores = average_present(tensor([[1.0, 4.0], [3.0, 9.0]]), tensor([[True, True], [True, False]]))
    assert scores.rows(["nose", "tail"]) == [
        {"keypoint": "nose", "value": 2.0, "count": 2},
        {"keypoint": "tail", "value": 4.0, "count": 1},
        {"keypoint": "mean", "value": pytest.approx(8 / 3), "count": 3},
    ]
    table = scores.table()
    assert list(table.columns) == ["keypoint", "value", "count"]
    assert table["keypoint"].tolist() == ["0", "1", "mean"]
    with pytest.raises(ConfigurationError, match="2 names, got 1: nose"):
        scores.rows(["nose"])
