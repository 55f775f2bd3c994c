"""Files of five labelling tools, read with their images wherever these lie; all mistakes told at once."""

import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pictures

from lightning_kp.arena.body import ArenaSettings
from lightning_kp.arena.recording import write_arena
from lightning_kp.errors import DataError
from lightning_kp.labels.checks import MAX_PROBLEMS_SHOWN, load_images
from lightning_kp.labels.frames import OpenFrame, OpenLabels, find_file, image_reader
from lightning_kp.labels.opening import open_labels
from lightning_kp.labels.reading import read_animals, scene_of
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
             "value": {"x": 100 * point[0] / WIDTH, "y": 100 * point[1] / HEIGHT, "keypointlabels": [name]}}
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
