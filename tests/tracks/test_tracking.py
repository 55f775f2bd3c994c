"""Tracking whole videos: every frame once, at the right position, with the same result after an interruption."""

import dataclasses
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_kp.batches import Frames
from lightning_kp.errors import VideoError
from lightning_kp.frames.view import ViewSettings
from lightning_kp.geometry import Fit
from lightning_kp.method import KeypointMethod, Prediction
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.tracks.tracking import track_video

HEIGHT, WIDTH = 96, 160
SIGMA = 5.0  # of the dot, in pixels of the video
DOTS = np.array([[80.0, 48.0], [63.3, 40.7], [95.25, 60.5], [71.9, 61.1], [88.6, 33.3]])  # (x, y) in pixels


@dataclasses.dataclass(frozen=True)
class Weights:
    nothing: float = 1.0


class BrightDot(KeypointMethod):
    """Two keypoints: the centroid of what is bright, and that of what is dark."""

    batch_type = Frames
    weights_type = Weights

    def terms(self, batch: Any) -> dict[str, Tensor]:
        raise NotImplementedError

    def heatmaps(self, image: Tensor) -> Tensor:
        light = (image.mean(dim=1, keepdim=True) - 0.02).clamp_min(0)
        mass = torch.cat((light, 1 - light), dim=1) + 1e-9
        return mass / mass.sum(dim=(-2, -1), keepdim=True)


class Interrupted(BrightDot):
    """Ctrl-C at the third batch."""

    batches = 0

    def predict_step(self, batch: Frames, batch_idx: int = 0) -> Prediction:
        self.batches += 1
        if self.batches == 3:
            raise KeyboardInterrupt
        return super().predict_step(batch, batch_idx)


def dot(x: float, y: float) -> clips.Image:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    value = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * SIGMA**2))
    return np.repeat(value.round().astype(np.uint8)[..., None], 3, 2)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "dots.mp4"
    return clips.write_video(path, [dot(x, y) for x, y in DOTS], options={"crf": "0"})


def track(video: Path, stem: Path, method: KeypointMethod | None = None, **options: Any) -> Any:
    view = options.pop("view", ViewSettings(size=32))
    options = {"origin": "a", "batch_size": 2, "formats": ("csv",)} | options
    return track_video(method or BrightDot(), video, stem, view, **options)


@pytest.mark.parametrize("boxes", [None, (30, 10, 141, 93)])
@pytest.mark.parametrize("size", [64, 97])
@pytest.mark.parametrize("fit", ["pad", "crop", "squash"])
def test_a_dot_is_found_where_it_was_drawn(
    fit: Fit, size: int, boxes: Any, video: Path, tmp_path: Path
) -> None:
    track(video, tmp_path / "dots", view=ViewSettings(size, fit, boxes))
    found = read_tracks(tmp_path / "dots.csv").points_px[:, 0, 0]
    assert np.abs(found - DOTS).max() < 0.05


def test_one_row_per_displayed_frame(tmp_path: Path) -> None:
    times = [0, 40, 80, 200, 210, 400, 440]
    video = clips.write_numbered(tmp_path / "uneven.mp4", 7, times_ms=times)
    seen: list[int] = []
    report = track(video, tmp_path / "t", progress=seen.append)
    tracks = read_tracks(tmp_path / "t.csv")
    assert len(tracks) == 7
    assert tracks.times_s * 1000 == pytest.approx(times, abs=1)
    assert seen == [2, 4, 6, 7]
    assert report.frames == 7
    assert report.line().startswith("t: 7 frames in ")
    assert {path.name for path in report.files} == {"t.csv", "t.json"}


def test_an_interrupted_video_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    video = clips.write_numbered(tmp_path / "v.mp4", 9)
    track(video, tmp_path / "whole" / "v")
    with pytest.raises(KeyboardInterrupt):
        track(video, tmp_path / "part" / "v", Interrupted())
    assert [path.name for path in (tmp_path / "part").iterdir()] == ["v.tracks.part"]
    seen: list[int] = []
    report = track(video, tmp_path / "part" / "v", progress=seen.append)
    assert seen == [6, 8, 9]  # 4 frames were done
    assert report.frames == 5
    for name in ("v.csv", "v.json"):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_is_done_is_skipped_until_something_changes(tmp_path: Path) -> None:
    video = clips.write_numbered(tmp_path / "v.mp4", 4)
    assert not track(video, tmp_path / "t").skipped
    again = track(video, tmp_path / "t")
    assert again.skipped
    assert again.line() == "t: already done"
    (tmp_path / "t.tracks.part").touch()  # left by a call that was killed between its last file and its end
    assert track(video, tmp_path / "t").skipped
    assert not (tmp_path / "t.tracks.part").exists()
    assert not track(video, tmp_path / "t", formats=("csv", "dlc_csv")).skipped
    assert (tmp_path / "t.dlc.csv").exists()
    assert not track(video, tmp_path / "t", origin="another checkpoint").skipped
    assert not (tmp_path / "t.dlc.csv").exists()  # that of the older checkpoint
    clips.write_numbered(video, 3)  # the same file, written anew
    assert not track(video, tmp_path / "t").skipped
    assert len(read_tracks(tmp_path / "t.csv")) == 3


def test_another_video_of_the_same_name_is_refused(tmp_path: Path) -> None:
    for day, frames in (("mon", 4), ("tue", 3)):
        (tmp_path / day).mkdir()
        clips.write_numbered(tmp_path / day / "clip.mp4", frames)
    track(tmp_path / "mon" / "clip.mp4", tmp_path / "clip")
    with pytest.raises(
        VideoError, match=r"another video of this name, .*mon/clip\.mp4\. Choose another --out"
    ):
        track(tmp_path / "tue" / "clip.mp4", tmp_path / "clip")
    assert len(read_tracks(tmp_path / "clip.csv")) == 4
    (tmp_path / "mon" / "clip.mp4").rename(tmp_path / "clip.mp4")  # a project that moved
    assert not track(tmp_path / "tue" / "clip.mp4", tmp_path / "clip").skipped


def test_a_relative_path_is_the_same_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = clips.write_numbered(tmp_path / "v.mp4", 3)
    track(video, tmp_path / "t")
    monkeypatch.chdir(tmp_path)
    assert track(Path("v.mp4"), tmp_path / "t").skipped
    assert read_tracks(tmp_path / "t.csv").video == str(video)


def test_a_box_too_far_out_is_named_before_anything_is_written(video: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no pixel"):
        track(video, tmp_path / "t", view=ViewSettings(32, boxes=(900, 900, 950, 950)))


def test_a_file_that_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"v\.mp4"):
        track(tmp_path / "v.mp4", tmp_path / "t")
    assert not list(tmp_path.glob("t*"))
