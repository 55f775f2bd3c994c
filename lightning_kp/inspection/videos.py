"""What is in these videos, what will disturb discovery, and which settings to begin with."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning_kp.errors import DataError
from lightning_kp.inspection.advice import Suggestion, clock, crop_words, suggest, together
from lightning_kp.inspection.measures import Measured, Sampled, measure, sample
from lightning_kp.inspection.notes import Note, Trouble, notes_on
from lightning_kp.video.reader import VideoInfo


@dataclasses.dataclass(frozen=True, eq=False)
class VideoInspection:
    """One video: what the file says, what was measured, what to beware of, what to begin with."""

    info: VideoInfo
    decoded: int
    is_whole: bool
    measured: Measured
    notes: tuple[Note, ...]
    suggestion: Suggestion


@dataclasses.dataclass(frozen=True, eq=False)
class Inspection:
    """All videos, with one suggestion that suits them together."""

    videos: tuple[VideoInspection, ...]
    suggestion: Suggestion

    def to_json(self) -> str:
        """Everything but the pictures; NaN is null."""
        return json.dumps(
            {
                "videos": [_plain(video) for video in self.videos],
                "suggestion": _plain_choices(self.suggestion),
            },
            indent=2,
        )

    def text(self) -> str:
        """For a terminal: a block per video, then the settings."""
        blocks = [_video_lines(video) for video in self.videos]
        title = "Suggested settings" + (f" for all {len(self.videos)} videos" if len(self.videos) > 1 else "")
        blocks.append([title, *_suggestion_lines(self.suggestion)])
        return "\n\n".join("\n".join(block) for block in blocks)


def inspect_videos(
    paths: Sequence[str | Path], *, frames: int = 3000, progress: Callable[[int], object] | None = None
) -> Inspection:
    """Look at up to ``frames`` frames of each video (at least at the first half minute or so).

    ``progress`` is called with the number of frames just decoded.  Raises VideoError for a video
    without a usable frame, DataError without a video.
    """
    if not paths:
        raise DataError("There is no video to inspect.", remedy="Name video files or folders.")
    videos = tuple(_inspect(sample(path, frames=frames, progress=progress)) for path in paths)
    return Inspection(videos, together([(v.info, v.measured, v.suggestion) for v in videos]))


def _inspect(sampled: Sampled) -> VideoInspection:
    measured = measure(sampled)
    suggestion = suggest(sampled.info, measured)
    notes = notes_on(sampled, measured, suggestion)
    return VideoInspection(sampled.info, sampled.decoded, sampled.is_whole, measured, notes, suggestion)


def _video_lines(video: VideoInspection) -> list[str]:
    info, measured = video.info, video.measured
    height, width = info.frame_size
    length = (
        f"{info.n_frames} frames ({clock(info.n_frames / info.fps)})"
        if info.n_frames
        else "of unknown length"
    )
    kept = len(measured.time_s)
    rows = [
        ("file", f"{width}x{height} px, {info.fps:.4g} frames/s, {length}, {info.codec} {info.pixel_format}"),
        ("looked at", f"{kept} frames from {clock(measured.time_s[0])} to {clock(measured.time_s[-1])}"),
        ("moving", _moving_words(measured)),
        ("camera", f"shift {measured.shake_px:.1f} px, light {measured.flicker:.0f} and noise {measured.noise:.1f} "
                   "of 255 grey levels"),
    ]  # fmt: skip
    lines = [str(info.path), *(_row(*row) for row in rows)]
    return lines + [
        _row("beware" if note.trouble is not Trouble.PART else "note", note.text) for note in video.notes
    ]


def _moving_words(measured: Measured) -> str:
    if measured.things == 0:
        return "nothing"
    many = "1 thing" if measured.things == 1 else f"{measured.things} things"
    speed = f", up to {measured.speed:.1f} of its size per second" if measured.speed > 0 else ""
    return f"{many}, about {measured.size_px:.0f} px large ({100 * measured.covered:.1f} % of the picture){speed}"


def _suggestion_lines(suggestion: Suggestion) -> list[str]:
    gap = suggestion.gap.value
    shown = {
        "gap": gap if isinstance(gap, str) else f"{gap} frame{'s' if gap > 1 else ''}",
        "crop": crop_words(suggestion.box.value),
        "image size": f"{suggestion.size.value} px",
        "keypoints": str(suggestion.keypoints.value),
    }
    wide = max(map(len, shown.values()))
    return [_row(name, f"{value:<{wide}}  {choice.reason}")
            for (name, value), choice in zip(shown.items(), suggestion, strict=True)]  # fmt: skip


def _row(name: str, text: str) -> str:
    return f"  {name:<11}{text}"


def _plain(video: VideoInspection) -> dict[str, Any]:
    info, measured = video.info, video.measured
    figures = {
        name: getattr(measured, name)
        for name in (
            "things",
            "size_px",
            "speed",
            "alike",
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
        "frames_decoded": video.decoded, "frames_looked_at": len(measured.time_s),
        **{name: _finite(value) for name, value in figures.items()},
        "box_of_motion": measured.box,
        "notes": [{"trouble": note.trouble, "text": note.text} for note in video.notes],
        "suggestion": _plain_choices(video.suggestion),
    }  # fmt: skip


def _plain_choices(suggestion: Suggestion) -> dict[str, Any]:
    return {name: choice._asdict() for name, choice in suggestion._asdict().items()}


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
