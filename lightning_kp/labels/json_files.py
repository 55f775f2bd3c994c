"""COCO files, checked and then read by sleap-io, and Label Studio files."""

import json
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlparse

import numpy as np

from lightning_kp.errors import DataError
from lightning_kp.geometry import from_edges
from lightning_kp.images.files import image_size, is_image
from lightning_kp.labels.frames import (
    OpenLabels,
    Points,
    find_file,
    find_files,
    scale_factors,
    scaled_points,
    warn_of_scaled,
)
from lightning_kp.labels.sleap import from_sleap_io


def open_coco(path: Path, content: dict[str, Any], folders: list[Path]) -> OpenLabels:
    """Open a COCO file; only images with keypoints are read, and looked for below ``folders``."""
    import sleap_io as sio

    labelled = {each["image_id"] for each in content["annotations"] if each.get("keypoints")}
    used = [each for each in content["images"] if each["id"] in labelled]
    searched = [each for folder in folders for each in (folder, folder / "images")]
    found = find_files([each["file_name"] for each in used], searched)
    problems = [*found.problems, *_coco_problems(content, used)]
    factors: dict[Any, Points] = {}
    for each in used:
        if (file := found.by_name[each["file_name"]]) is not None:
            try:
                factors[each["id"]] = scale_factors(file, each.get("width"), each.get("height"))
            except ValueError as error:
                problems.append(str(error))
    if problems or not used:
        return OpenLabels(path, (), [], problems)
    changed = {each["id"]: Path(each["file_name"]) for each in used if (factors[each["id"]] != 1).any()}
    warn_of_scaled(path, list(changed.values()))
    known = [each | {"file_name": str(found.by_name[each["file_name"]])} for each in used]
    kept = [
        _scaled_annotation(each, factors[each["image_id"]]) if each["image_id"] in changed else each
        for each in content["annotations"]
        if each["image_id"] in labelled
    ]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "coco.json"
        copy.write_text(json.dumps(content | {"images": known, "annotations": kept}))
        return from_sleap_io(path, sio.load_coco(str(copy)), [])


def _coco_problems(content: dict[str, Any], used: Sequence[dict[str, Any]]) -> list[str]:
    """Images that are listed twice, keypoints of one name, and annotations with another number of keypoints."""
    counts = Counter(each["file_name"] for each in used)
    problems = [f"{name} is listed {count} times" for name, count in counts.items() if count > 1]
    for category in content["categories"]:
        names = Counter(map(str, category.get("keypoints", ())))
        problems += [
            f"category {category['id']} has {count} keypoints called {name}"
            for name, count in names.items()
            if count > 1
        ]
    points_of = {each["id"]: len(each.get("keypoints", ())) for each in content["categories"]}
    for each in content["annotations"]:
        expected, given = points_of.get(each.get("category_id"), 0), len(each.get("keypoints") or ()) / 3
        if given and given != expected:
            problems.append(
                f"annotation {each.get('id')} has {given:g} keypoints, but category {each.get('category_id')} "
                f"defines {expected}"
            )
    return problems


def _scaled_annotation(annotation: dict[str, Any], factors: Points) -> dict[str, Any]:
    if not annotation.get("keypoints"):
        return annotation
    points = np.array(annotation["keypoints"], np.float64).reshape(-1, 3)
    points[:, :2] = scaled_points(points[:, :2], factors)
    return annotation | {"keypoints": points.ravel().tolist()}


class _Task(NamedTuple):
    """A labelled picture of Label Studio: image or video as named, frame number, results, and who wrote it.

    sleap-io states pixels of SLEAP (0 = centre of the first one) as percentages, Label Studio the place of the click.
    """

    name: str
    frame: int
    results: list[dict[str, Any]]
    is_sleap: bool


