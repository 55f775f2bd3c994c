"""Files of five labelling tools, read with their images wherever these lie; all mistakes told at once."""

import json
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import number_of, numbered, write_video
from PIL import Image as Pictures

from lightning_kp.arena.body import ArenaSettings
from lightning_kp.arena.recording import write_arena
from lightning_kp.errors import DataError
from lightning_kp.labels.checks import MAX_PROBLEMS_SHOWN, load_images
from lightning_kp.labels.frames import OpenFrame, OpenLabels, find_file, find_files, image_reader
from lightning_kp.labels.opening import open_labels
from lightning_kp.labels.reading import read_animals, scene_of
from lightning_kp.labels.sleap import from_sleap_io
from lightning_kp.labels.tables import read_table

HEIGHT, WIDTH = 20, 40
NAMES = ("nose", "tail")
# Image number -> nose and tail; the tail of the second is not labelled.
POINTS = {1: ((5.0, 3.0), (30.0, 10.0)), 2: ((6.0, 4.0), None), 10: ((9.0, 9.0), (31.0, 11.0))}
Write = Callable[[Path, Path], Path]


def write_images(folder: Path, numbers: Any = tuple(POINTS)) -> list[Path]:
    """An image for each number; its grey value is ten times the number."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"img{number:03d}.png" for number in numbers]
    for number, path in zip(numbers, paths, strict=True):
        Pictures.fromarray(np.full((HEIGHT, WIDTH), 10 * number, np.uint8)).save(path)
    return paths


def table_lines(folder: str) -> list[str]:
    lines = ["scorer,Me,Me,Me,Me", "bodyparts,nose,nose,tail,tail", "coords,x,y,x,y"]
    for number, (nose, tail) in POINTS.items():
        values = ",".join("" if value is None else str(value) for value in (*nose, *(tail or (None, None))))
        lines.append(f"{folder}/img{number:03d}.png,{values}")
    return lines


def write_deeplabcut(root: Path, images: Path) -> Path:
    (root / "config.yaml").write_text("Task: test\n")
    session = root / "labeled-data" / images.name
    session.mkdir(parents=True, exist_ok=True)
    (session / "CollectedData_Me.csv").write_text(
        "\n".join(table_lines(f"labeled-data/{images.name}")) + "\n"
    )
    return root


def write_lightning_pose(root: Path, images: Path) -> Path:
    path = root / "CollectedData.csv"
    path.write_text("\n".join(table_lines(f"labeled-data/{images.name}")) + "\n")
    return path


def write_sleap(root: Path, images: Path) -> Path:
    import sleap_io as sio

    skeleton = sio.Skeleton(list(NAMES))
    files = sorted(images.glob("*.png"))
    video = sio.Video.from_filename([str(file) for file in files])
    frames = []
    for index, (nose, tail) in enumerate(POINTS.values()):
        points = np.array([nose, tail or (np.nan, np.nan)])
        instances = [sio.Instance.from_numpy(points, skeleton=skeleton)]
        instances.append(sio.PredictedInstance.from_numpy(points + 1, skeleton=skeleton))
        frames.append(sio.LabeledFrame(video=video, frame_idx=index, instances=instances))
    path = root / "labels.slp"
    sio.save_slp(sio.Labels(frames, [video], [skeleton]), str(path), verbose=False)
    return path


def write_packed_sleap(root: Path, images: Path) -> Path:
    import sleap_io as sio

    labels = sio.load_slp(str(write_sleap(root, images)))
    for frame in labels.labeled_frames:
        frame.instances = frame.user_instances
    path = root / "labels.pkg.slp"
    labels.save(str(path), embed=True, verbose=False)
    for file in images.glob("*.png"):
        file.unlink()  # the package holds them
    return path


def write_coco(root: Path, images: Path) -> Path:
    files, annotations = [], []
    for number, (nose, tail) in POINTS.items():
        files.append({"id": number, "file_name": f"img{number:03d}.png", "height": HEIGHT, "width": WIDTH})
        keypoints = [*nose, 2, *((*tail, 2) if tail else (0, 0, 0))]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "keypoints": keypoints, "num_keypoints": 2,
             "bbox": [0, 0, WIDTH, HEIGHT], "area": 1.0, "iscrowd": 0}
        )  # fmt: skip
    files.append({"id": 99, "file_name": "no keypoints.png", "height": HEIGHT, "width": WIDTH})
    categories = [{"id": 1, "name": "mouse", "keypoints": list(NAMES), "skeleton": []}]
    path = images / "coco.json"
    path.write_text(json.dumps({"images": files, "annotations": annotations, "categories": categories}))
    return path


def label_studio_tasks() -> list[dict[str, Any]]:
    tasks = []
    for number, points in POINTS.items():
        results = [
            {"id": f"{number}{name}", "type": "keypointlabels", "original_width": WIDTH, "original_height": HEIGHT,
             "value": {"x": 100 * (point[0] + 0.5) / WIDTH, "y": 100 * (point[1] + 0.5) / HEIGHT,
                       "keypointlabels": [name]}}
            for name, point in zip(NAMES, points, strict=True) if point
        ]  # fmt: skip
        image = f"/data/upload/3/0a1b2c3d-img{number:03d}.png"
        tasks.append({"id": number, "data": {"image": image}, "annotations": [{"result": results}]})
    return [*tasks, {"id": 77, "data": {"image": "not labelled.png"}, "annotations": []}]


def write_label_studio(root: Path, images: Path) -> Path:
    path = images / "tasks.json"
    path.write_text(json.dumps(label_studio_tasks()))
    return path


FORMATS = {
    "DeepLabCut": write_deeplabcut,
    "Lightning Pose": write_lightning_pose,
    "SLEAP": write_sleap,
    "packed SLEAP": write_packed_sleap,
    "COCO": write_coco,
    "Label Studio": write_label_studio,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_images(tmp_path / "labeled-data" / "session")
    return tmp_path


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_labels(name: str, project: Path) -> None:
    write: Write = FORMATS[name]
    labels = open_labels(write(project, project / "labeled-data" / "session"), project)
    images = images_of(labels)
    assert labels.problems == []
    assert [int(image[0, 0, 0]) for image in images] == [10, 20, 100]
    assert all(image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8 for image in images)
    order = [labels.names.index(point) for point in NAMES]
    for frame, (nose, tail) in zip(labels.frames, POINTS.values(), strict=True):
        assert frame.points_px.shape == (1, 2, 2)
        found = frame.points_px[0, order]
        np.testing.assert_allclose(found, [nose, tail or (np.nan, np.nan)], atol=1e-5)


@pytest.mark.parametrize("name", ["DeepLabCut", "Lightning Pose", "SLEAP", "COCO", "Label Studio"])
def test_a_project_that_was_moved_is_found_below_the_data_root(
    name: str, project: Path, tmp_path: Path
) -> None:
    write: Write = FORMATS[name]
    file = write(project, project / "labeled-data" / "session")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "labeled-data").mkdir(parents=True)
    (project / "labeled-data" / "session").rename(elsewhere / "labeled-data" / "session")
    if not file.exists():  # it lay among the images
        file = elsewhere / file.relative_to(project)
    root = elsewhere if name != "COCO" else elsewhere / "labeled-data" / "session"
    if name == "DeepLabCut":
        file = elsewhere
    assert len(images_of(open_labels(file, root))) == 3


def images_of(labels: OpenLabels, **options: Any) -> list[np.ndarray]:
    images: list[np.ndarray] = []
    load_images(labels, lambda frame, image: images.append(image), **options)
    return images


def problems_of(labels: OpenLabels, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        images_of(labels, **options)
    return str(caught.value)


def test_everything_wrong_with_a_table_is_told_at_once(project: Path) -> None:
    path = write_lightning_pose(project, project / "labeled-data" / "session")
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace("5.0,3.0", "45.5,3.0")  # right of the 40 pixels
    lines[4] = lines[4].replace("4.0", "four")
    lines.append(lines[5])
    lines.append("labeled-data/session/img404.png,1,1,2,2")
    path.write_text("\n".join(lines))
    (project / "labeled-data" / "session" / "img010.png").write_bytes(b"no image")
    told = problems_of(open_labels(path), names=["nose", "tial"])
    for part in (
        "nose at (45.5, 3) is outside the image of 40x20 pixels",
        "nose has y = 'four', which is not a number",
        "labeled-data/session/img010.png is labelled 2 times",
        "labeled-data/session/img404.png is missing",
        "the image of labeled-data/session/img010.png cannot be read",
        "there is no point called tial (Did you mean tail?)",
    ):
        assert part in told, part
    assert "has 7 problems: " in told  # the damaged image is labelled twice


def test_a_missing_image_never_shifts_the_others(project: Path) -> None:
    """The reader of sleap-io would show the third image's points with no image or with another one."""
    path = write_lightning_pose(project, project / "labeled-data" / "session")
    (project / "labeled-data" / "session" / "img002.png").unlink()
    labels = open_labels(path)
    assert [int(frame.read()[0, 0, 0]) for frame in labels.frames] == [10, 100]
    assert labels.problems == ["labeled-data/session/img002.png is missing"]


