"""``kp fit | validate | test | predict``: LightningCLI with the project's classes, run folder and errors."""

import contextlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from pydoc import locate
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import BasePredictionWriter, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, Namespace
from lightning.pytorch.loggers.logger import Logger

from lightning_kp import plugins
from lightning_kp.callbacks import KeypointOverlay, UnusedParameters
from lightning_kp.callbacks.epoch_seed import EpochSeed
from lightning_kp.checkpoints import AtomicCheckpointIO, find_checkpoint, refuse_foreign
from lightning_kp.command.arguments import refuse_unreadable, refuse_weights_alone, split, typed
from lightning_kp.command.dropped_settings import SECTIONS, dropped_settings
from lightning_kp.command.parser import KpParser, RunConfig
from lightning_kp.contract import refuse_unfit_pair
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError
from lightning_kp.method import Method
from lightning_kp.runs.folder import RunFolder, run_of
from lightning_kp.runs.loggers import checked_names, chosen_loggers, stay_offline_without_key
from lightning_kp.runs.metrics_csv import RunLogger

DEFAULT_EPOCHS = 100  # ours; counts only when neither epochs, steps nor time are limited
# Of Lightning, about what is meant to be so here.
_EXPECTED_WARNINGS = (
    r".*isinstance\(treespec, LeafSpec\).*",
    r"You have overridden `on_after_batch_transfer`.*",
    r".*does not have many workers.*",
    r"Total length of `list` across ranks is zero",  # no validation data, which is no mistake
    r"The dirpath has changed from .*",  # a test elsewhere has no best checkpoint to choose
    r"The number of training batches .* is smaller than the logging interval",
)
_FOLDER_VARIABLE = "KP_RUN_FOLDER"  # processes that DDP starts must use the folder of the first one


def run(verb: str, arguments: list[str]) -> int:
    """Run one verb of the Trainer on the arguments after it; returns the exit code."""
    try:
        launch(verb, arguments)
    except SystemExit as end:
        return int(end.code or 0)  # after --help and --print_config
    return 0


def launch(verb: str, arguments: list[str], *, start: bool = True, build: bool = True) -> "KpCLI":
    """The same; returns what was run: model, data and trainer.  ``start`` false: build them only.

    ``build`` false: SystemExit as soon as the options are known to be right.
    """
    plugins.load_all()
    stay_offline_without_key()
    refuse_unreadable(arguments)
    refuse_weights_alone(arguments)
    for quiet in _EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message=quiet)
    return KpCLI(verb, arguments, start=start, build=build)


def refuse_wrong_options(arguments: list[str]) -> None:
    """Raise ConfigurationError where ``kp fit`` would; nothing but the datamodule is built, nothing run."""
    checked_names(typed(arguments).get("log", ""))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        launch("fit", arguments, build=False)


