"""Videos of a report: overlays that play inside the page, sheets of frames, and what every keypoint looks like.

Videos are embedded, so that the report stays one file; where they are longer than a mail takes, their beginning
is, cut without encoding again, and the whole is named as a file of the run folder.
"""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from lightning_kp.errors import DataError
from lightning_kp.images.drawing import Image, colour, draw_keypoints
from lightning_kp.report.page import Raw, data_uri, escaped, photograph, picture
from lightning_kp.report.plots import trajectory
from lightning_kp.runs.folder import RunFolder
from lightning_kp.tracks.table import TrackSource

EMBEDDED_MB = 12.0  # of all videos together: mail programs refuse large files
LEAST_MB = 1.0  # of one video: less is not worth watching
ROWS, COLUMNS = 2, 3  # pictures of a keypoint
CROPS = ROWS * COLUMNS
CROP_PX = 96  # their side as shown
HEAD_BYTES, ENTRY_BYTES = 2048, 32  # of an mp4: what it says of itself, and of each picture
FRAMES_READ = 3000  # of a video, to cut pictures from: about as long as a reader of a report waits


@dataclass(frozen=True)
class RunVideo:
    """A tracked video of a run: result name, number (for anchors), saved tracks where they can be read."""

    name: str
    number: int
    source: TrackSource | None

    @property
    def anchor(self) -> str:
        """Identifier of its player in the page."""
        return f"video-{self.number}"

    @property
    def fps(self) -> float:
        """Frames per second; 25 where nobody knows."""
        return (self.source.info.fps if self.source is not None else 0.0) or 25.0


def run_videos(folder: RunFolder) -> list[RunVideo]:
    """The videos of a run that have tracks or an overlay, by name."""
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
    """Overlay and sheet of every video."""
    shown = [video for video in videos if folder.overlay(video.name).exists()]
    share = max(LEAST_MB, EMBEDDED_MB / max(1, len(shown))) if EMBEDDED_MB else 0.0
    left = EMBEDDED_MB
    parts = []
    for video in shown:
        media, used_mb = _player(folder.overlay(video.name), video, min(share, left))
        left -= used_mb
        sheet = picture(contact_sheet_of(folder, video), f"Frames of {video.name} with keypoints", wide=True)
        parts.append(f"<h3>{escaped(video.name)}</h3>{media}{_folded('Frames spread over the video', sheet)}")
    if not parts:
        return ""
    keys = "Drawn from the saved tracks; opacity is confidence. In a player, the keys , and . go a frame back or on."
    return f"<p>{keys}</p>{''.join(parts)}"


def _player(path: Path, video: RunVideo, most_mb: float) -> tuple[str, float]:
    size = path.stat().st_size / 2**20
    link = f'<a href="overlays/{quote(path.name)}"><code>overlays/{escaped(path.name)}</code></a>'
    if size <= most_mb:
        content, note = path.read_bytes(), ""
    else:
        content, seconds = beginning(path, int(most_mb * 2**20))
        note = f"<p>The first {seconds:.0f} s; the whole, {size:.0f} MB, lies beside this report: {link}</p>"
    if not content:
        return f"<p>Too large to be in this file ({size:.0f} MB): {link}</p>", 0.0
    uri = data_uri("video/mp4", content)
    player = (
        f'<video id="{video.anchor}" controls muted playsinline preload="metadata" data-fps="{video.fps:.6g}" '
        f'aria-label="{escaped(video.name)} with keypoints" src="{uri}"></video>'
    )
    return player + note, len(content) / 2**20


