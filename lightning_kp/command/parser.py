"""The parser of ``kp fit | validate | test | predict``."""

import argparse
from collections.abc import Iterator
from typing import Any, NoReturn

import lightning as L
import torch
from lightning.pytorch.cli import LightningArgumentParser, Namespace, SaveConfigCallback

from lightning_kp import plugins
from lightning_kp.command.messages import condense


class KpParser(LightningArgumentParser):
    """A parser with one-line errors; options cannot be abbreviated, because `kp discover` reads them as well."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # an inner parser: the outer one reports the error
            super().error(message, ex)
        raise condense(message, _option_strings(self), _class_names) from ex


class RunConfig(SaveConfigCallback):
    """Writes ``config.yaml`` without the run folder and the checkpoint to resume from, which belong to one call only.

    It is written when training begins, so that settings refused before that leave no folder behind.
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace, *args: Any, **kwargs: Any) -> None:
        repeated = config.clone()
        repeated["ckpt_path"] = repeated["trainer.default_root_dir"] = None
        super().__init__(parser, repeated, *args, **kwargs)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Do nothing yet; Lightning's own callback writes the file here."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().setup(trainer, pl_module, "fit")


def _option_strings(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield all options of a parser and its subcommands."""
    for action in parser._actions:
        yield from action.option_strings
        for inner in action.choices.values() if isinstance(action.choices, dict) else ():
            if isinstance(inner, argparse.ArgumentParser):
                yield from _option_strings(inner)


def _class_names() -> Iterator[str]:
    """Yield the short names that a class option accepts: ours, those of plug-ins, of Lightning and of torch."""
    for group in plugins.GROUPS:
        yield from plugins.registered(group)
    for base in (L.Callback, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler):
        yield from (kind.__name__ for kind in base.__subclasses__())
