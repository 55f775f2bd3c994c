"""Images sorted into classes: one folder for each class, or the files of CIFAR-10 and CIFAR-100."""

from typing import Literal

import numpy as np
import torch

from lightning_kp.batches import ClassifiedImages, Images
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.frames.stills import (
    ClassDataset,
    ClassSet,
    check_same_classes,
    read_class_folder,
    split_rows,
)
from lightning_kp.geometry import Fit


class ClassFolders(KeypointDataModule):
    """Images (B, 3, S, S) from folders, one for each class: ``train/cat/1.jpg``, ``test/cat/7.jpg``.

    Methods that read Images get them without the classes.

    Args:
        train: Folder that holds the class folders of the training images; relative paths start from ``root``.
        test: Folder that holds the class folders of the test images; empty: test on the validation images.
        size: Side of the square image that the network sees, in pixels.
        fit: How an image that is not square is made square: ``pad``, ``crop`` or ``squash``.
        val_fraction: Share of the training images held out for validation; 0 for no validation (000: a tenth).
        shift: In training, shift images by up to this many pixels in each direction (000: 4 of 32).
        flip: In training, mirror half of the images horizontally, at random.
        share: In training, cut out a random region, with the least and the largest share of the image's area, such as
            ``[0.08, 1.0]`` (random resized crop); none without it.
        hold_gb: Keep the images of a folder in memory if they need at most this many GB.
        seed: Decides which images validate; the order of training follows ``--seed_everything``.
        root: Folder where relative paths start.
        batch_size: Images in a batch.
        num_workers: Processes that load data; 0 is fast enough for images in memory.
    """

    batch_type = ClassifiedImages
    batch_types = (ClassifiedImages, Images)

    def __init__(
        self,
        train: str = "train",
        test: str = "test",
        size: int = 32,
        fit: Fit = "crop",
        val_fraction: float = 0.1,
        shift: int = 4,
        flip: bool = True,
        share: list[float] | None = None,
        hold_gb: float = 2.0,
        seed: int = 0,
        root: str = ".",
        batch_size: int = 128,
        num_workers: int = 0,
    ) -> None:
        super().__init__(root, batch_size, num_workers)
        _check(val_fraction, shift, share)
        self.save_hyperparameters(logger=False)
        self.train, self.test = train, test
        self.size, self.hold_gb = size, hold_gb
        self.fit: Fit = fit
        self.val_fraction, self.shift, self.flip, self.seed = val_fraction, shift, flip, seed
        self.share = share
        self.class_names: tuple[str, ...] = ()
        self._sets: tuple[ClassSet, ClassSet | None] | None = None

    def setup(self, stage: str | None = None) -> None:
        """Read the folders, once."""
        self._sets = self._sets or self.read()
        self._use(*self._sets)

    def read(self) -> tuple[ClassSet, ClassSet | None]:
        """Read the training images and, if there are any, the test images."""
        train = read_class_folder(self.path(self.train), self.size, self.fit, self.hold_gb)
        if not self.test:
            return train, None
        test = read_class_folder(self.path(self.test), self.size, self.fit, self.hold_gb)
        check_same_classes(train.names, test.names, self.path(self.test))
        return train, test

    def _use(self, train: ClassSet, test: ClassSet | None) -> None:
        self.class_names = train.names
        fitting, validating = split_rows(len(train.label), self.val_fraction, self.seed)
        kind = self.served_type
        self.datasets["train"] = ClassDataset(train, fitting, self.shift, self.flip, kind, self.share or ())
        if len(validating):
            self.datasets["val"] = self.datasets["test"] = ClassDataset(train, validating, kind=kind)
        if test is not None:
            self.datasets["test"] = ClassDataset(test, np.arange(len(test.label)), kind=kind)


class CIFAR(ClassFolders):
    """CIFAR-10 or CIFAR-100 from the files that torchvision reads (such as ``cifar-10-batches-py``).

    Nothing is downloaded; the archives (python version) are at https://www.cs.toronto.edu/~kriz/cifar.html.

    Args:
        kind: ``cifar10`` or ``cifar100``.
        val_fraction: Share of the training images held out for validation; 0 for no validation (000: a tenth).
        shift: In training, shift images by up to this many pixels in each direction (000: 4).
        flip: In training, mirror half of the images horizontally, at random.
        seed: Decides which images validate; the order of training follows ``--seed_everything``.
        root: Folder that holds the unpacked archive.
        batch_size: Images in a batch.
        num_workers: Processes that load data; 0 is fast enough.
    """

    def __init__(
        self,
        kind: Literal["cifar10", "cifar100"] = "cifar10",
        val_fraction: float = 0.1,
        shift: int = 4,
        flip: bool = True,
        seed: int = 0,
        root: str = ".",
        batch_size: int = 128,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            val_fraction=val_fraction, shift=shift, flip=flip, seed=seed, root=root, batch_size=batch_size,
            num_workers=num_workers,
        )  # fmt: skip
        self.kind = kind

    def read(self) -> tuple[ClassSet, ClassSet | None]:
        """Read the training images and the test images of the archive."""
        return self._part(train=True), self._part(train=False)

    def _part(self, *, train: bool) -> ClassSet:
        from torchvision.datasets import CIFAR10, CIFAR100

        kind = {"cifar10": CIFAR10, "cifar100": CIFAR100}[self.kind]
        try:
            found = kind(str(self.root), train=train, download=False)
        except RuntimeError as error:
            raise DataError(
                f"{self.root} has no folder {kind.base_folder}, or its files differ from the original.",
                remedy=f"Unpack {kind.filename} there ({kind.url}).",
            ) from error
        images = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
        return ClassSet(images, torch.tensor(found.targets), tuple(found.classes))


def _check(val_fraction: float, shift: int, share: list[float] | None) -> None:
    if share is not None and (len(share) != 2 or not 0 < share[0] <= share[1] <= 1):
        raise ConfigurationError(
            f"share is {share}.", remedy="Give two shares of the area, such as --data.share=[0.08,1.0]."
        )
    if not 0 <= val_fraction < 1 or shift < 0:
        raise ConfigurationError(
            f"val_fraction is {val_fraction} and shift is {shift}.",
            remedy="Give a --data.val_fraction from 0 to below 1 and a --data.shift of at least 0.",
        )
