"""The record of a sweep: its finished and its queued trials, in an SQLite file managed by Optuna.

Trials are numbered from 0; the folder of a trial is ``trials/<number>``. The sampler is seeded anew for every trial,
from the seed of the sweep and the number of earlier trials, so that a stopped sweep continues as if uninterrupted.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_kp.errors import ConfigurationError, DataError, one_line
from lightning_kp.files import read_json, write_whole
from lightning_kp.sweeps.file import Parameter, Setting, SweepFile

if TYPE_CHECKING:
    import optuna

NAME = "sweep"


@dataclass(frozen=True)
class Trial:
    """One trial: ``state`` is ``running``, ``complete`` or ``failed``."""

    number: int
    setting: Setting
    state: str = "running"
    value: float | None = None


class Study:
    """Trials of one sweep in one folder."""

    def __init__(self, sweep: SweepFile, folder: Path, *, seed: int = 0, parallel: bool = False) -> None:
        """Open the sweep, or begin it.  Raises ConfigurationError if the folder holds a different sweep."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.sweep, self.folder, self.seed, self.parallel = sweep, folder, seed, parallel
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_other(sweep, folder)
        self._study = optuna.create_study(
            storage=f"sqlite:///{(folder / 'study.db').resolve()}",
            study_name=NAME,
            load_if_exists=True,
            direction="maximize" if sweep.maximise else "minimize",
        )
        self._ranges = {parameter.name: _distribution(parameter) for parameter in sweep.parameters}

    def trial_folder(self, number: int) -> Path:
        """Run folder of a trial."""
        return self.folder / "trials" / f"{number:04d}"

    def trials(self) -> list[Trial]:
        """All trials that were started, in order; of a trial and its repetitions in a grid only the last."""
        from optuna.trial import TrialState

        states = {TrialState.RUNNING: "running", TrialState.COMPLETE: "complete", TrialState.FAIL: "failed"}
        found = [
            Trial(each.number, dict(each.params), states[each.state], each.value)
            for each in self._study.get_trials(deepcopy=False)
            if each.state in states and len(each.params) == len(self._ranges)
        ]
        repeated = {json.dumps(each.setting, sort_keys=True): each.number for each in found}
        if self.sweep.method != "grid":
            return found
        return [each for each in found if repeated[json.dumps(each.setting, sort_keys=True)] == each.number]

    def interrupted(self) -> Iterator[Trial]:
        """Trials that a killed sweep left unfinished; they continue in their folders."""
        from optuna.trial import TrialState

        for each in self._study.get_trials(states=(TrialState.RUNNING,)):
            if len(each.params) == len(self._ranges):
                yield Trial(each.number, dict(each.params))
            else:  # the sweep was killed after the number was assigned and before the setting was drawn
                self._study.tell(each.number, state=TrialState.FAIL)
                if fixed := each.system_attrs.get("fixed_params"):
                    self._study.enqueue_trial(fixed)

    def retry_failed(self) -> None:
        """Queue the settings of failed trials again."""
        last = {repr(sorted(each.setting.items())): each for each in self.trials()}
        for each in last.values():
            if each.state == "failed":  # and has not been repeated since
                self._study.enqueue_trial(each.setting)

    def next(self) -> Trial:
        """Next trial: the first of the queue, or one that the sampler draws."""
        self._study.sampler = self._sampler(self.seed + len(self._study.get_trials(deepcopy=False)))
        asked = self._study.ask(self._ranges)
        return Trial(asked.number, dict(asked.params))

    def queue_grid(self) -> None:
        """Queue every combination of a grid that has not been tried or queued yet."""
        for setting in self.sweep.grid():
            self._study.enqueue_trial(setting, skip_if_exists=True)

    @property
    def queued(self) -> int:
        """Number of queued settings."""
        from optuna.trial import TrialState

        return len(self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def finish(self, number: int, value: float | None) -> None:
        """Record the value of a trial, or that it failed if there is none; what is recorded already stays."""
        from optuna.trial import TrialState

        if value is None:
            self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        else:
            self._study.tell(number, value, skip_if_finished=True)

    def _sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        import optuna

        if self.sweep.method == "bayes":
            return optuna.samplers.TPESampler(seed=seed, constant_liar=self.parallel)
        return optuna.samplers.RandomSampler(seed=seed)


@contextlib.contextmanager
def explained_record(folder: Path) -> Iterator[None]:
    """Turn errors of the database into DataError: the file is damaged, cannot be written, or the disk is full."""
    import optuna
    import sqlalchemy

    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = getattr(error, "orig", None) or error.__cause__ or error
        raise DataError(
            f"The record of the sweep, {folder / 'study.db'}, cannot be used: "
            f"{one_line(str(getattr(cause, 'orig', None) or cause))}.",
            remedy="Free some space if the disk is full. If the file is damaged, put back a copy, or delete it: "
            "all trials run again.",
        ) from error


def _refuse_other(sweep: SweepFile, folder: Path) -> None:
    """Raise ConfigurationError if the fingerprint in the folder's ``sweep.json`` is that of another sweep."""
    file = folder / "sweep.json"
    known, now = read_json(file), json.loads(json.dumps(sweep.fingerprint()))
    # A folder of an earlier version records fewer keys; a missing key is not a difference.
    changed = ", ".join(key for key in now if key in known and known[key] != now[key])
    if changed:
        raise ConfigurationError(
            f"{folder} holds trials of another sweep ({changed} differ).",
            remedy="Choose another folder with --out DIR.",
        )
    write_whole(file, json.dumps(now, indent=2) + "\n")


def _distribution(parameter: Parameter) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.kind == "choice":
        return CategoricalDistribution(parameter.choices)
    if parameter.kind == "integer":
        return IntDistribution(int(parameter.low), int(parameter.high), step=int(parameter.step or 1))
    return FloatDistribution(
        parameter.low,
        parameter.high,
        log=parameter.kind == "logarithmic",
        step=None if parameter.kind == "logarithmic" else parameter.step,
    )
