"""The study of resting animals: its table holds what was measured."""

import numpy as np
import pytest

from lightning_kp.arena.body import ArenaSettings
from lightning_kp.arena.recording import render_frames, simulate
from lightning_kp.studies.resting import CASES, Rest, empty_arena, main, rearranged, standing_out, timeline


def test_each_animal_has_a_timeline_of_its_own() -> None:
    truth = simulate(ArenaSettings(size=64, frames=20))
    shown = rearranged(truth, [timeline(30, Rest(0.5), 20), timeline(30, Rest(), 20)])
    assert (shown.points_px[:15, 0] == truth.points_px[0, 0]).all()
    np.testing.assert_array_equal(shown.points_px[:20, 1], truth.points_px[:, 1])
    np.testing.assert_array_equal(shown.midline_px[20, 1], truth.midline_px[19, 1])


def test_what_stands_out_is_counted() -> None:
    settings = ArenaSettings(size=96, frames=12)
    truth = simulate(settings)
    images = np.stack(list(render_frames(settings, truth)))
    empty = empty_arena(settings, truth)
    found, elsewhere = standing_out(images, truth, empty)
    assert found > 0.95
    assert elsewhere == 0
    assert standing_out(np.repeat(empty[None], 12, axis=0), truth, empty)[0] == 0
    spoilt = empty.copy()
    corner = np.linalg.norm(truth.midline_px - 10, axis=-1).min() > 30
    at = slice(5, 20) if corner else slice(76, 91)
    spoilt[at, at] = 255
    assert standing_out(images, truth, spoilt)[1] == 1


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--size", "64", "--frames", "60", "--only", "one rests 50 %"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("| one rests 50 % | ")
    assert all(line.count("|") == 8 for line in lines)
    assert {"both rest 95 %", "one rests 95 %"} < CASES.keys()
