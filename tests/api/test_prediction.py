"""Predict videos and images in memory: the same points, in pixels of the originals, and clear refusals."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dots import SIZE, ColourDots, draw, ring
from PIL import Image as Pictures
from trained_networks import checkpoint

import lightning_kp as kp
from lightning_kp.datamodules import COCOCrowd
from lightning_kp.errors import CheckpointError, ConfigurationError, DataError, VideoError
from lightning_kp.frames.view import ViewSettings
from lightning_kp.method import class_path
from lightning_kp.video.opening import open_video


@pytest.fixture(scope="module")
def model(run: Path) -> kp.Model:
    return kp.load(run, device="cpu")


@pytest.fixture(scope="module")
def frames(videos: list[Path]) -> np.ndarray:
    """The frames (N, H, W, 3) of the first video."""
    with open_video(videos[0]) as reader:
        return np.stack([frame.image for frame in reader])


def test_several_videos_give_a_list_one_gives_poses(model: kp.Model, videos: list[Path]) -> None:
    one = model.predict(str(videos[0]))
    assert isinstance(one, kp.Poses)
    for several in (videos, [str(video) for video in videos], videos[0].parent, f"{videos[0].parent}/*.mp4"):
        found = model.predict(several)
        assert [poses.name for poses in found] in (["it's", "b.2"], ["b.2", "it's"])
    assert [poses.name for poses in model.predict([videos[0]])] == ["it's"]
    assert model.predict(tuple(videos))[0].points_px.tobytes() == one.points_px.tobytes()


@pytest.mark.filterwarnings("ignore:.*images have no time")
def test_a_folder_of_images_is_one_video(model: kp.Model, frames: np.ndarray, tmp_path: Path) -> None:
    for number, frame in enumerate(frames[:3]):
        Pictures.fromarray(frame).save(tmp_path / f"{number}.png")
    poses = model.predict(tmp_path)
    assert (poses.name, len(poses)) == (tmp_path.name, 3)
    np.testing.assert_array_equal(poses.points_px, model.predict(frames[:3]).points_px)


def test_images_in_memory_give_the_points_of_their_video(
    model: kp.Model, frames: np.ndarray, videos: list[Path]
) -> None:
    from_video = model.predict(videos[0])
    for images in (frames, torch.from_numpy(frames), np.asfortranarray(frames)):
        poses = model.predict(images, batch_size=7)
        # A decoder converts colours while it scales, so that the pixels differ by a grey level here and there.
        np.testing.assert_allclose(poses.points_px, from_video.points_px, atol=0.2)
        assert (poses.name, poses.fps, poses.frame_size) == ("images", 0.0, (48, 48))
        assert poses.times_s.tolist() == list(range(len(frames)))


def test_points_are_in_pixels_of_the_given_images(model: kp.Model) -> None:
    """Dots are found where they were drawn, also in images that are padded or cropped to the network's square."""
    points = np.stack([ring(18.0), ring(22.0)])
    images = np.stack([draw(each) for each in points])
    dots = kp.Model(model.checkpoint, ColourDots(), ViewSettings(SIZE))
    np.testing.assert_allclose(dots.predict(images).points_px[:, 0], points, atol=0.25)
    wide = np.zeros((2, SIZE, 2 * SIZE, 3), np.uint8)
    wide[:, :, 40 : 40 + SIZE] = images
    moved = points + np.array([40, 0])
    cropped = dots.predict(torch.from_numpy(wide), boxes=(40, 0, 40 + SIZE, SIZE))
    np.testing.assert_allclose(cropped.points_px[:, 0], moved, atol=0.25)
    np.testing.assert_allclose(dots.predict(wide).points_px[:, 0], moved, atol=0.5)  # at half the resolution
    assert (dots.instances, dots.keypoint_names) == (1, ("kp01", "kp02", "kp03", "kp04", "kp05"))


