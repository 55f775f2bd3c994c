"""Checks of label files: all problems are reported in one message, before training starts."""

from collections.abc import Callable, Sequence

import numpy as np
from tqdm import tqdm

from lightning_kp.errors import DataError, did_you_mean, nearest
from lightning_kp.geometry import from_edges
from lightning_kp.images.files import Image
from lightning_kp.labels.frames import OpenFrame, OpenLabels

MAX_PROBLEMS_SHOWN = 40  # in one message (ours)
TOLERANCE_PX = 1.0
"""How far outside its image a point may lie: annotators click on borders, and formats differ by half a pixel."""


def load_images(
    labels: OpenLabels,
    receive: Callable[[OpenFrame, Image], None],
    *,
    names: Sequence[str] | None = None,
    strict: bool = True,
) -> None:
    """Read the images (H, W, 3) of all frames and pass them to ``receive``, one after another.

    Args:
        labels: Labelled frames with the problems that are already known.
        receive: Called with each frame and its image; it should not keep the image, which may be large.
        names: Points that the file must label.
        strict: Refuse points outside their image.

    Raises:
        DataError: The file has problems; all are listed, up to 40.  After 40 unreadable images the rest are
            not tried.
    """
    problems = list(labels.problems)
    if not labels.frames and not problems:
        problems.append("it has no labelled frame")
    unknown = [name for name in names or () if name not in labels.names] if labels.frames else []
    unread = 0
    for frame in tqdm(labels.frames, f"Reading {labels.path.name}", delay=1.0, unit="frame", leave=False):
        try:
            image = frame.read()
        except Exception as error:  # noqa: BLE001  (readers of images and videos have their own exceptions)
            problems.append(f"the image of {frame.name} cannot be read ({type(error).__name__}: {error})")
            unread += 1
            if unread < MAX_PROBLEMS_SHOWN:
                continue
            problems.append("the images after it were not tried")
            break
        if strict:
            problems += _misplaced(frame, image, labels.names)
        receive(frame, image)
    if unknown and not problems:
        raise DataError(
            f"{labels.path} has no point called {', '.join(unknown)}; its points are {', '.join(labels.names)}.",
            remedy=f"Did you mean {near}?" if (near := nearest(unknown[0], labels.names)) else "",
        )
    hints = [(name, did_you_mean(name, labels.names).rstrip(".")) for name in unknown]
    problems += [f"there is no point called {name} ({hint})" for name, hint in hints]
    if problems:
        raise _error(labels, problems)


def _misplaced(frame: OpenFrame, image: Image, names: Sequence[str]) -> list[str]:
    height, width = image.shape[:2]
    limit = from_edges(np.array((width, height))) + TOLERANCE_PX
    points = frame.points_px
    infinite = np.isinf(points).any(axis=-1)
    with np.errstate(invalid="ignore"):
        outside = ((points < from_edges(0) - TOLERANCE_PX) | (points > limit)).any(axis=-1) & ~infinite
    found = []
    for animal, point in np.argwhere(outside | infinite):
        x, y = points[animal, point]
        found.append(
            f"{frame.name}: {names[point]} at ({x:g}, {y:g}) is outside the image of {width}x{height} pixels"
        )
    return found


def _error(labels: OpenLabels, problems: Sequence[str]) -> DataError:
    shown = "; ".join(
        f"({number}) {problem}" for number, problem in enumerate(problems[:MAX_PROBLEMS_SHOWN], start=1)
    )
    hidden = len(problems) - MAX_PROBLEMS_SHOWN
    more = f"; and {hidden} more" if hidden > 0 else ""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return DataError(
        f"{labels.path} has {count}: {shown}{more}.",
        remedy="Correct the file; if images are missing, give the folder that holds them: --data.root=FOLDER "
        "(`kp name`, `kp score`, `kp suggest`: --root FOLDER).",
    )
