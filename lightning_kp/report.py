"""One self-contained HTML file about a run: verdict, pictures, curves, figures, settings.

Everything is inside the file (pictures and short overlays as data URIs), so that it can be mailed.
Only what lies in the run folder is shown; a part that is missing is left out.  Text that comes from
files or their names is escaped.
"""

import base64
import contextlib
import csv
import html
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning_kp.errors import DataError
from lightning_kp.run_folder import RunFolder, read_json, write_whole

EMBEDDED_VIDEO_MB = 12  # an overlay above this is named, not embedded: mail programs refuse large files
CURVE = re.compile(r"train/(\w+)_step")  # Lightning's name of what a step logs

STYLE = """
:root { color-scheme: light dark; --line: #8884; --accent: #0072b2; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { margin-bottom: 0 } h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem }
img, video { max-width: 100%; height: auto; border: 1px solid var(--line) }
table { border-collapse: collapse; width: 100%; display: block; overflow-x: auto }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums }
.verdict { padding: .8rem 1rem; border-left: .5rem solid #999; background: #8881; margin: 1rem 0 }
.found { border-color: #009e73 } .doubtful { border-color: #e69f00 } .failed { border-color: #d55e00 }
pre { overflow: auto; background: #8881; padding: 1rem; max-height: 30rem }
.swatch { display: inline-block; width: .9em; height: .9em; border-radius: 50%; vertical-align: -0.1em }
"""


def write_report(folder: RunFolder) -> Path:
    """Write ``report.html`` of a run folder; returns its path.  Raises DataError for a folder that is no run."""
    if not folder.path.is_dir() or not any(
        path.exists() for path in (folder.config, folder.diagnostics, folder.inspection, folder.metrics)
    ):
        raise DataError(
            f"{folder.path} is not a run folder.",
            remedy="Give the --out folder of `kp discover` or `kp demo`.",
        )
    parts = [
        _verdict(folder),
        _keypoints(folder),
        _overlays(folder),
        _figures(folder),
        _curves(folder),
        _inspection(folder),
        _settings(folder),
    ]
    name = html.escape(folder.path.resolve().name)
    body = "\n".join(part for part in parts if part)
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name} - keypoints</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><h1>{name}</h1>{body}</body></html>\n"
    )
    write_whole(folder.report, page)
    return folder.report


def _verdict(folder: RunFolder) -> str:
    if not folder.diagnostics.exists():
        return "<p>No verdict yet: <code>kp discover</code> writes one when training has ended.</p>"
    diagnosis = read_json(folder.diagnostics)
    remedy = diagnosis.get("remedy")
    advice = f"<br>Most likely to help: {html.escape(remedy)}." if remedy else ""
    verdict = html.escape(str(diagnosis["verdict"]))
    return (
        f'<div class="verdict {verdict}"><strong>Discovery: {verdict.upper()}.</strong> '
        f"{html.escape(diagnosis['reason'])}{advice}</div>"
    )


def _keypoints(folder: RunFolder) -> str:
    if not folder.diagnostics.exists():
        return ""
    from lightning_kp.drawing import colour

    rows = []
    for k, keypoint in enumerate(read_json(folder.diagnostics)["keypoints"]):
        measures = keypoint["measures"]
        red, green, blue = colour(k)
        swatch = f'<span class="swatch" style="background:rgb({red},{green},{blue})"></span> kp{k + 1:02d}'
        rows.append(
            [
                _Raw(swatch),
                keypoint["verdict"],
                _percent(measures["on_animal"]),
                _number(measures["jitter_px"]),
                _number(measures["rotation_px"]),
                _number(measures["confidence"], 2),
                keypoint["reason"],
                keypoint["remedy"],
            ]
        )
    heads = (
        "keypoint",
        "verdict",
        "on the animal",
        "jitter px",
        "rotation error px",
        "confidence",
        "why",
        "remedy",
    )
    return "<h2>Keypoints</h2>" + _table(heads, rows)


