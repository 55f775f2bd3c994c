"""Videos of a report: players for the overlays, sheets of frames, and crops around every keypoint.

Overlays are embedded, so that the report stays one file.  If they are too large for that, their first seconds are
embedded, cut without re-encoding, and the report links to the whole video in the run folder.
"""

import contextlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from lightning_kp.errors import DataError
from lightning_kp.files import writing
from lightning_kp.geometry import from_edges, to_edges
from lightning_kp.images.drawing import colour, draw_keypoints
from lightning_kp.images.files import Image
from lightning_kp.reports.page import Raw, data_uri, escaped, photograph, picture
from lightning_kp.reports.plots import trajectory
from lightning_kp.runs.folder import RunFolder
from lightning_kp.tracks.table import TrackSource

EMBEDDED_MB = 12.0  # MB of all videos together: mail programs refuse large files
MIN_MB = 1.0  # MB of one video: less is not worth watching
ROWS, COLUMNS = 2, 3  # arrangement of the crops of a keypoint
CROPS = ROWS * COLUMNS
CROP_PX = 96  # side of a crop in the report, in pixels
HEAD_BYTES, ENTRY_BYTES = 2048, 32  # size of an mp4's header, and of its index entry for each frame
FRAMES_READ = 3000  # frames of a video that are decoded for crops: about as long as a user waits for a report


@dataclass(frozen=True)
class RunVideo:
    """A tracked video of a run: name of its results, number (for anchors), and its tracks if they can be read."""

    name: str
    number: int
    source: TrackSource | None

    @property
    def anchor(self) -> str:
        """Identifier of the video's player in the page."""
        return f"video-{self.number}"

    @property
    def fps(self) -> float:
        """Frames per second; 25 if unknown."""
        return (self.source.info.fps if self.source is not None else 0.0) or 25.0


def run_videos(folder: RunFolder) -> list[RunVideo]:
    """Videos of a run that have tracks or an overlay, sorted by name."""
    from lightning_kp.tracks.reading import open_tracks

    names = {path.stem for path in (folder.path / "overlays").glob("*.mp4")}
    names |= {path.stem for path in (folder.path / "tracks").glob("*.csv") if not path.stem.endswith(".dlc")}
    found = []
    for number, name in enumerate(sorted(names)):
        source = None
        with contextlib.suppress(DataError, OSError):
            source = open_tracks(folder.path / "tracks" / f"{name}.csv")
        found.append(RunVideo(name, number, source))
    return found


def players(folder: RunFolder, videos: list[RunVideo]) -> str:
    """Player and sheet of frames of every video that has an overlay."""
    shown = [video for video in videos if folder.overlay(video.name).exists()]
    share = max(MIN_MB, EMBEDDED_MB / max(1, len(shown))) if EMBEDDED_MB else 0.0
    left = EMBEDDED_MB
    parts = []
    for video in shown:
        media, used_mb = _player(folder.overlay(video.name), video, min(share, left))
        left -= used_mb
        sheet = picture(
            updated_contact_sheet(folder, video), f"Frames of {video.name} with keypoints", wide=True
        )
        parts.append(f"<h3>{escaped(video.name)}</h3>{media}{_folded('Frames spread over the video', sheet)}")
    if not parts:
        return ""
    note = (
        "The markers are drawn from the saved tracks; the fainter a marker, the lower its confidence. "
        "In a player, press , (comma) or . (full stop) to step one frame back or forward."
    )
    return f"<p>{note}</p>{''.join(parts)}"


def _player(path: Path, video: RunVideo, max_mb: float) -> tuple[str, float]:
    size = path.stat().st_size / 2**20
    link = (
        f'<a href="overlays/{quote(os.fsencode(path.name))}"><code>overlays/{escaped(path.name)}</code></a>'
    )
    if size <= max_mb:
        content, note = path.read_bytes(), ""
    else:
        content, seconds = first_seconds(path, int(max_mb * 2**20))
        note = f"<p>First {seconds:.0f} s. The whole video ({size:.0f} MB) is beside this report: {link}</p>"
    if not content:
        return (
            f"<p>This video is too large to embed ({size:.0f} MB). It is beside this report: {link}</p>",
            0.0,
        )
    uri = data_uri("video/mp4", content)
    player = (
        f'<video id="{video.anchor}" controls muted playsinline preload="metadata" data-fps="{video.fps:.6g}" '
        f'aria-label="{escaped(video.name)} with keypoints" src="{uri}"></video>'
    )
    return player + note, len(content) / 2**20


def first_seconds(path: Path, max_bytes: int) -> tuple[bytes, float]:
    """The longest first part of an mp4 that has at most ``max_bytes``, and its length in seconds.

    Frames are copied without re-encoding.  Empty, with 0 s, if no part is small enough.
    """
    import av

    buffer = io.BytesIO()
    seconds, used = 0.0, HEAD_BYTES
    try:
        with av.open(str(path)) as source, av.open(buffer, "w", format="mp4") as target:
            stream = source.streams.video[0]
            copy = target.add_stream_from_template(stream)
            for packet in source.demux(stream):
                used += packet.size + ENTRY_BYTES
                if packet.dts is None or used > max_bytes:
                    break
                seconds = max(seconds, float((packet.pts or 0) * (packet.time_base or 0)))
                packet.stream = copy
                target.mux(packet)
    except (av.error.FFmpegError, IndexError):
        return b"", 0.0
    content = buffer.getvalue()
    return (content, seconds) if seconds > 0 and len(content) <= max_bytes else (b"", 0.0)


