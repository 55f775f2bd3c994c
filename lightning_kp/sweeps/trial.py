"""What one trial of a sweep leaves behind: trial.json."""

import json
from pathlib import Path
from typing import Any

RESULT = "trial.json"
FAILED = 2


def write_result(
    folder: Path, state: str, *, reason: str = "", figures: dict[str, Any] | None = None
) -> None:
    """Write ``trial.json`` of a trial's folder."""
    from lightning_kp.files import write_whole

    content = {"state": state, "reason": reason, "figures": figures or {}}
    write_whole(folder / RESULT, json.dumps(content, indent=2) + "\n")
