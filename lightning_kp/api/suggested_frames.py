"""Suggested frames and their files: suggestions.slp, labeled-data, suggestions.csv."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from lightning_kp.files import write_whole
from lightning_kp.tracks.stubs import Stub, write_deeplabcut, write_sleap
from lightning_kp.tracks.suggestions import Suggestion
from lightning_kp.video.opening import open_video


@dataclass(frozen=True)
class SuggestedFrame:
    """A frame worth labelling.

    Attributes:
        video: The video.
        name: The video's name in the files.
        frame: Number of the displayed frame, from 0.
        time_s: Its time in seconds.
        suggestion: Why it was chosen: ``worth``, ``uncertain``, ``doubtful``, ``far`` in [0, 1], and ``reason``.
    """

    video: Path
    name: str
    frame: int
    time_s: float
    suggestion: Suggestion

    @property
    def reason(self) -> str:
        """The strongest reason, in a word."""
        return self.suggestion.reason


@dataclass(frozen=True, eq=False, repr=False)
class SuggestedFrames:
    """Frames worth labelling, best first, and the folder with their files.

    Attributes:
        path: Folder with suggestions.slp for SLEAP, labeled-data for DeepLabCut, and suggestions.csv.
        frames: The frames.

    Example:
        found = kp.suggest("runs/me", count=2, names=["nose"], out="to_label/")
        print(len(found), found.frames[0].video, found.frames[0].time_s)
    """

    path: Path
    frames: tuple[SuggestedFrame, ...]

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The frames and the written files for a terminal."""
        return [
            *(f"{each.name} frame {each.frame}: {each.reason}" for each in self.frames),
            f"{len(self)} frames: {self.path / 'suggestions.slp'} for SLEAP, "
            f"{self.path / 'labeled-data'} for DeepLabCut",
        ]


def write_stubs(
    stubs: list[Stub], videos: dict[str, Path], names: tuple[str, ...], animals: int, scorer: str, out: Path
) -> None:
    """Write suggestions.slp and the labeled-data folder, with the predicted points where they are known."""
    infos = []
    for video in videos.values():
        with open_video(video) as reader:
            infos.append(reader.info)
    out.mkdir(parents=True, exist_ok=True)
    write_sleap(stubs, infos, names, out / "suggestions.slp")
    write_deeplabcut(stubs, videos, names, scorer, out, animals)


def write_table(found: SuggestedFrames) -> None:
    """Write suggestions.csv with the reasons."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("video", "frame", "time_s", "worth", "uncertain", "doubtful", "far", "reason"))
    for each in found.frames:
        why = each.suggestion
        shares = (f"{value:.3f}" for value in (why.worth, why.uncertain, why.doubtful, why.far))
        table.writerow((each.name, each.frame, f"{each.time_s:.3f}", *shares, each.reason))
    write_whole(found.path / "suggestions.csv", text.getvalue())
