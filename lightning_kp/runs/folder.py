"""Layout of a run folder: the same for every run, so that each command finds the files of the others."""

import contextlib
import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_kp.errors import DataError
from lightning_kp.files import read_json, write_whole
from lightning_kp.runs.lock import LOCK_NAME
from lightning_kp.runs.metric_names import current_names


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run: ``config.yaml``, ``checkpoints/``, ``tracks/<video>.*``, ``overlays/<video>.mp4``,
    ``diagnostics.json`` (verdicts on the run and each keypoint), ``metrics.json`` (metrics by name), ``report.html``.
    """  # noqa: D205

    path: Path

    @property
    def config(self) -> Path:
        """All settings of the run; ``kp fit --config`` repeats it."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints: ``last.ckpt`` and the best one."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """The newest checkpoint, from which an interrupted run resumes."""
        return self.checkpoints / "last.ckpt"

    @property
    def diagnostics(self) -> Path:
        """JSON file of the verdicts on the run and each keypoint."""
        return self.path / "diagnostics.json"

    @property
    def metrics(self) -> Path:
        """JSON file of the metrics by name."""
        return self.path / "metrics.json"

    @property
    def report(self) -> Path:
        """The report as one HTML file."""
        return self.path / "report.html"

    @property
    def inspection(self) -> Path:
        """Findings of ``kp inspect`` about the videos; its picture is ``inspection.png`` beside it."""
        return self.path / "inspection.json"

    def tracks(self, video: str) -> Path:
        """Path of a video's result files without their suffixes."""
        return self.path / "tracks" / video

    def overlay(self, video: str) -> Path:
        """Path of a video's overlay."""
        return self.path / "overlays" / f"{video}.mp4"

    def create(self) -> "RunFolder":
        """Create the folder.

        Raises:
            DataError: The folder cannot be written.
        """
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        return self

    def refuse_unwritable(self, option: str = "--out") -> None:
        """Raise DataError where :meth:`create` would, naming the ``option`` to change. Leaves no files behind."""
        created: list[Path] = []
        try:
            created = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass  # only an attempt shows whether permissions and the disk allow writing
        except OSError as error:
            raise _unwritable(self.path, error, option) from error
        finally:
            with contextlib.suppress(OSError):
                for folder in created:
                    folder.rmdir()

    def remove_if_empty(self) -> None:
        """Remove the folders that :meth:`create` made, if they are still empty."""
        for folder in (self.checkpoints, self.path):
            if folder.is_dir() and all(each.name == LOCK_NAME for each in folder.iterdir()):
                (folder / LOCK_NAME).unlink(missing_ok=True)
                folder.rmdir()

    def read_metrics(self) -> dict[str, Any]:
        """Contents of ``metrics.json``, metrics of older versions under their present names; empty without a file."""
        return current_names(read_json(self.metrics))

    def add_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Merge metrics into ``metrics.json``, which is replaced as a whole or not at all."""
        merged = _without_nan(self.read_metrics() | dict(metrics))
        write_whole(self.metrics, json.dumps(merged, indent=2) + "\n")


def run_of(checkpoint: Path) -> Path | None:
    """Run folder of a checkpoint, or None if the checkpoint lies outside a run folder."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else None


def _unwritable(folder: Path, error: OSError, option: str = "--out") -> DataError:
    return DataError(
        f"The run folder {folder} cannot be written: {error.strerror}.",
        remedy=f"Choose another with {option} DIR.",
    )


def _without_nan(value: Any) -> Any:
    """A copy with None in place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
