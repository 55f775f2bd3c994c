"""Scoring against tracked truth: exact tracks are exact, and the command says and writes it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_kp.arena.recording import ArenaSettings, write_arena
from lightning_kp.cli import main
from lightning_kp.diagnosis.evidence import collect_evidence
from lightning_kp.errors import DataError
from lightning_kp.frames.view import ViewSettings
from lightning_kp.methods import MultiInstanceBKinD
from lightning_kp.methods.bkind import BKinD
from lightning_kp.scoring.look_alikes import Truth, mean_pose_px, read_tracked_truth, score_tracks, track_with
from lightning_kp.tracks.table import Tracks, default_names

FRAMES, SIDE = 60, 64
SMALL = {
    "encoder": "tiny", "pretrained": False, "reconstruction": "structural", "pose_width": 8,
    "decoder_widths": (8, 8, 8), "variances": (0.1, 0.03, 0.005),
}  # fmt: skip


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    settings = ArenaSettings(size=SIDE, frames=FRAMES, seed=1, look_alike=True)
    return read_tracked_truth(
        write_arena(settings, tmp_path_factory.mktemp("scoring"), "arena").with_suffix(".truth.npz")
    )


def tracks_of(points: np.ndarray) -> Tracks:
    shape = points.shape[:3]
    return Tracks(
        "arena", (SIDE, SIDE), 25.0, np.arange(len(points)) / 25, points.astype(np.float32),
        np.ones(shape, np.float32), np.full((*shape, 3), np.nan, np.float32), default_names(shape[2]),
    )  # fmt: skip


def test_exact_points_in_any_order_are_exact(truth: Truth) -> None:
    rng = np.random.default_rng(0)
    order = rng.permuted(np.tile([0, 1], (FRAMES, 1)), axis=1)
    shuffled = np.take_along_axis(truth.points_px, order[..., None, None], axis=1)
    figures = score_tracks(tracks_of(shuffled), truth)
    assert figures.assignment.detection > 0.98
    assert figures.assignment.centroid_px < 0.1
    assert figures.assignment.switches <= figures.height.switches
    assert figures.nodes_own_px < 0.1
    assert figures.nodes_all_px < mean_pose_px(truth)


def test_an_animal_that_is_away_for_a_while_costs_only_its_own_frames(truth: Truth) -> None:
    """Real tracks have gaps: neither the truth's nor the network's may stop the scoring."""
    gappy, found = truth.points_px.copy(), truth.points_px.copy()
    gappy[10:13, 1] = np.nan
    found[40:44, 0] = np.nan
    figures = score_tracks(tracks_of(found), dataclasses.replace(truth, points_px=gappy))
    assert figures.nodes_own_px < 0.1
    seen = 2 * FRAMES - 3
    assert figures.assignment.detection == pytest.approx((seen - 4) / seen)


def test_one_set_for_all_animals_is_split(truth: Truth) -> None:
    """Every point of both animals in one set: both are found, and no animal has points of its own."""
    both = truth.points_px.reshape(FRAMES, 1, -1, 2)
    figures = score_tracks(tracks_of(both), truth)
    assert figures.assignment.detection > 0.5
    assert np.isnan(figures.nodes_own_px)
    assert figures.nodes_all_px < 0.1  # linear in what was given, on frames that were not fitted


def test_the_untrained_twin_is_tracked_in_the_same_pass(truth: Truth) -> None:
    methods = [MultiInstanceBKinD(keypoints=3, **SMALL).eval(), BKinD(keypoints=4, **SMALL).eval()]
    found = track_with(methods, truth.video, ViewSettings(size=32))
    assert [each.points_px.shape for each in found] == [(FRAMES, 2, 3, 2), (FRAMES, 1, 4, 2)] * 2
    assert not np.allclose(found[0].points_px, found[2].points_px)


def test_the_command_writes_what_it_says(
    truth: Truth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KP_CACHE_DIR", str(tmp_path / "cache"))
    run = tmp_path / "run"
    small = [
        f"--model.{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in SMALL.items()
    ]
    assert main([
        "fit", "--model", "MultiInstanceBKinD", "--model.keypoints=3", *small, "--data", "VideoFramePairs",
        f"--data.videos={truth.video}", "--data.size=32", "--data.gap=3", "--data.batch_size=4",
        "--trainer.max_steps=1", "--trainer.limit_val_batches=1", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={run}",
    ]) == 0  # fmt: skip
    labels = truth.video.with_suffix(".truth.npz")
    assert main(["animals", str(run), "--labels", str(labels), "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "by height" in told
    assert "untrained" in told
    assert "mean pose" in told
    figures = json.loads((run / "metrics.json").read_text())["animals_trained"]
    assert set(figures) == {"assignment", "height", "nodes_own_px", "nodes_all_px"}
    assert figures["assignment"]["frames"] == FRAMES


def test_tracks_of_a_sleap_file(kp_data: Path) -> None:
    file = kp_data / "two_flies" / "fly120s" / "predictions.slp"
    if not file.exists():
        pytest.skip(f"needs {file}")
    truth = read_tracked_truth(file)
    assert truth.points_px.shape == (3000, 2, 13, 2)
    assert truth.frame_size == (1024, 1024)
    assert truth.video.exists()


def test_a_video_that_is_not_there_is_named(truth: Truth, tmp_path: Path) -> None:
    from lightning_kp.tracks.writing import write_tracks

    tracks = dataclasses.replace(tracks_of(truth.points_px), video="lost.mp4")
    write_tracks(tracks, tmp_path / "flies", ["csv"])
    with pytest.raises(DataError, match=r"belongs to the video lost.mp4.*--video FILE"):
        read_tracked_truth(tmp_path / "flies.csv")


def test_evidence_follows_each_animal_through_a_quarter_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heatmaps that follow the brightest spots turn exactly, whatever the animals' order by height becomes."""
    from lightning_kp.batches import FramePairs
    from lightning_kp.heatmaps import render_gaussians, spatial_softmax

    model = MultiInstanceBKinD(keypoints=2, **SMALL)
    monkeypatch.setattr(
        model, "heatmaps", lambda image: spatial_softmax(60 * image[:, :1].expand(-1, 2, -1, -1).contiguous())
    )
    spots = torch.tensor([[[-0.5, -0.3], [0.5, 0.3]]]) + 0.1 * torch.rand(8, 1, 2)
    image = render_gaussians(spots, (48, 48), 0.1).amax(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    numbers = torch.arange(8)
    evidence = collect_evidence(model, [FramePairs(image, image, torch.zeros_like(numbers), numbers)])
    assert evidence.points.shape == (8, 4, 2)
    np.testing.assert_allclose(evidence.turned_back, evidence.points, atol=1e-3)
