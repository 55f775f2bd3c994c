"""Overlay videos and contact sheets, always drawn from the saved keypoint files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.files import replacing
from lightning_kp.geometry import Placement, to_pixels
from lightning_kp.images.drawing import Markers, caption, default_radius, legend, opacity, tile
from lightning_kp.images.files import Image
from lightning_kp.tracks.reading import open_tracks
from lightning_kp.tracks.table import TrackSource, animal_names
from lightning_kp.video.opening import open_video
from lightning_kp.video.reader import DecodedFrame, VideoReader

MAX_SIDE = 720  # pixels (ours): a third of the work of full HD, and sharp enough to judge keypoints
TIME_BASE = Fraction(1, 90_000)  # seconds; fine enough for any frame rate, and usual in mp4
HISTOGRAM_BINS = 1000  # for a quantile of the confidences in constant memory
FULL_QUANTILE = 0.9  # of the confidences: drawn opaque from there on (ours)


def write_overlay(
    tracks_file: Path,
    video: Path,
    out_path: Path,
    *,
    max_side: int = MAX_SIDE,
    with_legend: bool = True,
    radius: float | None = None,
    full_confidence: float | None = None,
    progress: Callable[[int], object] | None = None,
) -> int:
    """Draw the keypoints of ``tracks_file`` onto ``video`` and write an mp4 (H.264); returns the number of frames.

    The overlay contains every displayed frame of the video, at its own time.

    Args:
        tracks_file: Keypoint file that :func:`~lightning_kp.tracks.reading.open_tracks` reads.
        video: The video that was tracked.
        out_path: File to write.
        max_side: Longer side of the overlay in pixels; smaller frames are not enlarged.
        with_legend: Whether to draw a legend below the frame.
        radius: Radius of a marker in pixels of the overlay; by default it depends on the frame size.
        full_confidence: Confidence from which a marker is opaque; by default the 90 % quantile of the file.
        progress: Called with 1 after every frame.

    Raises:
        DataError: if keypoint file and video do not belong together, or the file cannot be written.
    """
    import av

    source = open_tracks(Path(tracks_file))
    with open_video(video) as reader:
        drawing = _Drawing.create(source, reader, max_side, radius, full_confidence)
        empty = drawing.canvas(with_legend)
        try:
            with replacing(Path(out_path)) as temporary, av.open(str(temporary), "w") as container:
                encoder = _Encoder(container, empty, reader.info.fps)
                for image, piece, row in drawing.frames():
                    view = encoder.canvas[: image.shape[0], : image.shape[1]]
                    view[...] = image
                    drawing.markers.draw(view, piece.points[row], piece.opacity[row])
                    encoder.add(piece.times_s[row])
                    if progress is not None:
                        progress(1)
                encoder.finish()
        except OSError as error:
            raise DataError(
                f"Cannot write {out_path}: {error.strerror or error}.",
                remedy="Free some space or choose another folder.",
            ) from error
    return len(source)


def contact_sheet(
    tracks_file: Path,
    video: Path,
    out_path: Path | None = None,
    *,
    number: int = 12,
    columns: int = 4,
    max_side: int = 320,
    full_confidence: float | None = None,
) -> Image:
    """Grid of ``number`` frames with their keypoints, spread evenly over the video: uint8 (H, W, 3).

    Also written to ``out_path`` as PNG, if given.  ``max_side`` is the longer side of each frame in pixels.
    """
    source = open_tracks(Path(tracks_file))
    wanted = set(np.linspace(0, len(source) - 1, min(number, len(source))).round().astype(int).tolist())
    images = []
    with open_video(video) as reader:
        drawing = _Drawing.create(source, reader, max_side, None, full_confidence)
        for index, (image, piece, row) in enumerate(drawing.frames(only=wanted)):
            if index in wanted:
                drawn = caption(image, f"frame {index}")  # first, so that it covers no keypoint
                drawing.markers.draw(drawn, piece.points[row], piece.opacity[row])
                images.append(drawn)
    sheet = tile(images, columns)
    strip = legend(source.info.keypoint_names, sheet.shape[1], animal_names(source.info.animals))
    sheet = np.concatenate((sheet, strip))
    if out_path is not None:
        from PIL import Image as Pictures

        with replacing(Path(out_path)) as temporary:
            Pictures.fromarray(sheet).save(temporary, format="PNG")
    return sheet


def full_confidence_of(source: TrackSource) -> float:
    """Confidence from which markers are opaque: the 90 % quantile of all confidences above 0, or 1 if there are none.

    The peak of a heatmap depends on its width.  If it were used as the opacity, the markers of a method with broad
    heatmaps would be invisible.
    """
    counts = np.zeros(HISTOGRAM_BINS, np.int64)
    for part in source.pieces():
        present = part.confidence[part.confidence > 0]
        counts += np.histogram(np.minimum(present, 1), HISTOGRAM_BINS, (0, 1))[0]
    if not counts.sum():
        return 1.0
    return float(np.searchsorted(np.cumsum(counts), FULL_QUANTILE * counts.sum()) + 1) / HISTOGRAM_BINS


@dataclass(frozen=True)
class _Piece:
    """Consecutive frames of a file: points (N, I, K, 2) in pixels of the overlay, opacity (N, I, K), times (N,)."""

    points: NDArray[Any]
    opacity: NDArray[Any]
    times_s: NDArray[Any]


@dataclass(frozen=True)
class _Drawing:
    """A keypoint file, its video, and how frames are scaled and markers drawn."""

    source: TrackSource
    reader: VideoReader
    plan: Placement
    markers: Markers
    full_confidence: float

    @classmethod
    def create(
        cls,
        source: TrackSource,
        reader: VideoReader,
        max_side: int,
        radius: float | None,
        full_confidence: float | None,
    ) -> "_Drawing":
        known, size = source.info.frame_size, reader.info.frame_size
        if known not in (size, (0, 0)):
            raise DataError(
                f"{reader.info.path} has frames of {size[1]}x{size[0]} pixels; the keypoints were tracked "
                f"in frames of {known[1]}x{known[0]} pixels.",
                remedy="Give the video that was tracked, or track this one.",
            )
        plan = _plan(size, max_side)
        markers = Markers.of(len(source.info.keypoint_names), radius or default_radius(*plan.content))
        return cls(source, reader, plan, markers, full_confidence or full_confidence_of(source))

    def canvas(self, with_legend: bool) -> Image:
        """Black frame with even sides (required by H.264), and the legend below it."""
        height, width = (side + side % 2 for side in self.plan.content)
        parts = [np.zeros((height, width, 3), np.uint8)]
        if with_legend:
            info = self.source.info
            strip = legend(info.keypoint_names, width, animal_names(info.animals))
            parts.append(np.pad(strip, ((0, len(strip) % 2), (0, 0), (0, 0)), mode="edge"))
        return np.concatenate(parts)

    def frames(self, only: set[int] | None = None) -> Iterator[tuple[Image, _Piece, int]]:
        """Every frame with its row of the keypoint file; with ``only``, all other frames are black.

        Raises DataError if the video has more or fewer frames than the file has rows.
        """
        black = np.zeros((*self.plan.content, 3), np.uint8)
        rows = self._rows()
        frames = 0
        for frame in self.reader.decode():
            piece, row = next(rows, (None, 0))
            if piece is None:
                raise self._mismatch(f"more than {frames}")
            yield black if only is not None and frames not in only else self._scaled(frame), piece, row
            frames += 1
        if frames != len(self.source):
            raise self._mismatch(str(frames))

    def _rows(self) -> Iterator[tuple[_Piece, int]]:
        import torch

        for part in self.source.pieces():
            points = self.plan.region.from_original_px(torch.from_numpy(part.points_px).double())
            drawn = to_pixels(points, (self.plan.size, self.plan.size)).numpy()
            piece = _Piece(drawn, opacity(part.confidence, self.full_confidence), part.times_s)
            yield from ((piece, row) for row in range(len(part)))

    def _scaled(self, frame: DecodedFrame) -> Image:
        if self.plan.content == self.reader.info.frame_size:
            return frame.rgb()
        return frame.prepared(self.plan)[: self.plan.content[0], : self.plan.content[1]]

    def _mismatch(self, frames: str) -> DataError:
        return DataError(
            f"{self.reader.info.path} has {frames} frames, but the keypoint file has {len(self.source)}.",
            remedy="Give the video that was tracked, or track this one again.",
        )


def _plan(size: tuple[int, int], max_side: int) -> Placement:
    """Scale frames of ``size`` (height, width) to even sides of at most ``max_side`` pixels; never enlarge them."""
    height, width = size
    if max(size) > max_side:
        scale = max_side / max(size)
        height, width = (max(2, round(side * scale / 2) * 2) for side in size)
    return Placement(max(height, width), (0, 0, size[1], size[0]), (height, width), (0, 0))


class _Encoder:
    """Writes H.264 into an mp4, each frame at its own time: draw into ``canvas``, then call :meth:`add`."""

    def __init__(self, container: Any, empty: Image, fps: float) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        height, width = empty.shape[:2]
        self._container = container
        self._stream = container.add_stream("libx264", rate=Fraction(fps or 25).limit_denominator(1000))
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, "yuv420p"
        self._stream.codec_context.time_base = TIME_BASE
        self._stream.options = {"preset": "ultrafast", "crf": "26"}  # a third of veryfast's time
        # Frames are drawn directly in FFmpeg's memory, which saves a copy of every frame.
        self._frame = av.VideoFrame(width, height, "rgb24")
        plane = self._frame.planes[0]
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)
        self.canvas = lines[:, : width * 3].reshape(height, width, 3)
        self.canvas[...] = empty
        self._reformatter = VideoReformatter()
        # Since PyAV 17 swscale uses all cores by default, which is slower for frames of this size.
        self._options: dict[str, Any] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}
        self._options.update(format="yuv420p", interpolation="BILINEAR")
        self._last = -1
        self._start: float | None = None

    def add(self, time_s: float) -> None:
        """Encode the canvas as the next frame; a time that does not increase is moved on by one time step."""
        self._start = time_s if self._start is None else self._start
        frame = self._reformatter.reformat(self._frame, **self._options)
        self._last = max(self._last + 1, round((time_s - self._start) / TIME_BASE))
        frame.pts, frame.time_base = self._last, TIME_BASE
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write the frames that the encoder still holds."""
        self._container.mux(self._stream.encode(None))
