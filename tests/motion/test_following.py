"""A square that follows the animal: boxes, backgrounds, labels and verdicts, on a beetle with known positions."""

import csv
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from clips import write_video
from numpy.typing import NDArray
from PIL import Image as Pictures
from torch import Tensor

from lightning_kp.batches import FramePairs
from lightning_kp.cli import main
from lightning_kp.diagnosis.backgrounds import sampled_backgrounds
from lightning_kp.diagnosis.evidence import collect_evidence, sampled_batches
from lightning_kp.errors import DataError
from lightning_kp.frames.pairs import FramePairsModule
from lightning_kp.frames.placements import Placements
from lightning_kp.frames.stream import stream_frames
from lightning_kp.geometry import Region
from lightning_kp.images.resize import prepare
from lightning_kp.labels.reading import read_labels
from lightning_kp.method import KeypointMethod
from lightning_kp.motion import following
from lightning_kp.motion.boxes import FOLLOW, boxes_per_animal
from lightning_kp.motion.following import cut_background, follow_animals, scene_background
from lightning_kp.motion.foreground import without_limbs
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.video.opening import open_video

HEIGHT, WIDTH, FRAMES = 192, 256, 60
EDGES = ("left", "top", "right", "bottom")
LENGTH = 28  # of the body; the tail is as long again
GROUND = (150 + 40 * np.sin(np.arange(WIDTH) / 9)[None, :] * np.cos(np.arange(HEIGHT) / 13)[:, None])[
    ..., None
]


def places() -> NDArray[np.float64]:
    """Centres (N, 2) of the body, as x and y in pixels: round the arena."""
    turn = np.linspace(0, 2 * np.pi, FRAMES, endpoint=False)
    return np.stack((128 + 80 * np.cos(turn), 96 + 55 * np.sin(turn)), axis=-1)


