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
from lightning_kp.callbacks.distributed import lost_worker
from lightning_kp.callbacks.epoch_seed import EpochSeed
from lightning_kp.checkpoints import AtomicCheckpointIO, find_checkpoint, require_same_method
from lightning_kp.command.arguments import refuse_unreadable, refuse_weights_alone, split, typed
from lightning_kp.command.dropped_settings import SECTIONS, dropped_lines
from lightning_kp.command.messages import cause_of_ours
from lightning_kp.command.parser import KpParser, RunConfig
from lightning_kp.contract import require_batch_type
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError, KeypointError
from lightning_kp.method import Method
from lightning_kp.runs.folder import RunFolder, run_of
from lightning_kp.runs.lock import is_first_process, locked
from lightning_kp.runs.loggers import checked_names, chosen_loggers, stay_offline_without_key
from lightning_kp.runs.metrics_csv import RunLogger

DEFAULT_EPOCHS = 100  # ours; counts only when neither epochs, steps nor time are limited
# Lightning's warnings about what is intended here.
_EXPECTED_WARNINGS = (
    r".*isinstance\(treespec, LeafSpec\).*",
    r"You have overridden `on_after_batch_transfer`.*",
    r".*does not have many workers.*",
    r"Total length of `list` across ranks is zero",  # no validation data, which is allowed
    r"The dirpath has changed from .*",  # a test in another folder needs no best checkpoint
    r"The number of training batches .* is smaller than the logging interval",
)
FOLDER_OPTION = "--trainer.default_root_dir"
_FOLDER_VARIABLE = "KP_RUN_FOLDER"  # processes that DDP starts must use the first one's folder


def run(verb: str, arguments: list[str]) -> int:
    """Run one verb of the Trainer on the arguments after it; returns the exit code."""
    try:
        launch(verb, arguments)
    except SystemExit as end:
        return int(end.code or 0)  # after --help and --print_config
    return 0


def launch(verb: str, arguments: list[str], *, start: bool = True, build: bool = True) -> "KpCLI":
    """Run one verb of the Trainer; returns the model, data and trainer as attributes of the CLI.

    ``start`` false builds them without running.  ``build`` false checks the options only and raises SystemExit.
    """
    plugins.load_all()
    stay_offline_without_key()
    refuse_unreadable(arguments)
    refuse_weights_alone(arguments)
    for quiet in _EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message=quiet)
    try:
        return KpCLI(verb, arguments, start=start, build=build)
    except Exception as error:
        if not isinstance(error, KeypointError) and (cause := cause_of_ours(error)):
            raise cause from error  # jsonargparse wraps what a class's __init__ raises
        raise


def refuse_wrong_options(arguments: list[str]) -> None:
    """Raise ConfigurationError where ``kp fit`` would; builds only the datamodule and runs nothing."""
    checked_names(typed(arguments).get("log", ""))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        launch("fit", arguments, build=False)