def beginning(path: Path, most_bytes: int) -> tuple[bytes, float]:
    """The first part of an mp4 that has at most so many bytes, and its seconds; nothing where none has.

    Pictures are copied as they are.
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
                if packet.dts is None or used > most_bytes:
                    break
                seconds = max(seconds, float((packet.pts or 0) * (packet.time_base or 0)))
                packet.stream = copy
                target.mux(packet)
    except (av.error.FFmpegError, IndexError):
        return b"", 0.0
    content = buffer.getvalue()
    return (content, seconds) if seconds > 0 and len(content) <= most_bytes else (b"", 0.0)


def contact_sheet_of(folder: RunFolder, video: RunVideo) -> Path:
    """The sheet of frames beside the overlay, drawn where it is missing or older than the tracks."""
    from lightning_kp.report.overlay import contact_sheet

    saved = folder.path / "tracks" / f"{video.name}.csv"
    target = folder.path / "overlays" / f"{video.name}.png"
    # A video that has been moved since leaves the report without its sheet, not the user without a report.
    with contextlib.suppress(DataError, OSError):
        if video.source is not None and _is_older(target, saved):
            contact_sheet(saved, Path(video.source.info.video), target)
    return target


def crops(folder: RunFolder, videos: list[RunVideo], side_px: float) -> list[Raw]:
    """For every keypoint a strip of its surroundings in frames spread over the first video that can be read.

    ``side_px``: side of a cut in pixels of the video.  Strips are kept as ``overlays/<video>.crops.png``, one
    row per keypoint.  Empty where no video is at hand.
    """
    from PIL import Image as Pictures

    for video in videos:
        if video.source is None or not len(video.source):
            continue
        saved = folder.path / "tracks" / f"{video.name}.csv"
        target = folder.path / "overlays" / f"{video.name}.crops.png"
        with contextlib.suppress(DataError, OSError, ValueError):
            if _is_older(target, saved):
                target.parent.mkdir(parents=True, exist_ok=True)
                Pictures.fromarray(cut_out(video.source, side_px)).save(target)
            rows = np.asarray(Pictures.open(target).convert("RGB"))
            names = video.source.info.keypoint_names
            # Sheet: (K, side, CROPS, side, 3); a keypoint's pictures in rows: (ROWS, side, COLUMNS, side, 3).
            sheet = rows.reshape(len(names), CROP_PX, ROWS, COLUMNS, CROP_PX, 3).transpose(0, 2, 1, 3, 4, 5)
            strips = sheet.reshape(len(names), ROWS * CROP_PX, COLUMNS * CROP_PX, 3)
            text = f"in frames spread over {video.name}"
            return [photograph(strip, f"{name} {text}") for name, strip in zip(names, strips, strict=True)]
    return []


def cut_out(source: TrackSource, side_px: float) -> Image:
    """Surroundings of every keypoint: (K CROP_PX, CROPS CROP_PX, 3); black where it is absent.

    Of several animals the first that has the keypoint.  Raises DataError for a video that cannot be read.
    """
    from lightning_kp.video.opening import open_video

    number, keypoints = min(len(source), FRAMES_READ), len(source.info.keypoint_names)
    wanted = np.linspace(0, number - 1, CROPS + 2).round().astype(int)[1:-1].tolist()
    sheet = np.zeros((keypoints, CROP_PX, CROPS, CROP_PX, 3), np.uint8)
    places = _points_at(source, wanted)
    with open_video(Path(source.info.video)) as reader:
        for index, frame in enumerate(reader.decode()):
            for column in [i for i, each in enumerate(wanted) if each == index]:
                image = frame.rgb()
                for k, place in enumerate(places[column]):
                    if np.isfinite(place).all():
                        sheet[k, :, column] = _marked(_cut(image, place, side_px), k)
            if index >= wanted[-1]:
                break
    return sheet.reshape(keypoints * CROP_PX, CROPS * CROP_PX, 3)


def _points_at(source: TrackSource, wanted: list[int]) -> list[Any]:
    """Points (K, 2) in pixels in each wanted frame, NaN = absent."""
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


def _cut(image: Image, centre: Any, side_px: float) -> Image:
    from PIL import Image as Pictures

    half = side_px / 2
    left, top = centre[0] + 0.5 - half, centre[1] + 0.5 - half  # PIL counts from the corner of a pixel
    box = (left, top, left + side_px, top + side_px)
    cut = Pictures.fromarray(image).transform(
        (CROP_PX, CROP_PX), Pictures.Transform.EXTENT, box, Pictures.Resampling.BILINEAR
    )
    return np.asarray(cut)


def _marked(cut: Image, keypoint: int) -> Image:
    """With a dot in the middle, small enough to leave the part in sight."""
    middle = (CROP_PX - 1) / 2
    return draw_keypoints(cut, [[middle, middle]], colours=[colour(keypoint)], radius=2.5)


def trajectories(videos: list[RunVideo], *, at_most: int = 3) -> str:
    """Trajectories of the first videos."""
    parts = []
    for video in [each for each in videos if each.source is not None and len(each.source) > 1][:at_most]:
        assert video.source is not None
        with contextlib.suppress(DataError, OSError):
            first = next(iter(video.source.pieces()))
            if len(first) > 1:
                parts.append(f"<h3>{escaped(video.name)}</h3>{trajectory(first)}")
    if not parts:
        return ""
    told = "Every keypoint in its colour over the first minute; several animals by kind of line."
    return f"<p>{told}</p>{''.join(parts)}"


def _folded(summary: str, markup: str) -> str:
    return f"<details open><summary>{escaped(summary)}</summary>{markup}</details>" if markup else ""


def _is_older(target: Path, than: Path) -> bool:
    return not target.exists() or target.stat().st_mtime < than.stat().st_mtime