def drawn(centre: NDArray[np.float64], heading: float) -> NDArray[np.uint8]:
    """A dark body with a thin tail behind it, on textured ground."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    along = (x - centre[0]) * np.cos(heading) + (y - centre[1]) * np.sin(heading)
    across = -(x - centre[0]) * np.sin(heading) + (y - centre[1]) * np.cos(heading)
    body = (along / (LENGTH / 2)) ** 2 + (across / (LENGTH / 4)) ** 2 < 1
    tail = (along < 0) & (along > -1.5 * LENGTH) & (np.abs(across) < 1.5)
    image = np.repeat(GROUND, 3, axis=-1).copy()
    image[body | tail] = 20
    return image.round().astype(np.uint8)


def scene() -> list[NDArray[np.uint8]]:
    turn = np.linspace(0, 2 * np.pi, FRAMES, endpoint=False)
    return [drawn(centre, angle + np.pi / 2) for centre, angle in zip(places(), turn, strict=True)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KP_CACHE_DIR", str(cache))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("beetle") / "beetle.mp4", scene(), options={"crf": "10"})


def boxes_of(path: Path) -> NDArray[np.float64]:
    """(N, 4) with one box for each frame."""
    with path.open(newline="") as file:
        rows = {int(row["frame"]): [float(row[edge]) for edge in EDGES] for row in csv.DictReader(file)}
    every = np.empty((FRAMES, 4))
    for frame in range(FRAMES):
        every[frame] = rows[max(known for known in rows if known <= frame)]
    return every


def test_a_tail_is_no_part_of_the_body() -> None:
    mask = drawn(np.array([128.0, 96.0]), 0.0)[..., 0] == 20
    body = without_limbs(mask)
    columns = np.flatnonzero(body.any(axis=0))
    assert columns[-1] - columns[0] == pytest.approx(LENGTH, abs=4)
    assert abs(np.argwhere(body).mean(axis=0) - (96, 128)).max() < 1.5
    assert not (body & ~mask).any()
    assert not without_limbs(np.zeros_like(mask)).any()


def test_the_square_goes_with_the_body(video: Path) -> None:
    boxes = boxes_of(follow_animals(video))
    side = boxes[0, 2] - boxes[0, 0]
    assert 1.2 * LENGTH < side < 2 * LENGTH
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert np.linalg.norm(middle - places(), axis=1).max() < 0.2 * side


def test_a_video_is_looked_at_once(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = follow_animals(video)
    monkeypatch.setattr(following, "open_video", lambda _: pytest.fail("decoded again"))
    assert follow_animals(video) == first


def test_cached_files_keep_the_names_that_users_have(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(bytes(range(256)) * 1000)
    os.utime(path, ns=(1_700_000_000_000_000_000,) * 2)
    assert following._cache_path(path, "boxes", ".csv").name == "clip-boxes-cf844e38d1424dc39780.csv"
    assert (
        following._cache_path(path, "background", ".npy").name == "clip-background-cf844e38d1424dc39780.npy"
    )


def test_nothing_moves(tmp_path: Path) -> None:
    still = write_video(tmp_path / "still.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 20)
    with pytest.raises(DataError, match="Nothing moves"):
        follow_animals(still)


def test_where_an_animal_has_rested_is_not_taken_for_it(tmp_path: Path) -> None:
    """It lies still through three fifths of the video, so that the median shows it; then it walks off."""
    rest = [drawn(np.array([60.0, 60.0]), 0.0)] * 60
    path = np.stack((np.linspace(60, 200, 40), np.linspace(60, 140, 40)), axis=-1)
    walk = [drawn(centre, 0.5) for centre in path]
    resting = write_video(tmp_path / "rest.mp4", [*rest, *walk], options={"crf": "10"})
    with follow_animals(resting).open(newline="") as file:
        rows = list(csv.DictReader(file))
    boxes = {int(row["frame"]): [float(row[edge]) for edge in EDGES] for row in rows}
    for frame in range(75, 100):  # it has left the place where it was
        box = boxes[max(known for known in boxes if known <= frame)]
        centre = path[frame - 60]
        assert box[0] < centre[0] < box[2]
        assert box[1] < centre[1] < box[3]


def test_a_background_cut_at_the_edge_has_no_dark_rim() -> None:
    """Zeros beyond the frame would shine into its last pixels; beyond it there is black."""
    plain = np.full((48, 64, 3), 200, np.uint8)
    corner, beyond = cut_background(plain, (480, 640), [Region(0, 0, 100, 100), Region(-50, 0, 50, 100)], 32)
    assert (corner == 200).all()
    assert (beyond[:, :15] == 0).all()
    assert (beyond[:, 17:] == 200).all()


def test_follow_is_as_good_as_its_file(video: Path) -> None:
    assert boxes_per_animal(FOLLOW) == (FOLLOW,)
    with open_video(video) as reader:
        ours, theirs = (Placements(reader.info, 32, "pad", each) for each in (FOLLOW, follow_animals(video)))
    assert [ours(frame) for frame in range(FRAMES)] == [theirs(frame) for frame in range(FRAMES)]
    assert not ours.is_fixed


def test_the_background_has_no_animal(video: Path) -> None:
    assert np.abs(scene_background(video).astype(float) - GROUND).mean() < 2


def test_cut_out_backgrounds_lie_where_the_frames_do(video: Path) -> None:
    background = scene_background(video)
    with open_video(video) as reader:
        each = Placements(reader.info, 48, "pad", FOLLOW)
    frames = [0, 17, 40]
    cuts = cut_background(background, (HEIGHT, WIDTH), [each(frame).region for frame in frames], 48)
    for cut, frame in zip(cuts, frames, strict=True):
        wanted = prepare(background, each(frame)).astype(float)
        assert np.abs(cut - wanted).mean() < 1.5


def test_streamed_squares_show_the_body_in_their_middle(video: Path) -> None:
    """And the darkest place, brought back into the frame, is the body's."""
    for batch in stream_frames(video, size=48, boxes=FOLLOW, batch_size=FRAMES):
        dark = (batch.image.float().mean(dim=1) < 60).double()
        weight = dark / dark.sum(dim=(1, 2), keepdim=True)
        centre = (torch.arange(48) * 2 + 1) / 48 - 1
        points = torch.stack(((weight.sum(dim=1) * centre).sum(-1), (weight.sum(dim=2) * centre).sum(-1)), -1)
        original = torch.stack([batch.region(i).to_original_px(points[i]) for i in range(len(points))])
        # The tail, as far as it is shown, pulls the centre of mass back.
        assert np.linalg.norm(original.numpy() - places(), axis=1).max() < 0.35 * LENGTH


class Darkest(KeypointMethod):
    """Points at the dark body, and near the corner of the square."""

    batch_type = FramePairs
    weights_type = dataclasses.make_dataclass("Weights", [])

    def terms(self, batch: Any) -> dict[str, Tensor]:
        raise NotImplementedError

    def heatmaps(self, image: Tensor) -> Tensor:
        dark = (image.mean(dim=1) < 0.24).float() + 1e-6
        corner = torch.full_like(dark, 1e-6)
        corner[:, 2, 2] = 1
        maps = torch.stack((dark, corner), dim=1)
        return maps / maps.sum(dim=(-2, -1), keepdim=True)


