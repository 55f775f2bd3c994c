"""The study of counting: its scenes show what their names say, and its table holds what was counted."""

import numpy as np
import pytest

from lightning_kp.studies import counting
from lightning_kp.studies.counting import arena, leaving, main, of_sizes, touching, with_cloth


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "FRAMES", 40)
    monkeypatch.setattr(counting, "SIZE", 96)
    monkeypatch.setattr(counting, "CLOTH", (slice(60, 90), slice(10, 40)))


def animal_pixels(images: np.ndarray) -> np.ndarray:
    """Dark pixels of each image (T, h, w, 3): black animals on a light floor."""
    return (images.max(axis=-1) < 60).sum(axis=(1, 2))


def test_one_that_leaves_is_there_in_the_last_frames_only() -> None:
    shown = animal_pixels(leaving(0.25)(0))
    assert shown[:30].max() < 0.75 * shown[30:].min()


def test_an_animal_half_as_long_has_a_quarter_of_the_area() -> None:
    one, half = (animal_pixels(of_sizes(scale)(0)).mean() for scale in (1.0, 0.5))
    assert half / one == pytest.approx(0.25, abs=0.06)


def test_animals_touch_in_the_share_of_the_frames() -> None:
    """Two animals that touch are one dark region; the share is that of the frames chosen."""
    frames = touching(0.75)(0)
    assert len(frames) == 40
    _, truth = arena(0, look_alike=True, frames=120)
    meet = np.flatnonzero((truth.gap_px < counting.TOUCH * counting.SIZE).any(axis=1))
    assert len(meet) > 0  # so that there is something to repeat
    repeated = (np.abs(np.diff(frames.astype(int), axis=0)).max(axis=(1, 2, 3)) < 40).sum()
    assert repeated >= 30 - len(meet) - 1


def test_a_cloth_lies_there_for_a_while() -> None:
    images = with_cloth(0.5)(0)
    light = (images[:, 60:90, 10:40] == (210, 205, 190)).all(axis=-1).mean(axis=(1, 2))
    assert (light[:20] == 1).all()
    assert (light[20:] < 0.1).all()


def test_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KP_DATA", raising=False)
    main(["--only", "two look-alikes"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("| two look-alikes | 2 | 2 | ")
    assert all(line.count("|") == 8 for line in lines)