def open_label_studio(path: Path, content: list[dict[str, Any]], folders: list[Path]) -> OpenLabels:
    """Open a Label Studio export, or the form that sleap-io writes; images are looked for below ``folders``.

    Submitted annotations count before cancelled ones.  The points of an animal are those whose ``parentID`` or
    relation names its box, or, if no point of the picture has either, those inside of it.
    """
    import sleap_io as sio

    tasks = _tasks(path, content)
    files, problems = _files_of({task.name for task in tasks}, folders)
    counts = Counter(f"{task.name}{f' frame {task.frame}' * (task.frame > 0)}" for task in tasks)
    problems += [f"{name} is labelled {count} times" for name, count in counts.items() if count > 1]
    skeleton = sio.Skeleton(
        list(dict.fromkeys(_label_of(each) for task in tasks for each in task.results if _label_of(each)))
    )
    videos: dict[Path, Any] = {}
    frames, scaled = [], []
    for task in tasks:
        if (file := files.get(task.name)) is None:
            continue
        try:
            groups = _groups(task.results)
            to_px = _Pixels.of(task, file)
            animals = [_points(group, skeleton.node_names, to_px) for group in groups]
        except ValueError as error:
            problems.append(f"{task.name}: {error}")
            continue
        scaled += [file] if (to_px.factors != 1).any() else []
        video = videos.setdefault(file, sio.Video(str(file), open_backend=False))
        instances = [sio.Instance.from_numpy(each, skeleton=skeleton) for each in animals]
        frames.append(sio.LabeledFrame(video=video, frame_idx=task.frame, instances=instances))
    if problems or not tasks:
        return OpenLabels(path, (), [], problems)
    warn_of_scaled(path, scaled)
    return from_sleap_io(path, sio.Labels(frames, list(videos.values()), [skeleton]), [])


def _tasks(path: Path, content: Iterable[dict[str, Any]]) -> list[_Task]:
    """The tasks with keypoints, each with one annotation; warns where there is a choice."""
    tasks, several, cancelled = [], 0, 0
    for task in content:
        entries = task.get("annotations") or task.get("completions") or ()
        submitted = [each for each in entries if not each.get("was_cancelled")]
        with_points = [each for each in submitted or entries if any(map(_label_of, each.get("result") or ()))]
        if not with_points:
            continue
        several += len(with_points) > 1
        cancelled += not submitted
        chosen = next((each for each in with_points if each.get("ground_truth")), with_points[0])
        video = (task.get("meta") or {}).get("video")
        name = video["filename"] if video else _image_of(task)
        frame = int(video.get("frame_idx") or 0) if video else 0
        if isinstance(name, list):  # images in a row, of which the number tells one
            name, frame = name[frame], 0
        tasks.append(_Task(str(name), frame, chosen["result"], bool(video)))
    if several:
        warnings.warn(f"{path}: {several} task(s) have several annotations; the first is used.", stacklevel=3)
    if cancelled:
        warnings.warn(
            f"{path}: {cancelled} task(s) have cancelled annotations only; they are used.", stacklevel=3
        )
    return tasks


def _files_of(names: Iterable[str], folders: list[Path]) -> tuple[dict[str, Path | None], list[str]]:
    """Files by name, and problems.  Uploading puts eight hexadecimal digits and a hyphen before the name."""
    plain = {name: re.sub(r"^/?data/upload/\d+/", "", name) for name in names}
    as_named = {name: find_file(short, folders, loose=True) for name, short in plain.items()}
    called = {
        name: short if as_named[name] else re.sub(r"(^|/)[0-9a-f]{8}-(?=[^/]*$)", r"\1", short)
        for name, short in plain.items()
    }
    found = find_files(called.values(), folders)
    problems = found.problems
    for short, count in Counter(called.values()).items():
        if count > 1 and found.by_name[short] is not None:
            alike = [name for name in called if called[name] == short]
            problems.append(f"{', '.join(alike)} would all be taken from {found.by_name[short]}")
    return {name: found.by_name[short] for name, short in called.items()}, problems


def _image_of(task: dict[str, Any]) -> str:
    values = [value for value in task.get("data", {}).values() if isinstance(value, str)]
    if not values:
        raise DataError(
            f"Task {task.get('id', '?')} of the Label Studio file has no image.",
            remedy="Give each labelled task the path of its image in `data`.",
        )
    paths = [_path_in(value) for value in values]
    return next((each for each in paths if is_image(Path(each))), paths[0])


