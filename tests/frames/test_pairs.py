"""Frame pairs: within one video, split without a common frame, in an order that seed and epoch determine."""

from collections import Counter
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from clips import number_of, write_numbered, write_video
from torch import Tensor

from lightning_kp.batches import FramePairs, Frames
from lightning_kp.datamodules import VideoFramePairs
from lightning_kp.errors import ConfigurationError, KeypointError, VideoError
from lightning_kp.frames.cache import CachedVideo
from lightning_kp.frames.pair_rows import held_out_block
from lightning_kp.frames.pairs import PairDataset
from lightning_kp.loading import EpochShuffle
from lightning_kp.video.reader import VideoWarning

pytestmark = pytest.mark.filterwarnings("ignore:.*(GPU|TPU|sanity|logger|log_every_n_steps|multiple).*")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name, count in (("a", 60), ("b", 40), ("c", 50), ("d", 30)):
        write_numbered(folder / f"{name}.mp4", count)
    return folder


def module(clips: Path, *names: str, ready: bool = True, **options: Any) -> VideoFramePairs:
    settings: dict[str, Any] = {"size": 32, "fit": "squash", "gap": 5, "batch_size": 8, "cache_dir": "cache"}
    data = VideoFramePairs([f"{name}.mp4" for name in names], root=str(clips), **(settings | options))
    if ready:
        data.prepare_data()
        data.setup("fit")
    return data


def pairs(dataset: Any) -> list[tuple[int, int, int]]:
    """(video, t, t + gap) of every pair, as displayed frame numbers read from the pixels."""
    assert isinstance(dataset, PairDataset)
    batch = dataset.__getitems__(list(range(len(dataset))))
    now, later = (
        [number_of(image) for image in images.permute(0, 2, 3, 1).numpy()]
        for images in (batch.frame, batch.future)
    )
    assert batch.index.tolist() == now, "an error message names the frame that it is about"
    return list(zip(batch.video.tolist(), now, later, strict=True))


def frames_of(chosen: list[tuple[int, int, int]]) -> set[tuple[int, int]]:
    return {(video, frame) for video, *both in chosen for frame in both}


def order(data: VideoFramePairs, epoch: int = 0) -> list[tuple[int, int]]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return [
        place for batch in loader for place in zip(batch.video.tolist(), batch.index.tolist(), strict=True)
    ]


# ---------------------------------------------------------------- which pairs there are


def test_every_pair_once_and_none_across_videos(clips: Path) -> None:
    data = module(clips, "a", "b", val_fraction=0)
    expected = [(0, t, t + 5) for t in range(55)] + [(1, t, t + 5) for t in range(35)]
    assert pairs(data.datasets["train"]) == expected
    assert data.val_dataloader() == []


def test_gap_in_seconds_and_stride(clips: Path) -> None:
    data = module(clips, "a", gap="0.4s", pair_stride=20, val_fraction=0)
    assert pairs(data.datasets["train"]) == [(0, 0, 10), (0, 20, 30), (0, 40, 50)]


def test_thinned_cache_still_gives_pairs(clips: Path) -> None:
    with pytest.warns(VideoWarning, match=r"40.0% of the frames are kept"):
        data = module(clips, "a", cache_gb=32 * 32 * 3 * 25 / 1e9, val_fraction=0)
    expected = [(0, t, t + 5) for t in range(55) if t % 5 in (0, 2)]
    assert pairs(data.datasets["train"]) == expected


def test_pair_of_a_moving_box_shows_one_region(clips: Path) -> None:
    images = [
        np.repeat((np.arange(64)[None, :, None] == 10 + i) * np.uint8(255), 48, 0).repeat(3, 2)
        for i in range(30)
    ]
    write_video(clips / "line.mkv", images, codec="ffv1", pixel_format="yuv444p")
    rows = [f"{i},{6 + i},0,{38 + i},32" for i in range(30)]
    (clips / "boxes.csv").write_text("\n".join(["frame,left,top,right,bottom", *rows]))
    data = module(clips, "line", ready=False, gap=4, boxes="boxes.csv", val_fraction=0)
    data.videos = "line.mkv"
    data.setup("fit")
    batch = data.datasets["train"].__getitems__([3, 20])  # type: ignore[attr-defined]
    assert batch.frame[:, 1, 16].argmax(-1).tolist() == [4, 4]
    assert batch.future[:, 1, 16].argmax(-1).tolist() == [8, 8]