def test_problems_of_a_sleap_file(project: Path) -> None:
    import sleap_io as sio

    path = write_sleap(project, project / "labeled-data" / "session")
    labels = sio.load_slp(str(path))
    other = sio.Skeleton(["wing"])
    frame = labels.labeled_frames[1]
    frame.instances = [sio.Instance.from_numpy(np.array([[1.0, 1.0]]), skeleton=other)]
    labels.skeletons.append(other)
    sio.save_slp(labels, str(path), verbose=False)
    (project / "labeled-data" / "session" / "img010.png").unlink()
    told = problems_of(open_labels(path))
    assert "img010.png is missing" in told
    assert "img002.png has an animal with the points wing, but the file's skeleton has nose, tail" in told


def test_problems_of_coco(project: Path) -> None:
    path = write_coco(project, project / "labeled-data" / "session")
    content = json.loads(path.read_text())
    content["images"].append(content["images"][0] | {"id": 50})
    content["annotations"].append(content["annotations"][0] | {"id": 50, "image_id": 50, "category_id": 7})
    content["images"][2]["file_name"] = "gone.png"
    path.write_text(json.dumps(content))
    told = problems_of(open_labels(path))
    assert "img001.png is listed 2 times" in told
    assert "gone.png is missing" in told
    assert "annotation 50 has 2 keypoints, but category 7 defines 0" in told


