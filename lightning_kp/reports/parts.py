"""Sections of a report that show numbers: verdict, keypoints, identity switches, metrics, labels, behaviour."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_kp.errors import DataError
from lightning_kp.files import read_json
from lightning_kp.reports.page import Raw, badge, escaped, marker, picture, table
from lightning_kp.reports.videos import RunVideo
from lightning_kp.runs.folder import RunFolder

Json = dict[str, Any]
MAX_SWAPS = 200  # rows; a run with more has to be checked as a whole
SWAP_REASONS = {"close": "animals close together", "jump": "sudden jump of an animal"}


def verdict(diagnosis: Json) -> str:
    """Verdict on the run, and the remedy most likely to help."""
    if not diagnosis:
        return (
            "<p>No verdict yet. <code>kp discover</code> writes one at the end of training, and "
            "<code>kp report RUN --judge</code> writes one for a trained run.</p>"
        )
    answer = str(diagnosis["verdict"])
    remedy = diagnosis.get("remedy")
    advice = f"<br>Most likely to help: {escaped(remedy)}." if remedy else ""
    return (
        f'<div class="verdict {escaped(answer)}" role="status"><strong>Discovery: {escaped(answer.upper())}.</strong> '
        f"{escaped(diagnosis['reason'])}{advice}</div>"
    )


def gallery(diagnosis: Json, strips: Sequence[Raw]) -> str:
    """A card for each keypoint: verdict, crops around it, reason and remedy."""
    cards = []
    for k, keypoint in enumerate(diagnosis.get("keypoints", [])):
        strip = strips[k] if k < len(strips) else ""
        remedy = f"<p>Try {escaped(keypoint['remedy'])}.</p>" if keypoint["remedy"] else ""
        cards.append(
            f'<div class="card"><h3>{marker(k)}{badge(keypoint["verdict"])}</h3>{strip}'
            f"<p>{escaped(_sentence(keypoint['reason']))}</p>{remedy}</div>"
        )
    note = (
        "<p>The crops show each keypoint in frames spread over a video. A good keypoint marks the same body part in "
        "all of them.</p>"
        if strips
        else ""
    )
    return f'{note}<div class="grid">{"".join(cards)}</div>' if cards else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def diagnostics(diagnosis: Json) -> str:
    """Table of the measures behind the verdicts."""
    rows = []
    for k, keypoint in enumerate(diagnosis.get("keypoints", [])):
        known = keypoint["measures"]
        share = {
            name: None if known[name] is None else 100 * known[name]
            for name in ("on_animal", "duplicate_share", "standing", "on_grid")
            if name in known
        }
        rows.append(
            [
                marker(k), badge(keypoint["verdict"]), share["on_animal"], share["duplicate_share"], known["jitter_px"],
                share.get("standing"), share.get("on_grid"),
                known["rotation_px"], known["confidence"], keypoint["problem"], keypoint["remedy"],
            ]
        )  # fmt: skip
    heads = (
        "keypoint", "verdict", "on the animal (%)", "duplicate (%)", "jitter (px)", "standing (%)", "on the grid (%)",
        "rotation error (px)",
        "confidence", "problem", "remedy",
    )  # fmt: skip
    note = (
        "<strong>On the animal</strong>: share of the frames in which the keypoint is on the animal. "
        "<strong>Duplicate</strong>: share of the frames in which it is in the same place as a better keypoint. "
        "<strong>Jitter</strong>: how much it trembles from frame to frame. "
        "<strong>Standing</strong>: share of the steps in which it does not move although the animal does. "
        "<strong>On the grid</strong>: share of its coordinates on the grid of the heatmap; 5 % by chance. "
        "<strong>Rotation error</strong>: how far it shifts on the animal when the image is turned. "
        "Distances are in pixels of the network's image. Click a column heading to sort."
    )
    return f"<p>{note}</p>{table(heads, rows)}" if rows else ""


def swaps(suspected: Any, videos: Sequence[RunVideo]) -> str:
    """Table of frames in which animals may have been exchanged; a button shows each frame in the player."""
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
            reason = each.get("reason", "")
            rows.append([name, button, animals, each.get("margin"), SWAP_REASONS.get(reason, reason)])
    if not rows:
        return "<p>None. The animals never came close enough to each other to be confused.</p>"
    more = f"<p>The first {MAX_SWAPS} of {len(rows)} are listed.</p>" if len(rows) > MAX_SWAPS else ""
    note = (
        "Two animals may have been exchanged in these frames. Check them before relying on identities: click a frame "
        "number to show the frame in the player above. The margin says how much worse an exchange would have fitted, "
        "in body lengths; a small or negative margin is suspicious."
    )
    heads = ("video", "frame", "animals", "margin (body lengths)", "reason")
    return f"<p>{note}</p>{more}{table(heads, rows[:MAX_SWAPS])}"


def metrics(folder: RunFolder) -> str:
    """Tables of the run's metrics: regression against the baselines, error of each labelled point, and all others."""
    known = folder.read_metrics()
    if not known:
        return ""
    parts = []
    prefixes = [
        name.removesuffix("untrained_matched") for name in known if name.endswith("untrained_matched")
    ]
    shown: set[str] = set()
    for prefix in prefixes:
        used, markup = _regression(known, prefix)
        shown |= used
        parts.append(markup)
    others = [(name, _as_text(value)) for name, value in known.items() if name not in shown]
    return "".join(parts) + (table(("metric", "value"), others) if others else "")