class KpCLI(LightningCLI):
    """LightningCLI for one verb of ``kp``.

    The run folder is ``--trainer.default_root_dir``, else the folder of the tested checkpoint, else the next free
    ``runs/<method>-<number>``.  It holds ``config.yaml``, ``metrics.csv``, ``checkpoints/last.ckpt``, and the
    results of a test in ``metrics.json``.  ``--ckpt_path`` takes a checkpoint or a run folder; ``--log`` names
    loggers beside ``metrics.csv``.
    """

    def __init__(self, verb: str, arguments: list[str], *, start: bool = True, build: bool = True) -> None:
        self.verb = verb
        self._start = start
        self._lock = contextlib.ExitStack()
        self._build = build
        super().__init__(
            Method,
            KeypointDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # the methods save plain hyper-parameters themselves
            save_config_callback=RunConfig if verb == "fit" else None,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            trainer_defaults={"log_every_n_steps": 10},
            parser_class=KpParser,
            parser_kwargs={"prog": "kp"},
            args=[verb, *arguments],
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # an instance method, so that only one of four parsers is built
        return {self.verb: LightningCLI.subcommands()[self.verb]}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args)
        self._refuse_unfit_pair()
        if not self._build:
            self._refuse_unfit_data(parser)
            raise SystemExit(0)
        self._warn_dropped_settings(args[1:])

    def _refuse_unfit_pair(self) -> None:
        """Refuse a wrong pair before anything is built or prepared: an hour of video takes minutes to decode."""
        chosen = self.config[self.verb]
        kinds = [chosen[name].class_path for name in SECTIONS if isinstance(chosen.get(name), Namespace)]
        if len(kinds) == len(SECTIONS) and self.verb != "predict":
            method, datamodule = (locate(kind) for kind in kinds)
            if isinstance(method, type) and isinstance(datamodule, type):
                require_batch_type(method, datamodule)

    def _refuse_unfit_data(self, parser: LightningArgumentParser) -> None:
        """Build the datamodule, which checks its numbers; unlike a network, that takes no time."""
        data = self.config[self.verb].data
        parser.instantiate_classes(Namespace(subcommand=self.verb, **{self.verb: Namespace(data=data)}))

    def _warn_dropped_settings(self, options: list[str]) -> None:
        """Warn on stderr of settings in the configuration files that the chosen classes do not have."""
        chosen = self.config[self.verb]
        _, passed_on = split(options)
        final = {name: chosen[name].as_dict() for name in SECTIONS if isinstance(chosen.get(name), Namespace)}
        for line in dropped_lines(chosen.get("config") or [], final, typed(passed_on)):
            print(line, file=sys.stderr)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.set_defaults({"trainer.max_epochs": None})
        parser.add_argument("--log", default="csv", help="loggers beside metrics.csv: wandb,tensorboard")

    def _parse_ckpt_path(self) -> None:
        """Find the checkpoint of a run folder; a checkpoint never overrides an option, as Lightning's own would."""
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
        if writes and is_first_process():  # before videos are decoded
            RunFolder(folder).refuse_unwritable(FOLDER_OPTION)
            if self.verb == "fit":
                if self._start:  # until this training ends
                    folder.mkdir(parents=True, exist_ok=True)
                    self._lock.enter_context(locked(folder, "Another training", option=FOLDER_OPTION))
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
        """Refuse a new training that would overwrite the network of an earlier one."""
        if self._start and folder.last_checkpoint.is_file() and self._get(self.config, "ckpt_path") is None:
            raise ConfigurationError(
                f"{folder.path} holds the network of an earlier training.",
                remedy=f"--ckpt_path {folder.last_checkpoint} continues it; {FOLDER_OPTION} DIR starts in another "
                "folder.",
            )

    def _loggers(self, given: Any, folder: Path) -> list[Logger]:
        """The logger of ``metrics.csv``, those that ``--log`` names, and those of ``trainer.logger``."""
        own = given if isinstance(given, list) else [given]
        own = [logger for logger in own if isinstance(logger, Logger)]
        named = chosen_loggers(self._get(self.config, "log"), folder)
        if given is False or self.verb != "fit":
            return own
        return [RunLogger(folder, keep=self._get(self.config, "ckpt_path") is not None), *own, *named]

    def _standard_callbacks(self, given: Any, own: list[L.Callback], folder: Path) -> Iterator[L.Callback]:
        """Callbacks that every run has unless the configuration brings its own of the kind."""
        if self.verb != "fit":
            return
        yield EpochSeed()
        for kind in (UnusedParameters, KeypointOverlay):
            if not any(isinstance(callback, kind) for callback in own):
                yield kind()
        keeps = given.enable_checkpointing is not False and not given.fast_dev_run and not given.barebones
        if keeps and not any(isinstance(callback, ModelCheckpoint) for callback in own):
            # Saved after every epoch, whether it validates or not, so that no training is lost.
            yield ModelCheckpoint(
                folder / "checkpoints", filename="last", enable_version_counter=False,
                save_on_train_epoch_end=True,
            )  # fmt: skip

    def _tested_folder(self) -> Path | None:
        """The run folder of the checkpoint that is tested, validated or predicted with."""
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
            require_same_method(Path(checkpoint), self.model)
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        if subcommand == "predict" and not any(isinstance(each, BasePredictionWriter) for each in callbacks):
            print(
                "kp: predict saves nothing unless --trainer.callbacks names a prediction writer. "
                "`kp track RUN VIDEOS` writes the keypoints of videos and folders of images.",
                file=sys.stderr,
            )
        try:
            super()._run_subcommand(subcommand)
            self._save_test_metrics(subcommand)
        except SystemExit:
            if not self.trainer.interrupted:
                raise
            signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning has disabled Ctrl-C
            raise KeyboardInterrupt(self._resume_hint()) from None
        except RuntimeError as error:
            if (lost := lost_worker(self.trainer, error)) is None:
                raise
            raise lost from error
        except OSError as error:
            error.filename = error.filename or self.trainer.default_root_dir
            raise
        finally:
            os.environ.pop(_FOLDER_VARIABLE, None)
            self._lock.close()
            if self.verb == "fit":
                RunFolder(Path(self.trainer.default_root_dir)).remove_if_empty()

    def _save_test_metrics(self, subcommand: str) -> None:
        """Write the metrics of a test into ``metrics.json`` and print the run folder."""
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
            figures |= {name: self.model.hparams[name] for name in self.model.decoding_options}
            folder.add_metrics(
                {f"test{self.model.decoding}/{name}": value for name, value in figures.items()}
            )
        if subcommand in ("fit", "test"):
            print(f"Run folder: {folder.path}", file=sys.stderr)

    def _resume_hint(self) -> str:
        kept = getattr(self.trainer.checkpoint_callback, "best_model_path", "")
        if not kept:
            return "No epoch was finished, so nothing is kept."
        return f"Kept: {kept}. Continue with the same command and --ckpt_path {kept}"