# ---------------------------------------------------------------- batches


def test_batches(clips: Path) -> None:
    data = module(clips, "a", "b")
    for loader, kind in ((data.train_dataloader(), FramePairs), (data.predict_dataloader(), Frames)):
        batch = next(iter(loader))
        assert type(batch) is kind
        assert batch[0].shape == (8, 3, 32, 32)
        assert batch[0].dtype == torch.uint8
        assert batch[0].is_contiguous(memory_format=torch.channels_last)
        assert batch.index.dtype == batch.video.dtype == torch.int64


def test_one_item_equals_its_batch(clips: Path) -> None:
    for dataset in module(clips, "a").datasets.values():
        batch = dataset.__getitems__([4, 2])  # type: ignore[attr-defined]
        assert all((one == many[1]).all() for one, many in zip(dataset[2], batch, strict=True))


def test_prediction_has_every_frame_in_order(clips: Path) -> None:
    data = module(clips, "a", "b")
    places = [
        place for batch in data.predict_dataloader() for place in zip(batch.video, batch.index, strict=True)
    ]
    assert places == [(0, i) for i in range(60)] + [(1, i) for i in range(40)]


def test_workers_serve_the_same(clips: Path) -> None:
    plain, helped = (module(clips, "a", num_workers=workers) for workers in (0, 1))
    first, second = (next(iter(data.train_dataloader())) for data in (plain, helped))
    assert all((one == other).all() for one, other in zip(first, second, strict=True))


def test_small_data_fill_a_batch_that_is_not_full(clips: Path) -> None:
    """Fewer pairs than a batch: dropping the last batch would leave nothing to train on."""
    data = module(clips, "d", batch_size=64, val_fraction=0)
    assert [len(batch.frame) for batch in data.train_dataloader()] == [25]


# ---------------------------------------------------------------- splits


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("options", [{}, {"split": "time"}, {"cache_gb": 32 * 32 * 3 * 100 / 1e9}])
@pytest.mark.parametrize("names", ["a", "ab", "abcd"])
@pytest.mark.filterwarnings("ignore::lightning_kp.video.reader.VideoWarning")
def test_no_frame_trains_and_validates(clips: Path, seed: int, options: dict[str, Any], names: str) -> None:
    data = module(clips, *names, seed=seed, val_fraction=0.2, **options)
    train, val = pairs(data.datasets["train"]), pairs(data.datasets["val"])
    assert train
    assert val
    assert not frames_of(train) & frames_of(val)


def test_split_by_video(clips: Path) -> None:
    data = module(clips, *"abcd", val_fraction=0.5)
    train, val = ({video for video, *_ in pairs(data.datasets[stage])} for stage in ("train", "val"))
    assert train | val == {0, 1, 2, 3}
    assert len(train) == len(val) == 2
    assert {v for v, *_ in pairs(module(clips, "a", "b", split="video").datasets["val"])} < {0, 1}


def test_split_in_time_keeps_a_gap_between(clips: Path) -> None:
    data = module(clips, "a", val_fraction=0.2)
    train, val = (sorted(f for _, f in frames_of(pairs(data.datasets[s]))) for s in ("train", "val"))
    assert val == list(range(val[0], val[0] + 12)), "one block of a fifth of 60 frames"
    assert min(abs(t - v) for t in train for v in val) > 5


