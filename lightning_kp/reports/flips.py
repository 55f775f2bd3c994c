"""Section of a report that lists where keypoints of one animal stood at wrong ends of it."""

from collections.abc import Sequence
from typing import Any

from lightning_kp.reports.page import Raw, table
from lightning_kp.reports.videos import RunVideo

MAX_FLIPS = 200  # rows; a run with more is no case for single frames
KINDS = {"exchange": "exchanged places", "jump": "jumped across the body"}
MENDED = {
    ("exchange", True): "put back", ("jump", True): "confidence halved",
    ("exchange", False): "left as found", ("jump", False): "left as found",
}  # fmt: skip


def flips(found: dict[str, list[dict[str, Any]]], videos: Sequence[RunVideo]) -> str:
    """Table of the flips of each video; a button shows the first frame of each in the player."""
    known = {video.name: video for video in videos}
    rows = [
        _row(name, each, known.get(name)) for name, flips_of_video in found.items() for each in flips_of_video
    ]
    if not rows:
        return ""
    more = f"<p>The first {MAX_FLIPS} of {len(rows)} are listed.</p>" if len(rows) > MAX_FLIPS else ""
    note = (
        "In these frames, keypoints of one animal stood at wrong places of its body: two or more exchanged theirs, or "
        "one jumped to the place of another. Those that exchanged were put back. One that jumped stays where it was "
        "seen, with half the confidence. Click a frame number to show the frame in the player above."
    )
    heads = (
        "video",
        "first frame",
        "last frame",
        "from (s)",
        "to (s)",
        "animal",
        "keypoints",
        "what",
        "done",
    )
    return f"<p>{note}</p>{more}{table(heads, rows[:MAX_FLIPS])}"


def _row(name: str, flip: dict[str, Any], video: RunVideo | None) -> list[Any]:
    first: Any = int(flip["frame"])
    if video is not None:
        first = Raw(
            f'<button type="button" class="seek" data-video="{video.anchor}" '
            f'data-time="{(first + 0.5) / video.fps:.4f}">{first}</button>'
        )
    kind, mended = str(flip["kind"]), bool(flip["mended"])
    return [
        name, first, int(flip["last_frame"]), float(flip["start_s"]), float(flip["end_s"]), int(flip["animal"]),
        ", ".join(map(str, flip["keypoints"])), KINDS.get(kind, kind), MENDED.get((kind, mended), ""),
    ]  # fmt: skip
