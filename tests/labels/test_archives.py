"""Numpy archives of labels: what cannot be told apart, and what could run code, is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_kp.errors import DataError
from lightning_kp.labels.archives import open_npz


def test_two_points_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    np.savez(path, points=np.ones((1, 1, 3, 2)), path=["1.png"], node_names=["paw", "tail", "paw"])
    with pytest.raises(DataError, match="several points called paw"):
        open_npz(path, "", [tmp_path])


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.mark, "w")


def test_objects_are_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    names = np.array([Trap(tmp_path / "it_ran")], dtype=object)
    np.savez(path, points=np.ones((1, 1, 1, 2)), path=["1.png"], node_names=names)
    with pytest.raises(DataError, match="holds an array that cannot be read"):
        open_npz(path, "", [tmp_path])
    assert not (tmp_path / "it_ran").exists()
