"""kp name: from a discovering run and a few labels to a network that predicts named points."""

from pathlib import Path

import numpy as np
import pytest
import sleap_io as sio
import torch
from PIL import Image as Pictures
from tiny_runs import LABELLED_FRAMES, SIZE

from lightning_kp.arena.recording import read_truth
from lightning_kp.checkpoints import load_method
from lightning_kp.cli import main
from lightning_kp.labels.reading import read_labels
from lightning_kp.methods import LinearBridge
from lightning_kp.metrics.bridge import fit_bridge
from lightning_kp.scoring.discovered import discovered_points
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.video.opening import open_video


def test_the_checkpoint_predicts_what_the_bridge_says(named: Path, folder: Path) -> None:
    method, discovered = load_method(named), load_method(folder / "run")
    assert isinstance(method, LinearBridge)
    labels = read_labels(folder / "arena.truth.npz", SIZE)
    assert method.keypoint_names == tuple(name.removesuffix("_1") for name in labels.names)
    found = discovered_points(discovered, labels.image)  # type: ignore[arg-type]
    wanted = fit_bridge(found, labels.points.double()).regressor.predict(found)
    torch.testing.assert_close(discovered_points(method, labels.image), wanted, atol=1e-4, rtol=1e-4)


def test_named_points_are_tracked_by_their_names(named: Path, folder: Path, tmp_path: Path) -> None:
    arguments = [
        "track",
        str(named),
        str(folder / "arena.mp4"),
        "--out",
        str(tmp_path),
        "--formats",
        "csv,slp",
    ]
    assert main(arguments) == 0
    tracks = read_tracks(tmp_path / "tracks" / "arena.csv")
    truth = read_truth(folder / "arena.mp4")
    assert tracks.keypoint_names == truth.keypoint_names
    assert len(tracks) == LABELLED_FRAMES
    assert sio.load_slp(str(tmp_path / "tracks" / "arena.slp")).skeletons[0].node_names == list(
        truth.keypoint_names
    )
    # Least squares through the labels of these very frames: better than answering the mean pose.
    error = np.linalg.norm(tracks.points_px[:, 0] - truth.points_px[:, 0], axis=-1).mean()
    mean_pose = np.linalg.norm(truth.points_px[:, 0] - truth.points_px[:, 0].mean(axis=0), axis=-1).mean()
    assert error < mean_pose
    assert np.isfinite(tracks.covariance_px).all()
    assert (tracks.covariance_px[..., :2] > 0).all()


def test_covariance_through_the_map_by_hand(folder: Path) -> None:
    """A point that is twice a keypoint has four times its variance, plus what was missed."""
    method = LinearBridge(
        ["nose"], "lightning_kp.methods.bkind.BKinD", dict(load_method(folder / "run").hparams), 3
    )
    method.linear.data[0, 2, 0] = 2.0  # x of the second keypoint
    method.linear.data[0, 3, 1] = 1.0  # its y
    method.error.fill_(0.2)
    found = method._covariance(torch.tensor([[[9.0, 9, 9], [0.1, 0.3, 0.05], [9, 9, 9]]]).unsqueeze(0))
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([0.4 + 0.02, 0.3 + 0.02, 0.1]))
    shares = method._confidence(torch.tensor([[[0.9, 0.3, 0.9]]]))
    assert shares.item() == pytest.approx(0.3)


def test_the_discovered_network_stays_as_it_was(named: Path) -> None:
    method = load_method(named)
    assert isinstance(method, LinearBridge)
    before = {name: value.clone() for name, value in method.discovered.state_dict().items()}
    method.train()
    method(torch.rand(2, 3, SIZE, SIZE))
    assert all(torch.equal(value, before[name]) for name, value in method.discovered.state_dict().items())


def test_a_named_run_needs_no_names(named: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["name", str(named), str(folder / "arena.truth.npz")]) == 2
    assert "already finds named points" in capsys.readouterr().err


def test_points_that_nobody_labelled_are_left_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "img0.png"
    with open_video(folder / "arena.mp4") as reader:
        Pictures.fromarray(next(iter(reader)).image).save(image)
    labels = tmp_path / "CollectedData.csv"
    labels.write_text("scorer,a,a,a,a\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\nimg0.png,20,20,,\n")
    assert main(["name", str(folder / "run"), str(labels), "--out", str(tmp_path / "named")]) == 0
    assert "never labelled: left out" in capsys.readouterr().out
    assert load_method(tmp_path / "named").keypoint_names == ("nose",)
