"""Loggers chosen by ``--log``, in addition to the run folder's ``metrics.csv``, and logging of pictures and tables.

A logger accepts pictures if it has ``log_image`` (Weights & Biases, the run folder) or ``experiment.add_image``
(TensorBoard). Without an API key, Weights & Biases works offline and writes into the run folder.
"""

import netrc
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from lightning.pytorch.loggers.logger import Logger

from lightning_kp.errors import ConfigurationError, did_you_mean
from lightning_kp.images.files import Image

LOGGER_NAMES = ("csv", "wandb", "tensorboard")  # csv is always written


def chosen_loggers(names: str, folder: Path) -> list[Logger]:
    """Build the loggers named in a comma-separated list.  Raises ConfigurationError for an unknown name."""
    return [_BUILDERS[name](folder) for name in checked_names(names) if name != "csv"]


def checked_names(names: str) -> list[str]:
    """Names of a comma-separated list, each once.  Raises ConfigurationError for an unknown name."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in LOGGER_NAMES:
            raise ConfigurationError(
                f"--log={name} is not a logger.", remedy=did_you_mean(name, LOGGER_NAMES, "--log=")
            )
    return list(dict.fromkeys(wanted))


def _wandb(folder: Path) -> Logger:
    from lightning.pytorch.loggers import WandbLogger

    folder.mkdir(parents=True, exist_ok=True)  # otherwise its files go to the temporary folder
    return WandbLogger(save_dir=str(folder), project=os.environ.get("WANDB_PROJECT", "lightning_kp"))


def _tensorboard(folder: Path) -> Logger:
    from lightning.pytorch.loggers import TensorBoardLogger

    try:
        return TensorBoardLogger(str(folder), name="tensorboard", version="")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "--log=tensorboard needs the package tensorboard, which is not installed.",
            remedy="Type: pip install 'lightning-kp[tensorboard]'",
        ) from error


_BUILDERS = {"wandb": _wandb, "tensorboard": _tensorboard}


def stay_offline_without_key() -> None:
    """Set Weights & Biases to offline mode if it has no API key; otherwise it would ask for one, or stop."""
    if "WANDB_MODE" not in os.environ and not _has_key():
        os.environ["WANDB_MODE"] = "offline"


def _has_key() -> bool:
    """Whether the environment or ``.netrc``, where ``wandb login`` writes, holds an API key."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    candidates = [os.environ.get("NETRC", ""), "~/.netrc", "~/_netrc"]
    for path in (Path(name).expanduser() for name in candidates if name):
        try:
            if netrc.netrc(path).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def log_pictures(loggers: Iterable[Logger], name: str, picture: Image, step: int) -> None:
    """Log a picture (H, W, 3), uint8, with every logger that accepts images."""
    for logger in loggers:
        if hasattr(logger, "log_image"):
            logger.log_image(key=name, images=[np.ascontiguousarray(picture)], step=step)
        elif hasattr(logger, "experiment") and hasattr(logger.experiment, "add_image"):
            logger.experiment.add_image(name, picture, step, dataformats="HWC")


def log_rows(
    loggers: Iterable[Logger], name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int
) -> None:
    """Log a table with every logger that accepts tables or text."""
    for logger in loggers:
        if hasattr(logger, "log_table"):
            logger.log_table(key=name, columns=list(columns), data=[list(row) for row in rows], step=step)
        elif hasattr(logger, "experiment") and hasattr(logger.experiment, "add_text"):
            logger.experiment.add_text(name, markdown(columns, rows), step)


def markdown(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Format a table in Markdown; vertical bars in cells are escaped.

    >>> print(markdown(["keypoint", "verdict"], [["kp01", "found"]]))
    | keypoint | verdict |
    | --- | --- |
    | kp01 | found |
    """
    lines = [list(columns), ["---"] * len(columns), *rows]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
