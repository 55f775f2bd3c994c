"""The frequency of a pulse: on signals whose frequency is known, on a video, and on what does not pulse."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dots import ring, track_dots

from lightning_kp.behaviour.pulse import Pulse, find_pulse, mean_distance, most_confident
from lightning_kp.behaviour.recordings import unique_recordings
from lightning_kp.cli import main
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.tracks.table import Floats, Tracks

FPS = 48.0


def tracks_of(points_px: Floats, fps: float = FPS) -> Tracks:
    """One animal; points (N, K, 2)."""
    points = np.asarray(points_px, np.float32)[:, None]
    shape = points.shape[:3]
    names = tuple(f"k{k}" for k in range(shape[2]))
    confidence = np.full(shape, 0.9, np.float32)
    covariance = np.full((*shape, 3), np.nan, np.float32)
    return Tracks("a.mp4", (64, 64), fps, np.arange(len(points)) / fps, points, confidence, covariance, names)


def pulsing(seconds: float, hz: float, noise: float = 0.0, depth: float = 3.0, fps: float = FPS) -> Floats:
    """A ring of points that contracts at ``hz``."""
    time = np.arange(round(seconds * fps)) / fps
    points = np.stack([ring(16 + depth * math.sin(2 * math.pi * hz * t)) for t in time])
    rng = np.random.default_rng(0)
    return np.asarray(points + rng.normal(0, noise or 1e-6, points.shape), np.float32)


def test_mean_distance_by_hand() -> None:
    triangle = np.float32([[[0, 0], [3, 0], [0, 4]], [[0, 0], [6, 0], [0, 8]]])
    np.testing.assert_allclose(mean_distance(triangle), [4, 8])


@pytest.mark.parametrize("hz", [1.0, 2.6, 7.0, 11.3])
def test_the_frequency_is_found_in_noise(hz: float) -> None:
    pulse = find_pulse(tracks_of(pulsing(12, hz, noise=0.5)))
    assert pulse.is_pulsing.all()
    np.testing.assert_allclose(pulse.frequency_hz, hz, atol=0.07)
    np.testing.assert_allclose(pulse.window_seconds[[0, -1]], [2, 10])


def test_the_frequency_is_followed_over_time() -> None:
    """7 Hz, then nothing but noise, then 3 Hz: as a jellyfish that rests in between."""
    rest = pulsing(20, 1.0, noise=0.5, depth=0.0)
    points = np.concatenate((pulsing(20, 7.0, noise=0.5), rest, pulsing(20, 3.0, noise=0.5)))
    pulse = find_pulse(tracks_of(points))
    early, middle, late = (
        (pulse.window_seconds > start) & (pulse.window_seconds < start + 14) for start in (3, 23, 43)
    )
    np.testing.assert_allclose(pulse.frequency_hz[early], 7, atol=0.07)
    np.testing.assert_allclose(pulse.frequency_hz[late], 3, atol=0.07)
    assert pulse.is_pulsing[early | late].all()
    assert not pulse.is_pulsing[middle].any()
    assert 0.25 < (~pulse.is_pulsing).mean() < 0.4


def test_amplitude_by_hand() -> None:
    """A sine's standard deviation is its height over the root of 2; two points are two radii apart."""
    points = pulsing(10, 4.0, depth=2.0)[:, :2]
    pulse = find_pulse(tracks_of(points), keypoints=2)
    apart = np.linalg.norm(ring(1.0)[0] - ring(1.0)[1])
    np.testing.assert_allclose(pulse.amplitude_px, 2 * apart / math.sqrt(2), rtol=0.02)


def test_the_most_confident_keypoints_are_used() -> None:
    points = np.concatenate((pulsing(10, 5.0), np.random.default_rng(1).uniform(0, 64, (480, 3, 2))), axis=1)
    tracks = tracks_of(points)
    tracks.confidence[:, 0, 5:] = 0.1
    assert most_confident(tracks, 5) == [0, 1, 2, 3, 4]
    pulse = find_pulse(tracks)
    assert pulse.keypoints == ("k0", "k1", "k2", "k3", "k4")
    assert pulse.typical_hz == pytest.approx(5, abs=0.07)