class KpCLI(LightningCLI):
    """LightningCLI for one verb of ``kp``.

    The run folder is ``--trainer.default_root_dir``, or that of the checkpoint that is tested, or the next free
    ``runs/<method>-<number>``; it holds ``config.yaml``, ``metrics.csv``, ``checkpoints/last.ckpt``, and in
    ``metrics.json`` what a test found.  ``--ckpt_path`` takes a checkpoint or
    a run folder, ``--log`` names loggers beside ``metrics.csv``.
    """

    def __init__(self, verb: str, arguments: list[str], *, start: bool = True, build: bool = True) -> None:
        self.verb = verb
        self._start = start
        self._build = build
        super().__init__(
            Method,
            KeypointDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # the methods save their own, plain hyper-parameters
            save_config_callback=RunConfig if verb == "fit" else None,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            trainer_defaults={"log_every_n_steps": 10},
            parser_class=KpParser,
            parser_kwargs={"prog": "kp"},
            args=[verb, *arguments],
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # bound, to build one parser of four
        return {self.verb: LightningCLI.subcommands()[self.verb]}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args)
        self._refuse_unfit_pair()
        if not self._build:
            self._refuse_unfit_data(parser)
            raise SystemExit(0)
        self._tell_dropped_settings(args[1:])

    def _refuse_unfit_pair(self) -> None:
        """Before anything is built or prepared: an hour of video takes minutes to decode."""
        chosen = self.config[self.verb]
        kinds = [chosen[name].class_path for name in SECTIONS if isinstance(chosen.get(name), Namespace)]
        if len(kinds) == len(SECTIONS) and self.verb != "predict":
            method, datamodule = (locate(kind) for kind in kinds)
            if isinstance(method, type) and isinstance(datamodule, type):
                refuse_unfit_pair(method, datamodule)

    def _refuse_unfit_data(self, parser: LightningArgumentParser) -> None:
        """A datamodule judges its numbers when it is built; unlike a network, that takes no time."""
        data = self.config[self.verb].data
        parser.instantiate_classes(Namespace(subcommand=self.verb, **{self.verb: Namespace(data=data)}))

    def _tell_dropped_settings(self, options: list[str]) -> None:
        """Say on stderr which settings of the configuration files the chosen classes do not take."""
        chosen = self.config[self.verb]
        _, handed_on = split(options)
        final = {name: chosen[name].as_dict() for name in SECTIONS if isinstance(chosen.get(name), Namespace)}
        for file in chosen.get("config") or []:
            lost = dropped_settings(Path(str(file)), final, typed(handed_on))
            for section, settings in final.items():
                names = [name for name in lost if name.startswith(f"{section}.")]
                if names:
                    kind = settings["class_path"].rsplit(".")[-1]
                    print(
                        f"kp: {file}: {kind} does not take over {', '.join(names)}. "
                        "Type as options what it shall have of them.",
                        file=sys.stderr,
                    )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.set_defaults({"trainer.max_epochs": None})
        parser.add_argument("--log", default="csv", help="loggers beside metrics.csv: wandb,tensorboard")

    def _parse_ckpt_path(self) -> None:
        """A checkpoint never overrides an option: the configuration says what runs."""
        given = self.config[self.verb].get("ckpt_path")
        if given and given not in ("best", "last", "hpc", "registry"):
            self.config[self.verb]["ckpt_path"] = str(find_checkpoint(given))
        self.config[self.verb]["weights_only"] = True

    def before_instantiate_classes(self) -> None:
        trainer = self.config[self.verb].trainer
        if trainer.max_epochs is None and trainer.max_steps == -1 and trainer.max_time is None:
            trainer.max_epochs = DEFAULT_EPOCHS

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        given = self._get(self.config_init, "trainer")
        folder = Path(given.default_root_dir or self._tested_folder() or self._next_folder())
        writes = self.verb in ("fit", "test") and not given.fast_dev_run
        if writes and os.environ.get("LOCAL_RANK", "0") == "0":  # before videos are decoded
            RunFolder(folder).refuse_unwritable("--trainer.default_root_dir")
            if self.verb == "fit":
                self._refuse_trained(RunFolder(folder))
        own = given.callbacks if isinstance(given.callbacks, list) else [given.callbacks]
        own = [callback for callback in own if callback is not None]
        callbacks = [*own, *self._standard_callbacks(given, own, folder)]
        loggers = self._loggers(given.logger, folder)
        kwargs |= {"default_root_dir": str(folder), "callbacks": callbacks, "logger": loggers or False}
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise ConfigurationError(
                f"--trainer: {error}", remedy="`kp fit --help` lists the options."
            ) from error
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        return trainer

    def _refuse_trained(self, folder: RunFolder) -> None:
        """A new training would take the place of the network that an earlier one has left."""
        if self._start and folder.last_checkpoint.is_file() and self._get(self.config, "ckpt_path") is None:
            raise ConfigurationError(
                f"{folder.path} holds the network of an earlier training.",
                remedy=f"--ckpt_path {folder.last_checkpoint} goes on with it; --trainer.default_root_dir takes "
                "another folder.",
            )

    def _loggers(self, given: Any, folder: Path) -> list[Logger]:
        """``metrics.csv`` of the run folder, those that ``--log`` names, and those of ``trainer.logger``."""
        own = given if isinstance(given, list) else [given]
        own = [logger for logger in own if isinstance(logger, Logger)]
        named = chosen_loggers(self._get(self.config, "log"), folder)
        if given is False or self.verb != "fit":
            return own
        return [RunLogger(folder, keep=self._get(self.config, "ckpt_path") is not None), *own, *named]

    def _standard_callbacks(self, given: Any, own: list[L.Callback], folder: Path) -> Iterator[L.Callback]:
        """What every run has unless the configuration brings its own of the kind."""
        if self.verb != "fit":
            return
        yield EpochSeed()
        for kind in (UnusedParameters, KeypointOverlay):
            if not any(isinstance(callback, kind) for callback in own):
                yield kind()
        keeps = given.enable_checkpointing is not False and not given.fast_dev_run and not given.barebones
        if keeps and not any(isinstance(callback, ModelCheckpoint) for callback in own):
            # After every epoch, whether it validates or not: nothing that was trained is lost.
            yield ModelCheckpoint(
                folder / "checkpoints", filename="last", enable_version_counter=False,
                save_on_train_epoch_end=True,
            )  # fmt: skip

    def _tested_folder(self) -> Path | None:
        """The run that a checkpoint of its own is tested, validated or predicted with."""
        checkpoint = self._get(self.config, "ckpt_path")
        if self.verb == "fit" or not checkpoint or not Path(checkpoint).is_file():
            return None
        return run_of(Path(checkpoint))

    def _next_folder(self) -> Path:
        if known := os.environ.get(_FOLDER_VARIABLE):
            return Path(known)
        name = type(self.model).__name__.lower()
        number = 1
        while (folder := Path("runs") / f"{name}-{number}").exists():
            number += 1
        if self.verb == "fit":
            os.environ[_FOLDER_VARIABLE] = str(folder)
        return folder

    def _run_subcommand(self, subcommand: str) -> None:
        if not self._start:
            return
        checkpoint = self._get(self.config, "ckpt_path")
        if checkpoint and Path(checkpoint).is_file():
            refuse_foreign(Path(checkpoint), self.model)
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        if subcommand == "predict" and not any(isinstance(each, BasePredictionWriter) for each in callbacks):
            print(
                "kp: predict keeps nothing of what it finds, unless --trainer.callbacks names a prediction writer. "
                "`kp track RUN VIDEOS` writes keypoints of videos and folders of images.",
                file=sys.stderr,
            )
        try:
            super()._run_subcommand(subcommand)
            self._leave_figures(subcommand)
        except SystemExit:
            if not self.trainer.interrupted:
                raise
            signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning has switched Ctrl-C off
            raise KeyboardInterrupt(self._what_is_kept()) from None
        except OSError as error:
            if error.filename is None:
                error.filename = self.trainer.default_root_dir
            raise
        finally:
            os.environ.pop(_FOLDER_VARIABLE, None)

    def _leave_figures(self, subcommand: str) -> None:
        """What a test found, into ``metrics.json``; says where the run folder is."""
        if not self.trainer.is_global_zero or self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        folder = RunFolder(Path(self.trainer.default_root_dir))
        if subcommand == "test":
            found = {
                name.partition("/"): float(value) for name, value in self.trainer.callback_metrics.items()
            }
            figures: dict[str, Any] = {
                name: value for (stage, _, name), value in found.items() if stage == "test"
            }
            figures |= {name: self.model.hparams[name] for name in self.model.read_with}
            folder.add_metrics({f"test{self.model.reading}/{name}": value for name, value in figures.items()})
        if subcommand in ("fit", "test"):
            print(f"Run folder: {folder.path}", file=sys.stderr)

    def _what_is_kept(self) -> str:
        kept = getattr(self.trainer.checkpoint_callback, "best_model_path", "")
        if not kept:
            return "No epoch was finished, so nothing is kept."
        return f"Kept: {kept}. Continue with the same command and --ckpt_path {kept}"
