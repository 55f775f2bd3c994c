"""The report is one file that needs nothing else, whatever the run folder lacks or is called."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import clips
import numpy as np
import pytest
from PIL import Image as Pictures
from report_folders import EVIL, add_results, add_video, fill

from lightning_kp.errors import DataError
from lightning_kp.reports import videos as report_videos
from lightning_kp.reports.document import write_report
from lightning_kp.runs.folder import RunFolder
from lightning_kp.tracks.table import Tracks, default_names


class Page(HTMLParser):
    """Tags, links and the text of a page, its own style and script left out."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attributes if name.startswith("on")]
        if tag not in ("meta", "img", "br", "link", "input") and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.text += data

    @property
    def embedded(self) -> list[str]:
        """Kinds of what is inside the page."""
        return [link.partition(";")[0] for link in self.links if link.startswith("data:")]

    @property
    def elsewhere(self) -> list[str]:
        """Links that leave the page."""
        return [link for link in self.links if not link.startswith(("data:", "#"))]


def page_of(folder: RunFolder) -> Page:
    page = Page(write_report(folder).read_text())
    assert page.open == []
    return page


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run").create()


def test_exchanges_that_tracking_found_are_listed_without_a_verdict(folder: RunFolder) -> None:
    """`kp fit`, `kp track`, `kp report`: only `kp discover` writes diagnostics.json."""
    folder.config.write_text("model: x\n")
    add_video(folder, "session")
    swaps = {"suspected_swaps": [{"frame": 2, "animals": [1, 2], "margin": 0.5, "reason": "jump"}]}
    folder.tracks("session").with_name("session.swaps.json").write_text(json.dumps(swaps))
    text = page_of(folder).text
    assert "Possible identity switches" in text
    assert "1 and 2" in text
    assert "sudden jump of an animal" in text


def test_everything_is_inside_the_file(folder: RunFolder) -> None:
    fill(folder, "plain")
    page = page_of(folder)
    kinds = page.embedded
    assert kinds.count("data:video/mp4") == 1
    # Two curves, x and y over time, paths in the frame.
    assert kinds.count("data:image/svg+xml") == 4
    # Two strips of crops, the contact sheet, inspection, the progress of training.
    assert len([kind for kind in kinds if kind in ("data:image/png", "data:image/jpeg")]) == 5
    assert page.elsewhere == []
    text = folder.report.read_text()
    assert not re.search(r"https?://|@import|url\(", text)
    assert page.tags.count("script") == 1
    for shown in (
        "DOUBTFUL", "kp01", "98.00", "fewer keypoints", "4.25", "Training", "session", "model: 'plain'",
        "After step 12",
    ):  # fmt: skip
        assert shown in page.text, shown
    assert "nan" not in page.text.lower()


def test_the_page_forbids_itself_the_network_and_foreign_scripts(folder: RunFolder) -> None:
    fill(folder, "plain")
    text = write_report(folder).read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)
    assert policy
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy[1]
    assert policy[1].startswith("default-src 'none'")


@pytest.mark.parametrize("name", ["run <b>bold</b>", "run & co"])
def test_text_from_outside_stays_text(tmp_path: Path, name: str) -> None:
    folder = RunFolder(tmp_path / name.replace("/", "_")).create()
    fill(folder, EVIL)
    add_results(folder, EVIL)
    page = page_of(folder)
    assert page.tags.count("script") == 1
    assert "b" not in page.tags
    assert page.text.count("<script>alert(1)</script>") >= 12


def test_names_of_videos_are_escaped(folder: RunFolder) -> None:
    folder.config.write_text("a: 1\n")
    add_video(folder, "<img src=x>")
    page = page_of(folder)
    assert "<img src=x>" in page.text
    assert page.elsewhere == []
    assert page.tags.count("script") == 1


