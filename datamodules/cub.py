"""CUB-200-2011 (Wah et al. 2011) in its official layout: birds with species, boxes and fifteen parts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.skeleton import mirror_from_names
from lightning_kp.stills.bases import StillsModule
from lightning_kp.stills.listing import Still, present
from lightning_kp.stills.squares import SquareSettings

Aligned = Literal["strict", "mirrored"]
SEABIRDS = frozenset((1, 2, 3, 5, 6, 7, 8, 23, 24, 25, *range(59, 67), 100, 101))
"""Classes without which Lorenz et al. (2019) align the birds."""
ALIGNED_PARTS = (1, 2, 4, 7, 8, 9, 10, 12, 14, 15)
"""Their ten parts, numbered as in ``parts.txt``."""
LEFT_EYE, RIGHT_EYE = "left eye", "right eye"
Points = NDArray[np.float64]


class CUB(StillsModule):
    """Birds (B, 3, S, S) of CUB-200-2011; methods get them alone, with their species or with their parts.

    Test images are those of ``train_test_split.txt``; validation images are drawn from its training images.

    Args:
        classes: Species to use, by number (1 to 200) or name; by default all that ``images.txt`` lists.
        aligned: Birds that look to the same side, without seabirds, and their ten parts (000, 4.5; Lorenz et al.):
            ``strict`` for those whose left eye and all ten parts are visible and whose right eye is not; ``mirrored``
            (ours) for birds with one visible eye, of which those that show the right one are mirrored and exchange the
            names of left and right.  By default all birds and all fifteen parts.
        crop: Cut out the bounding box; otherwise the whole image is shown.
        size: Side of the squares that the network sees, in pixels.
        fit: How a whole image is made square: ``pad``, ``crop`` or ``squash``.
        margin: Side of the square around a box, in units of its longer side; the border of the image is repeated.
        val_fraction: Share of the training images held out for validation, from each species.
        flip: In training, mirror half of the images at random, and exchange the names of left and right parts.
        hold_gb: Keep the squares in memory if they need at most this many GB, else in a memory-mapped file.
        cache_dir: Folder of that file; by default KP_CACHE_DIR or the user's cache folder.
        seed: Decides which images validate; the order of training follows ``--seed_everything``.
        root: Folder that holds ``images.txt``.
        batch_size: Images in a batch.
        num_workers: Processes that load data; 0 is fast enough for images in memory.
    """

    cropped = True

    def __init__(
        self,
        classes: list[int | str] | None = None,
        aligned: Aligned | None = None,
        crop: bool = True,
        size: int = 128,
        fit: Literal["pad", "crop", "squash"] = "pad",
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
        self.classes, self.aligned, self.crop = classes, aligned, crop

    def read(self) -> list[Still]:
        """List the birds in the order of ``images.txt``."""
        names = {int(number): name for number, name in _rows(self.root, "classes.txt", 2)}
        wanted = _chosen_classes(names, self.classes)
        parts = [name for _, name in _rows(self.root, "parts/parts.txt", 2)]
        stills = _stills(self.root, names, wanted, len(parts), self.crop)
        self.part_names = tuple(parts)
        if self.aligned is not None:
            kept = [number for number in wanted if number not in SEABIRDS]
            land = {names[number] for number in kept}
            stills = [still for still in stills if still.label in land]
            stills, self.part_names = aligned_birds(stills, parts, self.aligned)
        return present(stills, self.root)


def aligned_birds(
    stills: Sequence[Still], parts: Sequence[str], kind: Aligned
) -> tuple[list[Still], tuple[str, ...]]:
    """Choose birds that show one eye, and mirror those that show the right one or leave them out.

    Args:
        stills: Birds with all points (15, 2), NaN = not visible.
        parts: Names of the points.
        kind: See :class:`CUB`.

    Returns:
        The birds with ten points each, and the names of the points.
    """
    chosen, other = [number - 1 for number in ALIGNED_PARTS], list(mirror_from_names(parts))
    left, right = parts.index(LEFT_EYE), parts.index(RIGHT_EYE)
    result = []
    for still in stills:
        assert still.points_px is not None  # every row of this data set has parts
        seen: NDArray[np.bool_] = np.asarray(np.isfinite(still.points_px).all(axis=1))
        if seen[left] and not seen[right]:
            points = still.points_px[chosen]
            if kind == "mirrored" or np.isfinite(points).all():
                result.append(still._replace(points_px=points))
        elif kind == "mirrored" and seen[right] and not seen[left]:
            result.append(still._replace(points_px=still.points_px[other][chosen], mirrored=True))
    if not result:
        raise DataError(
            f"None of the {len(stills)} birds can be aligned.",
            remedy="Use classes without seabirds, or leave --data.aligned out.",
        )
    return result, tuple(parts[each] for each in chosen)


def _stills(root: Path, names: dict[int, str], wanted: set[int], parts: int, crop: bool) -> list[Still]:
    """All birds of the ``wanted`` classes with box, part of the set, and points (parts, 2)."""
    species = {int(row[0]): int(row[1]) for row in _rows(root, "image_class_labels.txt", 2)}
    trains = {int(row[0]): row[1] == "1" for row in _rows(root, "train_test_split.txt", 2)}
    boxes = {int(row[0]): [float(each) for each in row[1:]] for row in _rows(root, "bounding_boxes.txt", 5)}
    points = _part_locations(root, parts)
    missing_points = np.full((parts, 2), np.nan)
    stills = []
    for text, name in _rows(root, "images.txt", 2):
        number = int(text)
        if species[number] not in wanted:
            continue
        left, top, width, height = boxes[number]
        stills.append(
            Still(
                str(root / "images" / name), name, names[species[number]],
                "train" if trains[number] else "test",
                (left, top, left + width, top + height) if crop else None,
                points.get(number, missing_points),
            )
        )  # fmt: skip
    return stills


def _part_locations(root: Path, parts: int) -> dict[int, Points]:
    """Points (parts, 2) in pixels of each image by its number; NaN where a part is not visible.

    The file writes x = y = 0 for parts that are not visible.
    """
    result: dict[int, Points] = {}
    for image, part, x, y, visible in _rows(root, "parts/part_locs.txt", 5):
        points = result.setdefault(int(image), np.full((parts, 2), np.nan))
        place = float(x), float(y)
        if visible == "1" and place != (0.0, 0.0):
            points[int(part) - 1] = place
    return result


def _rows(root: Path, name: str, columns: int) -> list[list[str]]:
    """Rows of an official text file; the last column may hold spaces.  Raises DataError if it is missing or damaged."""
    path = root / name
    try:
        rows = [
            line.split(maxsplit=columns - 1) for line in path.read_text("utf-8").splitlines() if line.strip()
        ]
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.",
            remedy="Set --data.root to the folder CUB_200_2011 (with images.txt, parts/ and images/).",
        ) from error
    if wrong := [number for number, row in enumerate(rows, start=1) if len(row) != columns]:
        raise DataError(
            f"Line {wrong[0]} of {path} has not {columns} columns.", remedy="Unpack the file again."
        )
    return rows


def _chosen_classes(names: dict[int, str], classes: Sequence[int | str] | None) -> set[int]:
    if classes is None:
        return set(names)
    by_name = {name.partition(".")[2]: number for number, name in names.items()}
    known = (
        {str(number): number for number in names} | by_name | {name: number for number, name in names.items()}
    )
    if unknown := [each for each in classes if str(each) not in known]:
        raise ConfigurationError(
            f"CUB has no class {unknown[0]!r}.",
            remedy="Give numbers from 1 to 200 or names as in classes.txt, such as 001.Black_footed_Albatross.",
        )
    return {known[str(each)] for each in classes}
