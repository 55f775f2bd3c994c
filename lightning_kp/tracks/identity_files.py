"""Identities of a stored video, and the file that lists where animals may have been exchanged."""

import json
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from lightning_kp.files import companion, read_json, write_whole
from lightning_kp.runs.folder import RunFolder
from lightning_kp.tracks.identity import IdentityTracker, Suspect, body_of
from lightning_kp.tracks.store import TrackStore
from lightning_kp.tracks.table import Tracks

SUFFIX = ".swaps.json"  # beside the tracks of a video


def keep_identities(store: TrackStore, *, regroup: bool) -> tuple[Suspect, ...]:
    """Give the animals of a complete store their own rows; writes ``<stem>.swaps.json``.

    ``regroup`` as of :class:`IdentityTracker`.  Done a second time, after an interruption, it changes nothing that
    is right already.
    """
    # Twice through the store: for what bodies look like, and to follow them.
    with tqdm(
        total=2 * len(store), desc=f"identities {store.stem.name}", unit="frame", delay=1.0, leave=False
    ) as bar:

        def counted(part: Tracks) -> Tracks:
            bar.update(len(part))
            return part

        tracker = IdentityTracker(body_of(map(counted, store.pieces())), regroup=regroup)
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
    """What the run's files say, by name of the video; videos of single animals are left out."""
    files = {name: companion(folder.tracks(name), SUFFIX) for name in videos}
    return {name: read_json(path)["suspected_swaps"] for name, path in files.items() if path.exists()}


def add_to_diagnostics(folder: RunFolder, videos: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Merge ``suspected_swaps`` into ``diagnostics.json``, where there are several animals."""
    swaps = suspected_swaps(folder, videos)
    if swaps:
        merged = read_json(folder.diagnostics) | {"suspected_swaps": swaps}
        write_whole(folder.diagnostics, json.dumps(merged, indent=2) + "\n")
    return swaps


def summary_lines(swaps: dict[str, list[dict[str, Any]]], *, at_most: int = 12) -> list[str]:
    """For the terminal: which frames to look at."""
    lines = []
    for name, suspects in swaps.items():
        frames = ", ".join(str(each["frame"]) for each in suspects[:at_most])
        more = f" and {len(suspects) - at_most} more" if len(suspects) > at_most else ""
        told = f"look at frames {frames}{more}" if suspects else "none"
        lines.append(f"{name}: suspected exchanges of animals: {told}")
    return lines
