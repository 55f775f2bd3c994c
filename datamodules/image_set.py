"""Photographs of any size and format, with or without classes, boxes and labelled points."""

import warnings
from pathlib import Path

import numpy as np

from lightning_kp.errors import DataError
from lightning_kp.geometry import Fit
from lightning_kp.labels.opening import open_labels
from lightning_kp.stills.bases import StillsModule
from lightning_kp.stills.listing import Still, find_stills, some
from lightning_kp.stills.squares import SquareSettings
from lightning_kp.stills.tables import with_boxes, with_classes


class ImageSet(StillsModule):
    """Still images (B, 3, S, S) of any size, mode and format; methods get them alone, with classes or with points.

    Args:
        images: Folders (with all their sub-folders), patterns (``birds/**/*.jpg``), list files (``.txt``) and images.
        labels: Table with ``image`` and ``class``, and perhaps ``split`` (train, val, test), in place of the folders'
            names, which are the classes otherwise.
        boxes: Table with ``image,left,top,right,bottom`` (edges in pixels of the upright image): a square is cut out
            for each box.
        points: Labelled points of one animal per image (SLEAP, DeepLabCut or COCO labels).
        size: Side of the squares that the network sees, in pixels.
        fit: How an image without a box is made square: ``pad``, ``crop`` or ``squash``.
        margin: Side of the square around a box, in units of the box's longer side; the border of the image is
            repeated outside it.
        val_fraction: Share of the training images held out for validation, from each class; 0 for no validation.
        flip: In training, mirror half of the images at random, and exchange the names of left and right points.
        hold_gb: Keep the squares in memory if they need at most this many GB, else in a memory-mapped file.
        cache_dir: Folder of that file; by default KP_CACHE_DIR or the user's cache folder.
        seed: Decides which images validate; the order of training follows ``--seed_everything``.
        root: Folder where relative paths start.
        batch_size: Images in a batch.
        num_workers: Processes that load data; 0 is fast enough for images in memory.
    """

    def __init__(
        self,
        images: list[str] | str = ".",
        labels: str | None = None,
        boxes: str | None = None,
        points: str | None = None,
        size: int = 128,
        fit: Fit = "pad",
        margin: float = 1.25,
        val_fraction: float = 0.1,
        flip: bool = False,
        hold_gb: float = 2.0,
        cache_dir: str | None = None,
        seed: int = 0,
        root: str = ".",
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            SquareSettings(size, fit, margin), val_fraction, flip, hold_gb, cache_dir, seed, root, batch_size,
            num_workers,
        )  # fmt: skip
        self.save_hyperparameters(logger=False)
        self.images, self.labels, self.boxes, self.points = images, labels, boxes, points

    def read(self) -> list[Still]:
        """List the images with what the tables say of them."""
        stills = find_stills(self.images, self.root)
        if self.labels is not None:
            stills = with_classes(stills, self.path(self.labels))
        if self.points is not None:
            stills, self.part_names = with_points(stills, self.path(self.points), self.root)
        if self.boxes is not None:
            stills = with_boxes(stills, self.path(self.boxes))
        return stills


def with_points(stills: list[Still], path: Path, root: Path) -> tuple[list[Still], tuple[str, ...]]:
    """Give images the labelled points of a file of labels; returns them and the names of the K points.

    Images that the file does not label have no points.  Raises DataError if the file cannot be read, labels none of the
    images, or several animals in one of them.
    """
    opened = open_labels(path, root)
    if opened.problems:
        warnings.warn(f"{path} has {len(opened.problems)} problem(s): {some(opened.problems)}.", stacklevel=2)
    position = {Path(still.path).resolve(): row for row, still in enumerate(stills)}
    shape = (len(opened.names), 2)
    result = [still._replace(points_px=np.full(shape, np.nan)) for still in stills]
    crowded, labelled = [], 0
    for frame in opened.frames:
        animals = frame.points_px[np.isfinite(frame.points_px).any(axis=(1, 2))]
        row = position.get(Path(frame.source).resolve()) if frame.source and len(animals) else None
        if row is not None:
            crowded += [stills[row].name] * (len(animals) > 1)
            result[row] = stills[row]._replace(points_px=animals[0])
            labelled += 1
    if crowded:
        raise DataError(
            f"{path} labels several animals in {len(crowded)} image(s): {some(crowded)}.",
            remedy="Use --data=LabelledGroups for several animals in an image.",
        )
    if not labelled:
        raise DataError(
            f"{path} labels none of the {len(stills)} images, such as {stills[0].name}.",
            remedy="Check --data.images and the names in the file.",
        )
    return result, opened.names