def _regression(known: Json, prefix: str) -> tuple[set[str], str]:
    """Names of the metrics shown, and two tables: the run against its baselines, and each labelled point."""
    rows = [
        ("this run", "linear", "matched"), ("untrained network", "untrained_linear", "untrained_matched"),
        ("mean pose", "mean_pose", "mean_pose"),
    ]  # fmt: skip
    values = [[text, *(_number(known.get(f"{prefix}{name}")) for name in names)] for text, *names in rows]
    heading = "Error on labelled points" + (f" ({prefix.rstrip('_')})" if prefix else "")
    note = (
        "How well the discovered points predict labelled ones: mean distance in % of the image side; lower is better. "
        "<strong>Linear</strong>: predicted from all discovered points by linear regression. "
        "<strong>Matched</strong>: each labelled point predicted from the single discovered point that fits it best. "
        "The mean pose is the average of the labelled points and ignores the image."
    )
    parts = [
        f"<h3>{escaped(heading)}</h3><p>{note}</p>",
        table(("predicted from", "linear (%)", "matched (%)"), values),
    ]
    errors, matches = known.get(f"{prefix}matched_per_point"), known.get(f"{prefix}matches")
    if isinstance(errors, dict) and isinstance(matches, dict):
        points = [
            (name, _number(error), marker(int(matches[name])) if isinstance(matches.get(name), int) else "")
            for name, error in errors.items()
        ]
        inner = table(("labelled point", "error (%)", "matched keypoint"), points)
        parts.append(f"<details><summary>Error of each labelled point</summary>{inner}</details>")
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


def _as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_as_text(each)}" for name, each in value.items())
    return value


def label_efficiency(folder: Path) -> str:
    """How many labels are needed: the plot and a table of the metrics, averaged over seeds."""
    plot = picture(
        folder / "label_efficiency.png", "Error and PCK against the number of labels, by method", wide=True
    )
    path = folder / "label_efficiency.json"
    if plot and not path.exists():
        path = folder / "results.json"  # written by `python -m lightning_kp.studies.label_efficiency`
    rows = read_json(path).get("rows", [])
    if not isinstance(rows, list):
        raise DataError(f"{path} has no rows.", remedy="Delete it and run the study again.")
    groups: dict[tuple[Any, ...], list[Json]] = {}
    for row in rows:
        groups.setdefault((row.get("dataset"), row.get("method"), row.get("labels")), []).append(row)
    keys = ("dataset", "method", "labels", "seed")
    names = list(dict.fromkeys(n for row in rows for n, v in row.items() if n not in keys and _is_metric(v)))
    lines = [
        [*group, len(repeats), *(_mean(repeats, name) for name in names)] for group, repeats in groups.items()
    ]
    shown = table(("data set", "method", "labels", "seeds", *names), lines) if lines else ""
    return f"{plot}{shown}"


def _is_metric(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _mean(rows: Sequence[Json], name: str) -> float | None:
    values = [float(row[name]) for row in rows if _is_metric(row.get(name))]
    return statistics.mean(values) if values else None


def behaviour(folder: Path) -> str:
    """Ethogram and metrics of a behaviour classifier."""
    path = folder / "behaviour.json"
    settings: Any = []
    if path.exists():
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(
                f"{path} is damaged ({error}).", remedy="Delete it and classify the behaviour again."
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
        picture(found, f"Ethogram {found.parent.name if found.parent != folder else ''}".strip(), wide=True)
        for found in sorted(folder.glob("ethogram.png")) or sorted(folder.glob("**/ethogram.png"))[:3]
    ]
    shown = table(("input", "seeds", *names, "note"), rows) if rows else ""
    return "".join(pictures) + shown
