"""Inspection of videos: what they contain, what may disturb discovery, and which settings to start with."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning_kp.errors import DataError
from lightning_kp.inspection.advice import Suggestion, combine_suggestions, crop_text, duration_text, suggest
from lightning_kp.inspection.measures import Measured, Sampled, measure, sample
from lightning_kp.inspection.notes import Note, Trouble, notes_on
from lightning_kp.video.reader import VideoInfo


@dataclasses.dataclass(frozen=True, eq=False)
class VideoInspection:
    """Inspection of one video: its file, what was measured, notes, and suggested settings.

    ``decoded`` is the number of frames read; ``is_whole`` says whether that is the whole video.
    """

    info: VideoInfo
    decoded: int
    is_whole: bool
    measured: Measured
    notes: tuple[Note, ...]
    suggestion: Suggestion


@dataclasses.dataclass(frozen=True, eq=False)
class Inspection:
    """Inspection of several videos, with one suggestion that suits all of them."""

    videos: tuple[VideoInspection, ...]
    suggestion: Suggestion

    def to_json(self) -> str:
        """Text of ``inspection.json``: everything except the images; NaN becomes null."""
        return json.dumps(
            {
                "videos": [_plain(video) for video in self.videos],
                "suggestion": _plain_choices(self.suggestion),
            },
            indent=2,
        )

    def text(self) -> str:
        """Text for the terminal: one block for each video, then the suggested settings."""
        blocks = [_video_lines(video) for video in self.videos]
        title = "Suggested settings" + (f" for all {len(self.videos)} videos" if len(self.videos) > 1 else "")
        blocks.append([title, *_suggestion_lines(self.suggestion)])
        return "\n\n".join("\n".join(block) for block in blocks)


def inspect_videos(
    paths: Sequence[str | Path], *, frames: int = 3000, progress: Callable[[int], object] | None = None
) -> Inspection:
    """Inspect up to ``frames`` frames from the beginning of each video.

    The default of 3000 frames is half a minute at 100 frames per second.  ``progress`` is called with the number of
    frames just decoded.  Raises VideoError for a video without a usable frame, and DataError without videos.
    """
    if not paths:
        raise DataError("There is no video to inspect.", remedy="Give video files or folders.")
    videos = tuple(_inspect(sample(path, frames=frames, progress=progress)) for path in paths)
    return Inspection(videos, combine_suggestions([(v.info, v.measured, v.suggestion) for v in videos]))


def _inspect(sampled: Sampled) -> VideoInspection:
    measured = measure(sampled)
    suggestion = suggest(sampled.info, measured)
    notes = notes_on(sampled, measured, suggestion)
    return VideoInspection(sampled.info, sampled.decoded, sampled.is_whole, measured, notes, suggestion)


def _video_lines(video: VideoInspection) -> list[str]:
    info, measured = video.info, video.measured
    height, width = info.frame_size
    length = (
        f"{info.n_frames} frames ({duration_text(info.n_frames / info.fps)})"
        if info.n_frames
        else "of unknown length"
    )
    kept = len(measured.time_s)
    rows = [
        ("file", f"{width}x{height} px, {info.fps:.4g} frames/s, {length}, {info.codec} {info.pixel_format}"),
        ("examined", f"{kept} frames from {duration_text(measured.time_s[0])} to {duration_text(measured.time_s[-1])}"),
        ("animals", str(measured.count)),
        ("moving", _motion_text(measured)),
        ("camera", f"shift {measured.shake_px:.1f} px; brightness change {measured.flicker:.0f} and "
                   f"noise {measured.noise:.1f} of 255 grey levels"),
    ]  # fmt: skip
    lines = [str(info.path), *(_row(*row) for row in rows)]
    return lines + [
        _row("warning" if note.trouble is not Trouble.PART else "note", note.text) for note in video.notes
    ]


def _motion_text(measured: Measured) -> str:
    if measured.count.animals == 0:
        return "nothing"
    size = f"about {measured.size_px:.0f} px large ({100 * measured.covered:.1f} % of the frame)"
    speed = f", up to {measured.speed:.1f} times this size per second" if measured.speed > 0 else ""
    return f"{size}{speed}"


def _suggestion_lines(suggestion: Suggestion) -> list[str]:
    gap = suggestion.gap.value
    shown = {
        "gap": gap if isinstance(gap, str) else f"{gap} frame{'s' if gap > 1 else ''}",
        "crop": crop_text(suggestion.box.value),
        "image size": f"{suggestion.size.value} px",
        "keypoints": str(suggestion.keypoints.value),
    }
    width = max(map(len, shown.values()))
    return [_row(name, f"{value:<{width}}  {choice.reason}")
            for (name, value), choice in zip(shown.items(), suggestion, strict=True)]  # fmt: skip


def _row(name: str, text: str) -> str:
    return f"  {name:<11}{text}"


def _plain(video: VideoInspection) -> dict[str, Any]:
    info, measured = video.info, video.measured
    values = {
        name: getattr(measured, name)
        for name in (
            "size_px",
            "speed",
            "covered",
            "regions",
            "unusual",
            "noise",
            "flicker",
            "shake_px",
        )
    }
    return {
        "path": str(info.path), "width": info.frame_size[1], "height": info.frame_size[0], "fps": info.fps,
        "frames": info.n_frames, "codec": info.codec,
        **measured.count._asdict(),
        "frames_decoded": video.decoded, "frames_looked_at": len(measured.time_s),
        **{name: _finite(value) for name, value in values.items()},
        "box_of_motion": measured.box,
        "absences": [
            each._replace(start_s=round(each.start_s, 3), end_s=round(each.end_s, 3))._asdict()
            for each in measured.absences
        ],
        "notes": [{"trouble": note.trouble, "text": note.text} for note in video.notes],
        "suggestion": _plain_choices(video.suggestion),
    }  # fmt: skip


def _plain_choices(suggestion: Suggestion) -> dict[str, Any]:
    return {name: choice._asdict() for name, choice in suggestion._asdict().items()}


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
