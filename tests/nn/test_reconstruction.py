"""The reconstruction decoder: the values of the reference through a map of names, shapes, and its Gaussian maps."""

import pytest
import torch
from golden_values import Goldens
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.heatmaps import render_gaussians
from lightning_kp.nn.reconstruction import PAPER_VARIANCES, PAPER_WIDTHS, ReconstructionDecoder

LAYERS = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2"}


def reference_name(ours: str) -> str:
    """``blocks.0.3.weight`` -> ``p_layer1_conv2_weight``."""
    part, *rest = ours.split(".")
    if part == "output":
        return f"p_conv_final_{rest[0]}"
    level, layer, name = rest
    return f"p_layer{int(level) + 1}_{LAYERS[layer]}_{name}"


def test_reference_values(goldens: Goldens) -> None:
    golden = {name: torch.from_numpy(value) for name, value in goldens("decoder_small").items()}
    widths = (16, 8, 4, 2, 32)
    decoder = ReconstructionDecoder(32, 3, widths, convolutions=2, concatenate_first=True)
    decoder.load_state_dict({name: golden[reference_name(name)] for name in decoder.state_dict()})
    maps = [golden[f"hm_{level}"] for level in range(5)]
    statistics = {n: v.clone() for n, v in decoder.state_dict().items() if "running" in n or "tracked" in n}
    out = decoder.decode(golden["x"], maps)
    torch.testing.assert_close(out, golden["out_train"], rtol=1e-4, atol=1e-5)
    # The stored statistics are those after this one training pass; a second one is undone.
    decoder.load_state_dict(statistics, strict=False)
    with torch.no_grad():
        out = decoder.eval().decode(golden["x"], maps)
    torch.testing.assert_close(out, golden["out_eval_after_one_train_step"], rtol=1e-4, atol=1e-5)


def small(**options: object) -> ReconstructionDecoder:
    torch.manual_seed(0)
    return ReconstructionDecoder(6, 2, (8, 8, 4), (0.1, 0.05, 0.01), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("concatenate_first", [False, True])
@pytest.mark.parametrize("convolutions", [1, 2])
def test_doubles_once_per_width(concatenate_first: bool, convolutions: int) -> None:
    decoder = small(concatenate_first=concatenate_first, convolutions=convolutions)
    points = torch.rand(2, 2, 2) - 0.5
    assert decoder(torch.randn(2, 6, 3, 4), points, points).shape == (2, 3, 24, 32)


def maps_seen(decoder: ReconstructionDecoder, points: Tensor, future: Tensor) -> list[Tensor]:
    """The Gaussian maps that reach each block of the paper's order (upsample, then concatenate)."""
    seen: list[Tensor] = []
    for block in decoder.blocks:
        block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, -4:].detach()))
    decoder(torch.zeros(1, 6, 2, 2), points, future)
    return seen


def test_maps_of_both_frames_at_every_resolution() -> None:
    points, future = torch.tensor([[[0.5, -0.5], [0.0, 0.0]]]), torch.tensor([[[-0.5, 0.25], [0.7, 0.1]]])
    seen = maps_seen(small(unit_amplitude=True), points, future)
    for level, (found, variance) in enumerate(zip(seen, (0.1, 0.05, 0.01), strict=True)):
        size = (4 << level, 4 << level)
        expected = torch.cat([render_gaussians(p, size, variance**0.5) for p in (future, points)], dim=1)
        torch.testing.assert_close(found, expected)


def test_amplitude_of_the_maps_by_hand() -> None:
    """Eq. 4.1: 1 / sqrt(2 pi v); 1.2616 for v = 0.1, and 1 with a unit amplitude."""
    centre = torch.zeros(1, 2, 2)
    for options, peak in (({}, 1.26157), ({"unit_amplitude": True}, 1.0)):
        coarse = maps_seen(small(**options), centre, centre)[0]
        # The four central pixels lie at (+-0.25, +-0.25) of the image centre.
        near = peak * torch.exp(torch.tensor(-(0.25**2 + 0.25**2) / (2 * 0.1)))
        torch.testing.assert_close(coarse[0, 0, 1:3, 1:3], near.expand(2, 2), rtol=1e-4, atol=0)


def test_points_get_a_gradient_through_the_maps() -> None:
    points = (torch.rand(2, 2, 2) - 0.5).requires_grad_()
    future = (torch.rand(2, 2, 2) - 0.5).requires_grad_()
    decoder = small()
    (decoder(torch.randn(2, 6, 4, 4), points, future) * torch.randn(2, 3, 32, 32)).sum().backward()
    for grad in (points.grad, future.grad):
        assert grad is not None
        assert grad.isfinite().all()
        assert grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_the_papers_table() -> None:
    """Table 5.10: 2048 channels of ResNet-50 and 2 K maps in, widths 1024 to 64, an image out."""
    assert PAPER_WIDTHS == (1024, 512, 256, 128, 64)
    assert PAPER_VARIANCES == (0.1, 0.1, 0.01, 0.01, 0.001)
    with torch.device("meta"):
        decoder = ReconstructionDecoder(2048, 10)
    first = decoder.get_parameter("blocks.0.0.weight")
    last = decoder.get_parameter("output.weight")
    assert first.shape == (1024, 2048 + 20, 3, 3)
    assert last.shape == (3, 64, 1, 1)


def test_one_variance_per_width() -> None:
    with pytest.raises(ConfigurationError, match="decoder_widths has 2 entries and variances 1"):
        ReconstructionDecoder(4, 2, (8, 8), (0.1,))


def test_one_set_of_points() -> None:
    """Table 4.4: 2048 + K channels in; the maps are those of the one set."""
    with torch.device("meta"):
        first = ReconstructionDecoder(2048, 10, point_sets=1).get_parameter("blocks.0.0.weight")
    assert first.shape == (1024, 2048 + 10, 3, 3)
    decoder, points = small(point_sets=1, unit_amplitude=True), torch.tensor([[[0.5, -0.5], [0.0, 0.25]]])
    seen: list[Tensor] = []
    decoder.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert decoder(torch.zeros(1, 6, 2, 2), points).shape == (1, 3, 16, 16)
    torch.testing.assert_close(seen[0][:, 6:], render_gaussians(points, (4, 4), 0.1**0.5))
