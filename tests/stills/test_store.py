"""Squares in memory and in files are the same; what cannot be read is left out and named."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pictures

from lightning_kp.errors import DataError
from lightning_kp.stills import store
from lightning_kp.stills.listing import Still, find_stills
from lightning_kp.stills.squares import SquareSettings
from lightning_kp.stills.store import Squares, read_squares


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(5):
        Pictures.new("RGB", (8 + 4 * number, 8), (50 * number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_text("damaged")
    return tmp_path


def read(folder: Path, hold_gb: float, size: int = 8) -> Squares:
    with pytest.warns(UserWarning, match=r"1 of 5 image\(s\) are left out\. .*1\.png cannot be read"):
        return read_squares(
            find_stills(".", folder), SquareSettings(size, "crop"), hold_gb=hold_gb, cache_dir=folder / "cache",
            progress=False,
        )  # fmt: skip


def test_memory_and_file_hold_the_same(folder: Path) -> None:
    held, mapped = read(folder, 1.0), read(folder, 0.0)
    rows = np.array([3, 0, 3])
    for found in (held, mapped, read(folder, 0.0), pickle.loads(pickle.dumps(mapped))):
        assert found.kept.tolist() == [0, 2, 3, 4]
        assert found.regions[3].tolist() == [8, 0, 16, 8]  # the middle of 24 px
        assert found.sizes_px.tolist() == [[8, 8], [8, 16], [8, 20], [8, 24]]
        assert found[rows].shape == (3, 3, 8, 8)
        assert found[rows][:, 0, 0, 0].tolist() == [200, 0, 200]
    assert list((folder / "cache").glob("*.frames"))


def test_a_file_is_used_again_until_something_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(folder, 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(store, "read_square", None)  # nothing may be read
        assert read(folder, 0.0)[np.array([1])][0, 0, 0, 0] == 100
    Pictures.new("RGB", (8, 8), (7, 0, 0)).save(folder / "0.png")
    os.utime(folder / "0.png", (1e9, 1e9))
    assert read(folder, 0.0)[np.array([0])][0, 0, 0, 0] == 7
    assert len(list((folder / "cache").glob("*.frames"))) == 2
    read(folder, 0.0, size=16)
    assert len(list((folder / "cache").glob("*.frames"))) == 3


def test_a_file_that_is_cut_off_is_written_again(folder: Path) -> None:
    read(folder, 0.0)
    (file,) = (folder / "cache").glob("*.frames")
    file.write_bytes(file.read_bytes()[:-5])
    assert read(folder, 0.0)[np.array([3])][0, 0, 0, 0] == 200


def test_grey_squares_are_served_in_colour() -> None:
    held = torch.arange(2, dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    found = Squares(4, np.arange(2), np.zeros((2, 4)), np.ones((2, 2), np.int64), held=held)
    assert found[np.array([1])].shape == (1, 3, 4, 4)
    assert (found[np.array([1])] == 1).all()


def test_nothing_left_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no")
    with (
        pytest.warns(UserWarning, match="1 of 1 image"),
        pytest.raises(DataError, match=r"None of the 1 image\(s\) can be used"),
    ):
        read_squares([Still(str(tmp_path / "a.png"), "a.png")], SquareSettings(8), hold_gb=1.0)
