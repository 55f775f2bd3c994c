"""Preprocessing in every place that makes images: the cache, the stream, tracking, labels, checkpoints."""

import dataclasses
from typing import Any

import clips
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lightning_kp.arena.recording import ArenaSettings, read_truth, write_arena
from lightning_kp.batches import Frames
from lightning_kp.datamodules import SyntheticArena
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.frames.cache import cache_videos
from lightning_kp.frames.pairs import FramePairsModule
from lightning_kp.frames.placements import Placements
from lightning_kp.frames.preprocessing import (
    NO_PREPROCESSING,
    Preprocessing,
    Preprocessor,
    covariance_in_frame,
    learn_preprocessor,
    points_in_frame,
    points_in_registered,
)
from lightning_kp.frames.stream import stream_frames
from lightning_kp.frames.view import ViewSettings
from lightning_kp.geometry import place
from lightning_kp.labels.animals import preprocess_labelled
from lightning_kp.labels.reading import read_labels, scene_of
from lightning_kp.method import KeypointMethod, plain_settings
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.tracks.tracking import track_video
from lightning_kp.video.opening import open_video

HEIGHT, WIDTH, SIZE, NUMBER = 96, 128, 64, 12
HSV, REGISTERED = Preprocessing(shadow="hsv"), Preprocessing(registration="translation")
SHIFTS = np.round(np.random.default_rng(0).uniform(-6, 6, (NUMBER, 2)))  # (x, y) in pixels of the video
DOTS = np.stack([np.linspace(40, 90, NUMBER), np.linspace(60, 36, NUMBER)], axis=1)  # of the still scene


@dataclasses.dataclass(frozen=True)
class Weights:
    nothing: float = 1.0


class RedDot(KeypointMethod):
    """One keypoint: the centroid of what is red."""

    batch_type = Frames
    weights_type = Weights

    def terms(self, batch: Any) -> dict[str, torch.Tensor]:
        raise NotImplementedError

    def heatmaps(self, image):
        red = (image[:, :1] - image[:, 1:].amax(1, keepdim=True) - 0.3).clamp_min(0) + 1e-9
        return red / red.sum(dim=(-2, -1), keepdim=True)


@pytest.fixture(autouse=True, scope="module")
def cache_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KP_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def shaken(tmp_path_factory):
    """A red dot that crosses a grey textured scene, seen by a camera that is pushed about."""
    coarse = torch.rand(1, 1, 20, 24, generator=torch.Generator().manual_seed(0))
    scene = F.interpolate(coarse, (HEIGHT + 20, WIDTH + 20), mode="bicubic").clamp(0, 1)[0, 0].numpy()
    rows, columns = np.mgrid[: HEIGHT + 20, : WIDTH + 20] - 10
    frames = []
    for (x, y), (dx, dy) in zip(DOTS, SHIFTS.astype(int), strict=True):
        dot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 4.0**2))[..., None]
        picture = 120 + 100 * scene[..., None] * (1 - dot) * np.ones(3) - 110 * dot * np.array((-1.2, 1, 1))
        frames.append(
            picture[10 - dy : 10 - dy + HEIGHT, 10 - dx : 10 - dx + WIDTH].clip(0, 255).astype(np.uint8)
        )
    return clips.write_video(tmp_path_factory.mktemp("shaken") / "shaken.mp4", frames)


@pytest.fixture(scope="module")
def arena(tmp_path_factory):
    settings = ArenaSettings(size=96, frames=16, animals=1, shadow=True, shadow_reach=0.08, noise=0.0)
    return write_arena(settings, tmp_path_factory.mktemp("arena"))


def squares_of(video, settings=NO_PREPROCESSING, folder=None, **options):
    (cached,) = cache_videos(
        [video], size=SIZE, preprocessing=settings, cache_dir=folder, progress=False, **options
    )
    return cached


# ---- settings


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shadow": "hvs"}, "Choose one of: none, hsv, ssim, filter"),
        ({"registration": "affine"}, "Choose one of: none, translation, similarity"),
        ({"darkest": 1.5}, "between 0 and 1"),
        ({"ssim_threshold": 0.0}, "between 0 and 2"),
        ({"keep_hsv": [0.0, 20.0]}, "hue"),
        ({"shadows": "hsv"}, "Its settings are: shadow, registration"),
    ],
)
def test_wrong_settings_are_refused_and_the_right_ones_named(wrong, message):
    with pytest.raises(ConfigurationError, match=message):
        Preprocessing.from_settings(wrong)


def test_settings_survive_as_plain_values():
    settings = Preprocessing(shadow="hsv", fill="black", keep_hsv=[0.0, 20.0, 0.3, 1.0, 0.2, 1.0])
    assert Preprocessing.from_settings(dataclasses.asdict(settings)) == settings
    assert Preprocessing.from_settings(None) == NO_PREPROCESSING
    assert Preprocessing.from_settings(settings) is settings


