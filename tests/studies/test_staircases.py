"""The study of staircases tells a path on the grid from one that follows the animal."""

from pathlib import Path

import numpy as np
import pytest
from clips import write_video
from dots import SIZE, ColourDots, draw, ring

from lightning_kp.frames.view import ViewSettings
from lightning_kp.scoring.look_alikes import Truth
from lightning_kp.studies.staircases import Course, compare, courses, lines, measure

FRAMES = 200
CELL_PX = 4.0


def walk() -> np.ndarray:
    """A path (T, 2) in pixels of the video whose speed goes up and down, a few tenths of a cell a frame."""
    pace = 1.2 + 0.6 * np.sin(np.arange(FRAMES) / 7)
    return np.stack((np.cumsum(pace) + 9.3, 0.4 * np.cumsum(pace) + 5.1), axis=-1)


def course(*paths_px: np.ndarray) -> Course:
    video_px = np.stack(paths_px, axis=1)
    return Course((video_px + 0.5) / CELL_PX - 0.5, video_px)


def on_grid(path_px: np.ndarray) -> np.ndarray:
    """The path on the centres of cells."""
    return (np.round((path_px + 0.5) / CELL_PX - 0.5) + 0.5) * CELL_PX - 0.5


def test_a_staircase_stands_lies_on_the_grid_and_has_another_speed() -> None:
    place = walk()
    stairs, faithful = measure(course(on_grid(place), place + 3), np.stack((place, place), axis=1))
    assert stairs.on_grid == 1
    assert stairs.standing > 0.5
    assert stairs.speed < 0.3
    assert (faithful.standing, faithful.speed) == (0, pytest.approx(1))
    assert faithful.on_grid == pytest.approx(0.05, abs=0.04)
    assert faithful.error_px == pytest.approx(3 * np.sqrt(2))
    assert stairs.smoothed_speed > stairs.speed + 0.3


def test_frames_at_rest_and_without_a_place_do_not_count() -> None:
    place = walk()
    place[50:100] = place[50]  # at rest
    place[150:] = np.nan
    (found,) = measure(course(walk()), place[:, None])
    assert found.standing == 0
    assert np.isfinite(found.speed)
    at_rest = np.repeat(place[50:51], FRAMES, axis=0)
    (found,) = measure(course(walk()), at_rest[:, None])
    assert np.isnan([found.standing, found.on_grid]).all()


def test_a_video_is_read_in_both_ways(tmp_path: Path) -> None:
    """Dots three pixels wide have heatmaps wider than a cell, so that both ways find the same."""
    frames = [ring(14 + number / 3) for number in range(12)]
    video = write_video(tmp_path / "dots.mp4", [draw(points) for points in frames], fps=10)
    view = ViewSettings(SIZE)
    found = courses(ColourDots(), view, video, 10)
    (mean,), (track,) = found["mean"], found["track"]
    assert mean.video_px.shape == (10, 5, 2)
    np.testing.assert_allclose(track.video_px, mean.video_px, atol=0.05)
    np.testing.assert_allclose(track.video_px, np.stack(frames[:10]), atol=0.6)
    np.testing.assert_allclose(track.cells, track.video_px, atol=1e-3)  # heatmaps have a cell for each pixel
    truth = Truth(video, np.stack(frames).astype(np.float64)[:, None], (SIZE, SIZE))
    table = lines(compare(ColourDots(), view, truth, 10))
    assert len(table) == 6
    assert table[0].split()[:5] == ["speed", "r", "mean", "|", "track"]
    assert table[1].split()[0] == "kp01"