def test_held_out_block_by_hand() -> None:
    blocks = {held_out_block(100, 5, 0.2, np.random.default_rng(seed)) for seed in range(60)}
    assert blocks == {(start, start + 20) for start in range(0, 100, 20)}
    assert held_out_block(100, 30, 0.1, np.random.default_rng(0)) == (0, 60), "it holds pairs at least"
    assert held_out_block(10, 30, 0.1, np.random.default_rng(0)) == (0, 10)


# ---------------------------------------------------------------- the seed


def test_seed_fixes_split_and_order(clips: Path) -> None:
    one, same, other = (module(clips, *"abcd", seed=seed) for seed in (1, 1, 2))
    assert order(one) == order(same)
    assert order(one) != order(one, epoch=1)
    assert order(one, epoch=1) == order(same, epoch=1)
    assert order(one) != order(other)


def test_global_generator_changes_nothing(clips: Path) -> None:
    data = module(clips, "a")
    torch.manual_seed(1)
    first = order(data)
    torch.manual_seed(2)
    assert order(data) == first


def test_every_epoch_is_a_permutation() -> None:
    sampler = EpochShuffle(50, seed=0)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        assert sorted(sampler) == list(range(50))


def test_processes_share_an_epoch(clips: Path) -> None:
    """Lightning's wrapper for several processes: together they see every pair, and each epoch anew."""
    from lightning.fabric.utilities.distributed import DistributedSamplerWrapper

    def shares(epoch: int) -> list[list[int]]:
        sampler = [
            DistributedSamplerWrapper(EpochShuffle(50, 0), num_replicas=2, rank=r, shuffle=False)
            for r in (0, 1)
        ]
        for part in sampler:
            part.set_epoch(epoch)
        return [list(part) for part in sampler]

    first, second = shares(0), shares(1)
    assert sorted(first[0] + first[1]) == sorted(second[0] + second[1]) == list(range(50))
    assert first != second


class Recorder(L.LightningModule):
    """A model that learns nothing and notes what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, tuple[int, ...]]] = []

    def training_step(self, batch: FramePairs, batch_idx: int) -> Tensor:
        self.seen.append((self.current_epoch, tuple(batch.index.tolist())))
        return self.weight.sum()

    def validation_step(self, batch: FramePairs, batch_idx: int) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data: VideoFramePairs, folder: Path, resume: Path | None = None, **options: Any) -> Recorder:
    from lightning.pytorch.callbacks import ModelCheckpoint

    model = Recorder()
    saver = ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    trainer = L.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, callbacks=[saver], enable_progress_bar=False,
        enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
    return model


@pytest.mark.parametrize("options", [{}, {"limit_train_batches": 4}])
def test_resumed_run_sees_what_the_whole_one_would_have(
    clips: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    """From every step on, in the middle of epochs and at their ends."""
    whole = fit(module(clips, "a", ready=False), tmp_path, **options).seen
    per_epoch = Counter(epoch for epoch, _ in whole)
    assert len(per_epoch) == 3
    for step in range(1, len(whole), 2 if options else 3):
        resumed = fit(
            module(clips, "a", ready=False), tmp_path / "again", tmp_path / f"step={step}.ckpt", **options
        )
        assert resumed.seen == whole[step:], f"resumed after step {step} of {dict(per_epoch)}"


# ---------------------------------------------------------------- errors


def test_gap_longer_than_the_video_is_one_line(clips: Path) -> None:
    with pytest.raises(
        KeypointError, match=r"a.mp4 has 60 frame\(s\).*gap=80 at 25 fps.*Set a shorter gap"
    ) as error:
        module(clips, "a", gap=80)
    assert "\n" not in str(error.value)


def test_one_frame_is_no_pair(clips: Path, tmp_path: Path) -> None:
    write_numbered(tmp_path / "one.mp4", 1)
    with pytest.raises(KeypointError, match=r"one.mp4 has 1 frame\(s\)"):
        module(tmp_path, "one")


def test_short_video_among_others_is_left_out(clips: Path, tmp_path: Path) -> None:
    write_numbered(tmp_path / "one.mp4", 3)
    write_numbered(tmp_path / "two.mp4", 60)
    with pytest.warns(VideoWarning, match=r"one.mp4 has 3 frame\(s\).*This video is skipped"):
        data = module(tmp_path, "one", "two")
    assert {video for video, *_ in pairs(data.datasets["train"])} == {1}


def test_too_short_to_split_is_said(clips: Path) -> None:
    with pytest.raises(
        KeypointError, match=r"30 frames and a gap of 12 frames leave 0 pairs for training.*val_fraction=0"
    ):
        module(clips, "d", gap=12)


def test_one_video_cannot_be_split_by_video(clips: Path) -> None:
    """However long it is: longer videos or shorter gaps would not help."""
    with pytest.raises(KeypointError, match=r"leave 0 pairs for training.*Set --data\.split=time"):
        module(clips, "a", split="video")


@pytest.mark.parametrize(
    "options",
    [
        {"val_fraction": 1.0},
        {"val_fraction": -0.1},
        {"pair_stride": 0},
        {"cache_gb": 0},
        {"gap": "soon"},
        {"split": "videos"},
    ],
)
def test_values_out_of_range_are_refused_before_decoding(clips: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        module(clips, "a", ready=False, **options)


def test_missing_video_is_named(clips: Path) -> None:
    with pytest.raises(VideoError, match=r"No video found for 'z.mp4'"):
        module(clips, "z")


def test_checkpoint_says_how_frames_were_made(clips: Path) -> None:
    data = module(clips, "a", ready=False, fit="crop")
    assert {"size": 32, "fit": "crop", "gap": 5}.items() <= dict(data.hparams).items()


def test_command_line_builds_it(clips: Path) -> None:
    """Every option has a type that jsonargparse reads."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(VideoFramePairs, "data")
    config = parser.parse_args(
        ["--data.videos=['a.mp4']", "--data.boxes=[0,0,9,9]", "--data.gap=7", f"--data.root={clips}"]
    )
    data = parser.instantiate_classes(config).data
    assert (data.gap, data.boxes, data.videos) == (7, [0, 0, 9, 9], ["a.mp4"])