def test_gaps_are_bridged_and_limits_hold() -> None:
    tracks = tracks_of(pulsing(12, 2.0))
    tracks.points_px[100:104, 0, 1] = np.nan
    assert find_pulse(tracks).typical_hz == pytest.approx(2, abs=0.07)
    above = find_pulse(tracks, low_hz=5.0, high_hz=9.0)
    assert ((above.frequency_hz >= 5) & (above.frequency_hz <= 9)).all()


def test_a_video_whose_frequency_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Video -> keypoints -> table -> frequency, by the commands."""
    table = track_dots(tmp_path, "medusa", list(pulsing(6, 7.0, fps=48)), fps=48)
    assert main(["measure", "pulse", str(table), "--out", str(tmp_path / "out"), "--window-s", "2"]) == 0
    assert "medusa: 7.0" in capsys.readouterr().out
    with (tmp_path / "out" / "medusa.pulse.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["frequency_hz"]) == pytest.approx(7, abs=0.13) for row in rows)
    assert {row["pulsing"] for row in rows} == {"1"}
    assert (tmp_path / "out" / "medusa.pulse.png").stat().st_size > 10_000


def test_what_stands_still_has_no_pulse() -> None:
    pulse: Pulse = find_pulse(tracks_of(pulsing(10, 1.0, noise=0.3, depth=0.0)))
    assert not pulse.is_pulsing.any()
    assert math.isnan(pulse.typical_hz)


@pytest.mark.parametrize("slow", [lambda t: 2 * t, lambda t: 6 * np.sin(2 * np.pi * 0.1 * t)])
def test_a_slow_change_of_size_is_no_pulse(slow: Callable[[Floats], Floats]) -> None:
    """It leaks into the band from below; a pulse beside it is found all the same."""
    time = np.arange(round(20 * FPS)) / FPS
    for depth in (0.0, 2.0):
        radius = 40 + slow(time) + depth * np.sin(2 * np.pi * 3 * time)
        pulse = find_pulse(tracks_of(np.stack([ring(each) for each in radius])))
        assert pulse.is_pulsing.all() == (depth > 0)
        assert pulse.is_pulsing.any() == (depth > 0)
    np.testing.assert_allclose(pulse.frequency_hz, 3, atol=0.07)


def test_errors_say_what_to_type() -> None:
    tracks = tracks_of(pulsing(6, 2.0))
    with pytest.raises(ConfigurationError, match="the tracks have 5"):
        find_pulse(tracks, keypoints=6)
    with pytest.raises(ConfigurationError, match="the tracks have 1"):
        find_pulse(tracks, animal=1)
    with pytest.raises(ConfigurationError, match="window-s"):
        find_pulse(tracks, window_s=1.0)
    with pytest.raises(DataError, match=r"last 6\.0 s"):
        find_pulse(tracks, window_s=8.0)
    with pytest.raises(ConfigurationError, match="high-hz"):
        find_pulse(tracks, low_hz=30.0)
    with pytest.raises(DataError, match="frame rate"):
        find_pulse(tracks_of(pulsing(6, 2.0), fps=0.0))


def test_recordings_of_one_name_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The second would overwrite the first's table and picture."""
    assert main(["measure", "pulse", "one/clip.csv", "two/clip.csv"]) == 2
    assert "have the same name, clip" in capsys.readouterr().err
    assert main(["measure", "wind", "one/clip.csv", "two/clip.slp", "--coefficient", "1"]) == 2
    assert "have the same name, clip" in capsys.readouterr().err


def test_all_formats_of_a_recording_are_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``RUN/tracks/*.csv`` names the table for DeepLabCut too."""
    table = track_dots(tmp_path, "medusa", list(pulsing(6, 7.0, fps=48)), fps=48)
    other = table.with_name("medusa.dlc.csv")
    other.write_text("not read")
    assert unique_recordings([other, table]) == unique_recordings([table, other]) == [table]
    assert (
        main(["measure", "pulse", str(other), str(table), "--out", str(tmp_path / "out"), "--window-s", "2"])
        == 0
    )
    assert capsys.readouterr().out.count("medusa: 7.0") == 1
