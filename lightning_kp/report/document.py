"""One self-contained HTML file about a folder of results.

Everything is inside the file (pictures, plots and the overlays' beginnings as data URIs), so that it can be
mailed and opened without a network.  Only what lies in the folder is shown; a part that is missing is left out.
Text that comes from files or their names is escaped.

What is read, beside the run folder's own files (:class:`lightning_kp.runs.folder.RunFolder`):

- ``pictures/*.png``: keypoints on the same frames as training went on, in the order of their names;
- ``tracks/<video>.swaps.json``, or where there is none ``diagnostics.json``, with ``suspected_swaps``:
  [{frame, animals, margin, reason}], in the latter by video;
- ``label_efficiency.png`` and ``label_efficiency.json`` (or ``results.json`` beside that picture):
  {rows: [{dataset, method, labels, seed, FIGURE...}]};
- ``behaviour.json``: [{setting, problem, seeds, mean: {FIGURE: value}}], and ``ethogram.png``, in the folder or below.
"""

import re
from pathlib import Path

from lightning_kp.errors import DataError
from lightning_kp.files import read_json, write_whole
from lightning_kp.report import parts
from lightning_kp.report import videos as report_videos
from lightning_kp.report.page import escaped, page, picture
from lightning_kp.report.plots import curves
from lightning_kp.runs.folder import RunFolder
from lightning_kp.tracks.identity_files import suspected_swaps

EXTRAS = ("label_efficiency.json", "label_efficiency.png", "behaviour.json", "ethogram.png")
MOST_PICTURES = 8  # of the training's progress
CROP_BODIES = 1.6  # side of a keypoint's surroundings, in body sizes: a part and what it belongs to


def write_report(folder: RunFolder) -> Path:
    """Write ``report.html`` into a folder of results; returns its path.  Raises DataError for any other folder."""
    own = (folder.config, folder.diagnostics, folder.inspection, folder.metrics)
    known = [*own, *(folder.path / name for name in EXTRAS)]
    if not folder.path.is_dir() or not any(path.exists() for path in known):
        raise DataError(
            f"{folder.path} is not a run folder.",
            remedy="Give the --out folder of `kp discover` or `kp demo`.",
        )
    sections = [section for section in _sections(folder) if section[2]]
    write_whole(folder.report, page(folder.path.resolve().name, sections))
    return folder.report


def _sections(folder: RunFolder) -> list[tuple[str, str, str]]:
    """(anchor, heading, markup) of every part, in the order in which a reader asks."""
    diagnosis = read_json(folder.diagnostics)
    videos = report_videos.run_videos(folder)
    # Those beside the tracks are newer than the verdict's, and there without it.
    swaps = suspected_swaps(folder, [video.name for video in videos]) or diagnosis.get("suspected_swaps")
    is_run = any(path.exists() for path in (folder.config, folder.diagnostics, folder.inspection))
    strips = report_videos.crops(folder, videos, _crop_side(diagnosis, videos)) if diagnosis else []
    return [
        ("verdict", "", parts.verdict(diagnosis) if is_run else ""),
        ("keypoints", "Keypoints", parts.gallery(diagnosis, strips)),
        ("videos", "Videos", report_videos.players(folder, videos)),
        ("swaps", "Suspected exchanges", parts.swaps(swaps, videos)),
        ("trajectories", "Trajectories", report_videos.trajectories(videos)),
        ("diagnostics", "Diagnostics", parts.diagnostics(diagnosis)),
        ("figures", "Figures", parts.figures(folder)),
        ("labels", "Labels needed", parts.label_efficiency(folder.path)),
        ("behaviour", "Behaviour", parts.behaviour(folder.path)),
        ("training", "Training", curves(folder.path / "metrics.csv") + _progress(folder)),
        ("inspection", "What the videos hold", _inspection(folder)),
        ("settings", "Settings", _settings(folder)),
    ]


def _crop_side(diagnosis: parts.Json, videos: list[report_videos.RunVideo]) -> float:
    """Side of the gallery's pictures in pixels of the first video."""
    sizes = [video.source.info.frame_size for video in videos if video.source is not None]
    longest = float(max(sizes[0])) if sizes and max(sizes[0]) > 0 else 192.0
    scene = diagnosis.get("scene", {})
    body, side = scene.get("body_px") or 0.0, scene.get("image_size") or 0
    share = CROP_BODIES * body / side if side else 0.0
    return longest * min(0.6, max(0.12, share))


def _progress(folder: RunFolder) -> str:
    """The same frames again and again as training went on, one at a time by a slider."""
    found = sorted((folder.path / "pictures").glob("*.png"))
    if len(found) > MOST_PICTURES:
        found = [found[round(i * (len(found) - 1) / (MOST_PICTURES - 1))] for i in range(MOST_PICTURES)]
    figures = []
    for path in found:
        step = re.search(r"-(\d+)$", path.stem)
        told = f"After step {int(step[1])}" if step else path.stem
        image = picture(path, f"{told}: validation frames with keypoints", wide=True)
        if image:
            figures.append(f"<figure>{image}<figcaption>{escaped(told)}</figcaption></figure>")
    return f'<h3>How they were found</h3><div class="steps">{"".join(figures)}</div>' if figures else ""


def _inspection(folder: RunFolder) -> str:
    """The picture of ``kp inspect``, its warnings and its suggestions."""
    image = picture(folder.path / "inspection.png", "Background, motion map and suggestions", wide=True)
    found = read_json(folder.inspection)
    notes = [note for video in found.get("videos", []) for note in video.get("notes", [])]
    listed = "".join(f"<li>{escaped(_note(note))}</li>" for note in notes)
    rows = [
        (name, "none" if each.get("value") is None else str(each.get("value")), each.get("reason", ""))
        for name, each in found.get("suggestion", {}).items()
        if isinstance(each, dict)
    ]
    from lightning_kp.report.page import table

    suggested = f"<h3>Suggested</h3>{table(('setting', 'value', 'why'), rows)}" if rows else ""
    return (f"<ul>{listed}</ul>" if listed else "") + image + suggested


def _note(note: object) -> str:
    return " ".join(str(each) for each in note.values()) if isinstance(note, dict) else str(note)


def _settings(folder: RunFolder) -> str:
    if not folder.config.exists():
        return ""
    text = escaped(folder.config.read_text(encoding="utf-8"))
    return f'<details><summary>config.yaml</summary><pre tabindex="0">{text}</pre></details>'
