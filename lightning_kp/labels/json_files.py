"""COCO and Label Studio files: checked, then prepared for sleap-io."""

import json
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

from lightning_kp.errors import DataError
from lightning_kp.labels.frames import OpenLabels, find_file
from lightning_kp.labels.sleap import from_sleap_io


def open_coco(path: Path, content: dict[str, Any], folders: list[Path]) -> OpenLabels:
    """Open a COCO file; only images with keypoints are read, and looked for below ``folders``."""
    import sleap_io as sio

    searched = [each for folder in folders for each in (folder, folder / "images")]
    labelled = {each["image_id"] for each in content["annotations"] if each.get("keypoints")}
    used = [each for each in content["images"] if each["id"] in labelled]
    files = {each["id"]: find_file(each["file_name"], searched) for each in used}
    problems = [f"{each['file_name']} is missing" for each in used if files[each["id"]] is None]
    counts = Counter(each["file_name"] for each in used)
    problems += [f"{name} is listed {count} times" for name, count in counts.items() if count > 1]
    points_of = {each["id"]: len(each.get("keypoints", ())) for each in content["categories"]}
    for each in content["annotations"]:
        expected, given = points_of.get(each.get("category_id"), 0), len(each.get("keypoints") or ()) / 3
        if given and given != expected:
            problems.append(
                f"annotation {each.get('id')} has {given:g} keypoints, but category {each.get('category_id')} "
                f"defines {expected}"
            )
    if problems or not used:
        return OpenLabels(path, (), [], problems)
    known = [each | {"file_name": str(files[each["id"]])} for each in used]
    kept = [each for each in content["annotations"] if each["image_id"] in labelled]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "coco.json"
        copy.write_text(json.dumps(content | {"images": known, "annotations": kept}))
        return from_sleap_io(path, sio.load_coco(str(copy)), [])


def open_label_studio(path: Path, content: list[dict[str, Any]], folders: list[Path]) -> OpenLabels:
    """Open a Label Studio export; images are looked for below ``folders``.

    Label Studio names an image in ``data``; sleap-io expects the video and frame number in ``meta``.
    """
    import sleap_io as sio

    tasks, problems, seen = [], [], Counter[str]()
    for task in content:
        if not any(each.get("result") for each in task.get("annotations") or ()):
            continue
        video = dict((task.get("meta") or {}).get("video") or {"filename": _image_of(task), "frame_idx": 0})
        label = f"{video['filename']}" + (f" frame {video['frame_idx']}" if video["frame_idx"] else "")
        seen[label] += 1
        file = find_file(video["filename"], folders, loose=True)
        if file is None:  # uploading puts eight hexadecimal digits and a hyphen before the name
            file = find_file(re.sub(r"(^|/)[0-9a-f]{8}-", r"\1", video["filename"]), folders, loose=True)
        if file is None:
            problems.append(f"{video['filename']} is missing")
            continue
        shape = video.get("shape") or [1, 1, 1, 3]
        tasks.append(task | {"meta": {"video": video | {"filename": str(file), "shape": shape}}})
    problems += [f"{name} is labelled {count} times" for name, count in seen.items() if count > 1]
    if problems or not tasks:
        return OpenLabels(path, (), [], problems)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tasks.json"
        copy.write_text(json.dumps(tasks))
        return from_sleap_io(path, sio.load_labelstudio(str(copy)), [])


def _image_of(task: dict[str, Any]) -> str:
    values = [value for value in task.get("data", {}).values() if isinstance(value, str)]
    if not values:
        raise DataError(
            f"Task {task.get('id', '?')} of the Label Studio file has no image.",
            remedy="Give each labelled task the path of its image in `data`.",
        )
    url = urlparse(values[0])
    local = parse_qs(url.query).get("d")
    return local[0] if local else unquote(url.path) if url.scheme else values[0]
