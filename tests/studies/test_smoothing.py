"""The comparison of found, mended and smoothed tracks with labels."""

from pathlib import Path

import numpy as np
import pytest
from moving_body import BODY, LEFT_EAR, NECK, RIGHT_EAR, SNOUT, TAIL_BASE, exchanged, noisy, tracks_of, walk

from lightning_kp.studies.smoothing import (
    Labels,
    main,
    on_wrong_side,
    quality,
    rendered_table,
    speed_correlation,
    steps_table,
)
from lightning_kp.tracks.writing import write_tracks

NAMES = ("snout", "left_ear", "right_ear", "neck", "body", "tail_base")
TRUTH = walk(800, animals=2)
LABELS = Labels(TRUTH, NAMES)


def test_the_truth_itself_is_perfect_in_any_order_of_animals() -> None:
    shuffled = TRUTH.copy()
    shuffled[100:300] = TRUTH[100:300, ::-1]
    for points in (TRUTH, shuffled, TRUTH.reshape(800, 1, 12, 2)):
        found = quality(tracks_of(points), LABELS)
        assert found.matched_px == pytest.approx(0, abs=1e-4)
        assert found.linear_px == pytest.approx(0, abs=1e-3)
        assert found.speed == pytest.approx(1, abs=1e-4)
        assert found.order > 0.95


def test_faults_show_where_they_should() -> None:
    perfect = quality(tracks_of(TRUTH), LABELS)
    trembling = quality(tracks_of(noisy(TRUTH, 2.0)), LABELS)
    flipped = quality(tracks_of(exchanged(TRUTH, ((SNOUT, TAIL_BASE), (NECK, BODY)), [(500, 700)])), LABELS)
    assert trembling.matched_px == pytest.approx(2.0 * np.sqrt(np.pi / 2), rel=0.05)
    assert trembling.speed < 0.5
    assert flipped.order < 0.8 < perfect.order


def test_speeds_by_hand() -> None:
    still, line = np.zeros((1, 5, 2)), np.arange(10.0).reshape(1, 5, 2)
    accelerating = np.stack((np.arange(5.0) ** 2, np.zeros(5)), axis=-1)[None]
    assert np.isnan(speed_correlation(still, line))
    assert speed_correlation(accelerating, 3 * accelerating[..., ::-1] + 7) == pytest.approx(1)
    assert speed_correlation(accelerating, accelerating[:, ::-1]) == pytest.approx(-1)


def test_a_wrong_side_is_seen_from_behind() -> None:
    tracks = tracks_of(exchanged(TRUTH, ((LEFT_EAR, RIGHT_EAR),), [(0, 200)]))
    names = tuple(tracks.keypoint_names[k] for k in (SNOUT, NECK, LEFT_EAR, RIGHT_EAR))
    assert on_wrong_side(tracks, *names) == pytest.approx(0.25)


def test_the_tables_say_that_mending_and_smoothing_help() -> None:
    lines = list(rendered_table(1200, seed=0))
    cells = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")[1:] for line in lines[2:]}
    ends = [float(cell) for cell in cells["noise of 1 px, snout and tail base exchanged"]]
    assert ends[0] > 1.5 * ends[1] > 1.5 * 1.5 * ends[2]
    assert ends[5] > 0
    trembling = [float(cell) for cell in cells["noise of 2 px"]]
    assert trembling[1] == trembling[0] > 2 * trembling[2]
    assert trembling[5:] == [0, 0]


def test_tracks_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flipped = exchanged(noisy(TRUTH, 0.7), ((LEFT_EAR, RIGHT_EAR),), [(100, 150), (400, 420)])
    write_tracks(tracks_of(flipped), tmp_path / "found", ("csv",))
    write_tracks(tracks_of(TRUTH), tmp_path / "true", ("csv",))
    arguments = ["--tracks", str(tmp_path / "found.csv"), "--labels", str(tmp_path / "true.csv")]
    main([*arguments, "--sides", "kp01,kp04,kp02,kp03"])
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    shares = [float(row[2].rstrip("%")) for row in rows[2:6]]
    assert shares[0] == pytest.approx(8.75, abs=0.3)  # 70 of 800 frames
    assert shares[1] < 0.3
    assert any(row[0].startswith("exchange: 4 times, 140 frames of 800") for row in rows)
    unlabelled = list(steps_table(tracks_of(flipped), None))
    assert "matched px" not in unlabelled[0]