def _overlays(folder: RunFolder) -> str:
    overlays = sorted((folder.path / "overlays").glob("*.mp4"))
    parts = []
    for path in overlays:
        name = html.escape(path.stem)
        sheet = _contact_sheet(folder, path.stem)
        if path.stat().st_size <= EMBEDDED_VIDEO_MB * 2**20:
            uri = _data_uri("video/mp4", path.read_bytes())
            media = f'<video controls muted preload="metadata" src="{uri}"></video>'
        else:
            media = f"<p>Too large to embed: <code>overlays/{name}.mp4</code></p>"
        parts.append(f"<h3>{name}</h3>{sheet}{media}")
    return (
        "<h2>Videos</h2><p>Drawn from the saved tracks; opacity is confidence.</p>" + "".join(parts)
        if parts
        else ""
    )


def _contact_sheet(folder: RunFolder, name: str) -> str:
    from lightning_kp.overlay import contact_sheet
    from lightning_kp.track_reading import open_tracks

    saved = folder.tracks(name).with_name(f"{name}.csv")
    target = folder.path / "overlays" / f"{name}.png"
    # A video that has been moved since leaves the report without its sheet, not the user without a report.
    with contextlib.suppress(DataError, OSError):
        if not target.exists() or target.stat().st_mtime < saved.stat().st_mtime:
            contact_sheet(saved, Path(open_tracks(saved).info.video), target)
    return _picture(target, f"Frames of {name} with keypoints")


def _figures(folder: RunFolder) -> str:
    if not folder.metrics.exists():
        return ""
    rows: list[list[Any]] = []
    for name, value in read_json(folder.metrics).items():
        shown = (
            ", ".join(f"{k}: {_number(v)}" for k, v in value.items())
            if isinstance(value, dict)
            else _number(value)
        )
        rows.append([name, shown])
    return "<h2>Figures</h2><p>Regression errors are in % of the image side.</p>" + _table(
        ("name", "value"), rows
    )


def _curves(folder: RunFolder) -> str:
    path = folder.path / "metrics.csv"
    if not path.exists():
        return ""
    with path.open(newline="") as file:  # a killed run may leave half a line, which then has no step
        reader = csv.DictReader(file)
        logged = [row for row in reader if (row.get("step") or "").isdigit()]
    columns = [match for match in map(CURVE.fullmatch, reader.fieldnames or ()) if match]
    names = [column[1] for column in columns if any(row.get(column[0]) for row in logged)]
    if not names:
        return ""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.2 * ((len(names) + 2) // 3)), layout="constrained")
    axes = figure.subplots((len(names) + 2) // 3, 3, squeeze=False).ravel()
    for axis, name in zip(axes, names, strict=False):
        for stage, column in (("training", f"train/{name}_step"), ("validation", f"val/{name}")):
            points = [(int(row["step"]), _float(row[column])) for row in logged if row.get(column)]
            if points:
                axis.plot(*zip(*points, strict=True), label=stage, linewidth=1)
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=7)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    axes[0].legend(fontsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    uri = _data_uri("image/png", buffer.getvalue())
    return f'<h2>Training</h2><img alt="Loss terms over training steps" src="{uri}">'


def _inspection(folder: RunFolder) -> str:
    picture = _picture(folder.path / "inspection.png", "Background, motion map and suggestions")
    return f"<h2>What the videos hold</h2>{picture}" if picture else ""


def _settings(folder: RunFolder) -> str:
    if not folder.config.exists():
        return ""
    text = html.escape(folder.config.read_text())
    return f"<h2>Settings</h2><details><summary>config.yaml</summary><pre>{text}</pre></details>"


class _Raw(str):
    """Markup made here, which is not escaped again."""

    __slots__ = ()


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in heads)
    lines = []
    for row in rows:
        cells = [cell if isinstance(cell, _Raw) else html.escape(str(cell)) for cell in row]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _picture(path: Path, text: str) -> str:
    if not path.exists():
        return ""
    return f'<img alt="{html.escape(text)}" src="{_data_uri("image/png", path.read_bytes())}">'


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _number(value: Any, digits: int = 2) -> str:
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return "" if value is None else str(value)


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