def test_fingerprints_tell_settings_apart():
    known = [
        NO_PREPROCESSING,
        HSV,
        REGISTERED,
        Preprocessing(shadow="hsv", darkest=0.4),
        Preprocessing(shadow="ssim"),
    ]
    assert len({settings.fingerprint for settings in known}) == len(known)
    assert [settings.is_on for settings in known] == [False, True, True, True, True]


# ---- coordinates


def test_points_go_there_and_back():
    transforms = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    transforms[0, :2, 2] = torch.tensor((0.1, -0.2))
    transforms[1, :2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])  # a quarter turn
    points = torch.tensor([[[[0.5, 0.25]]], [[[0.5, torch.nan]]]])
    assert points_in_frame(points, transforms)[0, 0, 0].tolist() == pytest.approx([0.6, 0.05])
    points = torch.tensor([[[[0.5, 0.25]]], [[[0.5, 0.1]]]])
    assert points_in_frame(points, transforms)[1, 0, 0].tolist() == pytest.approx([-0.1, 0.5])
    assert torch.allclose(points_in_registered(points_in_frame(points, transforms), transforms), points)
    assert torch.isnan(points_in_registered(torch.full((2, 1, 1, 2), torch.nan), transforms)).all()
    turned = covariance_in_frame(torch.tensor([[[0.4, 0.1, 0.05]]] * 2), transforms)
    assert turned[0, 0].tolist() == pytest.approx([0.4, 0.1, 0.05])
    assert turned[1, 0].tolist() == pytest.approx([0.1, 0.4, -0.05])


def test_bars_stay_black_and_transforms_are_those_of_the_whole_square(shaken):
    placement = place((HEIGHT, WIDTH), SIZE)  # 48 x 64 pixels of picture, 8 rows of bar above and below
    plain = np.asarray(squares_of(shaken).frames)
    found = Preprocessor.learn(REGISTERED, placement, plain, "clip")(plain)
    assert (found.squares[:, :8] == 0).all()
    assert (found.squares[:, -8:] == 0).all()
    moved = found.transforms[:, :2, 2].numpy() * SIZE / 2 / (SIZE / WIDTH)  # pixels of the video
    wanted = SHIFTS - np.median(SHIFTS - moved, axis=0)
    assert np.abs(moved - wanted).max() < 0.6
    assert np.abs(SHIFTS).max() > 4


def test_registered_squares_show_a_still_scene(shaken):
    plain = np.asarray(squares_of(shaken).frames).astype(float)
    still = np.asarray(squares_of(shaken, REGISTERED).frames).astype(float)
    inner = (slice(None), slice(14, 50), slice(6, 58))
    assert np.median(still[inner].std(axis=0)) < 0.35 * np.median(plain[inner].std(axis=0))


# ---- cache and stream


def test_the_cache_keeps_both_kinds_apart(shaken, tmp_path):
    plain = squares_of(shaken, folder=tmp_path)
    again = squares_of(shaken, REGISTERED, tmp_path)
    assert plain.file != again.file
    assert squares_of(shaken, NO_PREPROCESSING, tmp_path).file == plain.file
    reader = open_video(shaken)
    placements = Placements(reader.info, SIZE, "pad")
    learnt = learn_preprocessor(reader, placements, REGISTERED)
    assert learnt is not None
    assert np.array_equal(learnt(np.asarray(plain.frames)).squares, again.frames)
    assert learn_preprocessor(reader, placements, NO_PREPROCESSING) is None


def test_the_stream_shows_what_the_cache_holds(arena):
    cached = squares_of(arena, HSV)
    batches = list(stream_frames(arena, size=SIZE, preprocessing=HSV, batch_size=5))
    streamed = torch.cat([batch.image for batch in batches]).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(streamed, cached.frames)
    assert not np.array_equal(streamed, squares_of(arena).frames)
    assert torch.equal(batches[0].transforms, torch.eye(3, dtype=torch.float64).expand(5, 3, 3))


