"""Anchor loss: values of the reference, numbers worked out by hand, its special cases, laws, extreme logits."""

import math

import pytest
import torch
import torch.nn.functional as F
from golden_values import Goldens
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.losses.anchor import (
    AnchorDesign,
    AnchorOptions,
    anchor_classification,
    anchor_pose,
    anchored_cross_entropy,
)
from lightning_kp.losses.focal import focal_loss

REFERENCE = {"background": "neg", "target": "pos"}  # its names of two designs; it lacks the third
DESIGNS: tuple[AnchorDesign, ...] = ("target", "background", "both")
DESIGN = pytest.mark.parametrize("design", DESIGNS)
LN = math.log


def at(*probabilities: float) -> Tensor:
    return tensor(probabilities, dtype=torch.float64).logit()


def drawn(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(shape, generator=generator, dtype=torch.float64)


# ---------------------------------------------------------------- classification


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("margin", [0.0, 0.05])
@pytest.mark.parametrize("design", REFERENCE)
def test_reference_values(goldens: Goldens, gamma: float, margin: float, design: AnchorDesign) -> None:
    golden = {name: torch.from_numpy(value) for name, value in goldens("anchor_classification").items()}
    logits = golden["logits"].requires_grad_()
    loss = anchor_classification(logits, golden["target"], AnchorOptions(gamma, margin, design)).mean()
    loss.backward()
    key = f"{REFERENCE[design]}_g{gamma}_s{margin}"
    torch.testing.assert_close(loss.detach(), golden[f"loss_{key}"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits.grad, golden[f"grad_{key}"], rtol=1e-5, atol=1e-6)


def test_reference_values_written_down() -> None:
    """Values of the official AnchorLoss code with its defaults (gamma 0.5, margin 0.05) and with gamma 2."""
    logits = tensor(
        [
            [-1.205525, -0.24166842, -0.8645271, 3.762106, -1.4316499],
            [0.0, 0.0, 0.0, 0.0, 0.0],
            [9.0, -9.0, 9.0, -9.0, 0.0],
            [-9.0, -9.0, -9.0, -9.0, -9.0],
            [-2.3749368, 1.7125899, -2.2470105, 3.5989456, 0.75250477],
            [-1.604658, -1.0696514, -1.7761744, 1.4648069, -1.9516722],
        ]
    )
    label = tensor([0, 2, 1, 3, 4, 4])
    expected = {
        AnchorOptions(): 11.228633880615234,
        AnchorOptions(2.0, 0.0): 21.01792335510254,
        AnchorOptions(0.5, 0.05, "target"): 10.367026329040527,
    }
    for options, value in expected.items():
        found = anchor_classification(logits, label, options).mean()
        assert found.item() == pytest.approx(value, rel=1e-5)


def test_each_design_by_hand() -> None:
    """Target 0.6, backgrounds 0.3 and 0.8, margin 0.1: q_neg 0.5, q_pos 0.9; gamma 2."""
    logits, label = at(0.6, 0.3, 0.8).unsqueeze(0), tensor([0])
    target, low, high = -LN(0.6), -LN(0.7), -LN(0.2)
    background = 0.8**2 * low + 1.3**2 * high
    expected = {
        "background": target + background,
        "target": 1.3**2 * target + low + high,
        "both": 1.3**2 * target + background,
    }
    for design in DESIGNS:
        found = anchor_classification(logits, label, AnchorOptions(2.0, 0.1, design))
        assert found.item() == pytest.approx(expected[design])


def test_a_static_anchor_by_hand() -> None:
    """Table 2.3: the modulator is 1 + q - 0.5, whatever the target's score; a margin has no effect."""
    logits = at(0.9, 0.3, 0.8).unsqueeze(0)
    expected = -LN(0.9) - 0.8**0.5 * LN(0.7) - 1.3**0.5 * LN(0.2)
    for margin in (0.0, 0.3):
        found = anchor_classification(logits, tensor([0]), AnchorOptions(0.5, margin, static=0.5))
        assert found.item() == pytest.approx(expected)


def test_easy_moderate_and_hard() -> None:
    """Section 2.4: below the anchor less than the cross entropy, at the anchor the same, above it more."""
    for q, compare in ((0.3, -1), (0.6, 0), (0.8, 1)):
        logits = at(0.6, q).unsqueeze(0)
        found = anchor_classification(logits, tensor([0]), AnchorOptions(2.0, 0.0))
        plain = -LN(0.6) - LN(1 - q)
        assert math.copysign(1, found.item() - plain) * (abs(found.item() - plain) > 1e-12) == compare


@DESIGN
@given(seed=st.integers(0, 1000))
def test_without_gamma_it_is_the_binary_cross_entropy(design: AnchorDesign, seed: int) -> None:
    logits, label = drawn(seed, 4, 5), tensor([0, 4, 2, 2])
    plain = F.binary_cross_entropy_with_logits(
        logits, F.one_hot(label, 5).to(logits.dtype), reduction="none"
    ).sum(dim=1)
    found = anchor_classification(logits, label, AnchorOptions(gamma=0.0, design=design))
    torch.testing.assert_close(found, plain)


@given(st.integers(0, 1000), st.floats(0, 5))
def test_anchored_at_the_opposite_it_is_the_focal_loss(seed: int, gamma: float) -> None:
    """Eq. 2.10 to 2.12: q* = 1 - p."""
    logits, target = drawn(seed, 3, 5), (drawn(seed + 1, 3, 5) > 0).double()
    expected = focal_loss(logits, target, gamma)
    found = anchored_cross_entropy(logits, target, 0.0, 1.0, gamma, gamma)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        anchored_cross_entropy(logits, target, 1 - target, 1 - target, gamma, gamma), expected
    )


@DESIGN
@given(seed=st.integers(0, 1000), order=st.permutations(range(5)))
def test_the_order_of_the_classes_plays_no_part(design: AnchorDesign, seed: int, order: list[int]) -> None:
    logits, label = drawn(seed, 2, 5), tensor([3, 1])
    options = AnchorOptions(2.0, design=design)
    moved = tensor([order.index(int(each)) for each in label])
    torch.testing.assert_close(
        anchor_classification(logits[:, order], moved, options), anchor_classification(logits, label, options)
    )


@given(st.integers(0, 1000), st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_wider_margin_never_costs_less(seed: int, margin: float, more: float) -> None:
    logits, label = drawn(seed, 2, 5), tensor([3, 1])
    narrow, wide = (
        anchor_classification(logits, label, AnchorOptions(2.0, m, "both")) for m in (margin, margin + more)
    )
    assert bool((wide >= narrow - 1e-12).all())


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_the_gradient_of_a_background_is_that_of_the_paper(gamma: float) -> None:
    """Eq. 2.14, times dq/dlogit = q (1 - q); a detached anchor gives the target's logit no gradient."""
    logits = at(0.6, 0.3).unsqueeze(0).requires_grad_()
    anchor_classification(logits, tensor([0]), AnchorOptions(gamma, 0.0)).sum().backward()
    base = 1 + 0.3 - 0.6
    by_q = -(base ** (gamma - 1)) * (gamma * LN(0.7) - base / 0.7)
    assert logits.grad is not None
    assert logits.grad[0, 1].item() == pytest.approx(by_q * 0.3 * 0.7)
    assert logits.grad[0, 0].item() == pytest.approx(-0.4)  # the cross entropy's q - 1


@DESIGN
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("static", [None, 0.5])
def test_gradients_are_those_of_the_formula(design: AnchorDesign, gamma: float, static: float | None) -> None:
    """With the gradient through the anchors, because numerical differences include it."""
    options = AnchorOptions(gamma, 0.05, design, static, detach=False)
    label = tensor([0, 2, 1])
    assert torch.autograd.gradcheck(
        lambda x: anchor_classification(x, label, options), drawn(1, 3, 4).requires_grad_()
    )


@DESIGN
def test_detached_or_not_the_value_is_the_same_and_the_gradient_is_not(design: AnchorDesign) -> None:
    found = []
    for detach in (True, False):
        logits = drawn(2, 3, 4).requires_grad_()
        loss = anchor_classification(
            logits, tensor([0, 2, 1]), AnchorOptions(2.0, design=design, detach=detach)
        )
        loss.sum().backward()
        found.append((loss.detach(), logits.grad))
    torch.testing.assert_close(found[0][0], found[1][0])
    assert found[0][1] is not None
    assert found[1][1] is not None
    assert not torch.allclose(found[0][1], found[1][1], atol=1e-3)


@DESIGN
@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("margin", [0.0, 0.05])
@pytest.mark.parametrize("static", [None, 0.0, 1.0])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_stay_finite(
    design: AnchorDesign, gamma: float, margin: float, static: float | None, kind: torch.dtype
) -> None:
    scores = (-1e4, -300.0, 0.0, 300.0, 1e4)
    logits = tensor([[a, b, c] for a in scores for b in scores for c in scores], dtype=kind).requires_grad_()
    for detach in (True, False):
        options = AnchorOptions(gamma, margin, design, static, detach)
        loss = anchor_classification(logits, torch.zeros(len(logits), dtype=torch.long), options)
        assert loss.dtype == torch.float32
        logits.grad = None
        loss.sum().backward()
        assert logits.grad is not None
        assert bool(loss.isfinite().all())
        assert bool(logits.grad.isfinite().all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (AnchorOptions(gamma=-1.0), "gamma -1.0"),
        (AnchorOptions(margin=1.5), "delta, the margin of the anchor loss, must be between 0 and 1, got 1.5"),
        (
            AnchorOptions(static=-0.1),
            "anchor, the fixed anchor of the anchor loss, must be between 0 and 1, got -0.1",
        ),
        (AnchorOptions(design="backgruond"), "design 'backgruond'"),  # type: ignore[arg-type]
    ],
)
def test_impossible_options_are_refused(options: AnchorOptions, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        anchor_classification(torch.zeros(1, 2), tensor([0]), options)
    with pytest.raises(ConfigurationError, match=message):
        anchor_pose(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), options)


# ---------------------------------------------------------------- pose

# A map of six pixels: two inside the circle (target above 0.5), one on the flank, three true negatives.
TARGET = tensor([[[[1.0, 0.6, 0.3], [0.0, 0.0, 0.0]]]], dtype=torch.float64)
SCORES = (0.5, 0.7, 0.9, 0.2, 0.7, 0.95)


def cross_entropy(p: float, q: float) -> float:
    return -p * LN(q) - (1 - p) * LN(1 - q)


def test_pose_by_hand() -> None:
    """q* = 0.7, the higher of the two inside; only the three negatives are modulated (eq. 2.3 to 2.5)."""
    logits = at(*SCORES).reshape(1, 1, 2, 3)
    scale = {"background": [1.0, 1.0, 1.0, 0.5**2, 1.0, 1.25**2]}
    scale["target"] = [(1 - 0.5 + 0.95) ** 2, (1 - 0.7 + 0.95) ** 2, 1.0, 1.0, 1.0, 1.0]
    scale["both"] = [a * b for a, b in zip(scale["background"], scale["target"], strict=True)]
    plain = [cross_entropy(p, q) for p, q in zip(TARGET.flatten().tolist(), SCORES, strict=True)]
    for design in DESIGNS:
        found = anchor_pose(logits, TARGET, AnchorOptions(2.0, 0.0, design))
        expected = [s * each for s, each in zip(scale[design], plain, strict=True)]
        assert found.shape == logits.shape
        assert found.flatten().tolist() == pytest.approx(expected)
    found = anchor_pose(logits, TARGET)
    torch.testing.assert_close(found, anchor_pose(logits, TARGET, AnchorOptions(2.0, 0.0)))


def test_pose_with_a_static_anchor_by_hand() -> None:
    logits = at(*SCORES).reshape(1, 1, 2, 3)
    found = anchor_pose(logits, TARGET, AnchorOptions(1.0, static=0.8)).flatten()
    assert found[3].item() == pytest.approx(0.4 * -LN(0.8))
    assert found[0].item() == pytest.approx(cross_entropy(1.0, 0.5))


def test_every_heatmap_has_its_own_anchor() -> None:
    sure, unsure = at(0.9, 0.4).tolist(), at(0.3, 0.4).tolist()
    logits = tensor([sure, unsure], dtype=torch.float64).reshape(1, 2, 1, 2)
    target = tensor([1.0, 0.0], dtype=torch.float64).expand(1, 2, 1, 2).reshape(1, 2, 1, 2)
    found = anchor_pose(logits, target)[0, :, 0, 1]
    assert found.tolist() == pytest.approx([0.5**2 * -LN(0.6), 1.1**2 * -LN(0.6)])


@DESIGN
def test_a_point_that_is_not_there_has_the_cross_entropy(design: AnchorDesign) -> None:
    """No pixel exceeds 0.5, so that there is neither an anchor nor a target to modulate."""
    logits = drawn(0, 1, 2, 3, 3)
    target = torch.zeros_like(logits)
    plain = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    torch.testing.assert_close(anchor_pose(logits, target, AnchorOptions(2.0, design=design)), plain)


@DESIGN
@given(seed=st.integers(0, 1000))
def test_pose_without_gamma_is_the_binary_cross_entropy(design: AnchorDesign, seed: int) -> None:
    logits = drawn(seed, 2, 1, 2, 3)
    target = TARGET.expand(2, 1, 2, 3)
    plain = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    torch.testing.assert_close(anchor_pose(logits, target, AnchorOptions(0.0, design=design)), plain)


def test_the_flank_of_a_gaussian_that_never_ends_is_a_negative() -> None:
    """Below ``floor``: otherwise nothing would be modulated, and the loss would silently be the cross entropy."""
    logits = at(0.6, 0.9).reshape(1, 1, 1, 2)
    tail = tensor([1.0, 0.005], dtype=torch.float64).reshape(1, 1, 1, 2)
    assert anchor_pose(logits, tail)[0, 0, 0, 1].item() == pytest.approx(1.3**2 * cross_entropy(0.005, 0.9))
    assert anchor_pose(logits, tail, floor=0.0)[0, 0, 0, 1].item() == pytest.approx(cross_entropy(0.005, 0.9))


@DESIGN
def test_pose_gradients_are_those_of_the_formula(design: AnchorDesign) -> None:
    options = AnchorOptions(2.0, 0.05, design, detach=False)
    target = TARGET.expand(2, 1, 2, 3)
    assert torch.autograd.gradcheck(
        lambda x: anchor_pose(x, target, options), drawn(5, 2, 1, 2, 3).requires_grad_()
    )


@DESIGN
@pytest.mark.parametrize("value", [-1e4, -300.0, 300.0, 1e4])
def test_pose_of_extreme_logits_stays_finite(design: AnchorDesign, value: float) -> None:
    logits = torch.full((2, 1, 2, 3), value).requires_grad_()
    target = torch.stack((TARGET[0].float(), torch.zeros(1, 2, 3)))
    loss = anchor_pose(logits, target, AnchorOptions(0.5, 0.0, design, detach=False))
    loss.sum().backward()
    assert logits.grad is not None
    assert bool(loss.isfinite().all())
    assert bool(logits.grad.isfinite().all())
