"""Assigns identities in a stored video, and lists in a file where animals may have been exchanged."""

import json
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from lightning_kp.files import companion, read_json, write_whole
from lightning_kp.runs.folder import RunFolder
from lightning_kp.tracks.identity import IdentityTracker, Suspect, estimate_body
from lightning_kp.tracks.store import TrackStore
from lightning_kp.tracks.table import Tracks

SUFFIX = ".swaps.json"  # of the file beside the tracks of a video


def keep_identities(store: TrackStore, *, regroup: bool) -> tuple[Suspect, ...]:
    """Give every animal of a complete store its own row, and write ``<stem>.swaps.json``.

    Returns the frames in which animals may have been exchanged.  ``regroup`` is that of :class:`IdentityTracker`.
    Running it again after an interruption leaves correct identities unchanged.
    """
    # Two passes over the store: one to estimate bodies, one to follow the animals.
    with tqdm(
        total=2 * len(store), desc=f"identities {store.stem.name}", unit="frame", delay=1.0, leave=False
    ) as bar:

        def counted(part: Tracks) -> Tracks:
            bar.update(len(part))
            return part

        tracker = IdentityTracker(estimate_body(map(counted, store.pieces())), regroup=regroup)
        store.rewrite(lambda part: counted(tracker.follow(part)))
    plain = {
        "body_px": round(tracker.body.size_px, 2),
        "suspected_swaps": [
            {"frame": each.frame, "animals": [number + 1 for number in each.animals],
             "margin": each.margin, "reason": each.reason}
            for each in tracker.suspects
        ],
    }  # fmt: skip
    write_whole(companion(store.stem, SUFFIX), json.dumps(plain, indent=2) + "\n")
    return tracker.suspects


def suspected_swaps(folder: RunFolder, videos: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Suspected identity switches from the run's ``.swaps.json`` files, by name of the video.

    Videos without such a file, as those of single animals, are left out.
    """
    files = {name: companion(folder.tracks(name), SUFFIX) for name in videos}
    return {name: read_json(path)["suspected_swaps"] for name, path in files.items() if path.exists()}


def add_to_diagnostics(folder: RunFolder, videos: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Write ``suspected_swaps`` into ``diagnostics.json`` if there are several animals; returns them."""
    swaps = suspected_swaps(folder, videos)
    if swaps:
        merged = read_json(folder.diagnostics) | {"suspected_swaps": swaps}
        write_whole(folder.diagnostics, json.dumps(merged, indent=2) + "\n")
    return swaps


def summary_lines(swaps: dict[str, list[dict[str, Any]]], *, max_frames: int = 12) -> list[str]:
    """Lines for the terminal: for each video the frames to check, at most ``max_frames`` of them."""
    lines = []
    for name, suspects in swaps.items():
        frames = ", ".join(str(each["frame"]) for each in suspects[:max_frames])
        more = f" and {len(suspects) - max_frames} more" if len(suspects) > max_frames else ""
        lines.append(
            f"{name}: possible identity switches; check frames {frames}{more}"
            if suspects
            else f"{name}: no suspected identity switches"
        )
    return lines
