"""The memory of a sweep: which trials there were and are to come, in an SQLite file that Optuna keeps.

A trial is counted from 0; its folder is ``trials/<number>``.  The sampler is seeded anew for every trial, from
the sweep's seed and the number of trials before it, so that a sweep that was stopped goes on as if it had not been.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_kp.errors import ConfigurationError
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
        """Open or begin the sweep.  Raises ConfigurationError where the folder holds a different one."""
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
        """Where a trial leaves its run."""
        return self.folder / "trials" / f"{number:04d}"

    def trials(self) -> list[Trial]:
        """All that were begun, in order; of those that repeat an earlier failure only the last."""
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
        """Trials that a killed sweep left: they go on in their folders."""
        from optuna.trial import TrialState

        for each in self._study.get_trials(states=(TrialState.RUNNING,)):
            if len(each.params) == len(self._ranges):
                yield Trial(each.number, dict(each.params))
            else:  # it was killed between the number and the setting
                self._study.tell(each.number, state=TrialState.FAIL)
                if fixed := each.system_attrs.get("fixed_params"):
                    self._study.enqueue_trial(fixed)

    def retry_failed(self) -> None:
        """Put the settings of failed trials in the queue again."""
        last = {repr(sorted(each.setting.items())): each for each in self.trials()}
        for each in last.values():
            if each.state == "failed":  # and was not repeated since
                self._study.enqueue_trial(each.setting)

    def next(self) -> Trial:
        """A setting to try: the next of the queue, or what the sampler draws."""
        self._study.sampler = self._sampler(self.seed + len(self._study.get_trials(deepcopy=False)))
        asked = self._study.ask(self._ranges)
        return Trial(asked.number, dict(asked.params))

    def queue_grid(self) -> None:
        """Put every combination of a grid in the queue that was not tried or queued yet."""
        for setting in self.sweep.grid():
            self._study.enqueue_trial(setting, skip_if_exists=True)

    @property
    def queued(self) -> int:
        """How many settings wait."""
        from optuna.trial import TrialState

        return len(self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def finish(self, number: int, value: float | None) -> None:
        """Note a trial's value, or, without one, that it failed."""
        from optuna.trial import TrialState

        if value is None:
            self._study.tell(number, state=TrialState.FAIL)
        else:
            self._study.tell(number, value)

    def _sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        import optuna

        if self.sweep.method == "bayes":
            return optuna.samplers.TPESampler(seed=seed, constant_liar=self.parallel)
        return optuna.samplers.RandomSampler(seed=seed)


def _refuse_other(sweep: SweepFile, folder: Path) -> None:
    """A folder belongs to one sweep; its fingerprint lies in ``sweep.json``."""
    kept = folder / "sweep.json"
    known, now = read_json(kept), json.loads(json.dumps(sweep.fingerprint()))
    # A folder of a former version knows less about itself, which is no difference.
    changed = ", ".join(key for key in now if key in known and known[key] != now[key])
    if changed:
        raise ConfigurationError(
            f"{folder} holds trials of another sweep ({changed} differ).",
            remedy="Choose another folder with --out DIR.",
        )
    write_whole(kept, json.dumps(now, indent=2) + "\n")


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
