"""What happens to tracks between tracking and writing: files, marks, the list of flips."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from moving_body import SNOUT, TAIL_BASE, exchanged, noisy, tracks_of, walk

from lightning_kp.runs.folder import RunFolder
from lightning_kp.smoothing import refining
from lightning_kp.smoothing.refining import Refinement, flip_lines, found_flips
from lightning_kp.smoothing.smoother import smooth_tracks
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.tracks.store import TrackStore
from lightning_kp.tracks.writing import is_finished

FRAMES = 600
STRETCHES = [(100, 140), (300, 302)]
HEALTHY = noisy(walk(FRAMES), 0.7).astype(np.float32)
FLIPPED = exchanged(HEALTHY, ((SNOUT, TAIL_BASE),), STRETCHES)


def write(folder: Path, refinement: Refinement) -> np.ndarray:
    """Points of the table that a store with flipped tracks becomes."""
    tracks = tracks_of(FLIPPED)
    stem = RunFolder(folder).tracks("arena")
    info = dataclasses.replace(tracks.info, origin="run" + refinement.mark)
    with TrackStore(stem, info) as store:
        store.extend(tracks)
        store.finish(("csv",), refine=refinement)
    assert is_finished(stem, info), "a second call finds the results finished"
    assert not list(folder.glob("**/*.part"))
    return read_tracks(stem.with_name("arena.csv")).points_px


def test_the_written_tracks_are_mended_and_the_flips_listed(tmp_path: Path) -> None:
    np.testing.assert_array_equal(write(tmp_path, Refinement()), HEALTHY)
    known = json.loads((tmp_path / "tracks" / "arena.flips.json").read_text())
    assert known["order_before"] < known["order_after"] <= 1
    first = known["flips"][0]
    assert first == {
        "frame": 100, "last_frame": 139, "start_s": 4.0, "end_s": 5.56, "animal": 1, "keypoints": ["kp01", "kp06"],
        "kind": "exchange", "mended": True,
    }  # fmt: skip
    assert found_flips(RunFolder(tmp_path), ["arena", "another"]) == {"arena": known["flips"]}


def test_without_mending_the_tracks_stay_and_the_flips_are_listed(tmp_path: Path) -> None:
    np.testing.assert_array_equal(write(tmp_path, Refinement(mend=False)), FLIPPED)
    assert [each["mended"] for each in found_flips(RunFolder(tmp_path), ["arena"])["arena"]] == [False, False]


def test_smoothing_comes_after_mending(tmp_path: Path) -> None:
    expected = smooth_tracks(tracks_of(HEALTHY)).tracks.points_px
    np.testing.assert_allclose(write(tmp_path, Refinement(smooth=True)), expected, atol=1e-4)
    truth = walk(FRAMES)
    error = [float(np.linalg.norm(each - truth, axis=-1).mean()) for each in (HEALTHY, expected)]
    assert error[1] < 0.7 * error[0]


def test_other_options_have_other_marks() -> None:
    marks = [Refinement(mend, smooth).mark for mend in (True, False) for smooth in (True, False)]
    assert len(set(marks)) == 4
    assert Refinement().mark == "", "results of older versions count as finished"


def test_tracks_too_long_for_memory_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(refining, "fits_in_memory", lambda *_: False)
    np.testing.assert_array_equal(write(tmp_path, Refinement(smooth=True)), FLIPPED)
    assert "too long" in caplog.text


def test_the_terminal_says_how_often_which_keypoints_and_where() -> None:
    flip = {"frame": 7, "last_frame": 9, "keypoints": ["kp02", "kp01"], "kind": "exchange", "mended": True}
    jump = flip | {"keypoints": ["kp03"], "kind": "jump", "frame": 20, "last_frame": 20, "mended": False}
    assert flip_lines({"none": []}) == []
    lines = flip_lines({"a": [flip, flip | {"frame": 50, "last_frame": 50}, jump]}, max_frames=1)
    assert lines == [
        "a: keypoints exchanged 2 times, in 4 frames (kp01, kp02); put back: 2. They begin at frames 7, ...",
        "a: keypoints jumped across the body 1 times, in 1 frames (kp03); confidence halved: 0. "
        "They begin at frames 20",
    ]
