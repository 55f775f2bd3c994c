"""Bouts and labels: by hand, back and forth, and files of several makes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_kp.behaviour.bouts import (
    UNLABELLED,
    Bout,
    majority,
    read_bouts,
    to_bouts,
    to_labels,
    write_bouts,
)
from lightning_kp.behaviour.clock import Clock
from lightning_kp.errors import DataError

NAMES = ("attack", "mount", "other")


def labels(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_bouts_by_hand() -> None:
    found = to_bouts(labels(0, 0, 2, 1, 1, 1, -1, 0), NAMES)
    assert [bout[:3] for bout in found] == [
        ("attack", 0, 1), ("other", 2, 2), ("mount", 3, 5), ("attack", 7, 7),
    ]  # fmt: skip
    assert "other" not in {bout.behaviour for bout in to_bouts(labels(0, 2, 0), NAMES, skip=("other",))}
    assert to_bouts(labels(), NAMES) == []


def test_the_shorter_bout_counts_where_two_overlap() -> None:
    bouts = [Bout("attack", 3, 4), Bout("mount", 0, 5), Bout("unknown", 0, 9), Bout("mount", 8, 20)]
    assert to_labels(bouts, 10, NAMES, "other").tolist() == [1, 1, 1, 0, 0, 1, 2, 2, 1, 1]
    assert to_labels(bouts[:1], 5, NAMES, None).tolist() == [UNLABELLED] * 3 + [0, 0]


@given(st.lists(st.integers(-1, 2), min_size=0, max_size=60))
def test_labels_come_back(values: list[int]) -> None:
    given_labels = labels(*values)
    assert to_labels(to_bouts(given_labels, NAMES), len(values), NAMES, None).tolist() == values


def test_majority_of_raters() -> None:
    votes = [labels(0, 0, 1, 2), labels(0, 1, 1, 2), labels(0, 2, 2, 2)]
    assert majority(votes).tolist() == [0, UNLABELLED, 1, 2]
    assert majority(votes[:2]).tolist() == [0, UNLABELLED, 1, 2]  # one of two is no majority


def test_written_bouts_are_read_back(tmp_path: Path) -> None:
    bouts = [Bout("attack", 0, 4, 0.9), Bout("mount", 10, 10, 0.5)]
    path = write_bouts(tmp_path / "new" / "a.bouts.csv", bouts, 25.0, "a")
    found = read_bouts(path, 0.0)[""]
    assert [bout[:3] for bout in found] == [bout[:3] for bout in bouts]
    lines = path.read_text().splitlines()
    assert lines[1] == "a,attack,0,4,0.0,0.2,0.9"


def test_seconds_become_frames(tmp_path: Path) -> None:
    """DLCAnalyzer's headings; a stop is the end of the last frame, so 1.0 s at 25 fps ends with frame 24."""
    path = tmp_path / "raters.csv"
    path.write_text(",file,Experimenter,from,to,type\n1,x,Jin,0.5,1.0,Rear\n2,x,Oliver,0.52,1.2,Rear\n")
    found = read_bouts(path, 25.0)
    assert [bout[:3] for bout in found["Jin"]] == [("Rear", 12, 24)]
    assert [bout[:3] for bout in found["Oliver"]] == [("Rear", 13, 29)]
    assert set(read_bouts(path, 25.0, rater="Jin")) == {"Jin"}
    assert set(read_bouts(path, 25.0, rater="majority")) == {"Jin", "Oliver"}


def test_boris_headings(tmp_path: Path) -> None:
    path = tmp_path / "boris.csv"
    path.write_text(
        "Media file,Subject,Behavior,Start (s),Stop (s)\nclips/a.mp4,fly1,lunge,0,0.1\n"
        "clips/b.mp4,fly1,lunge,1,2\nclips/a.mp4,fly2,chase,2,3\nclips/a.mp4,,rest,4,5\n"
    )
    found = read_bouts(path, 10.0, video="a", animal="fly1")[""]
    assert [bout[:3] for bout in found] == [("lunge", 0, 0), ("rest", 40, 49)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("behaviour,begin,end\nx,1,2\n", "columns behaviour, begin, end"),
        ("behaviour,start_frame,stop_frame\nx,1,later\n", "line 2"),
        ("behaviour,start_frame,stop_frame\nx,1,2\ny,9,3\n", "line 3"),
        ("behaviour,start_s,stop_s\nx,1,2\n", "--data.fps=30"),
        ("behaviour,start_frame,stop_frame\nx,1,inf\n", "line 2"),
        ("", "columns none"),
    ],
)
def test_broken_files_name_the_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_bouts(path, 0.0)


def test_an_animal_that_does_nothing_has_a_file_of_headings(tmp_path: Path) -> None:
    path = tmp_path / "still.csv"
    path.write_text("behaviour,start_frame,stop_frame\n")
    assert read_bouts(path, 25.0, video="still", rater="majority") == {}


def test_a_misspelt_rater_and_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "raters.csv"
    path.write_text("rater,behaviour,start_frame,stop_frame\nJin,x,1,2\nOliver,x,1,2\n")
    with pytest.raises(DataError, match="Did you mean Oliver"):
        read_bouts(path, 0.0, rater="Olivier")
    with pytest.raises(DataError, match="file of behaviour labels"):
        read_bouts(tmp_path / "none.csv", 0.0)


