"""One or several paths, as functions accept them."""

import os
from collections.abc import Sequence

PathLike = str | os.PathLike[str]
Paths = PathLike | Sequence[PathLike]
"""One path, or several: files, folders, globs."""


def as_list(paths: Paths) -> list[str]:
    """Return one or several paths as a list of texts."""
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    return [os.fspath(path) for path in given]
