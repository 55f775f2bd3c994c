"""Logger that writes ``metrics.csv`` and ``pictures/`` in the run folder; a resumed run continues the table."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from lightning_kp.files import write_whole, writing

Row = dict[str, Any]


class RunLogger(Logger):
    """Writes one line per logged step to ``folder/metrics.csv`` at once, so that a killed run loses none.

    Args:
        folder: Run folder.
        keep: Keep the lines before the first step of this run and drop those that an interrupted run wrote
            after its last checkpoint. By default the file starts empty.
    """

    def __init__(self, folder: str | Path, keep: bool = False) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.keep = keep
        self._columns: list[str] | None = None
        self._has_pictures = False

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder, which Lightning also uses as ``trainer.log_dir``."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: ``config.yaml`` holds all settings."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        row: Row = {"step": step or 0, **{name: float(value) for name, value in metrics.items()}}
        if "epoch" in row:
            row["epoch"] = int(row["epoch"])
        if self._columns is None:
            self._rewrite([old for old in self._read() if self.keep and int(old["step"]) < row["step"]], row)
        elif not set(row) <= set(self._columns):
            self._rewrite(self._read(), row)
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns or []).writerow(row)

    @rank_zero_only
    def log_image(self, key: str, images: Sequence[Any], step: int | None = None) -> None:
        """Write images (H, W, 3), uint8, as ``pictures/<key>-<step>.png``.

        A run that does not resume another one first deletes older pictures.
        """
        from PIL import Image as Pictures

        folder = self.path.with_name("pictures")
        if not self.keep and not self._has_pictures:
            for old in folder.glob("*.png"):
                old.unlink()
        self._has_pictures = True
        for number, image in enumerate(images):
            name = f"{key.replace('/', '_')}-{step or 0:08d}{f'-{number}' if number else ''}.png"
            with writing(folder / name) as file:
                Pictures.fromarray(image).save(file, format="PNG")

    def _read(self) -> list[Row]:
        if not self.path.is_file():
            return []
        with self.path.open(newline="") as file:
            # A killed run may leave an incomplete line, whose step is missing or not a number.
            return [row for row in csv.DictReader(file) if (row.get("step") or "").isdigit()]

    def _rewrite(self, rows: list[Row], new_row: Row) -> None:
        columns = {name for row in rows for name in row} | set(new_row) | set(self._columns or ())
        self._columns = sorted(columns, key=lambda name: (name != "epoch", name != "step", name))
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, self._columns)
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.path, table.getvalue())