def test_bouts_of_a_variable_frame_rate_have_their_own_seconds(tmp_path: Path) -> None:
    times = np.concatenate((np.arange(60) / 30, 2 + np.arange(20) / 10))
    path = write_bouts(tmp_path / "a.csv", [Bout("groom", 60, 69, 1.0)], 20.0, "a", times)
    row = path.read_text().splitlines()[1].split(",")
    assert [float(cell) for cell in row[4:6]] == pytest.approx([2.0, 2.95])


def test_seconds_are_not_taken_for_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("behavior,start,stop\ngroom,1.52,3.96\n")
    with pytest.raises(DataError, match=r"line 2: 1\.52 and 3\.96 are not frame numbers\. Name columns"):
        read_bouts(path, 30.0)
    path.write_text("behavior,start,stop\ngroom,46.0,118\n")
    assert [bout[:3] for bout in read_bouts(path, 30.0)[""]] == [("groom", 46, 118)]


SECONDS = "behaviour,start_s,stop_s\n"
UNEVEN = np.concatenate(
    (np.arange(25) / 25, 1 + np.arange(20) / 5, 5 + np.arange(25) / 25)
)  # 25, 5, 25 frames/s
PAUSED = np.concatenate((np.arange(100) / 25, 60 + np.arange(100) / 25))  # off from 4 to 60 s


@pytest.mark.parametrize(
    ("times", "start", "stop", "frames"),
    [
        (UNEVEN, 2, 3, (30, 34)),  # 1 s are 25 frames, 2 s five more
        (UNEVEN, 5, 5.4, (45, 54)),
        (UNEVEN, 2.05, 2.95, (30, 34)),  # the nearest frames
        (UNEVEN, 5.6, 99, (60, 2394)),  # goes on after the last frame: 0.04 s each
        (np.arange(50) / 25 + 0.2, 0, 0.4, (0, 4)),  # the first frame comes late
        (PAUSED, 3, 61, (75, 124)),
        (PAUSED, 3, 30, (75, 99)),  # stops within the pause
        (PAUSED, 30, 61, (100, 124)),  # starts within the pause
        (PAUSED, 30, 31, None),
    ],
)
def test_seconds_fall_on_the_frames_of_their_times(
    times: np.ndarray, start: float, stop: float, frames: tuple[int, int] | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{SECONDS}groom,{start},{stop}\n")
    found = read_bouts(path, 12.0, times_s=times)[""]
    assert [bout[1:3] for bout in found] == ([] if frames is None else [frames])


@given(st.integers(0, 500), st.integers(1, 500), st.floats(-0.49, 0.49))
def test_even_times_are_the_rate(first: int, length: int, off: float) -> None:
    clock = Clock.of(np.arange(600) / 30, 30.0)
    for frame in (first, first + length):
        assert clock.frame_at(max(0.0, (frame + off) / 30)) == Clock.of(None, 30.0).frame_at(
            max(0.0, (frame + off) / 30)
        )


BORIS = "Observation id,Subject,Behavior,Behavior type,Start (s),Stop (s),Media file name\n"


@pytest.mark.parametrize("before", ["", "videos/", "C:\\data\\day 1\\", "\\\\server\\lab\\"])
def test_newer_boris_tables_name_each_video(before: str, tmp_path: Path) -> None:
    path = tmp_path / "boris.csv"
    rows = f"o,s,groom,STATE,2,4,{before}cam1.mp4\no,s,rear,STATE,6,8,{before}cam2.mp4\n"
    path.write_text(BORIS + rows)
    assert [bout[:3] for bout in read_bouts(path, 25.0, video="cam1")[""]] == [("groom", 50, 99)]
    assert [bout[:3] for bout in read_bouts(path, 25.0, video="cam2")[""]] == [("rear", 150, 199)]


def test_videos_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "boris.csv"
    path.write_text(f"{BORIS}o,s,groom,STATE,2,4,day1/cam.mp4\no,s,rear,STATE,6,8,day2/cam.mp4\n")
    with pytest.raises(
        DataError, match=r"bouts of day1/cam\.mp4 and of day2/cam\.mp4, and both are called cam"
    ):
        read_bouts(path, 25.0, video="cam")
    path.write_text(f"{BORIS}o,s,groom,STATE,2,4,day1/cam.mp4\no,s,rear,STATE,6,8,cam.mp4\n")
    assert len(read_bouts(path, 25.0, video="cam")[""]) == 2


def test_point_events_have_no_stop(tmp_path: Path) -> None:
    path = tmp_path / "boris.csv"
    path.write_text(f"{BORIS}o,s,sniff,POINT,2,NA,a.mp4\n")
    assert [bout[:3] for bout in read_bouts(path, 25.0, video="a")[""]] == [("sniff", 50, 50)]
    path.write_text(f"{BORIS}o,s,groom,STATE,2,NA,a.mp4\n")
    with pytest.raises(DataError, match=r"line 2: groom starts at 2 and has no stop\. Give the time"):
        read_bouts(path, 25.0, video="a")


def test_tables_with_tabs_or_semicolons(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    for mark in "\t;":
        path.write_text(f"{SECONDS}groom,1,2\n".replace(",", mark))
        assert [bout[:3] for bout in read_bouts(path, 10.0)[""]] == [("groom", 10, 19)]
