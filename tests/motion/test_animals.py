"""Boxes found by motion, on rendered animals with known positions, up to crops and tracks of each animal."""

import csv
from pathlib import Path

import numpy as np
import pytest
from clips import write_video

from lightning_kp.arena.recording import ArenaSettings, ArenaTruth, read_truth, write_arena
from lightning_kp.cli import main
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.frames.pairs import FramePairsModule
from lightning_kp.frames.placements import Placements
from lightning_kp.inspection.videos import inspect_videos
from lightning_kp.motion.animals import find_boxes
from lightning_kp.motion.boxes import BODY_COLUMNS, AnimalBoxes, boxes_per_animal, write_boxes
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.video.opening import open_video

FRAMES, SIDE = 150, 128


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ArenaTruth]:
    settings = ArenaSettings(size=SIDE, frames=FRAMES, seed=1, look_alike=True)
    video = write_arena(settings, tmp_path_factory.mktemp("boxes"), "arena")
    return video, read_truth(video)


def found(video: Path, **options: object) -> AnimalBoxes:
    background = inspect_videos([video]).videos[0].measured.background
    return find_boxes(video, background, 2, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def boxes(arena: tuple[Path, ArenaTruth]) -> AnimalBoxes:
    return found(arena[0])


def share_inside(boxes: AnimalBoxes, truth: ArenaTruth) -> float:
    """Share of true animals (N, I) whose body's centre lies in the middle half of a box of their own."""
    centre = truth.points_px.mean(axis=2)
    middle = (boxes.boxes[..., :2] + boxes.boxes[..., 2:]) / 2
    apart = np.abs(centre[:, :, None] - middle[:, None]).max(axis=-1)  # (N, true, box)
    own = np.minimum(apart[:, 0, 0] + apart[:, 1, 1], apart[:, 0, 1] + apart[:, 1, 0]) / 2
    return float((own < boxes.side_px / 4).mean())


def test_every_animal_has_a_box_of_its_own(arena: tuple[Path, ArenaTruth], boxes: AnimalBoxes) -> None:
    truth = arena[1]
    assert boxes.boxes.shape == (FRAMES, 2, 4)
    assert share_inside(boxes, truth) > 0.9
    assert (boxes.seen > 0.9).all()
    assert SIDE / 5 < boxes.side_px < SIDE
    assert (boxes.boxes[..., 2:] - boxes.boxes[..., :2] == boxes.side_px).all()
    assert boxes.boxes.min() >= 0
    assert boxes.boxes.max() <= SIDE


def test_a_box_stays_until_its_animal_leaves_the_middle(boxes: AnimalBoxes) -> None:
    moved = (boxes.boxes[1:] != boxes.boxes[:-1]).any(axis=-1)
    assert 0 < moved.mean() < 0.6


def test_boxes_from_the_ssim_image(arena: tuple[Path, ArenaTruth]) -> None:
    """An animal that rests is in no SSIM image; those that walk are."""
    video, truth = arena
    assert share_inside(found(video, source="ssim", gap=6), truth) > 0.6


def test_side_is_kept(arena: tuple[Path, ArenaTruth]) -> None:
    assert found(arena[0], side_px=50).side_px == 50


def test_nothing_moves(tmp_path: Path) -> None:
    video = write_video(tmp_path / "still.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 20)
    with pytest.raises(DataError, match="Nothing moves"):
        find_boxes(video, np.full((256, 256, 1), 90, np.uint8), 1)


def test_an_unknown_source_is_refused_before_decoding(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"no source of boxes 'flow'.*Choose one of: background, ssim"
    ):
        find_boxes(tmp_path / "missing.mp4", np.zeros((1, 1, 1), np.uint8), 1, source="flow")  # type: ignore[arg-type]


def test_the_file_is_read_as_it_was_written(
    arena: tuple[Path, ArenaTruth], boxes: AnimalBoxes, tmp_path: Path
) -> None:
    path = tmp_path / "boxes.csv"
    write_boxes([boxes], path)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == FRAMES * 2  # bodies move all the time; boxes alone have a row where one has moved
    assert {row["seen"] for row in rows} == {"1"}
    bodies = np.array([[float(row[name]) for name in BODY_COLUMNS] for row in rows]).reshape(FRAMES, 2, 5)
    np.testing.assert_allclose(bodies[..., :2], boxes.centre, atol=0.006)
    np.testing.assert_allclose(bodies[..., 2:], boxes.covariance, atol=0.006)
    assert boxes_per_animal(path) == (f"{path}#1", f"{path}#2")
    with open_video(arena[0]) as reader:
        for animal, name in enumerate(boxes_per_animal(path)):
            placements = Placements(reader.info, 32, "pad", name)
            shown = [placements(frame).box for frame in range(FRAMES)]
            np.testing.assert_array_equal(shown, boxes.boxes[:, animal])
        with pytest.raises(DataError, match=r"2 animals.*Choose one"):
            Placements(reader.info, 32, "pad", path)
    assert boxes_per_animal(None) == (None,)
    assert boxes_per_animal(f"{path}#2") == (f"{path}#2",)


def test_pairs_are_cut_out_for_each_animal(
    arena: tuple[Path, ArenaTruth], boxes: AnimalBoxes, tmp_path: Path
) -> None:
    path = tmp_path / "boxes.csv"
    write_boxes([boxes], path)
    data = FramePairsModule(str(arena[0]), size=32, gap=3, boxes=str(path), cache_dir=str(tmp_path / "cache"))
    data.prepare_data()
    data.setup()
    assert len(data.cached) == 2
    assert not np.array_equal(data.cached[0].frames[0], data.cached[1].frames[0])
    videos = {
        int(pair.video) for pair in (data.datasets["train"][i] for i in range(len(data.datasets["train"])))
    }
    assert videos == {0, 1}


def test_videos_of_one_name_cannot_share_a_file_of_boxes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = [write_arena(ArenaSettings(size=48, frames=12), tmp_path / folder, "clip") for folder in "ab"]
    assert main(["inspect", *map(str, videos), "--boxes", str(tmp_path / "boxes.csv")]) != 0
    assert "Several videos are called clip.mp4" in capsys.readouterr().err
    assert not (tmp_path / "boxes.csv").exists()


def test_from_inspection_to_tracks_of_each_animal(
    arena: tuple[Path, ArenaTruth], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a person types: inspect, fit on the crops, track.  Each row's points lie in its animal's box."""
    monkeypatch.setenv("KP_CACHE_DIR", str(tmp_path / "cache"))
    video, path, run = str(arena[0]), tmp_path / "boxes.csv", tmp_path / "run"
    assert main(["inspect", video, "--animals", "2", "--boxes", str(path)]) == 0
    assert main([
        "fit", "--model", "BKinD", "--model.keypoints=3", "--model.encoder=tiny", "--model.pretrained=false",
        "--model.reconstruction=structural", "--model.pose_width=8", "--model.decoder_widths=[8,8,8]",
        "--model.variances=[0.1,0.03,0.005]", "--data", "VideoFramePairs", f"--data.videos={video}",
        f"--data.boxes={path}", "--data.size=32", "--data.gap=3", "--data.batch_size=4",
        "--trainer.max_steps=2", "--trainer.limit_val_batches=1", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={run}",
    ]) == 0  # fmt: skip
    assert main(["track", str(run), video, "--formats", "csv,slp", "--device", "cpu"]) == 0
    tracks = read_tracks(run / "tracks" / "arena.csv")
    assert tracks.points_px.shape == (FRAMES, 2, 3, 2)
    with open_video(arena[0]) as reader:
        crops = [Placements(reader.info, 32, "pad", each) for each in boxes_per_animal(path)]
    edges = np.array([[each(frame).box for each in crops] for frame in range(FRAMES)])
    points = tracks.points_px
    inside = (points > edges[:, :, None, :2] - 1) & (points < edges[:, :, None, 2:] + 1)
    swapped = (points > edges[:, ::-1, None, :2] - 1) & (points < edges[:, ::-1, None, 2:] + 1)
    assert (inside.all(axis=(-1, -2)) | swapped.all(axis=(-1, -2))).mean() > 0.8
    assert (run / "tracks" / "arena.swaps.json").exists()
    assert read_tracks(run / "tracks" / "arena.slp").points_px.shape == tracks.points_px.shape


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), (b"\x9d\xff", "it is not a text file")]
)
def test_a_file_of_boxes_that_cannot_be_read(
    content: bytes | None, reason: str, tmp_path: Path, arena: tuple[Path, ArenaTruth]
) -> None:
    path = tmp_path / "boxes.csv"
    if content is not None:
        path.write_bytes(content)
    with open_video(arena[0]) as reader:
        for read in (boxes_per_animal, lambda boxes: Placements(reader.info, 32, "pad", boxes)):
            with pytest.raises(
                DataError, match=rf"{path} cannot be read: {reason}.*kp inspect VIDEO --boxes"
            ):
                read(path)
