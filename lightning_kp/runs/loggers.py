"""Loggers beside the table of the run folder, chosen by ``--log``, and what to do with pictures and tables.

A logger takes pictures if it has ``log_image`` (Weights & Biases, the run folder) or ``experiment.add_image``
(TensorBoard).  Weights & Biases works offline, into the run folder, as long as no key is known.
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
from lightning_kp.images.drawing import Image

NAMES = ("csv", "wandb", "tensorboard")  # csv is written in any case


def chosen_loggers(names: str, folder: Path) -> list[Logger]:
    """Loggers by names with commas between them.  Raises ConfigurationError for an unknown one."""
    return [_BUILDERS[name](folder) for name in checked_names(names) if name != "csv"]


def checked_names(names: str) -> list[str]:
    """The names, each once.  Raises ConfigurationError for an unknown one."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in NAMES:
            raise ConfigurationError(f"--log has {name!r}.", remedy=did_you_mean(name, NAMES, "--log="))
    return list(dict.fromkeys(wanted))


def _wandb(folder: Path) -> Logger:
    from lightning.pytorch.loggers import WandbLogger

    folder.mkdir(parents=True, exist_ok=True)  # else its files go to the folder for temporary ones
    return WandbLogger(save_dir=str(folder), project=os.environ.get("WANDB_PROJECT", "lightning_kp"))


def _tensorboard(folder: Path) -> Logger:
    from lightning.pytorch.loggers import TensorBoardLogger

    try:
        return TensorBoardLogger(str(folder), name="tensorboard", version="")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "--log=tensorboard needs a package that is not installed.",
            remedy="Type: pip install 'lightning-kp[tensorboard]'",
        ) from error


_BUILDERS = {"wandb": _wandb, "tensorboard": _tensorboard}


def stay_offline_without_key() -> None:
    """Let Weights & Biases write to disk only where it has no key; it would ask for one, or stop."""
    if "WANDB_MODE" not in os.environ and not _has_key():
        os.environ["WANDB_MODE"] = "offline"


def _has_key() -> bool:
    """Whether the environment or ``.netrc``, where ``wandb login`` writes, holds a key."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    places = [os.environ.get("NETRC", ""), "~/.netrc", "~/_netrc"]
    for place in (Path(name).expanduser() for name in places if name):
        try:
            if netrc.netrc(place).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def log_pictures(loggers: Iterable[Logger], name: str, picture: Image, step: int) -> None:
    """Give an image (H, W, 3), uint8, to every logger that takes images."""
    for logger in loggers:
        if hasattr(logger, "log_image"):
            logger.log_image(key=name, images=[np.ascontiguousarray(picture)], step=step)
        elif hasattr(logger, "experiment") and hasattr(logger.experiment, "add_image"):
            logger.experiment.add_image(name, picture, step, dataformats="HWC")


def log_rows(
    loggers: Iterable[Logger], name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int
) -> None:
    """Give a table to every logger that takes tables or text."""
    for logger in loggers:
        if hasattr(logger, "log_table"):
            logger.log_table(key=name, columns=list(columns), data=[list(row) for row in rows], step=step)
        elif hasattr(logger, "experiment") and hasattr(logger.experiment, "add_text"):
            logger.experiment.add_text(name, markdown(columns, rows), step)


def markdown(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown; a bar in a cell is escaped."""
    lines = [list(columns), ["---"] * len(columns), *rows]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
