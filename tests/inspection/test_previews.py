"""The preview drawn by `kp inspect`: one row for each preprocessing."""

import numpy as np
import pytest
from PIL import Image

from lightning_kp.arena.recording import ArenaSettings, write_arena
from lightning_kp.cli import main
from lightning_kp.errors import DataError
from lightning_kp.inspection.previews import CHOICES, write_preview


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    settings = ArenaSettings(size=64, frames=24, animals=1, shadow=True, noise=0.0)
    return write_arena(settings, tmp_path_factory.mktemp("preview"), "arena")


def test_one_row_for_each(video, tmp_path):
    few = Image.open(write_preview(video, tmp_path / "few.png", ["hsv"], gap=3, size=48))
    more = Image.open(write_preview(video, tmp_path / "more.png", ["hsv", "ssim", "filter"], gap=3, size=48))
    assert few.width == more.width
    assert more.height > 1.8 * few.height
    assert np.asarray(few.convert("RGB")).std() > 30  # pictures, not a blank page


def test_names_are_settings_that_do_something():
    assert all(settings.is_on for settings in CHOICES.values())
    assert len({settings.fingerprint for settings in CHOICES.values()}) == len(CHOICES)


def test_too_short_a_video_and_a_place_without_a_folder_are_told(video, tmp_path):
    with pytest.raises(DataError, match="has 24 frame"):
        write_preview(video, tmp_path / "x.png", ["hsv"], gap=30)
    (tmp_path / "file").write_text("")
    with pytest.raises((DataError, OSError)):
        write_preview(video, tmp_path / "file" / "x.png", ["hsv"], gap=3, size=48)


def test_the_command_draws_it(video, tmp_path, capsys):
    out = tmp_path / "inspected"
    assert main(["inspect", str(video), "--out", str(out), "--preview", "hsv,filter"]) == 0
    assert (out / "preprocessing_arena.png").stat().st_size > 10_000
    capsys.readouterr()
    assert main(["inspect", str(video), "--preview", "hsv"]) == 2
    assert "Give out (--out DIR)" in capsys.readouterr().err
    assert main(["inspect", str(video), "--out", str(out), "--preview", "hvs"]) == 2
    assert "Choose all, or some of hsv,ssim,filter,translation,similarity" in capsys.readouterr().err
