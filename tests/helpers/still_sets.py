"""Small sets of still images for experiments: each replaces what a file names by the data of a test."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from class_folders import write_folders
from cub_folders import write_cub
from numpy.typing import NDArray

STILLS = ("CUB", "IdxImages", "ImageSet")
"""Datamodules of still images, by their short names."""


def tiny_stills(settings: dict[str, Any], folder: Path) -> list[str]:
    """Options that replace the images of a file by a few small ones, in the layout that its datamodule reads."""
    kind = settings["data.class_path"]
    write = {"CUB": write_cub, "IdxImages": write_digits, "ImageSet": write_folders}[kind]
    folder.mkdir()
    write(folder)
    options = [
        "--data.num_workers=0",
        "--data.batch_size=4",
        f"--data.root={folder}",
        "--data.val_fraction=0.5",
    ]
    if kind == "ImageSet":
        options += [
            f"--data.{name}=null" for name in ("labels", "boxes", "points") if f"data.{name}" in settings
        ]
        options.append("--data.images=train")
    if "data.train_images" in settings:
        options.append("--data.train_images=20")
    return options


def write_digits(folder: Path, *, train: int = 20, test: int = 8) -> Path:
    """MNIST and FashionMNIST with ``train`` and ``test`` images.

    Each image is as bright as its number, and its class is the number modulo 10.
    """
    for name in ("MNIST", "FashionMNIST"):
        raw = folder / name / "raw"
        raw.mkdir(parents=True)
        for part, number in (("train", train), ("t10k", test)):
            numbers = np.arange(number, dtype=np.uint8)
            images = np.broadcast_to(numbers[:, None, None], (number, 28, 28)).copy()
            write_idx(raw / f"{part}-images-idx3-ubyte", images)
            write_idx(raw / f"{part}-labels-idx1-ubyte", numbers % 10)
    return folder


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """An idx file of bytes: its head, then the values."""
    head = bytes([0, 0, 8, values.ndim]) + b"".join(struct.pack(">I", side) for side in values.shape)
    path.write_bytes(head + values.tobytes())