def updated_contact_sheet(folder: RunFolder, video: RunVideo) -> Path:
    """Path of the sheet of frames beside the overlay; draws it if it is missing or older than the tracks."""
    from lightning_kp.reports.overlay import contact_sheet

    saved = folder.path / "tracks" / f"{video.name}.csv"
    target = folder.path / "overlays" / f"{video.name}.png"
    # If the video has been moved, the report lacks only this sheet.
    with contextlib.suppress(DataError, OSError):
        if video.source is not None and _is_older(target, saved):
            contact_sheet(saved, Path(video.source.info.video), target)
    return target


def crops(folder: RunFolder, videos: list[RunVideo], side_px: float) -> list[Raw]:
    """For every keypoint an image of crops around it, in frames spread over the first video that can be read.

    Args:
        folder: Run folder; the crops are kept there as ``overlays/<video>.crops.png``, one row per keypoint.
        videos: Tracked videos of the run.
        side_px: Side of a crop in pixels of the video.

    Returns:
        K images as HTML; empty if no video can be read.
    """
    from PIL import Image as Pictures

    for video in videos:
        if video.source is None or not len(video.source):
            continue
        saved = folder.path / "tracks" / f"{video.name}.csv"
        target = folder.path / "overlays" / f"{video.name}.crops.png"
        with contextlib.suppress(DataError, OSError, ValueError):
            if _is_older(target, saved):
                with writing(target) as file:
                    Pictures.fromarray(keypoint_crops(video.source, side_px)).save(file, format="PNG")
            rows = np.asarray(Pictures.open(target).convert("RGB"))
            names = video.source.info.keypoint_names
            # Sheet: (K, side, CROPS, side, 3); the crops of one keypoint in rows: (ROWS, side, COLUMNS, side, 3).
            sheet = rows.reshape(len(names), CROP_PX, ROWS, COLUMNS, CROP_PX, 3).transpose(0, 2, 1, 3, 4, 5)
            strips = sheet.reshape(len(names), ROWS * CROP_PX, COLUMNS * CROP_PX, 3)
            text = f"in frames spread over {video.name}"
            return [photograph(strip, f"{name} {text}") for name, strip in zip(names, strips, strict=True)]
    return []


def keypoint_crops(source: TrackSource, side_px: float) -> Image:
    """Crops around every keypoint: uint8 (K * CROP_PX, CROPS * CROP_PX, 3), black where it is absent.

    With several animals, the first animal that has the keypoint is shown.  ``side_px`` is the side of a crop in pixels
    of the video.  Raises DataError if the video cannot be read.
    """
    from lightning_kp.video.opening import open_video

    number, keypoints = min(len(source), FRAMES_READ), len(source.info.keypoint_names)
    wanted = np.linspace(0, number - 1, CROPS + 2).round().astype(int)[1:-1].tolist()
    sheet = np.zeros((keypoints, CROP_PX, CROPS, CROP_PX, 3), np.uint8)
    centres = _points_at(source, wanted)
    with open_video(Path(source.info.video)) as reader:
        for index, frame in enumerate(reader.decode()):
            for column in [i for i, each in enumerate(wanted) if each == index]:
                image = frame.rgb()
                for k, centre in enumerate(centres[column]):
                    if np.isfinite(centre).all():
                        sheet[k, :, column] = _with_dot(_crop(image, centre, side_px), k)
            if index >= wanted[-1]:
                break
    return sheet.reshape(keypoints * CROP_PX, CROPS * CROP_PX, 3)


def _points_at(source: TrackSource, wanted: list[int]) -> list[Any]:
    """Points (K, 2) in pixels for each wanted frame; NaN if absent."""
    found, start = {}, 0
    for piece in source.pieces():
        for index in {each for each in wanted if start <= each < start + len(piece)}:
            points = np.where(
                piece.confidence[index - start][..., None] > 0, piece.points_px[index - start], np.nan
            )
            first = np.isfinite(points).all(-1).argmax(axis=0)
            found[index] = points[first, np.arange(points.shape[1])]
        start += len(piece)
        if start > max(wanted):
            break
    return [found[index] for index in wanted]


def _crop(image: Image, centre: Any, side_px: float) -> Image:
    from PIL import Image as Pictures

    half = side_px / 2
    left, top = to_edges(centre[0]) - half, to_edges(centre[1]) - half
    box = (left, top, left + side_px, top + side_px)
    crop = Pictures.fromarray(image).transform(
        (CROP_PX, CROP_PX), Pictures.Transform.EXTENT, box, Pictures.Resampling.BILINEAR
    )
    return np.asarray(crop)


def _with_dot(crop: Image, keypoint: int) -> Image:
    """A crop with a dot in its centre, small enough to leave the body part visible."""
    middle = from_edges(CROP_PX / 2)
    return draw_keypoints(crop, [[middle, middle]], colours=[colour(keypoint)], radius=2.5)


def trajectories(videos: list[RunVideo], *, max_videos: int = 3) -> str:
    """Plots of the trajectories in the first ``max_videos`` videos that have tracks."""
    parts = []
    for video in [each for each in videos if each.source is not None and len(each.source) > 1][:max_videos]:
        assert video.source is not None
        with contextlib.suppress(DataError, OSError):
            first = next(iter(video.source.pieces()))
            if len(first) > 1:
                parts.append(f"<h3>{escaped(video.name)}</h3>{trajectory(first)}")
    if not parts:
        return ""
    note = "Positions over the first minute. Each colour is a keypoint, each line style an animal."
    return f"<p>{note}</p>{''.join(parts)}"


def _folded(summary: str, markup: str) -> str:
    return f"<details open><summary>{escaped(summary)}</summary>{markup}</details>" if markup else ""


def _is_older(target: Path, than: Path) -> bool:
    return not target.exists() or target.stat().st_mtime < than.stat().st_mtime
