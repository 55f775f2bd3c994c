"""Parts of a report that are made of figures: verdict, keypoints, suspected exchanges, scores, labels, behaviour."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_kp.errors import DataError
from lightning_kp.files import read_json
from lightning_kp.report.page import Raw, badge, escaped, marker, picture, table
from lightning_kp.report.videos import RunVideo
from lightning_kp.runs.folder import RunFolder

Json = dict[str, Any]
MOST_SWAPS = 200  # rows; a run with more has to be looked at as a whole


def verdict(diagnosis: Json) -> str:
    """The answer for the run, and what most likely helps."""
    if not diagnosis:
        return "<p>No verdict yet: <code>kp discover</code> writes one when training has ended.</p>"
    answer = str(diagnosis["verdict"])
    remedy = diagnosis.get("remedy")
    advice = f"<br>Most likely to help: {escaped(remedy)}." if remedy else ""
    return (
        f'<div class="verdict {escaped(answer)}" role="status"><strong>Discovery: {escaped(answer.upper())}.</strong> '
        f"{escaped(diagnosis['reason'])}{advice}</div>"
    )


def gallery(diagnosis: Json, strips: Sequence[Raw]) -> str:
    """A card for each keypoint: verdict, surroundings, reason and remedy."""
    cards = []
    for k, keypoint in enumerate(diagnosis.get("keypoints", [])):
        strip = strips[k] if k < len(strips) else ""
        remedy = f"<p>Try {escaped(keypoint['remedy'])}.</p>" if keypoint["remedy"] else ""
        cards.append(
            f'<div class="card"><h3>{marker(k)}{badge(keypoint["verdict"])}</h3>{strip}'
            f"<p>{escaped(_sentence(keypoint['reason']))}</p>{remedy}</div>"
        )
    told = "The surroundings of each keypoint in frames spread over a video: the same part every time, if it is good."
    note = f"<p>{told}</p>" if strips else ""
    return f'{note}<div class="grid">{"".join(cards)}</div>' if cards else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def diagnostics(diagnosis: Json) -> str:
    """The figures behind the verdicts."""
    rows = []
    for k, keypoint in enumerate(diagnosis.get("keypoints", [])):
        known = keypoint["measures"]
        share = {
            name: None if known[name] is None else 100 * known[name]
            for name in ("on_animal", "duplicate_share")
        }
        rows.append(
            [
                marker(k), badge(keypoint["verdict"]), share["on_animal"], share["duplicate_share"], known["jitter_px"],
                known["rotation_px"], known["confidence"], keypoint["problem"], keypoint["remedy"],
            ]
        )  # fmt: skip
    heads = (
        "keypoint", "verdict", "on the animal %", "duplicate %", "jitter px", "rotation error px", "confidence",
        "problem", "remedy",
    )  # fmt: skip
    told = "Pixels are those of the network's image. Click a heading to sort."
    return f"<p>{told}</p>{table(heads, rows)}" if rows else ""


def swaps(suspected: Any, videos: Sequence[RunVideo]) -> str:
    """Frames in which animals were perhaps exchanged, by video; a button shows them in the player."""
    if not isinstance(suspected, dict) or not suspected:
        return ""
    known = {video.name: video for video in videos}
    rows = []
    for name, frames in suspected.items():
        for each in frames:
            frame, video = int(each["frame"]), known.get(name)
            button: Any = frame
            if video is not None:
                button = Raw(
                    f'<button type="button" class="seek" data-video="{video.anchor}" '
                    f'data-time="{(frame + 0.5) / video.fps:.4f}">{frame}</button>'
                )
            animals = " and ".join(str(animal) for animal in each["animals"])
            rows.append([name, button, animals, each.get("margin"), each.get("reason", "")])
    if not rows:
        return (
            "<p>None: nowhere did the animals come so near each other that they may have been exchanged.</p>"
        )
    more = f"<p>The first {MOST_SWAPS} of {len(rows)}.</p>" if len(rows) > MOST_SWAPS else ""
    told = "Look at these frames before trusting who is who; a frame's number shows it in the player above."
    return f"<p>{told}</p>{more}{table(('video', 'frame', 'animals', 'margin', 'why'), rows[:MOST_SWAPS])}"


def figures(folder: RunFolder) -> str:
    """Scores: regression against the baselines, errors per labelled point, and whatever else was noted."""
    known = read_json(folder.metrics)
    if not known:
        return ""
    parts = []
    prefixes = [
        name.removesuffix("untrained_matched") for name in known if name.endswith("untrained_matched")
    ]
    told: set[str] = set()
    for prefix in prefixes:
        used, markup = _regression(known, prefix)
        told |= used
        parts.append(markup)
    others = [(name, _shown(value)) for name, value in known.items() if name not in told]
    return "".join(parts) + (table(("figure", "value"), others) if others else "")


def _regression(known: Json, prefix: str) -> tuple[set[str], str]:
    """Names used, and two tables: this run against its baselines, and each labelled point."""
    rows = [
        ("this run", "linear", "matched"), ("the same, untrained", "untrained_linear", "untrained_matched"),
        ("mean pose", "mean_pose", "mean_pose"),
    ]  # fmt: skip
    values = [[text, *(_number(known.get(f"{prefix}{name}")) for name in names)] for text, *names in rows]
    heading = "Errors against labelled points" + (f" ({prefix.rstrip('_')})" if prefix else "")
    parts = [
        f"<h3>{escaped(heading)}</h3><p>In % of the image side; less is better.</p>",
        table(("predicted from", "linear", "matched"), values),
    ]
    errors, matches = known.get(f"{prefix}matched_per_point"), known.get(f"{prefix}matches")
    if isinstance(errors, dict) and isinstance(matches, dict):
        points = [
            (name, _number(error), marker(int(matches[name])) if isinstance(matches.get(name), int) else "")
            for name, error in errors.items()
        ]
        inner = table(("labelled point", "error %", "matched keypoint"), points)
        parts.append(f"<details><summary>Each labelled point</summary>{inner}</details>")
    names = (
        "linear",
        "matched",
        "untrained_linear",
        "untrained_matched",
        "mean_pose",
        "matched_per_point",
        "matches",
    )
    used = {f"{prefix}{name}" for name in names}
    if not isinstance(errors, dict):
        used -= {f"{prefix}matched_per_point", f"{prefix}matches"}
    return used, "".join(parts)


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_shown(each)}" for name, each in value.items())
    return value


def label_efficiency(folder: Path) -> str:
    """How many labels are needed: the plot and its figures, mean and deviation over seeds."""
    plot = picture(
        folder / "label_efficiency.png", "Error and PCK over the number of labels, by method", wide=True
    )
    path = folder / "label_efficiency.json"
    if plot and not path.exists():
        path = (
            folder / "results.json"
        )  # what `python -m lightning_kp.studies.label_efficiency` leaves beside its plot
    rows = read_json(path).get("rows", [])
    if not isinstance(rows, list):
        raise DataError(f"{path} has no rows.", remedy="Delete it and run again.")
    groups: dict[tuple[Any, ...], list[Json]] = {}
    for row in rows:
        groups.setdefault((row.get("dataset"), row.get("method"), row.get("labels")), []).append(row)
    keys = ("dataset", "method", "labels", "seed")
    names = list(dict.fromkeys(n for row in rows for n, v in row.items() if n not in keys and _is_figure(v)))
    lines = [
        [*group, len(repeats), *(_mean(repeats, name) for name in names)] for group, repeats in groups.items()
    ]
    shown = table(("data set", "method", "labels", "seeds", *names), lines) if lines else ""
    return f"{plot}{shown}"


def _is_figure(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _mean(rows: Sequence[Json], name: str) -> float | None:
    values = [float(row[name]) for row in rows if _is_figure(row.get(name))]
    return statistics.mean(values) if values else None


def behaviour(folder: Path) -> str:
    """Scores of a behaviour classifier, and the ethogram."""
    path = folder / "behaviour.json"
    settings: Any = []
    if path.exists():
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(
                f"{path} is damaged ({error}).", remedy="Delete it; it is then written anew."
            ) from error
    settings = settings if isinstance(settings, list) else [settings]
    names = list(dict.fromkeys(name for each in settings for name in each.get("mean", {})))
    rows = [
        [
            each.get("setting") or "all", len(each.get("seeds", {})),
            *(each.get("mean", {}).get(name) for name in names), each.get("problem", ""),
        ]
        for each in settings
    ]  # fmt: skip
    pictures = [
        picture(found, f"Ethogram {found.parent.name if found.parent != folder else ''}", wide=True)
        for found in sorted(folder.glob("ethogram.png")) or sorted(folder.glob("**/ethogram.png"))[:3]
    ]
    shown = table(("input", "seeds", *names, "note"), rows) if rows else ""
    return "".join(pictures) + shown
