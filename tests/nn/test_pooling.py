"""Global pooling against golden values, and in every kind of classifier."""

import numpy as np
import pytest
import torch
from golden_values import Goldens

from lightning_kp.errors import ConfigurationError
from lightning_kp.nn.classifiers import build_classifier
from lightning_kp.nn.pooling import GlobalPooling, Pooling, global_pool, pooling_vector

PREFIXES = ["", "signed_"]


@pytest.mark.parametrize("prefix", [*PREFIXES, "toy_dense_", "toy_sparse_"])
def test_golden_outputs(goldens: Goldens, prefix: str) -> None:
    values = goldens("stills/leaky_max_pooling")
    maps = torch.from_numpy(values[f"{prefix}features" if prefix in PREFIXES else prefix.removesuffix("_")])
    np.testing.assert_allclose(global_pool(maps, "average"), values[f"{prefix}average"], rtol=1e-9)
    np.testing.assert_allclose(global_pool(maps, "max"), values[f"{prefix}leaky_0"], rtol=1e-9)
    for eps in (0.0, 0.01, 0.1):
        expected = values[f"{prefix}leaky_{eps:g}"]
        np.testing.assert_allclose(global_pool(maps, "leaky", eps), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("eps", [0.0, 0.01, 0.1])
def test_golden_vectors_and_gradients(goldens: Goldens, prefix: str, eps: float) -> None:
    values = goldens("stills/leaky_max_pooling")
    maps = torch.from_numpy(values[f"{prefix}features"]).requires_grad_()
    vector = pooling_vector(maps.detach(), "leaky", eps)
    product = (maps.detach() * vector).sum(dim=(2, 3))
    torch.testing.assert_close(product, global_pool(maps.detach(), "leaky", eps))
    (global_pool(maps, "leaky", eps) * torch.from_numpy(values["upstream"])).sum().backward()
    assert maps.grad is not None
    tied = np.zeros(maps.shape[:2], bool)
    tied[0, :2] = prefix == ""  # maps of equal values: which place gets the weight 1 is open
    for found, name in ((vector.numpy(), "weights"), (maps.grad.numpy(), "gradient")):
        expected = values[f"{prefix}{name}_{eps:g}"]
        np.testing.assert_allclose(found[~tied], expected[~tied], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(np.sort(found[tied]), np.sort(expected[tied]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["cifar_resnet8", "resnet18", "timm/resnet10t"])
def test_every_classifier_takes_it(name: str) -> None:
    image = torch.rand(2, 3, 40, 40)
    outputs = {}
    poolings: tuple[Pooling, ...] = ("average", "max", "leaky")
    for pooling in poolings:
        torch.manual_seed(0)
        network = build_classifier(name, 3, pooling=pooling).eval()
        layers = [layer for layer in network.modules() if isinstance(layer, GlobalPooling)]
        assert [layer.pooling for layer in layers] == ([pooling] if layers else [])
        assert layers or pooling == "average"
        with torch.no_grad():
            outputs[pooling] = network(image)
    assert outputs["average"].shape == (2, 3)
    assert not torch.equal(outputs["average"], outputs["max"])
    assert not torch.equal(outputs["leaky"], outputs["max"])


def test_networks_without_a_global_pooling() -> None:
    with pytest.raises(ConfigurationError, match="'alexnet' has no global average pooling"):
        build_classifier("alexnet", 2, pooling="leaky")
    build_classifier("cifar_resnet8", 2, pooling="average")


@pytest.mark.parametrize(("pooling", "eps"), [("median", 0.1), ("leaky", -0.1), ("leaky", float("nan"))])
def test_what_is_refused(pooling: str, eps: float) -> None:
    with pytest.raises(ConfigurationError, match="an eps of at least 0"):
        GlobalPooling(pooling, eps)  # type: ignore[arg-type]
