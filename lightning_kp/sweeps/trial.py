"""The result file of a trial, ``trial.json``, and the exit code of a failed trial.

This module imports nothing heavy, so that ``kp --help`` stays fast.
"""

import json
from pathlib import Path
from typing import Any

from lightning_kp.errors import one_line

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
    """Contents of ``trial.json``, metrics of older versions under their present names; empty without a file.

    A file that is damaged, or that holds something else, gives ``state`` failed and the reason.
    """
    from lightning_kp.runs.metric_names import current_names

    file = folder / RESULT_FILE
    try:
        if file.exists() and not file.is_file():
            raise ValueError("it is not a file")
        content = json.loads(file.read_text(encoding="utf-8"))
        figures = content.get("figures") or {}
        found = {**content, "figures": current_names(figures)} if figures else dict(content)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        is_text = isinstance(error, (OSError, ValueError))
        why = error if is_text else "it does not hold an object with state, reason and figures"
        return {
            "state": "failed",
            "reason": one_line(f"the trial left a {RESULT_FILE} that cannot be read: {why}"),
        }
    return found


def number_of(value: Any) -> float | None:
    """A metric as a number; None for anything that is not one, or is larger than a float can be.

    >>> number_of(3), number_of("3"), number_of(True), number_of(10**400)
    (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
