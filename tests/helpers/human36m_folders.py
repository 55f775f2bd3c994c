"""Small people in the three layouts of Human3.6M: every joint is a disc at a known position."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

SIDE = 96
CAMERAS = (54138969, 55011271)
# The body's 32 joints, facing the camera, in heights of the person about the hip: (x, y), y down.
BODY: dict[int, tuple[float, float]] = {
    0: (0, 0), 1: (-0.09, 0), 2: (-0.1, 0.22), 3: (-0.1, 0.45), 6: (0.09, 0), 7: (0.1, 0.22), 8: (0.1, 0.45),
    12: (0, -0.14), 13: (0, -0.27), 14: (0, -0.33), 15: (0, -0.4),
    17: (0.11, -0.26), 18: (0.2, -0.12), 19: (0.24, 0.02), 25: (-0.11, -0.26), 26: (-0.2, -0.12), 27: (-0.24, 0.02),
}  # fmt: skip
Poses = npt.NDArray[np.float64]


def poses(number: int, seed: int = 0, *, turned: bool = False) -> Poses:
    """Joints (T, 32, 2) in pixels of a person who walks to the right and waves; 64 pixels tall."""
    body = np.zeros((32, 2))
    body[list(BODY)] = list(BODY.values())
    if turned:
        body[:, 0] *= -1
    rng = np.random.default_rng(seed)
    clock = np.arange(number)[:, None]
    walk = np.stack([30 + 1.5 * np.arange(number), np.full(number, 46.0)], axis=1)[:, None]
    found = walk + 64 * body + 3 * np.sin(clock[..., None] * 0.9 + rng.uniform(0, 6, (1, 32, 1)))
    return np.asarray(found + rng.normal(0, 0.2, found.shape))


def picture(pose: Poses) -> Image.Image:
    """A person on grey ground, one colour per joint."""
    image = Image.new("RGB", (SIDE, SIDE), (110, 105, 100))
    draw = ImageDraw.Draw(image)
    for joint in BODY:
        x, y = pose[joint]
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(200, 8 * joint, 255 - 8 * joint))
    return image


def write_fetched(root: Path, sequences: dict[tuple[str, str], Poses]) -> Path:
    """``annot.h5`` and ``imageSequence`` of (subject, action): as h36m-fetch writes them, every fifth frame."""
    import h5py

    for (subject, action), pose in sequences.items():
        folder = root / subject / action
        frames = np.arange(len(pose)) * 5 + 1
        for camera in CAMERAS:
            images = folder / "imageSequence" / str(camera)
            images.mkdir(parents=True)
            for frame, joints in zip(frames, pose, strict=True):
                picture(joints).save(images / f"img_{frame:06d}.jpg", quality=95)
        with h5py.File(folder / "annot.h5", "w") as file:
            file["pose/2d"] = np.concatenate([pose] * len(CAMERAS))
            file["pose/3d-univ"] = np.zeros((len(pose) * len(CAMERAS), 32, 3))
            file["frame"] = np.concatenate([frames] * len(CAMERAS))
            file["camera"] = np.repeat(CAMERAS, len(pose))
    return root


def write_simplified(root: Path, sequences: dict[tuple[str, str], Poses]) -> Path:
    """``WithBackground``, ``BackgroudMask`` (spelt so) and ``Landmarks`` of (subject, folder name)."""
    from scipy.io import savemat

    for (subject, action), pose in sequences.items():
        places = [root / subject / kind / action for kind in ("WithBackground", "BackgroudMask", "Landmarks")]
        for place in places:
            place.mkdir(parents=True)
        for number, joints in enumerate(pose, start=1):
            picture(joints).save(places[0] / f"{number}.jpg", quality=95)
            Image.new("L", (SIDE, SIDE), 255).save(places[1] / f"{number}.png")
            savemat(places[2] / f"{number}.mat", {"keypoints_2d": (joints[:, ::-1] + 0.5) / SIDE})
    return root


def write_table(root: Path, sequences: dict[tuple[str, str], Poses]) -> Path:
    """``images/S1/S1_Waiting_1.54138969/..._000001.jpg`` with ``annotation_body3d/fps50/h36m_train.npz``."""
    of_17 = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
    names, parts = [], []
    for (subject, action), pose in sequences.items():
        stem = f"{subject}_{action}.{CAMERAS[0]}"
        folder = root / "images" / subject / stem
        folder.mkdir(parents=True)
        for number, joints in enumerate(pose, start=1):
            name = f"{subject}/{stem}/{stem}_{number:06d}.jpg"
            picture(joints).save(root / "images" / name, quality=95)
            names.append(name)
            parts.append(np.concatenate([joints[of_17], np.ones((17, 1))], axis=1))
    table = root / "annotation_body3d" / "fps50" / "h36m_train.npz"
    table.parent.mkdir(parents=True, exist_ok=True)
    centre, scale = np.zeros((len(names), 2)), np.ones(len(names))
    np.savez(
        table,
        imgname=np.array(names),
        center=centre,
        scale=scale,
        part=np.stack(parts),
        S=np.zeros((len(names), 17, 4)),
    )
    return root
