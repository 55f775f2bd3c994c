"""Result tables of a sweep: one row per trial, and one row per setting with statistics over its seeds."""

import csv
import io
import json
import statistics
from collections.abc import Sequence
from typing import Any

import yaml

from lightning_kp.files import write_whole
from lightning_kp.runs.loggers import markdown
from lightning_kp.runs.metric_names import current_name
from lightning_kp.sweeps.file import SEED, Setting
from lightning_kp.sweeps.study import Study, Trial
from lightning_kp.sweeps.trial import number_of, read_result

# Metrics shown beside the optimised one, where trials have them.
SHOWN_METRICS = (
    "linear", "matched", "untrained_linear", "untrained_matched", "mean_pose", "found", "order_kept",
    "test/error", "test/error_top5", "test/AP", "test/AP50", "test/AR", "test/AP_2", "test/AP_3", "test/AP_4",
    "test/AP_5", "test/count_right", "test/PCK",
)  # fmt: skip
Rows = list[dict[str, Any]]


def write_tables(study: Study) -> str:
    """Write ``table.md``, ``table.csv`` and ``trials.csv`` into the sweep's folder; return the text of ``table.md``."""
    trials = study.trials()
    results = {each.number: read_result(study.trial_folder(each.number)) for each in trials}
    write_whole(study.folder / "trials.csv", _csv(_per_trial(trials, results)))
    rows = per_setting(study, trials, results)
    write_whole(study.folder / "table.csv", _csv(rows))
    text = _markdown(study, rows, trials, results)
    write_whole(study.folder / "table.md", text)
    return text


def per_setting(study: Study, trials: Sequence[Trial], results: dict[int, dict[str, Any]]) -> Rows:
    """One row per setting: the varied options, number of trials, mean and standard deviation of each metric.

    A grid keeps its order; a search is sorted with the best setting first.
    """
    metric = current_name(study.sweep.metric)
    groups: dict[str, list[Trial]] = {}
    for each in trials:
        if each.state == "complete":
            groups.setdefault(json.dumps(_without_seed(each.setting)), []).append(each)
    rows: Rows = []
    for repeats in groups.values():
        row = _varied(study, repeats[0].setting) | {"trials": len(repeats)}
        for name in (metric, *(name for name in SHOWN_METRICS if name != metric)):
            given = [_figures(each, results, metric).get(name) for each in repeats]
            values = [value for value in map(number_of, given) if value is not None]
            if values:
                row[name] = statistics.mean(values)
                row[f"{name} sd"] = statistics.stdev(values) if len(values) > 1 else None
        rows.append(row)
    if study.sweep.method != "grid":
        rows.sort(key=lambda row: row[metric], reverse=study.sweep.maximise)
        return rows
    order = [json.dumps(_without_seed(setting)) for setting in study.sweep.grid()]
    positions = [order.index(key) for key in groups]
    return [row for _, row in sorted(zip(positions, rows, strict=True), key=lambda pair: pair[0])]


def _figures(trial: Trial, results: dict[int, dict[str, Any]], metric: str) -> dict[str, Any]:
    """Metrics of a trial by name; the optimised one is known to the record, also where its file is lost or damaged."""
    return dict(results[trial.number].get("figures") or {}) | {metric: trial.value}


def _without_seed(setting: Setting) -> Setting:
    return {name: value for name, value in setting.items() if name != SEED}


def _varied(study: Study, setting: Setting) -> dict[str, Any]:
    """Options that differ between settings; a mapping gives one column for each of its keys that differ."""
    changing = [each.name for each in study.sweep.parameters if len(each.edges) > 1 and each.name != SEED]
    found: dict[str, Any] = {}
    for name in changing:
        parts = [_parts(value) for value in _choices(study, name)]
        own = _parts(setting[name])
        if not own or not all(parts):
            found[name] = setting[name]
            continue
        differing = [key for key in own if len({repr(part.get(key)) for part in parts}) > 1]
        found |= {f"{name}.{key}": own[key] for key in differing}
    return found


def _choices(study: Study, name: str) -> tuple[Any, ...]:
    return next(each.choices for each in study.sweep.parameters if each.name == name)


def _parts(value: Any) -> dict[str, Any]:
    """The options of a value that is a mapping as text (``{a: 1, b: 2}``); empty for any other value."""
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return {}
    parts = yaml.safe_load(value)
    return parts if isinstance(parts, dict) else {}


def _per_trial(trials: Sequence[Trial], results: dict[int, dict[str, Any]]) -> Rows:
    rows: Rows = []
    for each in trials:
        result = results[each.number]
        figures = dict(result.get("figures") or {})
        metrics = {k: v for k, v in figures.items() if isinstance(v, (int, float, str))}
        rows.append(
            {
                "trial": each.number,
                **each.setting,
                "state": each.state,
                "reason": result.get("reason", ""),
                **metrics,
            }
        )
    return rows


def _csv(rows: Rows) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _markdown(study: Study, rows: Rows, trials: Sequence[Trial], results: dict[int, dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row if not name.endswith(" sd")))
    goal = "higher" if study.sweep.maximise else "lower"
    lines = [
        f"# {study.sweep.path.stem}",
        "",
        f"Mean ± standard deviation over trials; {goal} {study.sweep.metric} is better.",
    ]
    if rows:
        lines += ["", markdown(columns, [[_cell(row, name) for name in columns] for row in rows])]
    failed = [each for each in trials if each.state == "failed"]
    if failed:
        lines += ["", f"{len(failed)} of {len(trials)} trials failed:", ""]
        lines += [
            f"- trial {each.number}: {results[each.number].get('reason', 'unknown')}" for each in failed
        ]
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, float):
        return "" if value is None else str(value)
    deviation = row.get(f"{name} sd")
    return f"{value:.4g}" if deviation is None else f"{value:.2f} ± {deviation:.2f}"