def test_problems_of_label_studio(project: Path) -> None:
    path = project / "tasks.json"
    tasks = label_studio_tasks()
    tasks[2]["data"]["image"] = "https://host/data/local-files/?d=far/away.png"
    path.write_text(json.dumps([*tasks, tasks[0]]))
    told = problems_of(open_labels(path, project / "labeled-data" / "session"))
    assert "far/away.png is missing" in told
    assert "img001.png is labelled 2 times" in told


def test_no_more_problems_than_one_can_read(project: Path) -> None:
    path = project / "CollectedData.csv"
    path.write_text("\n".join([*table_lines("x")[:3], *(f"x/img{n}.png,1,1,2,2" for n in range(60))]))
    told = problems_of(open_labels(path))
    assert "has 60 problems: " in told
    assert f"and {60 - MAX_PROBLEMS_SHOWN} more" in told


def test_several_animals_and_points_of_none(tmp_path: Path) -> None:
    write_images(tmp_path / "labeled-data" / "s", [1])
    path = tmp_path / "CollectedData.csv"
    path.write_text(
        "scorer,,,Me,Me,Me,Me,Me,Me\n"
        "individuals,,,a,a,b,b,single,single\n"
        "bodyparts,,,nose,nose,nose,nose,door,door\n"
        "coords,,,x,y,x,y,x,y\n"
        "labeled-data,s,img001.png,1,2,3,4,5,6\n"
    )
    labels = open_labels(path)
    assert labels.names == ("nose", "door")
    wanted = [[[1, 2], [np.nan, np.nan]], [[3, 4], [np.nan, np.nan]], [[np.nan, np.nan], [5, 6]]]
    np.testing.assert_array_equal(labels.frames[0].points_px, wanted)


