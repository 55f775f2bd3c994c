"""The folder of a finished run as an object: verdict, report, tracks, metrics."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_kp.errors import DataError, did_you_mean
from lightning_kp.runs.folder import RunFolder

if TYPE_CHECKING:
    from lightning_kp.api.poses import Poses
    from lightning_kp.diagnosis.verdict import Diagnosis, Verdict


@dataclass(frozen=True, repr=False)
class Run(os.PathLike[str]):
    """A run folder, as ``kp discover`` leaves it; functions that take a run accept it in place of a path.

    Values are read from the folder on access.

    Attributes:
        path: The folder.

    Example:
        run = kp.Run(Path("runs/me"))
        print(run.verdict, run.report, sorted(run.tracks))
        model = kp.load(run)
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))  # a notebook gives a str

    def __repr__(self) -> str:
        return str(self)

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        diagnosis = self.diagnosis
        verdict = diagnosis.summary_lines() if diagnosis else ["No verdict yet: `kp report RUN --judge`."]
        return "\n".join([f"Run {self.path}", *verdict])

    @property
    def folder(self) -> RunFolder:
        """Paths of everything in the folder."""
        return RunFolder(self.path)

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint.  Raises CheckpointError without any."""
        from lightning_kp.checkpoints import find_checkpoint

        return find_checkpoint(self.path)

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder.report

    @property
    def diagnosis(self) -> "Diagnosis | None":
        """The verdict with its reasons and the measurements of each keypoint; None for a run that was not judged."""
        from lightning_kp.diagnosis.verdict import Diagnosis

        file = self.folder.diagnostics
        return Diagnosis.from_json(file.read_text(encoding="utf-8")) if file.is_file() else None

    @property
    def verdict(self) -> "Verdict | None":
        """``found``, ``doubtful`` or ``failed``; None for a run that was not judged."""
        diagnosis = self.diagnosis
        return diagnosis.verdict if diagnosis else None

    @property
    def metrics(self) -> dict[str, Any]:
        """The measured quantities of ``metrics.json`` by name."""
        from lightning_kp.files import read_json

        return read_json(self.folder.metrics)

    @property
    def tracks(self) -> dict[str, Path]:
        """The file with the keypoints of each tracked video, by the video's name; :meth:`poses` reads one."""
        from lightning_kp.command.tracking import saved_tracks

        sidecars = sorted((self.path / "tracks").glob("*.json"))
        names = [file.stem for file in sidecars if not file.name.endswith(".swaps.json")]
        found = {name: saved_tracks(self.folder, name) for name in names}
        return {name: file for name, file in found.items() if file is not None}

    def poses(self, video: str) -> "Poses":
        """Read the keypoints of a tracked video by its name.  Raises DataError for an unknown one."""
        from lightning_kp.api.poses import Poses

        known = self.tracks
        if video not in known:
            raise DataError(f"{self.path} has no tracks of '{video}'.", remedy=did_you_mean(video, known))
        return Poses.read(known[video])
