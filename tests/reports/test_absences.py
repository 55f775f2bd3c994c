"""The section of a report that lists when animals were not found."""

import numpy as np

from lightning_kp.reports.absences import absences, unseen
from lightning_kp.reports.videos import RunVideo
from lightning_kp.tracks.table import Tracks

FPS, FRAMES = 10.0, 60


def tracks(animals: int = 2) -> Tracks:
    """Two keypoints of each animal for 6 s, all seen."""
    shape = (FRAMES, animals, 2)
    return Tracks(
        video="videos/pair.mp4", frame_size=(100, 100), fps=FPS, times_s=np.arange(FRAMES) / FPS,
        points_px=np.full((*shape, 2), 50, np.float32), confidence=np.full(shape, 0.9, np.float32),
        covariance_px=np.full((*shape, 3), np.nan, np.float32), keypoint_names=("kp01", "kp02"),
    )  # fmt: skip


def inspected(**absence: object) -> dict[str, object]:
    stretch = {"start_s": 0.0, "end_s": 8.1, "large_at": "bottom left", "found": 0, "animals": 1}
    return {"videos": [{"path": "/data/pair.mp4", "absences": [stretch | absence]}]}


def test_an_animal_without_confidence_or_place_is_unseen() -> None:
    source = tracks()
    source.confidence[3, 0] = 0
    source.points_px[4, 1] = np.nan
    source.confidence[5, 0, 0] = 0  # its other keypoint is there
    assert np.argwhere(unseen(source)).tolist() == [[3, 0], [4, 1]]


def test_stretches_of_the_tracks_are_listed_by_animal() -> None:
    source = tracks()
    source.confidence[20:41, 1] = 0
    source.confidence[5:9, 0] = 0  # less than a second
    markup = absences([RunVideo("pair", 3, source)], {})
    assert markup.count("<tr>") == 2
    assert 'data-video="video-3" data-time="2.000" data-value="2.000">2.0</button>' in markup
    for text in (">4.00<", "animal 2"):
        assert text in markup
    assert "animal 1" not in markup


def test_the_inspection_says_what_is_there() -> None:
    source = tracks(animals=1)
    source.confidence[:41] = 0
    markup = absences([RunVideo("pair", 0, source)], inspected(end_s=3.9))
    assert ">4.00<" in markup  # where the tracks say when it comes back
    assert "the animal" in markup
    assert "something large at the bottom left" in markup
    short = absences([RunVideo("pair", 0, source)], inspected(end_s=1.9))
    assert "something large" not in short  # for less than half of the stretch


def test_without_such_tracks_the_inspection_is_listed() -> None:
    markup = absences([RunVideo("pair", 0, tracks())], inspected(found=1, animals=2, large_at=None))
    assert markup.count("<tr>") == 2
    assert "1 of 2" in markup
    assert ">8.10<" in markup
    assert "something large" not in markup


def test_nothing_makes_no_section() -> None:
    assert absences([RunVideo("pair", 0, tracks())], {}) == ""
    assert absences([RunVideo("pair", 0, None)], {"videos": [{"path": "other.mp4"}]}) == ""
    everything = tracks()
    everything.confidence[:] = 0  # no stretch, but a file without confidences
    assert absences([RunVideo("pair", 0, everything)], {}) == ""
