"""The shape of a run folder, the same for every run, so that each tool knows where to look."""

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


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run: ``config.yaml``, ``checkpoints/``, ``tracks/<video>.*``, ``overlays/<video>.mp4``,
    ``diagnostics.json`` (verdict per keypoint and run), ``metrics.json`` (figures by name), ``report.html``.
    """  # noqa: D205

    path: Path

    @property
    def config(self) -> Path:
        """The resolved settings; ``kp fit --config`` repeats the run."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """``last.ckpt`` and the best one."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """The newest checkpoint, from which a killed run goes on."""
        return self.checkpoints / "last.ckpt"

    @property
    def diagnostics(self) -> Path:
        """Verdicts."""
        return self.path / "diagnostics.json"

    @property
    def metrics(self) -> Path:
        """Figures by name."""
        return self.path / "metrics.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def inspection(self) -> Path:
        """What ``kp inspect`` said of the videos; its picture lies beside it as ``inspection.png``."""
        return self.path / "inspection.json"

    def tracks(self, video: str) -> Path:
        """Stem of a video's result files."""
        return self.path / "tracks" / video

    def overlay(self, video: str) -> Path:
        """A video's overlay."""
        return self.path / "overlays" / f"{video}.mp4"

    def create(self) -> "RunFolder":
        """Make the folder.  Raises DataError, in one line, where it cannot be written."""
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        return self

    def refuse_unwritable(self, option: str = "--out") -> None:
        """Raise DataError where :meth:`create` would, naming the ``option`` to change; leaves nothing behind."""
        made: list[Path] = []
        try:
            made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass  # permissions and read-only disks tell the truth only when tried
        except OSError as error:
            raise _unwritable(self.path, error, option) from error
        finally:
            with contextlib.suppress(OSError):
                for folder in made:
                    folder.rmdir()

    def remove_if_empty(self) -> None:
        """Take away what :meth:`create` made, if nothing has come to lie in it."""
        for folder in (self.checkpoints, self.path):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def add_metrics(self, figures: Mapping[str, Any]) -> None:
        """Merge figures into ``metrics.json``, whole or not at all."""
        merged = _without_nan(read_json(self.metrics) | dict(figures))
        write_whole(self.metrics, json.dumps(merged, indent=2) + "\n")


def run_of(checkpoint: Path) -> Path | None:
    """The run folder of a checkpoint; None for one that lies elsewhere."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else None


def _unwritable(folder: Path, error: OSError, option: str = "--out") -> DataError:
    return DataError(
        f"The run folder {folder} cannot be written: {error.strerror}.",
        remedy=f"Choose another with {option} DIR.",
    )


def _without_nan(value: Any) -> Any:
    """The same with null for NaN, which is no JSON."""
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
