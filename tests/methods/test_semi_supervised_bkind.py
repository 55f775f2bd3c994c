"""Discovery and supervision in one step: the terms of both, from one pass of the encoder."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_kp.batches import FramePairs, LabelledImages, PairsAndLabels
from lightning_kp.bench import few_labels as bench_few_labels
from lightning_kp.bench.step import random_pairs, step
from lightning_kp.cli import main
from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import rotate_image, rotate_points
from lightning_kp.images.augmentation import augment_labelled
from lightning_kp.methods import BKinD, SemiSupervisedBKinD, SupervisedKeypoints

SIZE = 32
NETWORK: dict[str, Any] = {"encoder": "tiny", "pretrained": False, "pose_width": 8}
OPTIONS: dict[str, Any] = {
    **NETWORK, "reconstruction": "structural", "target": "absolute",
    "decoder_widths": (8, 8, 4), "variances": (0.1, 0.05, 0.02),
}  # fmt: skip
NAMES = ["nose", "tail"]


def labelled(count: int = 3) -> LabelledImages:
    return LabelledImages(
        torch.rand(count, 3, SIZE, SIZE), torch.rand(count, 1, 2, 2) - 0.5, torch.ones(count, 1, 2)
    )


def batch(count: int = 3) -> PairsAndLabels:
    return PairsAndLabels(*random_pairs(2, SIZE), *labelled(count))


def test_terms_are_those_of_the_two_parts() -> None:
    """With fixed batch statistics each part gives the same result as alone."""
    semi = SemiSupervisedBKinD(NAMES, keypoints=4, **OPTIONS).eval()
    alone = BKinD(keypoints=4, **OPTIONS).eval()
    alone.load_state_dict(semi.state_dict())
    data = batch()
    terms = semi.terms(data)
    for name, value in alone.terms(FramePairs(*data[:4])).items():
        torch.testing.assert_close(terms[name], value)
    twin = SupervisedKeypoints(NAMES, **NETWORK).eval()
    own = twin.state_dict()
    shared = {
        name: value[: own[name].shape[0]] if value.ndim else value
        for name, value in semi.state_dict().items() if name in own
    }  # fmt: skip
    twin.load_state_dict(shared)
    expected = twin.terms(LabelledImages(*data[4:]))["supervision"]
    torch.testing.assert_close(terms["supervision"], expected)
    torch.testing.assert_close(semi.heatmaps(data.image), twin.heatmaps(data.image))


def test_the_encoder_runs_once_in_a_step() -> None:
    semi = SemiSupervisedBKinD(NAMES, keypoints=4, **OPTIONS)
    seen: list[int] = []
    semi.encoder.register_forward_hook(lambda module, given, out: seen.append(len(given[0])))
    semi.terms(batch())
    assert seen == [2 * 5 + 3]  # two frames and three turns of two pairs, three labelled images


def test_a_batch_without_labels_is_discovery_alone() -> None:
    semi = SemiSupervisedBKinD(NAMES, keypoints=4, **OPTIONS)
    data = batch()
    terms = semi.terms(PairsAndLabels(*data[:4], data.image[:0], data.points[:0], data.confidence[:0]))
    assert terms["supervision"].item() == 0
    assert terms["reconstruction"].item() > 0


@pytest.mark.parametrize("augment", [False, True])
def test_twenty_steps_lower_the_supervision(augment: bool) -> None:
    torch.manual_seed(2)
    images, points = torch.rand(4, 3, SIZE, SIZE) * 0.2, torch.rand(4, 1, 2, 2) - 0.5
    for image, (nose, tail) in zip(images, points[:, 0], strict=True):
        for channel, point in ((0, nose), (1, tail)):
            x, y = ((point + 1) / 2 * SIZE).long().tolist()
            image[channel, y - 2 : y + 3, x - 2 : x + 3] = 1
    data = PairsAndLabels(*random_pairs(2, SIZE), images, points, torch.ones(4, 1, 2))
    semi = SemiSupervisedBKinD(NAMES, keypoints=3, augment=augment, **OPTIONS | {"sharpness": 5.0})
    optimizer = torch.optim.AdamW(semi.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        terms = semi.terms(data)
        torch.stack([semi.loss_weights[name] * term for name, term in terms.items()]).sum().backward()
        optimizer.step()
        losses.append(terms["supervision"].item())
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])


def test_named_points_are_what_it_finds() -> None:
    semi = SemiSupervisedBKinD(NAMES, keypoints=4, **OPTIONS)
    assert semi.keypoint_names == ("nose", "tail")
    assert semi(torch.rand(2, 3, SIZE, SIZE)).points.shape == (2, 1, 2, 2)


@pytest.mark.parametrize("names", [[], ["a", "b", "c"]])
def test_names_have_to_fit_the_keypoints(names: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"--model\.keypoints"):
        SemiSupervisedBKinD(names, keypoints=2, **OPTIONS)


def test_labels_with_other_names_are_refused(tmp_path: Path) -> None:
    class Data(L.LightningDataModule):
        batch_type = LabelledImages
        point_names = ("tail", "nose")

        def train_dataloader(self) -> list[LabelledImages]:
            return [labelled()]

    runner = L.Trainer(default_root_dir=tmp_path, accelerator="cpu", logger=False, max_steps=1)
    with pytest.raises(ConfigurationError, match=r"--model.names=\[tail,nose\]"):
        runner.fit(SupervisedKeypoints(NAMES, **NETWORK), datamodule=Data())


def test_a_misspelt_weight_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--model=SemiSupervisedBKinD", "--model.names=[a]", "--model.weights.supervison=2"]
    assert main(["fit", *given, "--data=LabelledFramePairs", "--data.videos=x", "--data.labels=y"]) == 2
    assert "supervision" in capsys.readouterr().err


# ---------------------------------------------------------------- augmentation


def spots(points: Tensor) -> Tensor:
    """Images with a blurred spot at each point (B, 1, 2)."""
    from lightning_kp.heatmaps import render_gaussians

    return render_gaussians(points, (64, 64), 0.06).expand(-1, 3, -1, -1).contiguous()


def test_points_move_with_their_image() -> None:
    points = 0.8 * torch.rand(8, 1, 2) - 0.4
    image, moved = augment_labelled(spots(points), points, torch.Generator().manual_seed(1), turn_deg=180)
    # Re-lighting adds a background, above which the spot stands out.
    spot = image.mean(dim=1) - image.mean(dim=1).flatten(1).median(dim=1).values[:, None, None]
    spot = torch.where(spot > 0.3 * spot.flatten(1).amax(dim=1)[:, None, None], spot, 0)
    from lightning_kp.heatmaps import expectation

    found = expectation((spot / spot.sum(dim=(-2, -1), keepdim=True)).unsqueeze(1))
    assert (moved - points).abs().max() > 0.3
    torch.testing.assert_close(found, moved, atol=0.03, rtol=0)


def test_a_quarter_turn_is_that_of_the_geometry(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.tensor([[[0.3, -0.5]]])
    draws = torch.tensor([0.75, 0.5, 0.5, 0.5, 0.5, 0.5]).view(6, 1)  # 0.5 of 180 degrees, nothing else
    monkeypatch.setattr(torch, "rand", lambda *size, generator=None: draws)
    image, moved = augment_labelled(spots(points), points, torch.Generator(), turn_deg=180)
    turns = next(n for n in (1, 3) if torch.allclose(rotate_points(points, n), moved, atol=1e-5))
    torch.testing.assert_close(image, rotate_image(spots(points), turns), atol=1e-4, rtol=0)


def test_bench_row() -> None:
    options = {**OPTIONS, "keypoints": 6}
    row = bench_few_labels.semi_supervised_row(options, size=32, batch_size=2, repeats=1)
    assert row.target == "<= 1.1"
    assert row.ours > 0
    assert row.other > 0


def test_step_of_the_benchmark_is_the_weighted_sum() -> None:
    semi = SemiSupervisedBKinD(NAMES, keypoints=4, **OPTIONS).eval()
    data = batch()
    total = sum(semi.loss_weights[name] * term for name, term in semi.terms(data).items())
    torch.testing.assert_close(step(semi, data), torch.as_tensor(total))  # type: ignore[arg-type]
