"""The untrained twin: initial weights of a seed, statistics of the given images, and no trace left behind."""

import pytest
import torch

from lightning_kp.methods import BKinD
from lightning_kp.scoring.untrained import BATCH_SIZE, untrained_like

TINY = {
    "keypoints": 2, "encoder": "tiny", "pretrained": False, "reconstruction": "structural", "pose_width": 8,
    "decoder_widths": (8, 8, 8), "variances": (0.1, 0.03, 0.005),
}  # fmt: skip


@pytest.fixture(scope="module")
def method() -> BKinD:
    method = BKinD(**TINY)
    with torch.no_grad():
        for weights in method.parameters():
            weights.add_(1)
    return method


def images(number: int = BATCH_SIZE + 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (number, 3, 32, 32), generator=generator, dtype=torch.uint8)


def state(method: BKinD) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in method.state_dict().items()}


def test_it_is_a_new_network_of_the_seed_whose_normalisation_has_seen_the_images(method: BKinD) -> None:
    torch.manual_seed(3)
    fresh = BKinD(**TINY).train()
    with torch.inference_mode():
        for part in images().split(BATCH_SIZE):
            fresh.heatmaps(part.float() / 255)
    twin = untrained_like(method, images(), seed=3)
    assert not twin.training
    torch.testing.assert_close(state(twin), state(fresh))
    assert any(not torch.equal(a, b) for a, b in zip(twin.parameters(), method.parameters(), strict=True))


def test_batches_are_as_good_as_one_tensor(method: BKinD) -> None:
    whole = state(untrained_like(method, images()))
    torch.testing.assert_close(state(untrained_like(method, iter(images().split(BATCH_SIZE)))), whole)
    other = state(untrained_like(method, images()[:4]))
    assert any(not torch.equal(other[name], whole[name]) for name in whole)


def test_neither_the_method_nor_the_random_state_changes(method: BKinD) -> None:
    before, random = state(method), torch.get_rng_state()
    untrained_like(method, images(4), seed=1)
    torch.testing.assert_close(state(method), before)
    assert torch.equal(torch.get_rng_state(), random)
