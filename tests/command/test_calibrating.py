"""A discovery calibrates its confidence, and every verb that reads the run uses the calibration."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_runs

import lightning_kp as kp
from lightning_kp.command.calibrating import FILE, calibrated_evidence, calibration_of, read_calibration
from lightning_kp.command.trained import load_for_tracking
from lightning_kp.confidence.calibration import Calibration
from lightning_kp.diagnosis.evidence import Evidence
from lightning_kp.errors import DataError
from lightning_kp.runs.folder import RunFolder


@pytest.fixture(autouse=True)
def _frame_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KP_CACHE_DIR", str(tiny_runs.frame_cache(tmp_path_factory)))


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A copy of a finished discovery of one epoch."""
    return Path(shutil.copytree(tiny_runs.discovery_run(tmp_path_factory), tmp_path / "run"))


def test_a_discovery_calibrates_and_writes_probabilities_and_peaks(run: Path) -> None:
    found = read_calibration(RunFolder(run))
    assert found is not None
    assert found.frames > 0
    assert len(found.bias) == 3
    table = pd.read_csv(run / "tracks" / "b.2.csv")
    assert table["confidence"].between(0.01, 0.99).all()
    assert table["peak"].between(0, 1).all()
    # The heatmaps of a network that has hardly been trained are flat: no point is sure, whatever its rank.
    assert table["peak"].max() < 0.2


def test_prediction_and_tracking_give_the_same_probabilities(
    run: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    video = tiny_runs.two_videos(tmp_path_factory)[1]
    predicted = kp.load(run, device="cpu").predict(video)
    tracked = kp.track(
        run, video, out=tmp_path / "again", device="cpu", engine="torch", formats=["csv"], mend=False
    )
    for found in (predicted, tracked.poses("b.2")):
        assert found.tracks.peak is not None
        np.testing.assert_allclose(found.confidence, predicted.confidence, atol=1e-5)
        np.testing.assert_allclose(found.tracks.peak, predicted.tracks.peak, atol=1e-6)


def test_without_a_calibration_the_confidence_is_the_peak_and_one_line_says_so(
    run: Path, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    video = tiny_runs.two_videos(tmp_path_factory)[1]
    peak = kp.load(run, device="cpu").predict(video).tracks.peak
    (run / FILE).unlink()
    with caplog.at_level(logging.INFO):
        found = kp.load(run, device="cpu").predict(video).tracks
    assert found.peak is None
    np.testing.assert_allclose(found.confidence, peak, atol=1e-6)
    told = [record.getMessage() for record in caplog.records if "not a probability" in record.getMessage()]
    assert told == [
        "Confidence is the height of each heatmap's peak, not a probability: this checkpoint has no calibration."
    ]


def test_the_calibration_of_another_checkpoint_is_not_used(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = run / FILE
    known = Calibration.from_json(path.read_text())
    path.write_text(path.read_text().replace(known.checkpoint, "0123456789abcdef"))
    checkpoint = run / "checkpoints" / "last.ckpt"
    with caplog.at_level(logging.INFO):
        assert calibration_of(checkpoint, load_for_tracking(checkpoint, "cpu")[0]) is None
    assert "confidence.json is that of another checkpoint" in caplog.text


def test_a_damaged_calibration_says_what_to_do(run: Path) -> None:
    (run / FILE).write_text("{}")
    with pytest.raises(
        DataError, match=r"Remove confidence\.json from the run folder; `kp report RUN --judge`"
    ):
        kp.load(run, device="cpu")


def test_the_verdict_reads_the_same_number() -> None:
    frames = 12
    shape = (frames, 4)  # two animals with two keypoints each
    evidence = Evidence(
        points=np.zeros((*shape, 2)), confidence=np.tile([0.1, 0.9, 0.9, 0.1], (frames, 1)),
        covariance=np.ones((*shape, 3)), turned_back=np.zeros((*shape, 2)), foreground_under=np.ones(shape),
        motion_under=np.ones(shape), foreground_points=np.zeros((frames, 1, 2)),
        foreground_centre=np.zeros((frames, 2)), displacement=np.zeros(frames), video=np.zeros(frames, np.int64),
        index=np.arange(frames), body_px=20.0, image_size=64,
    )  # fmt: skip
    weights = np.array([[1.0, 0, 0], [0, 0, 0]])
    calibration = Calibration(weights, np.array([0, np.log(3)]), np.zeros((2, 3)), np.ones((2, 3)), 0.08)
    found = calibrated_evidence(evidence, calibration).confidence
    # Odds of the peak are those of the first keypoint; three of four for the second one, whatever its peak.
    np.testing.assert_allclose(found[0], [0.1, 0.75, 0.9, 0.75])
    assert calibrated_evidence(evidence, None) is evidence
