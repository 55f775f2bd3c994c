"""Collects the results in a run folder into one self-contained HTML file.

Everything is inside the file (pictures, plots and the first seconds of the overlays, as data URIs), so that it can be
mailed and opened without a network.  Sections without data are left out.  Text from files and file names is escaped.
The HTML itself is in :mod:`lightning_kp.reports.page`.

Files that are read, besides the run folder's own (:class:`lightning_kp.runs.folder.RunFolder`):

- ``pictures/*.png``: keypoints on the same frames at several training steps, in the order of their names;
- ``tracks/<video>.swaps.json``, or otherwise ``diagnostics.json``, with ``suspected_swaps``:
  [{frame, animals, margin, reason}], in the latter by video;
- ``tracks/<video>.flips.json``, of :mod:`lightning_kp.smoothing.refining`;
- ``label_efficiency.png`` and ``label_efficiency.json`` (or ``results.json`` beside that picture):
  {rows: [{dataset, method, labels, seed, METRIC...}]};
- ``behaviour.json``: [{setting, problem, seeds, mean: {METRIC: value}}], and ``ethogram.png``, in the folder or below.
"""

import re
from pathlib import Path

from lightning_kp.errors import DataError
from lightning_kp.files import read_json, write_whole
from lightning_kp.reports import parts
from lightning_kp.reports import videos as report_videos
from lightning_kp.reports.absences import absences
from lightning_kp.reports.flips import flips
from lightning_kp.reports.page import escaped, page, picture, table
from lightning_kp.reports.plots import training_curves
from lightning_kp.runs.folder import RunFolder
from lightning_kp.smoothing.refining import found_flips
from lightning_kp.tracks.identity_files import suspected_swaps

EXTRAS = ("label_efficiency.json", "label_efficiency.png", "behaviour.json", "ethogram.png")
MAX_PICTURES = 8  # pictures of the progress of training
CROP_BODIES = 1.6  # side of the crops around a keypoint, in body sizes: shows a part and its surroundings
SETTING_NAMES = {
    "box": "crop",
    "size": "image size (px)",
}  # names of suggested settings, where the key says too little


def write_report(folder: RunFolder) -> Path:
    """Write ``report.html`` into a run folder; returns its path.  Raises DataError if it is not a run folder."""
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
    """(anchor, heading, markup) of every section, in the order of a reader's questions."""
    diagnosis = read_json(folder.diagnostics)
    videos = report_videos.run_videos(folder)
    # The files beside the tracks are newer than the verdict, and exist without it.
    swaps = suspected_swaps(folder, [video.name for video in videos]) or diagnosis.get("suspected_swaps")
    is_run = any(path.exists() for path in (folder.config, folder.diagnostics, folder.inspection))
    strips = report_videos.crops(folder, videos, _crop_side(folder, diagnosis, videos)) if diagnosis else []
    return [
        ("verdict", "", parts.verdict(diagnosis) if is_run else ""),
        ("keypoints", "Keypoints", parts.gallery(diagnosis, strips)),
        ("videos", "Videos", report_videos.players(folder, videos)),
        ("swaps", "Possible identity switches", parts.swaps(swaps, videos)),
        (
            "flips",
            "Keypoints at wrong ends",
            flips(found_flips(folder, [video.name for video in videos]), videos),
        ),
        ("absences", "Animals not found", absences(videos, read_json(folder.inspection))),
        ("trajectories", "Trajectories", report_videos.trajectories(videos)),
        ("diagnostics", "Diagnostics", parts.diagnostics(diagnosis)),
        ("metrics", "Metrics", parts.metrics(folder)),
        ("labels", "Labels needed", parts.label_efficiency(folder.path)),
        ("behaviour", "Behaviour", parts.behaviour(folder.path)),
        ("training", "Training", training_curves(folder.path / "metrics.csv") + _progress(folder)),
        ("inspection", "Video inspection", _inspection(folder)),
        ("settings", "Settings", _settings(folder)),
    ]


def _crop_side(folder: RunFolder, diagnosis: parts.Json, videos: list[report_videos.RunVideo]) -> float:
    """Side of the crops around a keypoint, in pixels of the first video.

    The size of the animal is that of the inspection.  The verdict's is in pixels of the network's image, which shows
    the whole frame only where no square follows the animal.
    """
    sizes = [video.source.info.frame_size for video in videos if video.source is not None]
    longest = float(max(sizes[0])) if sizes and max(sizes[0]) > 0 else 192.0
    scene = diagnosis.get("scene", {})
    body, side = scene.get("body_px") or 0.0, scene.get("image_size") or 0
    inspected = read_json(folder.inspection).get("videos") or [{}]
    size = inspected[0].get("size_px")
    share = CROP_BODIES * size / longest if size else CROP_BODIES * body / side if side else 0.0
    return longest * min(0.6, max(0.12, share))


def _progress(folder: RunFolder) -> str:
    """The same validation frames at several training steps, selected with a slider."""
    found = sorted((folder.path / "pictures").glob("*.png"))
    if len(found) > MAX_PICTURES:
        found = [found[round(i * (len(found) - 1) / (MAX_PICTURES - 1))] for i in range(MAX_PICTURES)]
    figures = []
    for path in found:
        step = re.search(r"-(\d+)$", path.stem)
        title = f"After step {int(step[1])}" if step else path.stem
        image = picture(path, f"{title}: validation frames with keypoints", wide=True)
        if image:
            figures.append(f"<figure>{image}<figcaption>{escaped(title)}</figcaption></figure>")
    return f'<h3>Progress during training</h3><div class="steps">{"".join(figures)}</div>' if figures else ""


def _inspection(folder: RunFolder) -> str:
    """Picture, notes and suggested settings of ``kp inspect``."""
    image = picture(
        folder.path / "inspection.png",
        "Background, motion map, amount of motion over time, and distances moved",
        wide=True,
    )
    found = read_json(folder.inspection)
    notes = [note for video in found.get("videos", []) for note in video.get("notes", [])]
    listed = "".join(f"<li>{escaped(_note(note))}</li>" for note in notes)
    rows = [
        (SETTING_NAMES.get(name, name), _setting(each.get("value")), each.get("reason", ""))
        for name, each in found.get("suggestion", {}).items()
        if isinstance(each, dict)
    ]
    suggested = f"<h3>Suggested settings</h3>{table(('setting', 'value', 'reason'), rows)}" if rows else ""
    return (f"<ul>{listed}</ul>" if listed else "") + image + suggested


def _setting(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)


def _note(note: object) -> str:
    """A note of ``kp inspect`` as text; older files hold text only."""
    if not isinstance(note, dict):
        return str(note)
    text = ": ".join(str(each) for each in note.values())
    return text[:1].upper() + text[1:]


def _settings(folder: RunFolder) -> str:
    if not folder.config.exists():
        return ""
    text = escaped(folder.config.read_text(encoding="utf-8"))
    return f'<details><summary>config.yaml</summary><pre tabindex="0">{text}</pre></details>'
