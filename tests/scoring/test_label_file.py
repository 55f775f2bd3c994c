"""Frames that trained a network are left out of its scores, wherever they lie."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures
from still_points import Still

from lightning_kp.errors import DataError
from lightning_kp.frames.view import ViewSettings
from lightning_kp.labels.reading import read_animals
from lightning_kp.scoring.label_file import score_file
from lightning_kp.scoring.results import Score

SIDE, FRAMES = 40, 12
VIEW = ViewSettings(SIDE)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Labels of 12 images: the nose one pixel to the right of (0, 0) in the first eight, then three pixels."""
    folder = tmp_path / "labels"
    folder.mkdir()
    rows = ["scorer,me,me", "bodyparts,nose,nose", "coords,x,y"]
    for number in range(FRAMES):
        grey = np.full((SIDE, SIDE), 10 + number, np.uint8)
        Pictures.fromarray(grey).save(folder / f"p{number:02d}.png")
        rows.append(f"p{number:02d}.png,{19.5 + (1 if number < 8 else 3)},19.5")
    path = folder / "CollectedData_me.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def marks(table: Path, rows: range) -> list[str]:
    return read_animals(table, SIDE).marks_of(rows)


def test_frames_that_trained_are_left_out_and_scored_apart(table: Path) -> None:
    known = marks(table, range(8))
    found = score_file(Still(), table, VIEW, trained_on=known)
    assert (found.frames, found.left_out, found.trained) == (4, 8, None)
    assert found.metrics is None  # too few for a regression
    assert found.named is not None
    assert found.named.overall.mean_px == pytest.approx(3, abs=1e-4)
    both = score_file(Still(), table, VIEW, trained_on=known, include_trained=True)
    assert both.named == found.named
    assert both.trained is not None
    assert both.trained.frames == 8
    assert both.trained.metrics is not None
    assert both.trained.named is not None
    assert both.trained.named.overall.mean_px == pytest.approx(1, abs=1e-4)


def test_without_a_memory_all_frames_are_scored(table: Path) -> None:
    found = score_file(Still(), table, VIEW)
    assert (found.frames, found.left_out) == (FRAMES, 0)
    assert found.metrics is not None
    assert found.named is not None
    assert found.named.overall.mean_px == pytest.approx((8 * 1 + 4 * 3) / 12, abs=1e-4)


def test_frames_are_known_again_in_another_folder_but_not_by_their_name(table: Path, tmp_path: Path) -> None:
    known = marks(table, range(8))
    moved = shutil.copytree(table.parent, tmp_path / "moved") / table.name
    assert score_file(Still(), moved, VIEW, trained_on=known).left_out == 8
    for image in moved.parent.glob("*.png"):
        Pictures.fromarray(np.asarray(Pictures.open(image)) + 100).save(image)
    assert score_file(Still(), moved, VIEW, trained_on=known).left_out == 0


def test_if_no_frame_is_left_what_to_type_is_told(table: Path) -> None:
    known = marks(table, range(FRAMES))
    with pytest.raises(DataError, match=r"All 12 labelled frames .* trained this run .*--include-trained"):
        score_file(Still(), table, VIEW, trained_on=known)
    found = score_file(Still(), table, VIEW, trained_on=known, include_trained=True)
    assert (found.frames, found.metrics, found.named, found.left_out) == (0, None, None, 12)
    assert found.trained is not None
    assert found.trained.frames == 12


def test_the_score_says_it_in_one_line(table: Path) -> None:
    known = marks(table, range(8))
    for include, told in ((False, "left out (--include-trained"), (True, "scored apart")):
        found = score_file(Still(), table, VIEW, trained_on=known, include_trained=include)
        score = Score.of_file("run", found)
        lines = [
            line for line in score.lines() if line.startswith("8 of 12 labelled frames trained this run")
        ]
        assert len(lines) == 1
        assert told in lines[0]
        assert ("trained_named_mean_px" in score.as_metrics()) == include
        assert score.as_metrics()["named_mean_px"] == pytest.approx(3, abs=1e-4)
