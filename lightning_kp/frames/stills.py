"""Data sets of still images that are sorted into class folders, in memory or read on demand, with augmentation."""

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
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import resized_crop

from lightning_kp.batches import ClassifiedImages, Images
from lightning_kp.errors import DataError
from lightning_kp.geometry import Fit, place
from lightning_kp.images.files import Image, images_in, read_image
from lightning_kp.images.resize import prepare
from lightning_kp.loading import Rows, train_and_held_out

READER_THREADS = 4


@dataclass(frozen=True)
class ImageFiles:
    """Image files that are read as squares (3, size, size), uint8, when they are indexed."""

    paths: tuple[Path, ...]
    size: int
    fit: Fit

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Tensor:
        """Read image ``i`` as (3, size, size), uint8.  Raises DataError if it cannot be read."""
        return self._square(read_image(self.paths[i]), self.fit)

    def region(self, i: int, share: Sequence[float]) -> Tensor:
        """Read a random region of image ``i`` (see :func:`random_region`) as (3, size, size), uint8."""
        image = read_image(self.paths[i])
        return self._square(image, "squash", random_region(image.shape[0], image.shape[1], share))

    def _square(self, image: Image, fit: Fit, box: tuple[int, int, int, int] | None = None) -> Tensor:
        placement = place((image.shape[0], image.shape[1]), self.size, fit, box)
        return torch.from_numpy(prepare(image, placement).copy()).permute(2, 0, 1)

    def read_all(self) -> Tensor:
        """Read all images with several threads: (N, 3, size, size), uint8."""
        images = torch.empty(len(self), 3, self.size, self.size, dtype=torch.uint8)
        with ThreadPoolExecutor(READER_THREADS) as pool:
            for i, image in enumerate(pool.map(self.__getitem__, range(len(self)))):
                images[i] = image
        return images


@dataclass(frozen=True)
class ClassSet:
    """Images (N, 3, S, S), uint8, with the class of each: ``label`` (N,), int64, indexes ``names``."""

    images: Tensor | ImageFiles
    label: Tensor
    names: tuple[str, ...]


def read_class_folder(folder: Path, size: int, fit: Fit, hold_gb: float) -> ClassSet:
    """Read a folder with one sub-folder of images per class, named like the class; classes are in order of their names.

    Images become squares of ``size`` pixels, see :func:`lightning_kp.geometry.place` for ``fit``.  They are kept in
    memory if all of them take at most ``hold_gb`` gigabytes.  Raises DataError if there is no such folder or no image.
    """
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder}.", remedy="It must contain one folder of images per class."
        )
    classes = {each.name: images_in(each) for each in sorted(folder.iterdir()) if each.is_dir()}
    classes = {name: paths for name, paths in classes.items() if paths}
    if not classes:
        raise DataError(
            f"{folder} contains no folder of images.", remedy="Make one per class, named like the class."
        )
    numbers = [number for number, paths in enumerate(classes.values()) for _ in paths]
    files = ImageFiles(tuple(path for paths in classes.values() for path in paths), size, fit)
    is_small = 3 * size * size * len(files) <= hold_gb * 1e9
    return ClassSet(files.read_all() if is_small else files, torch.tensor(numbers), tuple(classes))


class ClassDataset(Dataset[ClassifiedImages | Images]):
    """The images of a set in ``rows`` (N,), with augmentation (000, section 2.5).

    ``shift`` moves each image at random by up to this many pixels; ``flip`` mirrors half of them, chosen at random.
    ``share`` replaces an image by a random region of it, with the least and the largest share of its area; images in
    memory have been resized before, others are read anew.  ``kind``: ClassifiedImages, or Images, without the classes.
    """

    def __init__(
        self,
        images: ClassSet,
        rows: NDArray[np.int64],
        shift: int = 0,
        flip: bool = False,
        kind: type = ClassifiedImages,
        share: Sequence[float] = (),
    ) -> None:
        self.images, self.rows = images, rows
        self.shift, self.flip, self.kind, self.share = shift, flip, kind, tuple(share)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> ClassifiedImages | Images:
        """Return one image (3, S, S), uint8, with its label unless ``kind`` is Images, without the batch axis."""
        row = int(self.rows[i])
        image = self._region(row) if self.share else self.images.images[row]
        if self.shift:
            image = shift_at_random(image, self.shift)
        if self.flip and torch.rand(()) < 0.5:
            image = image.flip(-1)
        return Images(image) if self.kind is Images else ClassifiedImages(image, self.images.label[row])

    def _region(self, row: int) -> Tensor:
        images = self.images.images
        if isinstance(images, ImageFiles):
            return images.region(row, self.share)
        size = [images.shape[-2], images.shape[-1]]
        left, top, right, bottom = random_region(size[0], size[1], self.share)
        found: Tensor = resized_crop(images[row], top, left, bottom - top, right - left, size, antialias=True)
        return found


def random_region(height: int, width: int, share: Sequence[float]) -> tuple[int, int, int, int]:
    """A box (left, top, right, bottom) in an image, in pixels, for a random resized crop (Szegedy et al. 2015).

    ``share``: least and largest share of the area; the aspect ratio is between 3:4 and 4:3.
    """
    like = torch.empty(0, height, width)
    top, left, rows, columns = RandomResizedCrop.get_params(like, [share[0], share[1]], [3 / 4, 4 / 3])
    return left, top, left + columns, top + rows


def shift_at_random(image: Tensor, max_shift_px: int) -> Tensor:
    """Move an image (3, H, W) by up to ``max_shift_px`` in both directions of each axis; uncovered pixels are black."""
    height, width = image.shape[-2:]
    top, left = torch.randint(0, 2 * max_shift_px + 1, (2,)).tolist()
    return F.pad(image, (max_shift_px,) * 4)[:, top : top + height, left : left + width]


def split_rows(number: int, val_fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Rows (N,) of the images that train and those held out for validation, drawn by ``seed``, both sorted."""
    return train_and_held_out(
        number,
        val_fraction,
        seed,
        items="image(s)",
        remedy="Use more images, or hold out fewer: --data.val_fraction=0.",
    )


def check_same_classes(train: Sequence[str], test: Sequence[str], test_folder: Path) -> None:
    """Raise DataError if the classes of the test images are not those of the training images."""
    if tuple(train) != tuple(test):
        differing = sorted(set(train) ^ set(test))
        raise DataError(
            f"The classes in {test_folder} are not those of the training images; they differ in: "
            f"{', '.join(differing[:5])}.",
            remedy="Give both sets folders of the same names, none of them empty.",
        )