def _path_in(value: str) -> str:
    url = urlparse(value)
    local = parse_qs(url.query).get("d")
    return local[0] if local else unquote(url.path) if len(url.scheme) > 1 else value


def _label_of(result: dict[str, Any]) -> str:
    """Name of a keypoint; empty for other results, and for points that were not set."""
    value = result.get("value") or {}
    is_point = result.get("type") == "keypointlabels" and None not in (value.get("x"), value.get("y"))
    names = value.get("keypointlabels") if is_point else None
    return str(names[0]) if names else ""


def _groups(results: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Keypoints by animal, in the order of the boxes; those of no box come last.

    Raises ValueError for a point whose box is unclear, and for two points of one name in an animal.
    """
    points = [each for each in results if _label_of(each)]
    boxes = {
        each["id"]: each
        for each in results
        if each.get("id") and each.get("value") and each.get("type") not in ("keypointlabels", "relation")
    }
    links = [(each.get("from_id"), each.get("to_id")) for each in results if each.get("type") == "relation"]
    linked = {one: other for pair in links for one, other in (pair, pair[::-1]) if other in boxes}
    owners = [
        each["parentID"] if each.get("parentID") in boxes else linked.get(each.get("id")) for each in points
    ]
    if len(boxes) > 0 and not any(owners):
        owners = [next(iter(boxes)) if len(boxes) == 1 else _box_around(each, boxes) for each in points]
    groups: dict[Any, list[dict[str, Any]]] = {box: [] for box in (*boxes, None)}
    for owner, point in zip(owners, points, strict=True):
        groups[owner].append(point)
    for group in groups.values():
        counts = Counter(map(_label_of, group))
        if twice := [name for name, count in counts.items() if count > 1]:
            raise ValueError(
                f"an animal has {counts[twice[0]]} points called {twice[0]}; give each animal its box"
            )
    return [group for group in groups.values() if group]


def _box_around(point: dict[str, Any], boxes: dict[Any, dict[str, Any]]) -> Any:
    """The box that holds a point, or None.  Raises ValueError if several do."""
    x, y = point["value"]["x"], point["value"]["y"]
    around = []
    for name, box in boxes.items():
        left, top, width, height = (box["value"].get(each) for each in ("x", "y", "width", "height"))
        if None not in (left, top, width, height) and 0 <= x - left <= width and 0 <= y - top <= height:
            around.append(name)
    if len(around) > 1:
        raise ValueError(f"{_label_of(point)} lies in {len(around)} boxes; set the box as its parent")
    return around[0] if around else None


class _Pixels(NamedTuple):
    """How percentages become pixels: ``size`` (2,) = (width, height) as stated, then ``factors`` (2,)."""

    size: Points
    factors: Points
    is_sleap: bool

    @classmethod
    def of(cls, task: _Task, file: Path) -> "_Pixels":
        """Raises ValueError if the image is not the one that was labelled."""
        first = next(each for each in task.results if _label_of(each))
        if any(each.get("image_rotation") for each in task.results):
            raise ValueError("it was turned while it was labelled; turn the image file and label it anew")
        size = first.get("original_width"), first.get("original_height")
        is_unknown = task.is_sleap and size == (
            100,
            100,
        )  # what sleap-io states for videos that it did not find
        factors = np.ones(2) if is_unknown or not is_image(file) else scale_factors(file, *size)
        if None in size:
            height, width = image_size(file)
            size = width, height
        return cls(np.array(size, np.float64), factors, task.is_sleap)

    def __call__(self, percent: Points) -> Points:
        """Points (..., 2) in pixels."""
        stated = percent / 100 * self.size
        return scaled_points(stated if self.is_sleap else from_edges(stated), self.factors)


def _points(group: Sequence[dict[str, Any]], names: Sequence[str], to_px: _Pixels) -> Points:
    """Points (K, 2) of an animal in pixels, NaN = not labelled."""
    found = np.full((len(names), 2), np.nan)
    for point in group:
        found[list(names).index(_label_of(point))] = point["value"]["x"], point["value"]["y"]
    return to_px(found)
