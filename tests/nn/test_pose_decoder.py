"""GlobalNet: the finest head of the reference, shapes, and heads that contribute to a loss."""

import pytest
import torch
from golden_values import Goldens
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.heatmaps import expectation, spatial_softmax
from lightning_kp.nn.pose_decoder import GlobalNet

CHANNELS = (4, 8, 8, 12)


def pyramid(size: int = 16, batch: int = 2) -> list[Tensor]:
    return [torch.randn(batch, c, size >> level, size >> level) for level, c in enumerate(CHANNELS)]


def reference_name(ours: str) -> str:
    """Our parameter names -> those of the reference, whose losses use its last head only."""
    part, level, *rest = ours.split(".")
    if part == "upsamples":  # in the reference the upsampling is layer 0 of the sequence
        return f"p_upsamples_{level}_{int(rest[0]) + 1}_{rest[1]}"
    if part == "laterals":
        return f"p_laterals_{level}_{rest[0]}_{rest[1]}"
    if rest[0] == "reduce":
        return f"p_predict_{level}_{rest[1]}_{rest[2]}"
    return f"p_predict_{level}_{ {'predict': 3, 'scale': 5}[rest[0]] }_{rest[1]}".replace(" ", "")


def test_reference_values(goldens: Goldens) -> None:
    golden = {name: torch.from_numpy(value) for name, value in goldens("globalnet_small").items()}
    net = GlobalNet(CHANNELS, keypoints=3, align_corners=True)
    net.load_state_dict({name: golden[reference_name(name)] for name in net.state_dict()})
    coarse_to_fine = [golden[f"in_{level}"] for level in range(4)]
    # The stored statistics are those after one training pass, which is the pass whose output is stored.
    before = {name: value.clone() for name, value in net.state_dict().items()}
    logits = net(coarse_to_fine[::-1])
    torch.testing.assert_close(logits, golden["out_3"], rtol=1e-4, atol=1e-4)
    changed = [n for n, value in net.state_dict().items() if not torch.equal(value, before[n])]
    assert all("running" in name or "batches" in name for name in changed)


def test_the_projects_grid_differs_from_the_references(goldens: Goldens) -> None:
    """align_corners=True stretches the coarse maps, so that the two settings differ."""
    golden = {name: torch.from_numpy(value) for name, value in goldens("globalnet_small").items()}
    net = GlobalNet(CHANNELS, keypoints=3)
    net.load_state_dict({name: golden[reference_name(name)] for name in net.state_dict()})
    logits = net([golden[f"in_{level}"] for level in (3, 2, 1, 0)])
    assert (logits - golden["out_3"]).abs().max() > 0.1


@pytest.mark.parametrize("fuse", ["finest", "sum"])
def test_one_more_upsampling_doubles_the_heatmaps(fuse: str) -> None:
    """Table 4.3: the last of four upsample blocks feeds the finest head."""
    torch.manual_seed(0)
    net = GlobalNet(CHANNELS, keypoints=5, width=8, fuse=fuse, doubled=True).eval()  # type: ignore[arg-type]
    features = pyramid()
    logits = net(features)
    assert logits.shape == (2, 5, 32, 32)
    assert net.last_upsample is not None
    names = {name for name, _ in net.named_parameters() if name.startswith("last_upsample")}
    assert names == {"last_upsample.0.weight", "last_upsample.1.weight", "last_upsample.1.bias"}


def test_the_last_upsampling_keeps_what_it_enlarges() -> None:
    """With the identity as its convolution, even features give the same logits at both resolutions, off the border."""
    net = GlobalNet(CHANNELS, keypoints=5, width=8, doubled=True).eval()
    assert net.last_upsample is not None
    torch.nn.init.dirac_(net.last_upsample[0].weight)  # type: ignore[index]
    plain = GlobalNet(CHANNELS, keypoints=5, width=8).eval()
    plain.load_state_dict(
        {name: value for name, value in net.state_dict().items() if not name.startswith("last_upsample")}
    )
    even = [
        torch.rand(1, channels, 1, 1).expand(1, -1, 16 >> i, 16 >> i) for i, channels in enumerate(CHANNELS)
    ]
    inner, expected = net(even)[..., 4:-4, 4:-4], plain(even)[..., 8:9, 8:9]
    torch.testing.assert_close(inner, expected.expand_as(inner), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("fuse", ["finest", "sum"])
def test_logits_at_the_finest_stride(fuse: str) -> None:
    net = GlobalNet(CHANNELS, keypoints=5, width=8, fuse=fuse)  # type: ignore[arg-type]
    assert net(pyramid()).shape == (2, 5, 16, 16)
    assert net([torch.randn(1, c, s, s) for c, s in zip(CHANNELS, (25, 13, 7, 4), strict=True)]).shape == (
        1, 5, 25, 25,
    )  # fmt: skip


@pytest.mark.parametrize(("fuse", "heads"), [("finest", ["3"]), ("sum", ["0", "1", "2", "3"])])
def test_only_heads_that_count_exist(fuse: str, heads: list[str]) -> None:
    net = GlobalNet(CHANNELS, keypoints=5, width=8, fuse=fuse)  # type: ignore[arg-type]
    assert list(net.heads) == heads
    (net(pyramid()) * torch.randn(2, 5, 16, 16)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_sum_is_the_sum_of_its_heads() -> None:
    net = GlobalNet(CHANNELS, keypoints=2, width=8, fuse="sum").eval()
    features = pyramid()
    outputs: list[Tensor] = []
    for head in net.heads.values():
        head.register_forward_hook(lambda _, __, output: outputs.append(output))
    total = net(features)
    torch.testing.assert_close(total, torch.stack(outputs).sum(dim=0))
    assert len(outputs) == 4


def test_sharpness_is_the_spread_of_the_logits() -> None:
    """In training from scratch, a sharp softmax keeps points away from the centre."""
    features = pyramid()
    spread = []
    for sharpness in (1.0, 5.0):
        torch.manual_seed(0)
        logits = GlobalNet(CHANNELS, keypoints=4, width=16, sharpness=sharpness)(features)
        assert logits.std().item() == pytest.approx(sharpness, rel=0.05)
        spread.append(expectation(spatial_softmax(logits)).abs().mean())
    assert spread[1] > 2 * spread[0]


def test_a_pyramid_of_other_channels_is_refused() -> None:
    with pytest.raises(RuntimeError):
        GlobalNet((4, 8, 8, 16), keypoints=2, width=8)(pyramid())


def test_an_unknown_fusion_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="fuse must be finest or sum, got 'max'"):
        GlobalNet(CHANNELS, keypoints=2, width=8, fuse="max")  # type: ignore[arg-type]
