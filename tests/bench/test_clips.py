"""Tools of the benchmark: clips of the requested length, and clocks that exclude the warm-up."""

import time
from pathlib import Path

import clips
import pytest

from lightning_kp.bench import clips as bench_clips
from lightning_kp.bench.cache import by_both_clocks, decode_rgb
from lightning_kp.bench.track import peak_memory_mb
from lightning_kp.video.opening import open_video


def test_a_texture_has_its_frames_and_moves(tmp_path: Path) -> None:
    path = bench_clips.write_texture(tmp_path / "t.mp4", 7, size=(64, 96), distinct=3)
    assert decode_rgb(path) == 7
    with open_video(path) as reader:
        images = [frame.image.astype(float) for frame in reader]
    assert images[0].shape == (64, 96, 3)
    assert abs(images[0] - images[1]).mean() > 10
    assert abs(images[0] - images[3]).mean() < 5  # the same picture again


def test_a_cut_keeps_the_first_frames(tmp_path: Path) -> None:
    whole = clips.write_numbered(tmp_path / "whole.mp4", 30, options={"crf": "1", "bf": "0"})
    with open_video(bench_clips.cut(whole, tmp_path / "cut.mp4", 12)) as reader:
        assert [clips.number_of(frame.image) for frame in reader] == list(range(12))


def test_recordings_are_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mouse_openfield" / "videos"
    folder.mkdir(parents=True)
    clips.write_numbered(folder / "a.mp4", 5)
    monkeypatch.setenv("KP_DATA", str(tmp_path))
    assert set(bench_clips.sample_clips(tmp_path, 3)) == {"mouse"}
    monkeypatch.delenv("KP_DATA")
    assert set(bench_clips.sample_clips(tmp_path, 3)) == {"texture"}


def test_sleeping_takes_time_but_no_cpu_and_the_first_round_is_left_out() -> None:
    naps = iter([0.3, 0.02, 0.02])
    both = by_both_clocks({"nap": lambda: time.sleep(next(naps))}, repeats=2)
    assert 0.02 <= both["clock"]["nap"] < 0.3
    assert both["CPU"]["nap"] < 0.01


def test_peak_memory_counts_what_was_held() -> None:
    before = peak_memory_mb()
    held = bytearray(b"x") * (200 * 2**20)
    after = peak_memory_mb()
    assert len(held) == 200 * 2**20
    assert 20 < before <= after
    del held
    assert peak_memory_mb() > 200
