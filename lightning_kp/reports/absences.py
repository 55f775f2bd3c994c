"""Section of a report that lists when animals were not found in a video, and what large thing was there instead."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.motion.boxes import stretches
from lightning_kp.reports.page import Raw, table
from lightning_kp.reports.videos import RunVideo
from lightning_kp.tracks.table import TrackSource

LEAST_S = 1.0  # seconds; an animal is unseen for less where it turns or is covered
MAX_STRETCHES = 100  # rows; a run with more needs another look at its videos


def absences(videos: Sequence[RunVideo], inspection: dict[str, Any]) -> str:
    """Table of the stretches without an animal; a button shows the beginning of each in the player.

    They are read from the tracks, where a square that follows an animal has lost it, and otherwise from the content of
    ``inspection.json``, which also knows what large thing was there.
    """
    inspected = {
        _stem(each.get("path", "")): each.get("absences", []) for each in inspection.get("videos", [])
    }
    rows = [row for video in videos for row in _rows(video, inspected.get(video.name, []))]
    if not rows:
        return ""
    more = f"<p>The first {MAX_STRETCHES} of {len(rows)} are listed.</p>" if len(rows) > MAX_STRETCHES else ""
    note = (
        "In these stretches an animal was not found, so what the tracks say about it there means nothing. "
        "Click a time to show it above."
    )
    heads = ("video", "from (s)", "to (s)", "not found", "what is there")
    return f"<p>{note}</p>{more}{table(heads, rows[:MAX_STRETCHES])}"


def unseen(source: TrackSource) -> NDArray[np.bool_]:
    """Whether each animal has no keypoint in each frame, (N, I): all positions NaN or all confidences 0."""
    parts = [
        ((piece.confidence <= 0) | ~np.isfinite(piece.points_px).all(axis=-1)).all(axis=-1)
        for piece in source.pieces()
    ]
    return np.concatenate(parts) if parts else np.zeros((0, source.info.animals), dtype=np.bool_)


def _rows(video: RunVideo, inspected: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """Rows of one video, in order of time."""
    tracked = _tracked(video)
    found = tracked or [
        (each["start_s"], each["end_s"], f"{each['animals'] - each['found']} of {each['animals']}")
        for each in inspected
    ]
    return [
        [video.name, _button(video, start), end, who, _large(start, end, inspected)]
        for start, end, who in sorted(found)
    ]


def _tracked(video: RunVideo) -> list[tuple[float, float, str]]:
    """First time, last time and name of the animal for each stretch without it in the tracks."""
    if video.source is None:
        return []
    lost = unseen(video.source)
    if not lost.any() or lost.all():
        return []
    time_s = np.concatenate([piece.times_s for piece in video.source.pieces()])
    return [
        (start, end, f"animal {animal + 1}" if lost.shape[1] > 1 else "the animal")
        for animal in range(lost.shape[1])
        for start, end in stretches(lost[:, animal], time_s, LEAST_S)
    ]


def _large(start: float, end: float, inspected: Sequence[dict[str, Any]]) -> str:
    """Where something large was during most of a stretch, by the inspection."""
    for each in inspected:
        common = min(end, each["end_s"]) - max(start, each["start_s"])
        if each.get("large_at") and common > (end - start) / 2:
            return f"something large at the {each['large_at']}"
    return ""


def _button(video: RunVideo, time_s: float) -> Raw:
    return Raw(
        f'<button type="button" class="seek" data-video="{video.anchor}" data-time="{time_s:.3f}" '
        f'data-value="{time_s:.3f}">{time_s:.1f}</button>'
    )


def _stem(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
