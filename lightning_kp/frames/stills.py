"""Images sorted into classes, as data sets: held in memory or read when asked for, shifted and flipped to train."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lightning_kp.batches import ClassifiedImages
from lightning_kp.errors import DataError
from lightning_kp.geometry import Fit, place
from lightning_kp.images.files import images_in, read_image
from lightning_kp.images.resize import prepare

READERS = 4


@dataclass(frozen=True)
class ImageFiles:
    """Image files that become squares of ``size`` pixels when they are asked for."""

    paths: tuple[Path, ...]
    size: int
    fit: Fit

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Tensor:
        try:
            image = read_image(self.paths[i])
        except DataError as error:
            raise DataError(error.problem, remedy="Remove or replace it.") from error
        placement = place((image.shape[0], image.shape[1]), self.size, self.fit)
        return torch.from_numpy(prepare(image, placement).copy()).permute(2, 0, 1)

    def held(self) -> Tensor:
        """All of them, read once: bytes (N, 3, size, size)."""
        found = torch.empty(len(self), 3, self.size, self.size, dtype=torch.uint8)
        with ThreadPoolExecutor(READERS) as pool:
            for i, image in enumerate(pool.map(self.__getitem__, range(len(self)))):
                found[i] = image
        return found


@dataclass(frozen=True)
class ClassSet:
    """Images (N, 3, S, S) of bytes with the class of each, ``label`` (N,), numbered as in ``names``."""

    images: Tensor | ImageFiles
    label: Tensor
    names: tuple[str, ...]


def read_class_folder(folder: Path, size: int, fit: Fit, hold_gb: float) -> ClassSet:
    """A folder whose sub-folders are named like the classes of the images in them, in order of their names.

    Images are held in memory where all of them take at most ``hold_gb``.  Raises DataError where there is
    no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder}.", remedy="It has to hold one folder of images for each class."
        )
    classes = {each.name: images_in(each) for each in sorted(folder.iterdir()) if each.is_dir()}
    classes = {name: paths for name, paths in classes.items() if paths}
    if not classes:
        raise DataError(
            f"{folder} holds no folder of images.", remedy="Make one for each class, named like the class."
        )
    numbers = [number for number, paths in enumerate(classes.values()) for _ in paths]
    files = ImageFiles(tuple(path for paths in classes.values() for path in paths), size, fit)
    is_small = 3 * size * size * len(files) <= hold_gb * 1e9
    return ClassSet(files.held() if is_small else files, torch.tensor(numbers), tuple(classes))


class ClassDataset(Dataset[ClassifiedImages]):
    """The images of a set that ``rows`` name.

    With ``shift`` pixels of black put around an image, a square of its own size is cut out at random, and
    with ``flip`` every second one is mirrored (000, section 2.5).
    """

    def __init__(self, images: ClassSet, rows: NDArray[np.int64], shift: int = 0, flip: bool = False) -> None:
        self.images, self.rows = images, rows
        self.shift, self.flip = shift, flip

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> ClassifiedImages:
        row = int(self.rows[i])
        image = self.images.images[row]
        if self.shift:
            image = shifted(image, self.shift)
        if self.flip and torch.rand(()) < 0.5:
            image = image.flip(-1)
        return ClassifiedImages(image, self.images.label[row])


def shifted(image: Tensor, most: int) -> Tensor:
    """An image (3, H, W) moved by up to ``most`` pixels each way, black where nothing was."""
    height, width = image.shape[-2:]
    top, left = torch.randint(0, 2 * most + 1, (2,)).tolist()
    return F.pad(image, (most, most, most, most))[:, top : top + height, left : left + width]


def split_rows(number: int, val_fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that train and rows that validate, drawn by ``seed``, both in order; none of the latter for 0."""
    drawn = np.random.default_rng(seed).permutation(number)
    held_out = max(1, round(number * val_fraction)) if val_fraction > 0 else 0
    if number - held_out < 1:
        raise DataError(
            f"{number} image(s), {held_out} of them held out, leave none to train on.",
            remedy="Use more images, or hold out fewer: --data.val_fraction=0.",
        )
    return np.sort(drawn[held_out:]), np.sort(drawn[:held_out])


def same_classes(train: Sequence[str], test: Sequence[str], where: Path) -> None:
    """Refuse test images whose classes are not those of the training."""
    if tuple(train) != tuple(test):
        differing = sorted(set(train) ^ set(test))
        raise DataError(
            f"{where} has other classes than the training images: {', '.join(differing[:5])}.",
            remedy="Name the folders alike, and leave none empty.",
        )
