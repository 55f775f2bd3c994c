"""Wind from sway: areas by hand and against scipy, the law on data that follow it, and on videos."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from dots import ring, track_dots
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from lightning_kp.behaviour.wind import Clip, fit_wind, hull_area, read_speeds, sway
from lightning_kp.cli import main
from lightning_kp.errors import DataError
from lightning_kp.tracks.table import Floats, Tracks


def tracks_of(points_px: Floats, fps: float = 10.0) -> Tracks:
    points = np.asarray(points_px, np.float32)[:, None]
    shape = points.shape[:3]
    nan = np.full((*shape, 3), np.nan, np.float32)
    names = tuple(f"k{k}" for k in range(shape[2]))
    times = np.arange(len(points)) / fps
    return Tracks("a.mp4", (64, 64), fps, times, points, np.ones(shape, np.float32), nan, names)


def test_area_by_hand() -> None:
    square = [[0, 0], [2, 0], [2, 2], [0, 2], [1, 1]]
    cases = {
        "square with a point inside": (square, 4.0),
        "doubled corners": ([*square, [0, 0], [2, 2]], 4.0),
        "points on the edges": ([*square, [1, 0], [2, 1]], 4.0),
        "one line": ([[0, 0], [1, 1], [3, 3]], 0.0),
        "one place": ([[1, 1], [1, 1], [1, 1]], 0.0),
        "two points": ([[0, 0], [5, 1]], 0.0),
        "one point": ([[4, 4]], 0.0),
    }
    for name, (points, area) in cases.items():
        assert hull_area(np.array([points], float)).item() == pytest.approx(area), name


@given(st.integers(0, 2**32 - 1), st.integers(3, 20))
def test_area_agrees_with_scipy(seed: int, number: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(4, number, 2))
    points[1] = rng.permutation(points[0])
    expected = [ConvexHull(each).volume for each in points]  # scipy's word for the area of a plane hull
    np.testing.assert_allclose(hull_area(points), expected, rtol=1e-9)
    np.testing.assert_allclose(hull_area(points * 3 + 5), np.array(expected) * 9, rtol=1e-9)


def test_sway_by_hand() -> None:
    """A square of sides 2 and 4 in turn: areas 4 and 16, standard deviation 6."""
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    points = np.stack([square * (2 if frame % 2 == 0 else 4) for frame in range(10)])
    assert sway(tracks_of(points)) == pytest.approx(6**0.25)
    assert sway(tracks_of(points), 0.0, 0.2) == pytest.approx(6**0.25)
    assert sway(tracks_of(np.repeat(points[:1], 5, axis=0))) == 0


def test_the_law_by_hand() -> None:
    """Least squares through 0: (1*2 + 2*5) / (1 + 4) = 2.4; residuals -0.4 and 0.2 about a spread of 1.5."""
    law = fit_wind([Clip("a", 0, 1, 1.0, 2.0), Clip("b", 0, 1, 2.0, 5.0), Clip("c", 0, 1, 9.0, math.nan)])
    assert law.coefficient == pytest.approx(2.4)
    assert law.r2 == pytest.approx(1 - (0.16 + 0.04) / 4.5)
    assert law.speed(3.0) == pytest.approx(7.2)


def swaying(speed: float, factor: float, frames: int = 200, noise: float = 0.0, seed: int = 0) -> Floats:
    """A ring of points whose hull's area has the standard deviation (speed / factor)^4."""
    rng = np.random.default_rng(seed)
    wave = np.sin(2 * np.pi * 1.3 * np.arange(frames) / 25 + rng.uniform(0, 6))
    unit = hull_area(ring(1.0)[None]).item()
    area = unit * 15**2 + (speed / factor) ** 4 * wave / wave.std()
    points = np.stack([ring(math.sqrt(each / unit)) for each in area])
    return np.asarray(points + rng.normal(0, noise, points.shape) if noise else points, np.float32)


def test_the_factor_is_found_where_the_law_holds() -> None:
    speeds = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    clips = [Clip(str(s), 0, 8, sway(tracks_of(swaying(s, 1.7, seed=int(s)), fps=25)), s) for s in speeds]
    law = fit_wind(clips)
    assert law.coefficient == pytest.approx(1.7, rel=1e-3)
    assert law.r2 > 0.999
    noisy = [clip._replace(speed=clip.speed + (-1) ** n * 1.0) for n, clip in enumerate(clips)]
    assert 0.3 < fit_wind(noisy).r2 < 0.9


def test_videos_whose_wind_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Videos -> keypoints -> tables -> law, by the commands; then the law on a clip that was not fitted."""
    factor, speeds = 1.2, {"calm": 2.0, "breeze": 4.0, "gale": 5.0}
    tables = [
        str(track_dots(tmp_path, name, list(swaying(speed, factor, frames=75)), fps=25))
        for name, speed in speeds.items()
    ]
    listing = tmp_path / "speeds.csv"
    listing.write_text("video,speed\n" + "".join(f"{name}.mp4,{s}\n" for name, s in speeds.items()))
    out = tmp_path / "out"
    assert main(["measure", "wind", *tables, "--speeds", str(listing), "--out", str(out)]) == 0
    law = json.loads((out / "wind.json").read_text())
    assert law["coefficient"] == pytest.approx(factor, rel=0.08)
    assert law["r2"] > 0.9
    assert (out / "wind.png").stat().st_size > 5_000
    assert len((out / "wind.csv").read_text().splitlines()) == 4
    capsys.readouterr()
    unseen = track_dots(tmp_path, "unseen", list(swaying(4.5, factor, frames=75, seed=7)), fps=25)
    factor_option = f"--coefficient={law['coefficient']}"
    assert main(["measure", "wind", str(unseen), factor_option, "--out", str(tmp_path / "applied")]) == 0
    told = capsys.readouterr().out.splitlines()[0]
    assert float(told.removeprefix("unseen: ")) == pytest.approx(4.5, rel=0.1)


def test_errors_say_what_to_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="at least 2 clips, got 1"):
        fit_wind([Clip("a", 0, 1, 1.0, 2.0)])
    with pytest.raises(DataError, match="do not move"):
        fit_wind([Clip("a", 0, 1, 0.0, 2.0), Clip("b", 0, 1, 0.0, 3.0)])
    with pytest.raises(DataError, match="at least 3 keypoints"):
        sway(tracks_of(np.ones((5, 2, 2))))
    broken = tmp_path / "speeds.csv"
    broken.write_text("video,speed\na,2\nb,strong\n")
    with pytest.raises(DataError, match="line 3"):
        read_speeds(broken)
    assert main(["measure", "wind", "a.csv"]) == 2
    assert "--speeds FILE" in capsys.readouterr().err