def test_h5_tables_are_the_same(project: Path) -> None:
    import pandas as pd

    csv = write_lightning_pose(project, project / "labeled-data" / "session")
    frame = pd.read_csv(csv, header=[0, 1, 2], index_col=0)
    for index in (frame.index, pd.MultiIndex.from_tuples([tuple(name.split("/")) for name in frame.index])):
        frame.set_axis(index).to_hdf(project / "only.h5", key="df_with_missing", mode="w")
        table, plain = read_table(project / "only.h5"), read_table(csv)
        assert (table.images, table.names) == (plain.images, plain.names)
        np.testing.assert_array_equal(table.points_px, plain.points_px)


def test_two_sessions_of_a_project(project: Path) -> None:
    write_deeplabcut(project, project / "labeled-data" / "session")
    write_images(project / "labeled-data" / "later")
    write_deeplabcut(project, project / "labeled-data" / "later")
    labels = open_labels(project / "config.yaml")
    assert [frame.name for frame in labels.frames][::3] == [
        "labeled-data/later/img001.png",
        "labeled-data/session/img001.png",
    ]
    table = project / "labeled-data" / "session" / "CollectedData_Me.csv"
    table.write_text(table.read_text().replace("tail", "wing"))
    found = problems_of(open_labels(project))
    assert f"{table} labels the points nose, wing, but {project / 'labeled-data' / 'later'}" in found
    assert "CollectedData_Me.csv labels nose, tail" in found


def test_two_scorers_of_one_session(project: Path) -> None:
    write_deeplabcut(project, project / "labeled-data" / "session")
    table = project / "labeled-data" / "session" / "CollectedData_Me.csv"
    table.with_name("CollectedData_You.csv").write_text("\n".join(table.read_text().splitlines()[:4]))
    told = problems_of(open_labels(project))
    assert f"{project / 'labeled-data' / 'session' / 'img001.png'} is labelled in 2 files" in told
    assert "has 1 problem: " in told


@pytest.mark.parametrize("packed", [False, True])
def test_videos_of_one_file_may_be_alike_in_name_and_number(packed: bool, tmp_path: Path) -> None:
    """Images of two folders with the same names, or two packed videos, are no duplicates, and scenes of their own."""
    import sleap_io as sio

    skeleton = sio.Skeleton(list(NAMES))
    instance = sio.Instance.from_numpy(np.array([(5.0, 3.0), (30.0, 10.0)]), skeleton=skeleton)
    videos = [
        sio.Video.from_filename([str(path) for path in write_images(tmp_path / folder, [1, 2])])
        for folder in "ab"
    ]
    frames = [sio.LabeledFrame(video, number, [instance]) for video in videos for number in (0, 1)]
    path = tmp_path / ("labels.pkg.slp" if packed else "labels.slp")
    sio.Labels(frames, videos, [skeleton]).save(str(path), embed=packed, verbose=False)
    labels = open_labels(path)
    assert labels.problems == []
    assert [int(image[0, 0, 0]) for image in images_of(labels)] == [10, 20, 10, 20]
    assert len({frame.name for frame in labels.frames}) == 4
    scenes = [scene_of(frame.source) for frame in labels.frames]
    assert scenes[0] == scenes[1] != scenes[2] == scenes[3]


def test_a_frame_that_is_labelled_twice_in_a_sleap_file(project: Path) -> None:
    import sleap_io as sio

    path = write_sleap(project, project / "labeled-data" / "session")
    labels = sio.load_slp(str(path))
    again = labels.labeled_frames[2]
    labels.labeled_frames.append(sio.LabeledFrame(again.video, again.frame_idx, again.user_instances))
    sio.save_slp(labels, str(path), verbose=False)
    assert "img010.png is labelled 2 times" in problems_of(open_labels(path))


@pytest.mark.parametrize("number", [-1, 3, 10**9])
def test_a_frame_that_its_list_of_images_lacks(number: int, project: Path) -> None:
    import sleap_io as sio

    labels = sio.load_slp(str(write_sleap(project, project / "labeled-data" / "session")))
    labels.labeled_frames[1].frame_idx = number
    found = from_sleap_io(Path("labels.slp"), labels, [])
    assert found.problems == [f"frame {number} is labelled, but its video has no such frame"]
    assert len(found.frames) == 2