PARTS = {
    "diagnostics.json": "Keypoints",
    "metrics.json": "Metrics",
    "metrics.csv": "Horizontal axis: training steps",
    "inspection.png": "Video inspection",
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
    monkeypatch.setattr(report_videos, "EMBEDDED_MB", 0.0)
    page = page_of(folder)
    assert page.elsewhere == ["overlays/session.mp4"]
    assert "video" not in page.tags


def test_a_long_overlay_is_shown_from_its_beginning(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)  # noise gives every picture about the same size
    images = [
        np.clip(clips.numbered(n, (64, 64)) * 0.7 + rng.integers(0, 70, (64, 64, 1)), 0, 255).astype(np.uint8)
        for n in range(200)
    ]
    path = clips.write_video(folder.path / "long.mp4", images)
    size = path.stat().st_size
    content, seconds = report_videos.first_seconds(path, size // 2)
    assert size // 4 < len(content) <= size // 2
    assert 2 < seconds < 6  # of 8
    copy = folder.path / "copy.mp4"
    copy.write_bytes(content)
    with av.open(str(copy)) as container:
        numbers = [clips.number_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) == pytest.approx(seconds * 25, abs=2)
    fill(folder, "plain")
    path.replace(folder.overlay("session"))
    monkeypatch.setattr(report_videos, "EMBEDDED_MB", size / 2 / 2**20)
    monkeypatch.setattr(report_videos, "MIN_MB", 0.0)
    page = page_of(folder)
    assert "video" in page.tags
    assert "The whole video" in page.text
    assert page.elsewhere == ["overlays/session.mp4"]
    assert report_videos.first_seconds(folder.config, 1000) == (b"", 0.0)


def test_results_of_other_commands(folder: RunFolder) -> None:
    fill(folder, "plain")
    add_results(folder, "telling")
    page = page_of(folder)
    for text in (
        "Possible identity switches", "Labels needed", "0.75", "Behaviour", "0.62", "Suggested settings", "1 and 2",
    ):  # fmt: skip
        assert text in page.text, text
    assert page.text.count("telling") >= 6


def test_a_folder_of_labels_needed_alone(tmp_path: Path) -> None:
    row = {"dataset": "mice", "method": "bridge", "labels": 5, "seed": 0, "pck": 0.25}
    (tmp_path / "results.json").write_text(json.dumps({"rows": [row, row | {"seed": 1, "pck": 0.75}]}))
    Pictures.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "label_efficiency.png")
    page = page_of(RunFolder(tmp_path))
    assert "No verdict" not in page.text
    assert "micebridge520.50" in page.text


def test_damaged_results_are_named(folder: RunFolder) -> None:
    fill(folder, "plain")
    (folder.path / "behaviour.json").write_text("[{")
    with pytest.raises(DataError, match=r"behaviour\.json is damaged"):
        write_report(folder)
    (folder.path / "behaviour.json").unlink()
    (folder.path / "label_efficiency.json").write_text('{"rows": 3}')
    with pytest.raises(DataError, match="has no rows"):
        write_report(folder)


def test_errors_against_labels_are_tables(folder: RunFolder) -> None:
    fill(folder, "plain")
    folder.add_metrics(
        {"linear": 2.5, "matched": 3.5, "untrained_linear": 7.5, "untrained_matched": 8.25, "mean_pose": 9.75,
         "matched_per_point": {"snout": 1.25}, "matches": {"snout": 2}, "alone": 5}
    )  # fmt: skip
    text = re.sub(r"\s+", " ", page_of(folder).text)
    for row in (
        "this run2.503.50",
        "untrained network7.508.25",
        "mean pose9.759.75",
        "snout1.25 kp03",
        "alone5",
    ):
        assert row in text, row


def test_crops_show_what_is_under_the_keypoint(tmp_path: Path) -> None:
    """A white spot that moves lies in the middle of every crop; an absent keypoint has black ones."""
    places = [(8 + 4 * t, 20) for t in range(8)]
    images = np.zeros((8, 48, 48, 3), np.uint8)
    for image, (x, y) in zip(images, places, strict=True):
        image[y - 3 : y + 4, x - 3 : x + 4] = 255
    video = clips.write_video(tmp_path / "spot.mp4", images)
    points = np.zeros((8, 1, 2, 2), np.float32)
    points[:, 0, 0] = places
    confidence = np.tile(np.array([1, 0], np.float32), (8, 1, 1))
    tracks = Tracks(
        str(video), (48, 48), 25.0, np.arange(8) / 25, points, confidence,
        np.ones((8, 1, 2, 3), np.float32), default_names(2),
    )  # fmt: skip
    side = report_videos.CROP_PX
    sheet = report_videos.keypoint_crops(tracks, 24.0).reshape(2, side, report_videos.CROPS, side, 3)
    for crop in sheet[0].transpose(1, 0, 2, 3):
        white = np.argwhere(crop.min(-1) > 150)
        assert np.abs(white.mean(0) - (side - 1) / 2).max() < 3
        assert np.ptp(white, axis=0).max() == pytest.approx(7 * side / 24, abs=5)
    assert not sheet[1].any()


def test_crops_have_the_size_of_the_animal_in_the_frame(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict counts pixels of the network's image, which may be a square that follows the animal."""
    sides: list[float] = []
    monkeypatch.setattr(report_videos, "crops", lambda folder, videos, side_px: sides.append(side_px) or [])
    fill(folder, "word")  # a body of 20 of the 64 px of the network's image, and a frame of 32 px
    write_report(folder)
    folder.inspection.write_text(json.dumps({"videos": [{"size_px": 5.0}]}))
    write_report(folder)
    assert sides == pytest.approx([1.6 * 32 * 20 / 64, 1.6 * 5])


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_damaged_file_is_named(folder: RunFolder, content: str) -> None:
    folder.diagnostics.write_text(content)
    with pytest.raises(DataError, match=r"diagnostics\.json is damaged"):
        write_report(folder)


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_a_folder_that_is_no_run(tmp_path: Path, place: Any) -> None:
    with pytest.raises(DataError, match="is not a run folder"):
        write_report(RunFolder(tmp_path / place))
