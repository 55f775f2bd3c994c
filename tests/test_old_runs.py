"""Runs of version 0.1, from before the modules moved into packages: their files keep loading.

The configurations below ``helpers/runs_of_0_1`` were written by ``kp fit`` of that version.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning import Trainer

from lightning_kp.callbacks import Curriculum
from lightning_kp.checkpoints import data_class, data_settings, load_method
from lightning_kp.cli import main
from lightning_kp.datamodules import SyntheticArena
from lightning_kp.methods import BKinD, MultiInstanceBKinD, SemiSupervisedBKinD
from lightning_kp.methods.bkind import BKinDWeights
from lightning_kp.methods.semi_supervised_bkind import SemiSupervisedWeights

CONFIGURATIONS = sorted((Path(__file__).parent / "helpers" / "runs_of_0_1").glob("*.yaml"))
OPTIONS: dict[str, Any] = {
    "keypoints": 3, "encoder": "tiny", "pretrained": False, "target": "ssim", "reconstruction": "structural",
    "perceptual_weights": True, "rotations": "all", "pose_width": 8, "sharpness": 1.0, "fuse": "finest",
    "decoder_widths": (8, 4), "decoder_convolutions": 1, "variances": (0.1, 0.02), "unit_amplitude": False,
    "rotation_variance": 0.001, "separation_sigma": 0.08, "augment": False, "any_angle": False, "transplant": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.stem)
def test_a_configuration_keeps_its_meaning(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", str(file), "--print_config"]) == 0
    printed, written = yaml.safe_load(capsys.readouterr().out), yaml.safe_load(file.read_text())
    # Later versions add this option, and this weight, which `separation` of the file replaces.
    assert printed["model"]["init_args"].pop("reference") is False
    assert printed["model"]["init_args"]["weights"].pop("mean_separation") == 0.2
    assert printed == written


@pytest.mark.parametrize("keypoints", [3, 16])
@pytest.mark.parametrize("kind", [BKinD, MultiInstanceBKinD])
def test_the_earlier_weight_of_separation_has_the_same_effect(kind: type[BKinD], keypoints: int) -> None:
    """It weighed the sum over the pairs of keypoints: 3 x 3 - 3 = 6 pairs of 3 keypoints at one place."""
    method = kind(**OPTIONS | {"keypoints": keypoints}, weights=BKinDWeights(separation=0.01))
    pairs = keypoints**2 - keypoints
    points = torch.zeros(2, keypoints, 2) if kind is BKinD else torch.zeros(2, 1, keypoints, 2)
    loss = method.loss_weights["mean_separation"] * method._separation(points, [points])
    assert loss.item() == pytest.approx(0.01 * pairs)
    assert set(method.loss_weights) == {"reconstruction", "rotation", "mean_separation", "focus", "coverage"}


def test_the_earlier_weight_of_separation_reaches_a_method_of_labels_too() -> None:
    weights = SemiSupervisedWeights(separation=0.0, supervision=3.0)
    method = SemiSupervisedBKinD(["nose"], **OPTIONS, weights=weights)
    assert method.loss_weights["mean_separation"] == 0
    assert method.loss_weights["supervision"] == 3


def test_a_curriculum_may_use_the_earlier_name_of_separation() -> None:
    method = BKinD(**OPTIONS, weights=BKinDWeights(mean_separation=0.5))
    curriculum = Curriculum({"separation": 2, "rotation": 1})
    curriculum.setup(Trainer(logger=False, enable_checkpointing=False), method, "fit")
    assert curriculum.start == {"mean_separation": 2, "rotation": 1}


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.stem)
def test_a_configuration_names_classes_that_exist(file: Path) -> None:
    paths = list(class_paths(yaml.safe_load(file.read_text())))
    assert sum(path.startswith("lightning_kp.") for path in paths) >= 4
    for path in paths:
        module, _, name = path.rpartition(".")
        assert isinstance(getattr(import_module(module), name), type)


def class_paths(settings: Any) -> list[str]:
    """All values of ``class_path`` in a configuration."""
    if isinstance(settings, list):
        return [path for each in settings for path in class_paths(each)]
    if not isinstance(settings, dict):
        return []
    own = [settings["class_path"]] if "class_path" in settings else []
    return own + [path for each in settings.values() for path in class_paths(each)]


def test_a_checkpoint_loads(tmp_path: Path) -> None:
    weights = BKinD(**OPTIONS).state_dict()
    content = {
        "state_dict": weights,
        "hyper_parameters": OPTIONS,
        "pytorch-lightning_version": "2.6.6",
        "lightning_kp": {
            "class_path": "lightning_kp.methods.bkind.BKinD",
            "version": "0.1.0",
            "data_class_path": "lightning_kp.datamodules.synthetic.SyntheticArena",
            "data": {"size": 32, "fit": "pad"},
        },
    }
    path = tmp_path / "last.ckpt"
    torch.save(content, path)
    method = load_method(path)
    assert type(method) is BKinD
    assert all(torch.equal(value, weights[name]) for name, value in method.state_dict().items())
    assert data_class(path) is SyntheticArena
    assert data_settings(path) == {"size": 32, "fit": "pad"}


def test_the_schedule_of_old_configurations_keeps_its_path() -> None:
    from lightning_kp.schedules import WarmupCosine

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    assert WarmupCosine(optimizer, warmup=0.1).__class__.__module__ == "lightning_kp.schedules"