def test_a_box_for_each_frame_is_refused(shaken, tmp_path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("frame,left,top,right,bottom\n0,0,0,60,60\n3,10,10,70,70\n")
    with pytest.raises(ConfigurationError, match="boxes of shaken differ from frame to frame"):
        squares_of(shaken, HSV, tmp_path, boxes=boxes, gap=2)


def test_too_short_a_video_has_no_scene(tmp_path):
    video = clips.write_video(tmp_path / "short.mp4", [clips.numbered(i) for i in range(3)])
    with pytest.raises(DataError, match=r"needs at least 4 frames of .*short.mp4 to .* there are only 3"):
        squares_of(video, HSV, tmp_path)


def test_a_colour_range_is_kept_and_the_rest_is_black(shaken):
    only_red = Preprocessing(shadow="hsv", fill="black", keep_hsv=[330.0, 30.0, 0.4, 1.0, 0.3, 1.0])
    seen = np.asarray(squares_of(shaken, only_red).frames).astype(int)
    lit = seen.sum(axis=-1) > 0
    assert lit.sum(axis=(1, 2)).min() > 5
    assert lit.sum(axis=(1, 2)).max() < 120
    assert (seen[lit][:, 0] > seen[lit][:, 1]).all()


# ---- tracking


@pytest.mark.parametrize("settings", [NO_PREPROCESSING, REGISTERED], ids=["plain", "registered"])
def test_tracks_are_in_pixels_of_the_video_as_it_is(settings, shaken, tmp_path):
    view = ViewSettings(SIZE, preprocessing=settings)
    track_video(RedDot(), shaken, tmp_path / "dot", view, origin="x", batch_size=5, formats=["csv"])
    found = read_tracks(tmp_path / "dot.csv").points_px[:, 0, 0]
    assert np.abs(found - (DOTS + SHIFTS)).max() < 1.0


# ---- labels


def test_labels_move_with_their_image(tmp_path):
    settings = ArenaSettings(size=96, frames=20, animals=1, shake=3.0, seed=1, noise=0.0)
    video = write_arena(settings, tmp_path)
    truth = video.with_suffix(".truth.npz")
    plain = read_labels(truth, 96)
    seen = read_labels(truth, 96, preprocessing=REGISTERED)
    camera = torch.from_numpy(read_truth(video).camera_px)
    moved = ((plain.points - seen.points) * 48).mean(dim=1)
    assert ((moved - moved.median(0).values) - (camera - camera.median(0).values)).abs().max() < 0.5
    assert camera.abs().max() > 3
    inner = (..., slice(16, 80), slice(16, 80))
    assert seen.image[inner].float().std(0).median() < 0.5 * plain.image[inner].float().std(0).median()


def test_each_video_of_a_label_file_is_a_scene_of_its_own():
    placement = place((8, 8), 8)
    squares = np.concatenate([np.full((4, 8, 8, 3), 40), np.full((4, 8, 8, 3), 200)]).astype(np.uint8)
    squares[0, 2:6, 2:6] = 220
    scenes = ["a"] * 4 + ["b"] * 4
    points = torch.zeros(8, 1, 2, 2)
    done, same = preprocess_labelled(squares, points, [placement] * 8, scenes, HSV)
    assert torch.equal(same, points)
    assert (done[4:] == 200).all()  # with a common scene, half of all pictures would differ from it
    assert (done[1:4] == 40).all()
    with pytest.raises(DataError, match="needs at least 4 frames of c"):
        preprocess_labelled(squares[:2], points[:2], [placement] * 2, ["c"] * 2, HSV)
    assert preprocess_labelled(squares, points, [placement] * 8, scenes, NO_PREPROCESSING)[0] is squares


def test_scenes_by_the_names_of_frames():
    assert (
        scene_of("labeled-data/m4s1/img03.png")
        == scene_of("labeled-data/m4s1/img04.PNG")
        == "labeled-data/m4s1"
    )
    assert scene_of("two words.mp4 frame 12") == "two words.mp4"


# ---- datamodules and checkpoints


def test_a_datamodule_notes_its_preprocessing_as_plain_values(shaken):
    data = FramePairsModule(videos=str(shaken), preprocessing=Preprocessing(shadow="ssim"))
    noted = plain_settings(data)["preprocessing"]
    assert noted["shadow"] == "ssim"
    assert type(noted) is dict
    assert "preprocessing" not in data.hparams  # a dataclass in it could not be loaded safely
    assert FramePairsModule(videos=str(shaken), preprocessing=noted).preprocessing == data.preprocessing


def test_the_arena_trains_and_labels_alike(tmp_path):
    arena = SyntheticArena(
        frames=16, test_frames=10, frame_px=48, animals=1, size=32, gap=2, shadow=True, val_fraction=0,
        preprocessing=Preprocessing(shadow="filter"), root=str(tmp_path), cache_dir=str(tmp_path), batch_size=4,
    )  # fmt: skip
    arena.prepare_data()
    arena.setup()
    plain = SyntheticArena(
        frames=16, test_frames=10, frame_px=48, animals=1, size=32, gap=2, shadow=True, val_fraction=0,
        root=str(tmp_path), cache_dir=str(tmp_path), batch_size=4,
    )  # fmt: skip
    assert arena.video_paths() == plain.video_paths()
    labelled = arena.labels().image
    assert not torch.equal(labelled, plain.labels().image)
    cached = torch.from_numpy(np.asarray(arena.cached[1].frames)).permute(0, 3, 1, 2)
    assert (labelled.float() - cached.float()).abs().mean() < 2  # the scene is that of 10 frames, either way