WRONG_IMAGES: dict[str, tuple[Any, str]] = {
    "floats": (
        np.zeros((2, 8, 8, 3), np.float32),
        r"are float32\. Needed .* use \(255 \* images\)\.round\(\)\.astype",
    ),
    "torch floats": (torch.zeros(2, 8, 8, 3), r"are float32\. .*\.to\(torch\.uint8\)"),
    "integers": (np.zeros((2, 8, 8, 3), np.int64), r"are int64\. Needed are images \(N, H, W, 3\), uint8"),
    "channels first": (np.zeros((2, 3, 8, 8), np.uint8), r"channels first.*images\.transpose\(0, 2, 3, 1\)"),
    "torch channels first": (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"images\.permute\(0, 2, 3, 1\)"),
    "one image": (np.zeros((8, 8, 3), np.uint8), r"one image \(8, 8, 3\).*image\[None\]"),
    "grey": (np.zeros((2, 8, 8), np.uint8), r"grey.*np\.repeat\(images\[\.\.\., None\], 3, axis=-1\)"),
    "torch grey": (torch.zeros(2, 8, 8, 1, dtype=torch.uint8), r"images\.repeat\(1, 1, 1, 3\)"),
    "nothing": (np.zeros((0, 8, 8, 3), np.uint8), r"the shape \(0, 8, 8, 3\)"),
    "a list of arrays": ([np.zeros((8, 8, 3), np.uint8)], r"np\.stack\(images\)"),
}


@pytest.mark.parametrize("case", WRONG_IMAGES)
def test_wrong_images_are_refused_in_one_line(case: str, model: kp.Model) -> None:
    images, problem = WRONG_IMAGES[case]
    with pytest.raises(DataError, match=problem) as refused:
        model.predict(images)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "convert", [lambda x: x.astype(np.float32) / 255, lambda x: torch.from_numpy(x) / 255]
)
def test_the_remedy_for_floats_is_right(convert: Any, model: kp.Model, frames: np.ndarray) -> None:
    images = convert(frames[:2])
    with pytest.raises(DataError) as refused:
        model.predict(images)
    code = str(refused.value).rsplit(" use ", 1)[1].rstrip(".")
    mended = eval(code, {"np": np, "torch": torch, "images": images})
    np.testing.assert_array_equal(np.asarray(mended), frames[:2])


def test_paths_that_do_not_exist_are_refused(model: kp.Model, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"No video found for 'none\.mp4'"):
        model.predict("none.mp4")
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        kp.load(tmp_path / "none")
    with pytest.raises(ConfigurationError, match="no device 'abacus'"):
        kp.load(model.checkpoint, device="abacus")


def test_images_cannot_be_followed(model: kp.Model, frames: np.ndarray, run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"boxes='follow' needs a video\. Give the video's path"):
        model.predict(frames, boxes="follow")
    copied = shutil.copytree(run / "checkpoints", tmp_path / "checkpoints") / "last.ckpt"
    content = torch.load(copied, weights_only=True)
    content["lightning_kp"]["data"]["boxes"] = "follow"
    torch.save(content, copied)
    with pytest.raises(ConfigurationError, match="was trained on a square that follows the animal"):
        kp.load(tmp_path).predict(frames)
    assert len(kp.load(tmp_path).predict(frames, boxes=(0, 0, 48, 48))) == len(frames)


def test_unsure_instances_are_left_out(videos: list[Path], frames: np.ndarray, tmp_path: Path) -> None:
    model = kp.load(checkpoint("DirectPose", tmp_path), device="cpu")
    assert model.instances > 1
    found = model.predict(frames[:6])
    assert np.array_equal(np.isnan(found.points_px).all(-1), found.confidence == 0)
    scores = found.confidence.mean(axis=-1)
    cut = float(np.median(scores[scores > 0]))
    kept = model.predict(frames[:6], threshold=cut).confidence.mean(axis=-1)
    assert 0 < (kept > 0).sum() < (scores > 0).sum()
    with pytest.raises(ConfigurationError, match="finds the same points in every frame"):
        kp.load(checkpoint("BKinD", tmp_path / "one"), device="cpu").predict(videos[0], threshold=0.5)


def test_a_network_of_crops_warns_about_whole_frames(
    frames: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = kp.load(checkpoint("PersonParser", tmp_path, class_path(COCOCrowd)), device="cpu")
    model.predict(frames[:1])
    assert "was trained on crops around each instance" in caplog.text
    caplog.clear()
    model.predict(frames[:1], boxes=(0, 0, 24, 24))
    assert caplog.text == ""


def test_onnx_runtime_predicts_what_torch_predicts(run: Path, frames: np.ndarray) -> None:
    pytest.importorskip("onnxruntime")
    model = kp.load(run, device="cpu", engine="onnx")
    found, wanted = model.predict(frames, batch_size=4), kp.load(run, device="cpu").predict(frames)
    assert model.engine is not None
    assert model.engine.name == "onnx"
    np.testing.assert_allclose(found.points_px, wanted.points_px, atol=0.02)
    np.testing.assert_allclose(found.confidence, wanted.confidence, atol=1e-4)
    with pytest.raises(ConfigurationError, match="no engine 'fast'"):
        kp.load(run, engine="fast")
