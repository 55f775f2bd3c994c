"""Small files in the exact layout of LSP, LSP extended and MPII, for tests."""

import json
from pathlib import Path
from typing import Any

import human36m_folders
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures
from scipy.io import savemat

SIZE = (80, 60)  # width, height
MPII_KEYS = ("image", "center", "scale", "joints", "joints_vis")


def joints(people: int, number: int) -> NDArray[np.float64]:
    """Points (N, K, 2) in px, all different."""
    random = np.random.default_rng(people)
    return random.uniform((10, 10), (70, 50), (people, number, 2)).round(2)


def write_pictures(folder: Path, names: list[str]) -> None:
    """Pictures of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for name in names:
        pixels = random.integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        Pictures.fromarray(pixels).save(folder / name, quality=95)


def write_lsp(folder: Path, people: int = 4, *, extended: bool = False) -> NDArray[np.float64]:
    """LSP (3, 14, N) with all joints hidden, or the extension (14, 3, N) whose first joint is never labelled."""
    points = joints(people, 14)
    write_pictures(folder / "images", [f"im{n + 1:0{5 if extended else 4}d}.jpg" for n in range(people)])
    flags = np.ones((people, 14, 1))
    if extended:
        flags[:, 0] = 0
    values = np.concatenate((points, flags), axis=2)  # (N, 14, 3)
    savemat(folder / "joints.mat", {"joints": values.transpose((1, 2, 0) if extended else (2, 1, 0))})
    return points


def mpii_row(name: str, points: NDArray[np.float64]) -> dict[str, Any]:
    """A person of the JSON conversion; its last joint is not labelled."""
    return {
        "image": name, "center": [41.0, 26.0], "scale": 0.2, "joints": points.tolist(),
        "joints_vis": [1] * 15 + [0],
    }  # fmt: skip


def write_mpii_json(folder: Path, train: int = 3, val: int = 2) -> NDArray[np.float64]:
    """train.json, valid.json, gt_valid.mat and images/; returns the joints of all."""
    names = [f"{n:09d}.jpg" for n in range(train + val)]
    points = joints(train + val, 16)
    write_pictures(folder / "images", names)
    rows = [mpii_row(name, each) for name, each in zip(names, points, strict=True)]
    (folder / "train.json").write_text(json.dumps(rows[:train]))
    (folder / "valid.json").write_text(json.dumps(rows[train:]))
    boxes = np.tile(np.array([[31.0, 11.0], [37.0, 19.0]])[:, :, None], (1, 1, val))
    savemat(folder / "gt_valid.mat", {"headboxes_src": boxes})
    return points


def write_mpii_mat(path: Path, pictures: int = 4) -> None:
    """The published structure: one person per picture, two in the first, none in the last, which is for testing."""
    names = [f"{n:09d}.jpg" for n in range(pictures + 1)]
    write_pictures(path.parent / "images", names)
    points = joints(pictures, 16)

    def person(each: NDArray[np.float64]) -> dict[str, Any]:
        labelled = [
            {"x": x, "y": y, "id": number, "is_visible": 1} for number, (x, y) in enumerate(each[:15])
        ]
        return {
            "x1": 31.0, "y1": 11.0, "x2": 37.0, "y2": 19.0, "scale": 0.2, "objpos": {"x": 41.0, "y": 26.0},
            "annopoints": {"point": _structs(labelled)},
        }  # fmt: skip

    head_alone = {
        "x1": 1.0, "y1": 1.0, "x2": 9.0, "y2": 9.0, "scale": np.zeros((0, 0)), "objpos": np.zeros((0, 0)),
        "annopoints": np.zeros((0, 0)),
    }  # fmt: skip
    everybody: list[Any] = [_structs([person(points[0]), head_alone])]
    everybody += [_structs([person(each)]) for each in points[1:]]
    everybody.append(np.zeros((0, 0)))
    images = [
        {"image": {"name": name}, "annorect": each} for name, each in zip(names, everybody, strict=True)
    ]
    training = np.array([1] * pictures + [0], np.uint8)
    savemat(path, {"RELEASE": {"annolist": _structs(images), "img_train": training}})


def _structs(rows: list[dict[str, Any]]) -> NDArray[Any]:
    """A Matlab array of structures."""
    found = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for number, row in enumerate(rows):
        found[0, number] = tuple(row.values())
    return found


def tiny_people(data: str, folder: Path) -> list[str]:
    """Options that replace an experiment's data by a few people and its network by a small one."""
    small = [
        "--model.width=8",
        "--model.depth=1",
        "--data.size=32",
        "--data.batch_size=2",
        "--data.num_workers=0",
    ]
    if data == "LSP":
        write_lsp(folder / "lsp", 8, extended=True)
        return [*small, f"--data.root={folder / 'lsp'}"]
    if data == "Human36M":
        people = {(who, "Waiting-1"): human36m_folders.poses(4) for who in ("S1", "S5")}
        return [*small, f"--data.root={human36m_folders.write_fetched(folder / 'h36m', people)}"]
    (folder / "mpii").mkdir()
    write_mpii_mat(folder / "mpii" / "mpii_human_pose_v1_u12_1.mat", 5)
    return [*small, f"--data.root={folder / 'mpii'}"]