def test_cached_videos_are_offered(clips: Path) -> None:
    """Whoever writes results needs name, size and region of each video."""
    (video,) = module(clips, "a").cached
    assert isinstance(video, CachedVideo)
    assert (video.name, video.frame_size) == ("a", (48, 64))


# ---------------------------------------------------------------- speed


@pytest.mark.slow
def test_pairs_arrive_ten_times_faster_than_they_are_consumed(kp_data: Path, tmp_path: Path) -> None:
    """Two cores need about 15 ms of training for a pair of 96 px: one may take 1.5 ms to arrive."""
    import time

    data = VideoFramePairs("mouse_openfield/videos", root=str(kp_data), size=96, cache_dir=str(tmp_path))
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    start = time.process_time()
    count = sum(len(batch.frame) for batch in loader)
    assert (time.process_time() - start) / count < 1.5e-3


@pytest.mark.parametrize("split", ["auto", "time"])
def test_crops_of_one_video_validate_together(clips: Path, split: str) -> None:
    """Crops of several animals show the same pixels: none of a held-out frame may train."""
    rows = [
        f"{frame},{left},0,{left + 20},20,{n}" for n, left in enumerate((0, 5, 10), 1) for frame in range(60)
    ]
    (clips / "animals.csv").write_text("\n".join(["frame,left,top,right,bottom,animal", *rows]))
    data = module(clips, "a", boxes="animals.csv", split=split, val_fraction=0.2)
    assert len(data.cached) == 3
    sides = []
    for stage in ("train", "val"):
        dataset = data.datasets[stage]
        assert isinstance(dataset, PairDataset)
        batch = dataset.__getitems__(list(range(len(dataset))))
        sides.append(set(batch.index.tolist()))
    assert sides[0]
    assert sides[1]
    assert not sides[0] & sides[1]