def test_where_a_file_may_lie(tmp_path: Path) -> None:
    place = tmp_path / "labeled-data" / "a"
    [file] = write_images(place, [1])
    assert find_file("labeled-data/a/img001.png", [tmp_path]) == file
    assert find_file("labeled-data\\a\\img001.png", [place]) == file  # the place ends as the name begins
    assert find_file("labeled-data/b/img001.png", [place]) is None  # another session's image
    assert find_file("labeled-data/b/img001.png", [place], loose=True) == file
    assert find_file("C:\\lab\\labeled-data\\a\\img001.png", [tmp_path]) == file
    assert find_file(str(file), []) == file


def test_what_is_no_label_file(tmp_path: Path) -> None:
    (tmp_path / "tracks.csv").write_text("frame,x,y\n1,2,3\n")
    with pytest.raises(DataError, match="is not a table of labels"):
        open_labels(tmp_path / "tracks.csv")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(DataError, match=r"x\.json cannot be read as labels"):
        open_labels(tmp_path / "x.json")
    with pytest.raises(DataError, match=r"there is no labeled-data/\*/CollectedData"):
        open_labels(tmp_path)


def test_names_choose_and_order(project: Path) -> None:
    path = write_lightning_pose(project, project / "labeled-data" / "session")
    animals = read_animals(path, 40, names=["tail"])
    assert animals.names == ("tail",)
    assert animals.points.shape == (3, 1, 1, 2)
    assert animals.points[0, 0, 0].tolist() == pytest.approx([(2 * 30 + 1) / 40 - 1, (2 * 20 + 1) / 40 - 1])


@pytest.mark.parametrize(
    ("file", "frames", "points"),
    [
        ("mouse_openfield", 116, 4),
        ("mirror_mouse/CollectedData.csv", 90, 17),
        ("format_samples/coco/test_coco.json", 4, 17),
    ],
)
def test_real_files(file: str, frames: int, points: int, kp_data: Path) -> None:
    if not (kp_data / file).exists():
        pytest.skip(f"needs {file} in KP_DATA")
    animals = read_animals(kp_data / file, 32, root=kp_data / "mirror_mouse")
    assert len(animals.image) == frames
    assert animals.points.shape[2:] == (points, 2)
    assert animals.points[~animals.points.isnan()].abs().max() <= 1.05


def test_a_wrong_name_is_not_the_files_fault(project: Path) -> None:
    path = project / "CollectedData.csv"
    path.write_text("\n".join(table_lines("labeled-data/session")))
    with pytest.raises(DataError) as caught:
        images_of(open_labels(path), names=["nose", "tial"])
    assert (
        str(caught.value) == f"{path} has no point called tial; its points are nose, tail. Did you mean tail?"
    )


def handles_on(file: Path) -> int:
    """How often this process has a file open, where the system tells."""
    folder = Path("/proc/self/fd")
    links = list(folder.iterdir()) if folder.is_dir() else []
    return sum(link.exists() and link.resolve() == file.resolve() for link in links)


def test_a_video_is_opened_once_and_its_frames_are_not_kept(tmp_path: Path) -> None:
    """Whole frames of a video, thousands of them, would not fit into memory."""
    import sleap_io as sio

    video = write_arena(ArenaSettings(size=64, frames=12, animals=1), tmp_path, "arena")
    skeleton = sio.Skeleton(["nose"])
    film = sio.Video.from_filename(str(video))
    frames = [
        sio.LabeledFrame(
            video=film,
            frame_idx=n,
            instances=[sio.Instance.from_numpy(np.full((1, 2), 9.0), skeleton=skeleton)],
        )
        for n in range(12)
    ]
    sio.Labels(labeled_frames=frames, skeletons=[skeleton]).save(str(tmp_path / "labels.slp"))
    labels, before = open_labels(tmp_path / "labels.slp"), handles_on(video)
    kept: list[weakref.ref[np.ndarray]] = []
    alive: list[int] = []

    def receive(frame: OpenFrame, image: np.ndarray) -> None:
        alive.append(sum(each() is not None for each in kept))
        kept.append(weakref.ref(image))

    load_images(labels, receive)
    assert len(kept) == 12
    assert max(alive) <= 1
    assert handles_on(video) <= before + 1


