"""Numpy archives of labels: what cannot be told apart, and what could run code, is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mars_files import write_mars

from lightning_kp.errors import DataError
from lightning_kp.labels.archives import MARS_POINTS, open_npz
from lightning_kp.labels.opening import open_labels


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


def test_mars_gives_the_black_mouse_and_then_the_white_one(tmp_path: Path) -> None:
    """The images are a tenth of the stated size, so that the points are scaled: (x + 0.5) / 10 - 0.5."""
    labels = open_labels(write_mars(tmp_path))
    assert labels.problems == []
    assert labels.names == MARS_POINTS == (
        "nose", "left_ear", "right_ear", "neck", "left_hip", "right_hip", "tail_base",
    )  # fmt: skip
    assert [frame.name for frame in labels.frames] == [f"MARS_top_{n:05d}.jpg" for n in range(3)]
    assert labels.frames[2].points_px.shape == (2, 7, 2)
    np.testing.assert_allclose(labels.frames[2].points_px[:, 6], [[0.65, 5.75], [5.15, 5.75]])
    assert labels.frames[2].read().shape == (57, 102, 3)


def test_mars_files_that_are_not_those_of_the_top_view(tmp_path: Path) -> None:
    path = write_mars(tmp_path, points=9)
    assert "the black mouse has 9 points, but 7 are needed" in open_labels(path).problems[0]
    content = json.loads(path.read_text())
    content[1]["filename"] = "other.jpg"
    path.write_text(json.dumps(content))
    assert "other.jpg is missing" in open_labels(path).problems
