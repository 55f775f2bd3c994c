"""Tiny crowds in the layouts that the datamodules read."""

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

NETWORK = ["--model.encoder=tiny", "--model.pretrained=false", "--model.width=8", "--model.hidden=4"]


def write_people(folder: Path, names: Sequence[str], files: Sequence[str], images: int = 3) -> None:
    """Keypoint files of pictures with two overlapping people each."""
    pictures, people = [], []
    for number in range(1, images + 1):
        Image.new("RGB", (60, 50), (40 * number, 90, 0)).save(folder / f"{number}.png")
        pictures.append({"id": number, "file_name": f"{number}.png", "width": 60, "height": 50})
        for left in (10, 20):
            keypoints = [value for k in range(len(names)) for value in (left + k, 10 + k, 2)]
            facts = {"id": len(people) + 1, "image_id": number, "category_id": 1, "iscrowd": 0, "area": 300}
            people.append(
                facts | {"bbox": [left, 8, 20, 24], "keypoints": keypoints, "num_keypoints": len(names)}
            )
    category = {"id": 1, "name": "person", "keypoints": list(names)}
    for file in files:
        content = {"images": pictures, "annotations": people, "categories": [category]}
        (folder / file).write_text(json.dumps(content))


def tiny_crowds(data: str, names: Sequence[str], folder: Path) -> list[str]:
    """Options that replace the data and the network of an experiment by tiny ones."""
    common = [*NETWORK, "--data.size=48", "--data.batch_size=2", "--data.num_workers=0", f"--data.root={folder}",
              "--trainer.strategy=auto"]  # fmt: skip
    if data == "SyntheticCrowd":
        return [*common, "--data.train=4", "--data.val=2", "--data.test=2", "--data.frame_px=48"]
    write_people(folder, names, ["train.json", "test.json"])
    if data == "Immediacy":
        return [*common, "--data.images=.", "--data.val_images=1"]
    return [
        *common,
        "--data.train=train.json",
        "--data.val=test.json",
        "--data.test=test.json",
        "--data.images=[]",
    ]
