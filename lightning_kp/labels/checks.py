"""Everything that is wrong with label files, told at once and before training starts."""

from collections.abc import Callable, Sequence

import numpy as np
from tqdm import tqdm

from lightning_kp.errors import DataError, did_you_mean
from lightning_kp.labels.frames import Image, OpenFrame, OpenLabels

AT_MOST = 40  # problems told in one message (ours)
TOLERANCE_PX = 1.0
"""How far outside the image a point may lie: annotators click on borders, and formats differ by half a pixel."""


def load_images(
    labels: OpenLabels,
    take: Callable[[OpenFrame, Image], None],
    *,
    names: Sequence[str] | None = None,
    strict: bool = True,
) -> None:
    """Read the images of all frames and hand them to ``take``, one after another.

    ``names``: points that the file has to know.  Not ``strict``: points may lie outside their image.  Raises
    DataError with every problem of the file; where many images cannot be read, the rest is not tried.
    """
    problems = list(labels.problems)
    if not labels.frames and not problems:
        problems.append("it holds no labelled frame")
    unknown = [name for name in names or () if name not in labels.names] if labels.frames else []
    unread = 0
    for frame in tqdm(labels.frames, f"read {labels.path.name}", delay=1.0, unit="frame", leave=False):
        try:
            image = frame.read()
        except Exception as error:  # noqa: BLE001  (readers of images and videos have their own kinds)
            problems.append(f"the image of {frame.name} cannot be read ({type(error).__name__}: {error})")
            unread += 1
            if unread < AT_MOST:
                continue
            problems.append("the images after it were not tried")
            break
        if strict:
            problems += _misplaced(frame, image, labels.names)
        take(frame, image)
    if unknown and not problems:
        raise DataError(
            f"{labels.path} labels {', '.join(labels.names)}; {', '.join(unknown)} is not among them.",
            remedy=did_you_mean(unknown[0], labels.names),
        )
    hints = [(name, did_you_mean(name, labels.names).rstrip(".")) for name in unknown]
    problems += [f"no point is called {name} ({hint})" for name, hint in hints]
    if problems:
        raise _error(labels, problems)


def _misplaced(frame: OpenFrame, image: Image, names: Sequence[str]) -> list[str]:
    height, width = image.shape[:2]
    limit = np.array((width, height)) - 0.5 + TOLERANCE_PX
    points = frame.points_px
    infinite = np.isinf(points).any(axis=-1)
    with np.errstate(invalid="ignore"):
        outside = ((points < -0.5 - TOLERANCE_PX) | (points > limit)).any(axis=-1) & ~infinite
    found = []
    for animal, point in np.argwhere(outside | infinite):
        x, y = points[animal, point]
        found.append(f"{frame.name}: {names[point]} at ({x:g}, {y:g}) is outside the {width}x{height} image")
    return found


def _error(labels: OpenLabels, problems: Sequence[str]) -> DataError:
    shown = "; ".join(f"({number}) {problem}" for number, problem in enumerate(problems[:AT_MOST], start=1))
    more = f"; and {len(problems) - AT_MOST} more" if len(problems) > AT_MOST else ""
    return DataError(
        f"{labels.path} has {len(problems)} problem(s): {shown}{more}.",
        remedy="Correct the file, or say below which folder its images lie (--data.root; `kp name`: --root).",
    )
