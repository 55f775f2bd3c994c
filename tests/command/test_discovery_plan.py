"""Which settings win: those of the preset, of inspection, of the user."""

from pathlib import Path
from typing import Any

import pytest

from lightning_kp.command.discovery_plan import SINGLE_ANIMAL, Plan, capped_without_gpu
from lightning_kp.command.presets import preset_path
from lightning_kp.errors import ConfigurationError


def plan(*overrides: str, preset: Path | None = None, **suggested: Any) -> Plan:
    suggestions = {name.replace("_", ".", 1): value for name, value in suggested.items()}
    return Plan(preset or preset_path("laptop"), suggestions, overrides)


def test_suggestions_replace_a_shipped_preset_only() -> None:
    options = plan("--data.init_args.gap=3", data_gap=6, data_size=96, model_keypoints=9).options()
    assert options[1:] == ["--data.size=96", "--model.keypoints=9", "--data.init_args.gap=3"]
    assert plan(data_boxes=[1, 2, 30, 40]).options()[1:] == ["--data.boxes=[1, 2, 30, 40]"]


def test_the_paper_decides_its_size_and_weights() -> None:
    suggestions = {"data.gap": 4, "data.size": 96, "model.keypoints": 8, **SINGLE_ANIMAL}
    given = Plan(preset_path("paper"), suggestions, ())
    assert given.options()[1:] == ["--data.gap=4", "--model.keypoints=8"]
    assert given.chosen()["data.size"] == 256


def test_a_small_lone_animal_is_followed_by_the_preset_for_it() -> None:
    suggestions = {"data.gap": 6, "data.size": 96, "data.boxes": "follow", **SINGLE_ANIMAL}
    follow = Plan(preset_path("follow"), suggestions, ())
    assert follow.options()[1:] == ["--data.gap=6", "--data.boxes=follow"]
    assert follow.follows
    whole = ["--data.gap=6", *(f"--{name}={value}" for name, value in SINGLE_ANIMAL.items())]
    assert Plan(preset_path("laptop"), suggestions, ()).options()[1:] == whole
    assert Plan(preset_path("paper"), suggestions, ()).options()[1:] == whole[:1]
    typed_in = Plan(preset_path("laptop"), suggestions, ("--data.boxes=[0,0,64,64]",))
    assert typed_in.options()[1:] == [*whole, "--data.boxes=[0,0,64,64]"]


def test_squares_for_several_animals_have_the_keypoints_of_one() -> None:
    counted = Plan(preset_path("follow"), {"data.boxes": "follow:2", "model.keypoints": 7}, ())
    assert counted.options()[1:] == ["--data.boxes=follow:2", "--model.keypoints=7"]
    # The 12 are for a picture of all animals.
    asked_for = Plan(preset_path("follow"), {"model.keypoints": 12}, ("--data.boxes=follow:2",))
    assert asked_for.follows
    assert asked_for.options()[1:] == ["--model.keypoints=8", "--data.boxes=follow:2"]
    assert not Plan(preset_path("laptop"), {"data.boxes": [0, 0, 9, 9]}, ()).follows
    # In the whole picture, the weights for one animal would put all keypoints on one of them.
    whole = Plan(preset_path("turning"), {"data.boxes": "follow:2", "data.size": 96, "data.gap": 6}, ())
    assert whole.options()[1:] == ["--data.gap=6"]


def test_a_preset_of_ones_own_wins_over_suggestions(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("data:\n  init_args:\n    gap: 4\nmodel:\n  keypoints: 5\ntrainer: {max_epochs: 7}\n")
    given = plan(preset=own, data_gap=6, data_size=96, model_keypoints=9)
    assert given.options() == [f"--config={own}", "--data.size=96"]
    # Weights are suggested for the method of the shipped presets; another one may not have such terms.
    alone = Plan(own, dict(SINGLE_ANIMAL), ())
    assert alone.options() == [f"--config={own}"]
    assert given.max_epochs == 7
    assert plan("--trainer.max_epochs=3", preset=own).max_epochs == 3
    assert plan("--trainer.max_epochs=-1", preset=own).max_epochs is None
    own.write_text("data: [")
    with pytest.raises(ConfigurationError, match=r"own\.yaml cannot be read"):
        plan(preset=own, data_gap=6).options()


def test_sizes_for_a_computer_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert capped_without_gpu(plan(data_size=192)).suggested["data.size"] == 128
    assert "too slow without a GPU" in caplog.text
    caplog.clear()
    assert capped_without_gpu(plan(data_size=96)).suggested["data.size"] == 96
    assert capped_without_gpu(plan("--data.size=224", data_size=192)).suggested["data.size"] == 192
    assert caplog.text == ""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert capped_without_gpu(plan(data_size=192)).suggested["data.size"] == 192
