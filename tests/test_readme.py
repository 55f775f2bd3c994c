"""What the README shows is true: its example runs, its commands exist, its files are there."""

import importlib
import re
from pathlib import Path

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_kp import cli
from lightning_kp.batches import FramePairs


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    return (root / "README.md").read_text()


def test_the_example_of_a_new_organism_trains(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = re.search(r"```python\n(# octopus\.py\n.*?)```", text, re.DOTALL)
    assert code is not None
    assert len([line for line in code[1].splitlines() if line.strip()]) <= 22
    (tmp_path / "readme_octopus.py").write_text(code[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    octopus = importlib.import_module("readme_octopus")
    method = octopus.OctopusBKinD(
        keypoints=2, encoder="tiny", pretrained=False, target="absolute", reconstruction="structural",
        pose_width=8, decoder_widths=(8, 8, 8), variances=(0.1, 0.1, 0.1),
    )  # fmt: skip
    image = torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)
    pairs = [FramePairs(image, image.flip(-1), torch.tensor(0), torch.tensor(i)) for i in range(4)]
    trainer = L.Trainer(fast_dev_run=1, accelerator="cpu", logger=False, enable_progress_bar=False)
    trainer.fit(method, DataLoader(pairs, batch_size=2))
    assert {"train/calm_step", "train/reconstruction_step"} <= trainer.logged_metrics.keys()


def test_every_command_exists(text: str) -> None:
    verbs = set(re.findall(r"(?<![\w/])kp (\w+)", text))
    assert verbs <= {*cli.VERBS, "fit"}, verbs - cli.VERBS.keys()


def test_every_picture_and_file_is_there(text: str, root: Path) -> None:
    named = re.findall(r"\]\((?!http)([^)]+)\)", text) + re.findall(
        r"`((?:methods|lightning_kp)/[\w/]+\.py)`", text
    )
    assert named
    assert [name for name in named if not (root / name).exists()] == []


def test_make_targets_exist(text: str, root: Path) -> None:
    makefile = (root / "Makefile").read_text()
    for target in set(re.findall(r"make (demo|test|test-all|results|bench|check)", text)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
