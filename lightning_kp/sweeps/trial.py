"""The result file of a trial, ``trial.json``, and the exit code of a failed trial.

This module imports nothing heavy, so that ``kp --help`` stays fast.
"""

import json
from pathlib import Path
from typing import Any

RESULT_FILE = "trial.json"
EXIT_FAILED = 2


def write_result(
    folder: Path, state: str, *, reason: str = "", figures: dict[str, Any] | None = None
) -> None:
    """Write ``trial.json`` into a trial's folder.

    Args:
        folder: Folder of the trial.
        state: ``complete`` or ``failed``.
        reason: Why the trial failed, in one line.
        figures: Metrics by name.
    """
    from lightning_kp.files import write_whole

    content = {"state": state, "reason": reason, "figures": figures or {}}
    write_whole(folder / RESULT_FILE, json.dumps(content, indent=2) + "\n")


def read_result(folder: Path) -> dict[str, Any]:
    """Contents of ``trial.json``, metrics of older versions under their present names; empty without a file."""
    from lightning_kp.files import read_json
    from lightning_kp.runs.metric_names import current_names

    content = read_json(folder / RESULT_FILE)
    return content | {"figures": current_names(content["figures"])} if content.get("figures") else content
