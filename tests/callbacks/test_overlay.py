"""Pictures of keypoints for the loggers: which frames they show, where the markers are, and when they are logged."""

import dataclasses
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image as Pictures
from torch import Tensor, nn

from lightning_kp.batches import FramePairs, Images, LabelledWindows
from lightning_kp.callbacks.overlay import KeypointOverlay, draw, frames_of
from lightning_kp.errors import ConfigurationError
from lightning_kp.images.drawing import colour
from lightning_kp.keypoints import Keypoints
from lightning_kp.method import KeypointMethod
from lightning_kp.runs.metrics_csv import RunLogger

SIDE = 32


@dataclasses.dataclass(frozen=True)
class Weights:
    nothing: float = 1.0


class Fixed(KeypointMethod):
    """Two keypoints: one in the middle of the upper left quarter, one absent."""

    batch_type = Images
    weights_type = Weights

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def terms(self, batch: Any) -> dict[str, Tensor]:
        return {"nothing": self.gain.square()}

    def heatmaps(self, image: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, image: Tensor) -> Keypoints:
        assert not self.training
        points = torch.tensor([[[-0.5, -0.5], [0.5, 0.5]]]).repeat(len(image), 1, 1, 1)
        return Keypoints(points, torch.tensor([[[0.5, 0.0]]]).repeat(len(image), 1, 1))


def batches(number: int, size: int = 2) -> list[Images]:
    """Images whose grey value is the number of their batch."""
    return [Images(torch.full((size, 3, SIDE, SIDE), n, dtype=torch.uint8)) for n in range(number)]


def pictures(folder: Path, epochs: int, number: int = 6, **settings: Any) -> list[Path]:
    loader: Any = torch.utils.data.DataLoader(batches(number), batch_size=None)  # type: ignore[arg-type]
    trainer = L.Trainer(
        max_epochs=epochs, limit_train_batches=1, accelerator="cpu", logger=RunLogger(folder),
        callbacks=[KeypointOverlay(**settings)], enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Fixed(), loader, loader)
    return sorted((folder / "pictures").glob("*.png"))


def test_pictures_come_after_powers_of_two_and_the_last_epoch(tmp_path: Path) -> None:
    found = pictures(tmp_path, epochs=6)
    assert [path.name for path in found] == [f"val_keypoints-{epoch:08d}.png" for epoch in (1, 2, 4, 6)]


def test_pictures_at_equal_distances(tmp_path: Path) -> None:
    assert len(pictures(tmp_path, epochs=6, every_n_epochs=3)) == 2


def test_a_new_run_drops_the_pictures_of_an_older_one(tmp_path: Path) -> None:
    pictures(tmp_path, epochs=4)
    assert len(pictures(tmp_path, epochs=1)) == 1


def test_frames_are_spread_over_the_validation_set(tmp_path: Path) -> None:
    found = pictures(tmp_path, epochs=1, number=6, frames=3, columns=3)
    image = np.asarray(Pictures.open(found[0]))
    shown = [image[-1, x, 0] for x in (90, 300, 500)]  # below the markers, one in each frame
    assert shown == [0, 2, 4]


def test_few_batches_give_several_frames_each(tmp_path: Path) -> None:
    found = pictures(tmp_path, epochs=1, number=2, frames=4, columns=2)
    image = np.asarray(Pictures.open(found[0]))
    assert image.shape == (2 * 192 + 2, 2 * 192 + 2, 3)


def test_markers_are_where_the_keypoints_are() -> None:
    image = draw(Fixed().eval(), [torch.zeros(3, SIDE, SIDE)], 1)
    assert image.shape == (192, 192, 3)
    # (-0.5, -0.5) is 48 pixels from the edge of 192, between the pixel centres 47 and 48.
    assert (np.abs(image[47:49, 47:49].astype(int) - colour(0)) <= 2).all()
    coloured = np.argwhere(image.any(-1))
    assert np.allclose(coloured.mean(0), 47.5)  # and nowhere else: the other one is absent
    assert np.ptp(coloured, axis=0).max() < 12


def test_images_of_batches() -> None:
    image, other = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    number = torch.zeros(1, dtype=torch.long)
    assert frames_of(FramePairs(image, other, number, number)) is other
    assert frames_of(Images(image)) is image
    assert frames_of(LabelledWindows(torch.zeros(1, 2, 3), number, number, number)) is None


@pytest.mark.parametrize("settings", [{"frames": 0}, {"columns": 0}, {"every_n_epochs": -1}])
def test_impossible_numbers_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        KeypointOverlay(**settings)
