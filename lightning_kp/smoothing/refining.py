"""What `kp track` does to the tracks of a video before it writes them: it mends and lists flips, and smooths."""

import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_kp.files import companion, read_json, write_whole
from lightning_kp.runs.folder import RunFolder
from lightning_kp.smoothing.flips import Mended, mend_flips
from lightning_kp.smoothing.smoother import smooth_tracks
from lightning_kp.tracks.table import (
    TrackInfo,
    Tracks,
    TrackSource,
    concatenate,
    fits_in_memory,
)

SUFFIX = ".flips.json"  # of the file beside the tracks of a video

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refinement:
    """Changes tracks as a whole, in memory: 28 bytes for each point, and ten times that for a while.

    Attributes:
        mend: Put exchanged keypoints back where that helps, and halve the confidence of keypoints that jump.
        smooth: Smooth the positions over time.
    """

    mend: bool = True
    smooth: bool = False

    @property
    def mark(self) -> str:
        """What tells the results from those of other options; empty for the usual ones."""
        return ("" if self.mend else ":unmended") + (":smoothed" if self.smooth else "")

    def __call__(self, source: TrackSource, stem: Path) -> TrackSource:
        """Return the refined tracks of a complete source, and write ``<stem>.flips.json``."""
        info = source.info
        if not fits_in_memory(len(source), info.animals, len(info.keypoint_names)):
            logger.warning(
                "%s: too long to look for flips or to smooth; the tracks stay as they are", stem.name
            )
            return source
        mended = mend_flips(concatenate(info, source.pieces()), mend=self.mend)
        tracks = mended.tracks
        if self.smooth:
            smoothing = smooth_tracks(tracks)
            tracks = smoothing.tracks
            logger.info(
                "%s: smoothed; noise of a keypoint %.2g px (median), outliers replaced %d",
                stem.name, np.nanmedian(smoothing.noise_px), smoothing.outliers.sum(),
            )  # fmt: skip
        write_whole(companion(stem, SUFFIX), json.dumps(_plain(mended), indent=2) + "\n")
        return _Refined(info, tracks)


@dataclass(frozen=True)
class _Refined:
    """Changed tracks under the description of those that they come from."""

    info: TrackInfo
    tracks: Tracks

    def __len__(self) -> int:
        return len(self.tracks)

    def pieces(self) -> Iterator[Tracks]:
        return self.tracks.pieces()


def _plain(mended: Mended) -> dict[str, Any]:
    shares = {"order_before": mended.order_before, "order_after": mended.order_after}
    known = {name: round(share, 4) if np.isfinite(share) else None for name, share in shares.items()}
    return known | {"flips": [dataclasses.asdict(flip) for flip in mended.flips]}


def found_flips(folder: RunFolder, videos: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Flips from the ``.flips.json`` files of a run, by name of the video; videos without such a file are left out."""
    files = {name: companion(folder.tracks(name), SUFFIX) for name in videos}
    return {name: read_json(path)["flips"] for name, path in files.items() if path.exists()}


def flip_lines(flips: dict[str, list[dict[str, Any]]], *, max_frames: int = 8) -> list[str]:
    """Lines for the terminal: for each video how many flips there are, of which keypoints, and where they begin."""
    lines = []
    for name, found in flips.items():
        for kind, what in (("exchange", "keypoints exchanged"), ("jump", "keypoints jumped across the body")):
            chosen = [each for each in found if each["kind"] == kind]
            if not chosen:
                continue
            frames = sum(each["last_frame"] - each["frame"] + 1 for each in chosen)
            done = sum(each["mended"] for each in chosen)
            names = sorted({keypoint for each in chosen for keypoint in each["keypoints"]})
            first = ", ".join(str(each["frame"]) for each in chosen[:max_frames])
            more = ", ..." if len(chosen) > max_frames else ""
            remedy = "put back" if kind == "exchange" else "confidence halved"
            lines.append(
                f"{name}: {what} {len(chosen)} times, in {frames} frames ({', '.join(names)}); {remedy}: {done}. "
                f"They begin at frames {first}{more}"
            )
    return lines
