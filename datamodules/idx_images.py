"""MNIST and FashionMNIST from the idx files that torchvision reads."""

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.loading import drawn_parts
from lightning_kp.stills.bases import StillsModule
from lightning_kp.stills.datasets import StillSet, still_set
from lightning_kp.stills.listing import Still
from lightning_kp.stills.squares import SquareSettings
from lightning_kp.stills.store import Squares

SIDE_PX = 28
FILES = tuple(
    f"{part}-{content}-ubyte" for part in ("train", "t10k") for content in ("images-idx3", "labels-idx1")
)


class IdxImages(StillsModule):
    """Digits or pieces of clothing (B, 3, S, S), grey in three equal channels, alone or with their classes.

    Nothing is downloaded.  Test images are the official ones; validation images are drawn from the training images.

    Args:
        kind: ``mnist`` or ``fashionmnist``.
        train_images: Train (and validate) on this many of the training images, drawn by ``seed``; by default on all.
        size: Side of the images in pixels; the files have 28.
        val_fraction: Share of the training images held out for validation, from each class.
        flip: In training, mirror half of the images at random (not for digits).
        seed: Decides which images train and validate; the order of training follows ``--seed_everything``.
        root: Folder that holds ``MNIST/raw`` or ``FashionMNIST/raw``.
        batch_size: Images in a batch.
        num_workers: Processes that load data; 0 is fast enough.
    """

    def __init__(
        self,
        kind: Literal["mnist", "fashionmnist"] = "mnist",
        train_images: int | None = None,
        size: int = SIDE_PX,
        val_fraction: float = 0.1,
        flip: bool = False,
        seed: int = 0,
        root: str = ".",
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            SquareSettings(size), val_fraction, flip, 0.0, None, seed, root, batch_size, num_workers
        )
        if train_images is not None and train_images < 1:
            raise ConfigurationError(
                f"train_images is {train_images}.",
                remedy="Give a --data.train_images of at least 1, or leave it out.",
            )
        self.save_hyperparameters(logger=False)
        self.kind, self.train_images = kind, train_images

    def _read(self) -> StillSet:
        if self.set is None:
            train, test = self._part(train=True), self._part(train=False)
            rows, _ = drawn_parts(len(train.data), (self.train_images or len(train.data),), self.seed)
            stills = _stills(train, rows, "train") + _stills(test, np.arange(len(test.data)), "test")
            image = torch.cat((train.data[torch.from_numpy(rows)], test.data)).unsqueeze(1)
            self.use(stills, still_set(stills, _squares(image, self.size), class_names=train.classes))
        assert self.set is not None
        return self.set

    def _part(self, *, train: bool) -> Any:
        from torchvision.datasets import MNIST, FashionMNIST

        kind = {"mnist": MNIST, "fashionmnist": FashionMNIST}[self.kind]
        folder = self.root / kind.__name__ / "raw"
        if missing := [name for name in FILES if not (folder / name).is_file()]:
            raise DataError(
                f"{folder} has no file {missing[0]}.",
                remedy=f"Set --data.root to the folder that holds {kind.__name__}/raw with its four idx files.",
            )
        try:
            found = kind(str(self.root), train=train, download=False)
        except Exception as error:  # what torchvision raises depends on where a file was cut off
            raise DataError(
                f"A file in {folder} is damaged or cut off ({error}).", remedy="Unpack it again."
            ) from error
        if len(found.data) != len(found.targets):
            raise DataError(
                f"{folder} has {len(found.data)} images and {len(found.targets)} labels.",
                remedy="Unpack its files again.",
            )
        return found


def _stills(part: Any, rows: Any, split: str) -> list[Still]:
    """The images of one official part; a name is the part and the number of the image in its file."""
    labels = part.targets[torch.from_numpy(rows)].tolist()
    return [
        Still("", f"{split}/{row}", part.classes[label], split)
        for row, label in zip(rows.tolist(), labels, strict=True)
    ]


def _squares(image: Tensor, size: int) -> Squares:
    """Images (N, 1, 28, 28) uint8 as squares of ``size`` px."""
    number, _, height, width = image.shape
    if size != SIDE_PX:
        image = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
    regions = np.tile(np.array([0.0, 0.0, width, height]), (number, 1))
    return Squares(
        size, np.arange(number), regions, np.tile(np.array([height, width]), (number, 1)), held=image
    )
