"""The report: one file that needs nothing else, whatever the run folder lacks or is called."""

import dataclasses
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pytest
from PIL import Image as Pictures

from lightning_kp import report
from lightning_kp.errors import DataError
from lightning_kp.report import write_report
from lightning_kp.run_folder import RunFolder
from lightning_kp.track_files import write_tracks
from lightning_kp.tracks import Tracks, default_names
from lightning_kp.verdict import Diagnosis, KeypointDiagnosis, Measures, Problem, Remedy, Scene, Verdict

EVIL = "<script>alert(1)</script>&\"'"


class Page(HTMLParser):
    """Tags, links and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def page_of(folder: RunFolder) -> Page:
    page = Page(write_report(folder).read_text())
    assert page.open == []
    return page


def diagnosis(reason: str = "1 of 2 keypoints found.") -> Diagnosis:
    measures = Measures(0.98, 0.5, 0.3, 0.9, 0.0, 0.4, 1.5, 0.1, 0.25, 0.1)
    blind = dataclasses.replace(measures, on_animal=math.nan, jitter_px=math.nan)
    good = KeypointDiagnosis(Verdict.FOUND, Problem.NONE, "on the animal", Remedy.NONE, None, measures)
    bad = KeypointDiagnosis(Verdict.FAILED, Problem.STUCK, reason, Remedy.FEWER, None, blind)
    scene = Scene(100, 100, 64, 20.0, 1.0, 0.3)
    return Diagnosis(Verdict.DOUBTFUL, reason, Remedy.FEWER, 0.5, scene, (good, bad))


def add_video(folder: RunFolder, name: str) -> Path:
    """A tracked video with its overlay."""
    video = clips.write_numbered(folder.path.parent / f"{name}.mp4", 3, (32, 32))
    points = np.full((3, 1, 2, 2), 10, np.float32)
    tracks = Tracks(
        str(video), (32, 32), 25.0, np.arange(3) / 25, points, np.ones((3, 1, 2), np.float32),
        np.ones((3, 1, 2, 3), np.float32), default_names(2),
    )  # fmt: skip
    folder.overlay(name).parent.mkdir(exist_ok=True)
    write_tracks(tracks, folder.tracks(name), ("csv",))
    return clips.write_numbered(folder.overlay(name), 3, (32, 32))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run").create()


def fill(folder: RunFolder, word: str) -> None:
    """Every part of a run, with ``word`` wherever text comes from outside."""
    folder.config.write_text(f"model: '{word}'\n")
    folder.diagnostics.write_text(diagnosis(word).to_json())
    folder.add_metrics({word: 4.25, "matches": {word: 1}, "verdict": word})
    (folder.path / "metrics.csv").write_text(
        "epoch,step,train/loss_step,train/rotation_step,val/loss\n0,1,2.5,0.5,\n0,9,1.5,0.25,\n0,9,,,1.75\n1,1"
    )
    Pictures.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder.path / "inspection.png")
    add_video(folder, "session")


def test_everything_is_inside_the_file(folder: RunFolder) -> None:
    fill(folder, "plain")
    page = page_of(folder)
    # Curves, inspection, contact sheet, overlay.
    assert [link.partition(";")[0] for link in page.links] == [
        "data:image/png", "data:video/mp4", "data:image/png", "data:image/png",
    ]  # fmt: skip
    text = folder.report.read_text()
    assert not re.search(r"https?://|@import|url\(", text)
    assert "script" not in page.tags
    for told in (
        "DOUBTFUL",
        "kp01",
        "98%",
        "fewer keypoints",
        "4.25",
        "Training",
        "session",
        "model: 'plain'",
    ):
        assert told in page.text, told
    assert "nan" not in page.text.lower()


@pytest.mark.parametrize("name", ["run <b>bold</b>", "run & co"])
def test_text_from_outside_stays_text(tmp_path: Path, name: str) -> None:
    folder = RunFolder(tmp_path / name.replace("/", "_")).create()
    fill(folder, EVIL)
    page = page_of(folder)
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert page.text.count("<script>alert(1)</script>") >= 6


def test_names_of_videos_are_escaped(folder: RunFolder) -> None:
    folder.config.write_text("a: 1\n")
    add_video(folder, "<img src=x>")
    page = page_of(folder)
    assert "<img src=x>" in page.text
    assert all(link.startswith("data:") for link in page.links)


PARTS = {
    "diagnostics.json": "Keypoints",
    "metrics.json": "Figures",
    "metrics.csv": "Training",
    "inspection.png": "What the videos hold",
    "overlays": "Videos",
    "config.yaml": "Settings",
}


@pytest.mark.parametrize("missing", PARTS)
def test_a_missing_part_is_left_out(folder: RunFolder, missing: str) -> None:
    fill(folder, "plain")
    assert PARTS[missing] in page_of(folder).text
    path = folder.path / missing
    if path.is_dir():
        path.rename(folder.path / "elsewhere")
    else:
        path.unlink()
    page = page_of(folder)
    assert PARTS[missing] not in page.text
    assert all(PARTS[other] in page.text for other in PARTS if other != missing)


def test_before_training_has_ended(folder: RunFolder) -> None:
    folder.config.write_text("a: 1\n")
    assert "No verdict yet" in page_of(folder).text


def test_a_video_that_was_moved_leaves_the_report_whole(folder: RunFolder) -> None:
    fill(folder, "plain")
    (folder.path.parent / "session.mp4").unlink()
    assert "session" in page_of(folder).text


def test_a_large_overlay_is_named_instead(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder, "plain")
    monkeypatch.setattr(report, "EMBEDDED_VIDEO_MB", 0)
    page = page_of(folder)
    assert "overlays/session.mp4" in page.text
    assert "video" not in page.tags


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_damaged_file_is_named(folder: RunFolder, content: str) -> None:
    folder.diagnostics.write_text(content)
    with pytest.raises(DataError, match=r"diagnostics\.json is damaged"):
        write_report(folder)


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_a_folder_that_is_no_run(tmp_path: Path, place: Any) -> None:
    with pytest.raises(DataError, match="is not a run folder"):
        write_report(RunFolder(tmp_path / place))