def test_a_video_is_no_label_file(tmp_path: Path) -> None:
    (tmp_path / "mouse.mp4").write_bytes(b"film")
    with pytest.raises(DataError, match=r"mouse\.mp4 is not a label file: its ending \.mp4 is unknown"):
        open_labels(tmp_path / "mouse.mp4")


def test_sixteen_bit_images_are_scaled(tmp_path: Path) -> None:
    wide = np.linspace(1000, 60000, 64).astype(np.uint16).reshape(8, 8)
    Pictures.fromarray(wide).save(tmp_path / "wide.png")
    found = image_reader(tmp_path / "wide.png")()
    assert found.shape == (8, 8, 3)
    np.testing.assert_array_equal(found[..., 0], wide // 257)


# ---------------------------------------------------------------- names of other computers


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def test_relative_names_are_found_beside_the_file_and_below_the_root(tmp_path: Path) -> None:
    place = touched(tmp_path / "here", "mouse.mp4")
    for name in ("videos/mouse.mp4", "data/day 1/mouse.mp4", "videos\\mouse.mp4", "../videos/mouse.mp4"):
        assert find_files([name], [tmp_path / "root", place]).by_name == {name: place / "mouse.mp4"}, name


def test_two_names_never_become_one_file(tmp_path: Path) -> None:
    names = ["/lab/rig/day1/video.mp4", "D:\\lab\\rig\\day2\\video.mp4"]
    both = touched(tmp_path / "both", "day1/video.mp4", "day2/video.mp4")
    found = find_files(names, [both])
    assert list(found.by_name.values()) == [both / "day1" / "video.mp4", both / "day2" / "video.mp4"]
    assert found.problems == []
    flat = touched(tmp_path / "flat", "video.mp4")
    found = find_files(names, [flat])
    assert list(found.by_name.values()) == [None, None]
    [told] = found.problems
    assert told.startswith(f"{names[0]}, {names[1]} would all be taken from {flat / 'video.mp4'}, but ")
    found = find_files(names, [touched(tmp_path / "a" / "day1", "video.mp4")])  # its folder tells whose it is
    assert found.by_name[names[0]] is not None
    assert found.problems == [f"{names[1]} is missing"]


def test_images_of_two_folders_are_not_taken_from_one(tmp_path: Path) -> None:
    """Frames of different videos have the same names: img007 here need not be the other video's."""
    place = touched(tmp_path / "s", "img001.png", "img007.png", "img9.png")
    found = find_files(["/lab/day1/img001.png", "/lab/day2/img007.png"], [place])
    assert list(found.by_name.values()) == [None, None]
    assert "/lab/day1/img001.png, /lab/day2/img007.png would all be taken from" in found.problems[0]
    found = find_files(["labeled-data/s/img001.png", "labeled-data/t/img007.png"], [place])
    assert list(found.by_name.values()) == [place / "img001.png", None]
    # The others of its folder lie in s/, so the one beside the folder is another image.
    touched(tmp_path, "img9.png")
    (place / "img9.png").unlink()
    found = find_files(["s/img001.png", "s/img9.png"], [tmp_path])
    assert found.problems == ["s/img9.png is missing"]


def test_coco_images_of_two_folders_of_which_one_is_here(project: Path) -> None:
    path = write_coco(project, project / "labeled-data" / "session")
    content = json.loads(path.read_text())
    for image, day in zip(content["images"], ("day1", "day2", "day2"), strict=False):
        image["file_name"] = f"{day}/{image['file_name']}"
    path.write_text(json.dumps(content))
    told = problems_of(open_labels(path))
    assert "day1/img001.png, day2/img002.png, day2/img010.png would all be taken from" in told


# ---------------------------------------------------------------- the picture that was labelled


def lying_copy(path: Path) -> None:
    """Store an image as a camera does that was turned: lying, with a note; its upright size is 20x40."""
    rotation = Pictures.Exif()
    rotation[0x0112] = 6
    Pictures.fromarray(np.full((HEIGHT, WIDTH), 90, np.uint8)).save(path, exif=rotation)


def test_labelled_pictures_are_read_upright(tmp_path: Path) -> None:
    lying_copy(tmp_path / "a.png")
    assert image_reader(tmp_path / "a.png")().shape == (WIDTH, HEIGHT, 3)


@pytest.mark.parametrize("name", ["COCO", "Label Studio"])
def test_points_follow_an_image_that_was_enlarged(name: str, project: Path) -> None:
    folder = project / "labeled-data" / "session"
    path = FORMATS[name](project, folder)
    for image in folder.glob("*.png"):
        with Pictures.open(image) as opened:
            opened.resize((3 * WIDTH, 3 * HEIGHT)).save(image)
    with pytest.warns(UserWarning, match=r"3 image\(s\) have another size than the labels state"):
        labels = open_labels(path)
    nose = labels.frames[0].points_px[0, labels.names.index("nose")]
    np.testing.assert_allclose(nose, [3 * 5.5 - 0.5, 3 * 3.5 - 0.5], atol=1e-5)


@pytest.mark.parametrize("name", ["COCO", "Label Studio"])
def test_an_image_of_another_shape_is_refused(name: str, project: Path) -> None:
    folder = project / "labeled-data" / "session"
    path = FORMATS[name](project, folder)
    with Pictures.open(folder / "img001.png") as opened:
        opened.crop((0, 0, 30, 20)).save(folder / "img001.png")
    lying_copy(folder / "img002.png")
    told = problems_of(open_labels(path))
    assert "img001.png has 30x20 pixels, but was labelled with 40x20" in told
    assert "img002.png has 20x40 pixels, but was labelled with 40x20; it may have been labelled lying" in told


def test_two_keypoints_of_one_name_in_coco(project: Path) -> None:
    path = write_coco(project, project / "labeled-data" / "session")
    path.write_text(path.read_text().replace('"tail"', '"nose"'))
    assert "category 1 has 2 keypoints called nose" in problems_of(open_labels(path))


# ---------------------------------------------------------------- Label Studio


def ls_point(name: str, x: float, y: float, **more: Any) -> dict[str, Any]:
    value = {"x": 100 * (x + 0.5) / WIDTH, "y": 100 * (y + 0.5) / HEIGHT, "keypointlabels": [name]}
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    return {"id": f"{name}{x}", "type": "keypointlabels", "value": value, **size, **more}


def ls_box(name: str, left: float, right: float) -> dict[str, Any]:
    value = {"x": left, "y": 0, "width": right - left, "height": 100, "rectanglelabels": ["mouse"]}
    return {"id": name, "type": "rectanglelabels", "value": value}


def ls_labels(project: Path, *annotations: dict[str, Any]) -> OpenLabels:
    image = str(project / "labeled-data" / "session" / "img001.png")
    path = project / "tasks.json"
    path.write_text(json.dumps([{"id": 1, "data": {"image": image}, "annotations": list(annotations)}]))
    return open_labels(path)


@pytest.mark.parametrize("how", ["parentID", "relation", "neither"])
def test_points_belong_to_their_boxes(how: str, project: Path) -> None:
    """The right box is drawn first; of the left animal no tail is labelled."""
    results = [ls_box("r", 50, 100), ls_box("l", 0, 50)]
    for box, name, x in (("l", "nose", 5.0), ("r", "tail", 30.0), ("r", "nose", 25.0)):
        point = ls_point(name, x, 8.0, **({"parentID": box} if how == "parentID" else {}))
        results.append(point)
        if how == "relation":
            results.append({"type": "relation", "from_id": point["id"], "to_id": box})
    labels = ls_labels(project, {"result": results})
    assert labels.names == ("nose", "tail")
    wanted = [[[25, 8], [30, 8]], [[5, 8], [np.nan, np.nan]]]
    np.testing.assert_allclose(labels.frames[0].points_px, wanted, atol=1e-9)


def test_a_point_in_two_boxes_is_not_guessed(project: Path) -> None:
    results = [ls_box("r", 40, 100), ls_box("l", 0, 60), ls_point("nose", 20, 8), ls_point("tail", 2, 8)]
    assert "nose lies in 2 boxes; set the box as its parent" in problems_of(
        ls_labels(project, {"result": results})
    )


def test_two_noses_without_boxes_are_refused(project: Path) -> None:
    results = [ls_point("nose", 2, 8), ls_point("nose", 20, 8)]
    assert "an animal has 2 points called nose" in problems_of(ls_labels(project, {"result": results}))


def test_submitted_annotations_count_before_cancelled_ones(project: Path) -> None:
    first = {"was_cancelled": True, "result": [ls_point("nose", 1, 1)]}
    labels = ls_labels(project, first, {"result": [ls_point("nose", 20, 8)]})
    np.testing.assert_allclose(labels.frames[0].points_px, [[[20, 8]]])
    with pytest.warns(UserWarning, match=r"1 task\(s\) have cancelled annotations only"):
        labels = ls_labels(project, first)
    np.testing.assert_allclose(labels.frames[0].points_px, [[[1, 1]]])
    assert ls_labels(project, first, {"result": []}).frames == []  # submitted as "nothing to see"


def test_the_form_that_sleap_io_writes(project: Path) -> None:
    import sleap_io as sio

    labels = sio.load_slp(str(write_sleap(project, project / "labeled-data" / "session")))
    for frame in labels.labeled_frames:
        frame.instances = frame.user_instances
    sio.save_labelstudio(labels, str(project / "tasks.json"))
    found = open_labels(project / "tasks.json")
    assert [int(image[0, 0, 0]) for image in images_of(found)] == [10, 20, 100]
    order = [found.names.index(name) for name in NAMES]
    for frame, (nose, tail) in zip(found.frames, POINTS.values(), strict=True):
        wanted = [nose, tail or (np.nan, np.nan)]
        np.testing.assert_allclose(frame.points_px[0, order], wanted, atol=1e-6)


# ---------------------------------------------------------------- frames are counted as in tracks


def write_film_labels(film: Path, path: Path, numbers: Sequence[int]) -> Path:
    import sleap_io as sio

    skeleton = sio.Skeleton(["nose"])
    video = sio.Video(str(film), open_backend=False)
    frames = [
        sio.LabeledFrame(video, number, [sio.Instance.from_numpy(np.full((1, 2), 9.0), skeleton=skeleton)])
        for number in numbers
    ]
    sio.save_slp(sio.Labels(frames, [video], [skeleton]), str(path), verbose=False)
    return path


@pytest.mark.filterwarnings("ignore::lightning_kp.video.reader.VideoWarning")
def test_labels_of_an_uneven_video_lie_on_the_frames_of_its_tracks(tmp_path: Path) -> None:
    times = [*range(0, 400, 40), *range(400, 1400, 200), *range(1400, 1800, 40)]
    film = write_video(tmp_path / "a.mp4", [numbered(n) for n in range(len(times))], times_ms=times)
    labels = open_labels(write_film_labels(film, tmp_path / "labels.slp", (3, 11, 13, 20)))
    for _ in range(2):  # a second look starts again
        assert [number_of(image) for image in images_of(labels)] == [3, 11, 13, 20]
    beyond = open_labels(write_film_labels(film, tmp_path / "beyond.slp", (3, 25)))
    assert "a.mp4 has 25 frames, so there is no frame 25" in problems_of(beyond)


@pytest.mark.filterwarnings("ignore::lightning_kp.video.reader.VideoWarning")
def test_pages_of_a_stack_can_be_labelled(tmp_path: Path) -> None:
    pages = [Pictures.fromarray(numbered(number)) for number in range(5)]
    pages[0].save(tmp_path / "film.tif", save_all=True, append_images=pages[1:])
    labels = open_labels(write_film_labels(tmp_path / "film.tif", tmp_path / "labels.slp", (0, 3)))
    assert [number_of(image) for image in images_of(labels)] == [0, 3]
    assert labels.problems == []
