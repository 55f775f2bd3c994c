"""Who trains, validates and tests among still images: official parts first, then a draw by class."""

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.loading import Rows
from lightning_kp.stills.listing import some


def divide_stills(
    labels: Sequence[str], splits: Sequence[str], val_fraction: float, seed: int
) -> dict[str, Rows]:
    """Rows of the images that train, validate and test, each sorted.

    Args:
        labels: Class of each of N images; empty = unknown.
        splits: Official part of each image: ``train``, ``val``, ``test``, or empty, which counts as ``train``.
        val_fraction: Share of the training images that validates where no official part does, in [0, 1); drawn by
            ``seed``, from each class in proportion.
        seed: Decides the draw.

    Returns:
        Rows by stage; stages without images are missing, except that what validates also tests where nothing else
        does.

    Raises:
        ConfigurationError: ``val_fraction`` is out of range.
        DataError: No image is left to train on.

    Example:
        >>> {name: rows.tolist() for name, rows in divide_stills("aabb", ["", "", "", "test"], 0.4, 0).items()}
        {'train': [1, 2], 'val': [0], 'test': [3]}
    """
    if not 0 <= val_fraction < 1:
        raise ConfigurationError(
            f"val_fraction is {val_fraction}.",
            remedy="Give a --data.val_fraction from 0 to below 1, such as 0.1.",
        )
    parts = np.array([split or "train" for split in splits])
    rows = {name: np.flatnonzero(parts == name) for name in ("train", "val", "test")}
    if not len(rows["val"]) and val_fraction:
        rows["train"], rows["val"] = stratified(rows["train"], labels, val_fraction, seed)
    if not len(rows["train"]):
        raise DataError(
            f"{len(labels)} image(s), {len(rows['val'])} of them held out, leave none to train on.",
            remedy="Use more images, or hold out fewer: --data.val_fraction=0.",
        )
    if not len(rows["test"]):
        rows["test"] = rows["val"]
    return {name: each for name, each in rows.items() if len(each)}


def stratified(rows: Rows, labels: Sequence[str], fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Divide rows (N,) into those kept and a ``fraction`` that is held out, at least one, in proportion to the classes.

    A class keeps at least one image, so that one of a single image is held out nowhere.  Both results are sorted.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(rows)
    by_class: dict[str, list[int]] = {}
    for row in shuffled.tolist():
        by_class.setdefault(labels[row], []).append(row)
    wanted = max(1, round(fraction * len(rows)))
    shares = {name: fraction * len(each) for name, each in by_class.items()}
    taken = {name: min(int(share), len(by_class[name]) - 1) for name, share in shares.items()}
    # Whole numbers that sum to what is wanted: the classes with the largest remainders give one more.
    for name in sorted(shares, key=lambda each: taken[each] - shares[each]):
        if sum(taken.values()) < wanted and taken[name] < len(by_class[name]) - 1:
            taken[name] += 1
    held_out = [row for name, each in by_class.items() for row in each[: taken[name]]]
    if len(rows) == 1:  # nothing could train
        held_out = rows.tolist()
    return np.setdiff1d(rows, held_out), np.sort(np.asarray(held_out, np.int64))


def warn_of_classes(labels: Sequence[str]) -> None:
    """Warn of a single class, which teaches nothing, and of classes with one image."""
    counts = Counter(label for label in labels if label)
    if len(counts) == 1:
        warnings.warn(
            f"All images have the class {next(iter(counts))}: one class tells nothing about the images.",
            stacklevel=2,
        )
    elif single := sorted(name for name, number in counts.items() if number == 1):
        warnings.warn(
            f"{len(single)} class(es) have one image, which trains and never validates: {some(single)}.",
            stacklevel=2,
        )