def test_verdicts_know_the_background_of_moving_squares(video: Path) -> None:
    """The median of squares that follow the animal shows the animal; nothing on it would be on the animal."""
    data = FramePairsModule([str(video)], size=48, gap=3, boxes=FOLLOW, val_fraction=0)
    data.prepare_data()
    data.setup("fit")
    pairs = data.datasets["train"]
    evidence = collect_evidence(
        Darkest(), sampled_batches(pairs, frames=48), backgrounds=sampled_backgrounds(pairs)
    )
    under = np.nanmean(evidence.foreground_under >= 0.1, axis=0)
    assert under[0] > 0.95
    assert under[1] < 0.2
    assert np.isfinite(evidence.foreground_centre).all()


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Eight labelled images in the layout of DeepLabCut: the body's two ends."""
    folder = tmp_path / "labeled-data" / "beetle"
    folder.mkdir(parents=True)
    lines = ["scorer,Me,Me,Me,Me", "bodyparts,head,head,rear,rear", "coords,x,y,x,y"]
    turn = np.linspace(0, 2 * np.pi, FRAMES, endpoint=False)
    for number in range(0, FRAMES, 8):
        centre, angle = places()[number], turn[number] + np.pi / 2
        ahead = LENGTH / 2 * np.array([np.cos(angle), np.sin(angle)])
        Pictures.fromarray(drawn(centre, angle)).save(folder / f"img{number:03d}.png")
        points = ",".join(f"{value:.3f}" for value in (*(centre + ahead), *(centre - ahead)))
        lines.append(f"labeled-data/beetle/img{number:03d}.png,{points}")
    path = folder / "CollectedData_Me.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_labels_in_squares_that_follow(labels: Path) -> None:
    near, far = (read_labels(labels, 64, "pad", boxes) for boxes in (FOLLOW, None))
    assert near.image.shape == far.image.shape
    assert near.points.abs().max() < 1
    assert torch.linalg.norm(near.points[:, 0] - near.points[:, 1], dim=-1).min() > 0.9
    torch.testing.assert_close(near.in_frame(near.points), far.points)
    assert far.in_frame(far.points) is far.points


def test_scenes_of_few_labels_are_left_out_and_told(labels: Path) -> None:
    other = labels.parent.parent / "bug"
    other.mkdir()
    lines = labels.read_text().splitlines()
    for number in (0, 8):
        name = f"img{number:03d}.png"
        (other / name).write_bytes((labels.parent / name).read_bytes())
        lines.append(lines[3].replace("labeled-data/beetle/img000.png", f"labeled-data/bug/{name}"))
    labels.write_text("\n".join(lines) + "\n")
    with pytest.warns(UserWarning, match="2 labelled image"):
        assert len(read_labels(labels, 64, "pad", FOLLOW).points) == 8
    assert len(read_labels(labels, 64, "pad").points) == 10


def test_squares_that_miss_the_labels_are_told(labels: Path) -> None:
    lines = labels.read_text().splitlines()
    moved = [",".join([line.split(",")[0], "2", "2", "6", "2"]) for line in lines[3:]]
    labels.write_text("\n".join(lines[:3] + moved) + "\n")
    with pytest.warns(UserWarning, match="most labelled points lie outside the square"):
        read_labels(labels, 64, "pad", FOLLOW)


def test_too_few_labelled_images_to_know_the_background(labels: Path) -> None:
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join(lines[:7]) + "\n")
    with pytest.raises(DataError, match="needs at least 6 per scene"):
        read_labels(labels, 64, "pad", FOLLOW)


def test_from_discovery_to_scores(video: Path, labels: Path, tmp_path: Path) -> None:
    """What a person types: discover suggests to follow the beetle, and does; tables are in pixels of the frames."""
    run = tmp_path / "run"
    small = [
        "--model.keypoints=3", "--model.encoder=tiny", "--model.pose_width=8", "--model.decoder_widths=[8,8,8]",
        "--data.size=32", "--data.batch_size=4", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2",
        "--trainer.limit_val_batches=1", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
    ]  # fmt: skip
    assert main(["discover", str(video), "--out", str(run), "--no-overlay", *small]) == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["init_args"]["boxes"] == FOLLOW
    tracks = read_tracks(run / "tracks" / "beetle.csv")
    boxes = boxes_of(follow_animals(video))
    points = tracks.points_px[:, 0]
    assert points.shape == (FRAMES, 3, 2)
    assert ((points > boxes[:, None, :2] - 1) & (points < boxes[:, None, 2:] + 1)).all()
    assert (run / "diagnostics.json").is_file()
    assert main(["track", str(run), str(video), "--formats", "csv", "--device", "cpu"]) == 0
    assert main(["score", str(run), "--labels", str(labels)]) == 0
    figures = json.loads((run / "metrics.json").read_text())
    # In shares of the frame, not of the square: even an untrained network lies within a body's length.
    assert 100 * LENGTH / WIDTH / 4 < figures["untrained_matched"] < 100 * 1.5 * LENGTH / WIDTH
