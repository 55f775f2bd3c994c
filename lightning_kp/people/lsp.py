"""Leeds Sports Pose and its extension as published: a folder with ``joints.mat`` and ``images/im00001.jpg``.

LSP (Johnson and Everingham 2010): ``joints`` (3, 14, 2000), x, y and whether the joint is hidden; all joints are
labelled, also hidden ones.  LSP extended (2011): ``joints`` (14, 3, 10000), x, y and whether the joint is labelled.
Points are used unchanged; neither data set documents whether the corner pixel is 0 or 1.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.images.files import images_in
from lightning_kp.metrics.protocols import LSP
from lightning_kp.people.person_data import PlacedPerson, square_around

FILE, KEY = "joints.mat", "joints"
JOINTS = len(LSP.skeleton.names)


def read_lsp(folder: Path, margin: float) -> tuple[list[PlacedPerson], bool]:
    """Read the people of a folder, by number of their images, and whether it is LSP (not the extension).

    The crop is the square around the labelled joints, with ``margin`` times their extent.  Raises DataError with
    file, key and row.
    """
    joints, is_lsp = _joints(folder / FILE)
    images = _numbered_images(folder / "images")
    missing = [row for row in range(len(joints)) if row + 1 not in images]
    if missing:
        raise DataError(
            f"{folder / FILE}, key {KEY}, row {missing[0]}: there is no image {missing[0] + 1} in "
            f"{folder / 'images'} ({len(missing)} of {len(joints)} are missing).",
            remedy="Unpack the archive again, images and joints.mat together.",
        )
    return [_person(images[row + 1], joints[row], margin) for row in range(len(joints))], is_lsp


def _person(image: Path, points: NDArray[np.float64], margin: float) -> PlacedPerson:
    from PIL import Image as Pillow

    with Pillow.open(image) as opened:  # reads the header only
        width, height = opened.size
    centre, side = square_around(points, (height, width), margin)
    return PlacedPerson(image, points, centre, side)


def _joints(path: Path) -> tuple[NDArray[np.float64], bool]:
    """Points (N, 14, 2), NaN = not labelled, and whether the file is that of LSP (not of the extension)."""
    values = _read_mat(path)
    if values.ndim != 3 or values.shape[:2] not in ((3, JOINTS), (JOINTS, 3)):
        raise DataError(
            f"{path}, key {KEY} has shape {values.shape}; LSP has (3, {JOINTS}, N) and its extension ({JOINTS}, 3, N).",
            remedy="Use joints.mat as published.",
        )
    is_lsp = values.shape[0] == 3
    rows = np.asarray(values.transpose(2, 1, 0) if is_lsp else values.transpose(2, 0, 1), dtype=np.float64)
    labelled = np.ones(rows.shape[:2], bool) if is_lsp else rows[..., 2] > 0
    wrong = np.flatnonzero((labelled & ~np.isfinite(rows[..., :2]).all(axis=-1)).any(axis=1))
    if len(wrong):
        raise DataError(
            f"{path}, key {KEY}, row {wrong[0]}: a labelled joint has no position "
            f"({len(wrong)} such row(s)).",
            remedy="Mark it as not labelled (third value 0), or use joints.mat as published.",
        )
    return np.where(labelled[..., None], rows[..., :2], np.nan), is_lsp


def _read_mat(path: Path) -> NDArray[Any]:
    from scipy.io import loadmat

    try:
        content = loadmat(str(path))
    except Exception as error:
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}: {error}).",
            remedy="Give folders that hold joints.mat and images/: --data.folders=[FOLDER].",
        ) from error
    if KEY not in content:
        found = ", ".join(name for name in content if not name.startswith("__"))
        raise DataError(
            f"{path} has no key {KEY}; its keys are {found}.", remedy="Use joints.mat as published."
        )
    return np.asarray(content[KEY])


def _numbered_images(folder: Path) -> dict[int, Path]:
    """Images by the number in their name, from 1."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", remedy="It must hold im00001.jpg and so on.")
    numbers = ((re.search(r"(\d+)$", path.stem), path) for path in images_in(folder))
    return {int(number[1]): path for number, path in numbers if number}
