"""Checkpoints of untrained networks, for tests of the commands that read them."""

from pathlib import Path

import torch
from every_method import METHODS, SIZE, build

from lightning_kp.checkpoints import write_method


def checkpoint(name: str, folder: Path, data: str = "") -> Path:
    """An untrained network that finds keypoints everywhere."""
    torch.manual_seed(0)
    settings = dict(build(name).hparams)
    method = METHODS[name](**settings | {each: 1e-6 for each in ("threshold", "stop") if each in settings})
    path = folder / "checkpoints" / "last.ckpt"
    write_method(path, method, {"size": SIZE, "fit": "pad"})
    if data:
        content = torch.load(path, weights_only=True)
        content["lightning_kp"]["data_class_path"] = data
        torch.save(content, path)
    return path
