"""The parser of the Trainer's verbs."""

import argparse
from collections.abc import Iterator
from typing import Any, NoReturn

import lightning as L
import torch
from lightning.pytorch.cli import LightningArgumentParser, Namespace, SaveConfigCallback

from lightning_kp import plugins
from lightning_kp.command.messages import condense


class KpParser(LightningArgumentParser):
    """A parser whose errors are one line; options are spelt out in full, for `kp discover` reads them too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # a parser inside another: the outer one reports
            super().error(message, ex)
        raise condense(message, _option_strings(self), _class_names) from ex


class RunConfig(SaveConfigCallback):
    """``config.yaml`` without what belongs to this call alone: the run folder, and where it went on from.

    Written when training begins: whoever refuses the settings before, method or data, leaves no folder behind.
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace, *args: Any, **kwargs: Any) -> None:
        repeated = config.clone()
        repeated["ckpt_path"] = repeated["trainer.default_root_dir"] = None
        super().__init__(parser, repeated, *args, **kwargs)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Nothing yet."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().setup(trainer, pl_module, "fit")


def _option_strings(parser: argparse.ArgumentParser) -> Iterator[str]:
    """All options of a parser and of its subcommands."""
    for action in parser._actions:
        yield from action.option_strings
        for inner in action.choices.values() if isinstance(action.choices, dict) else ():
            if isinstance(inner, argparse.ArgumentParser):
                yield from _option_strings(inner)


def _class_names() -> Iterator[str]:
    """Short names that a class option takes: ours, the plug-ins', and those of torch."""
    for group in plugins.GROUPS:
        yield from plugins.registered(group)
    for base in (L.Callback, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler):
        yield from (kind.__name__ for kind in base.__subclasses__())
