"""Runs of the fusion table: their plan, options and resumption, and the scores read from their logs."""

import argparse
import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_kp.errors import DataError
from lightning_kp.studies import fusion_table
from lightning_kp.studies.fusion_table import METHODS, SETTINGS, Run, command, curve_of, main, planned, table


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(
        experiments=tmp_path / "experiments", data=tmp_path / "data", out=tmp_path / "out", steps=300,
        accelerator="cpu", fit_options=[], starts=fusion_table.STARTS, alpha=None,
    )  # fmt: skip


def test_a_seed_is_complete_before_the_next() -> None:
    runs = planned(["honeybee-5", "flies"], METHODS, [0, 1])
    assert len(set(runs)) == len(runs) == 12
    assert [run.seed for run in runs] == [0] * 6 + [1] * 6


def test_the_three_methods_differ_as_the_papers_do(options: argparse.Namespace, tmp_path: Path) -> None:
    lines = {name: command(Run("honeybee-5", name, 3), tmp_path / name, options) for name in METHODS}
    assert "directpose_honeybee.yaml" in lines["DirectPose"][5]
    assert not any("fusion" in word for word in lines["DirectPose"])
    for name in METHODS[1:]:
        assert "semimultipose_honeybee.yaml" in lines[name][5]
        assert "--model.weights.fusion_labelled=5.0" in lines[name]
    off = "--model.weights.fusion_unlabelled=0"
    assert off in lines["SemiMultiPose-labelled"]
    assert off not in lines["SemiMultiPose"]
    for line in lines.values():
        assert {
            "--data.train_frames=5",
            "--data.seed=3",
            "--seed_everything=3",
            "--trainer.max_epochs=6",
        } <= set(line)


def test_fusion_starts_at_the_papers_shares(options: argparse.Namespace, tmp_path: Path) -> None:
    command(Run("flies", "SemiMultiPose", 0), tmp_path, options)
    callback = yaml.safe_load((tmp_path / "curriculum.yaml").read_text())["trainer"]["callbacks"][0]
    assert callback["init_args"] == {
        "unit": "step",
        "start": {"fusion_labelled": 40, "fusion_unlabelled": 100},
    }


def test_other_starts_are_shares_of_the_steps(options: argparse.Namespace, tmp_path: Path) -> None:
    options.starts = (0.5, 0.75)
    command(Run("flies", "SemiMultiPose", 0), tmp_path, options)
    callback = yaml.safe_load((tmp_path / "curriculum.yaml").read_text())["trainer"]["callbacks"][0]
    assert callback["init_args"]["start"] == {"fusion_labelled": 150, "fusion_unlabelled": 225}


def test_another_fusion_trains_the_fusing_methods_anew_and_no_other(options: argparse.Namespace) -> None:
    folders: dict[str, set[Path]] = {method: set() for method in METHODS}
    for options.starts, options.alpha in itertools.product((fusion_table.STARTS, (0.5, 0.6)), (None, 0.1, 1)):
        for method in METHODS:
            folders[method].add(fusion_table.folder_of(Run("flies", method, 0), options))
    assert {method: len(found) for method, found in folders.items()} == {
        "DirectPose": 1, "SemiMultiPose-labelled": 6, "SemiMultiPose": 6,
    }  # fmt: skip


def test_alpha_is_the_papers_unless_it_is_given(options: argparse.Namespace, tmp_path: Path) -> None:
    run = Run("honeybee-5", "SemiMultiPose-labelled", 0)
    assert "--model.weights.fusion_labelled=5.0" in command(run, tmp_path, options)
    options.alpha = 0.1
    assert "--model.weights.fusion_labelled=0.1" in command(run, tmp_path, options)


@pytest.mark.parametrize(
    "wrong", [["--starts", "0.5"], ["--starts", "0.5,1.2"], ["--starts", "a,b"], ["--methods", "DirectPoze"]]
)
def test_wrong_shares_and_methods_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--data", ".", *wrong])
    assert "shares of the steps" in (told := capsys.readouterr().err) or "methods are" in told


def test_the_curve_is_read_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "metrics.csv"
    log.write_text(
        "epoch,step,train/loss,val/ap,val/ap_fine\n0,49,1.0,,\n0,49,,0.25,0.1\n1,99,0.5,,\n1,99,,0.5,0.2\n"
    )
    assert curve_of(log) == [(50, 0.25, 0.1), (100, 0.5, 0.2)]


def test_means_and_standard_errors() -> None:
    rows = [
        {
            "setting": "honeybee-5",
            "method": "DirectPose",
            "seed": seed,
            "ap": 0.5 + 0.1 * seed,
            "ap_fine": 0.3,
        }
        for seed in (0, 1)
    ]
    assert "| honeybee-5 | DirectPose | 0.550 ± 0.050 | 0.300 ± 0.000 | 2 | 0.734 |" in table(rows)
    assert "| honeybee-5 | DirectPose | 0.500 | 0.300 | 1 | 0.734 |" in table(rows[:1])


def test_what_is_done_is_kept_and_what_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "two_flies" / "fly120s").mkdir(parents=True)
    asked: list[Run] = []

    def trained(run: Run, options: Any) -> dict[str, Any]:
        asked.append(run)
        if run.method == "SemiMultiPose":
            raise DataError("no disk", remedy="none")
        return {"ap": 0.5, "ap_fine": 0.25, "curve": [], "seconds": 1.0}

    monkeypatch.setattr(fusion_table, "train", trained)
    arguments = [
        "--data",
        str(tmp_path),
        "--out",
        str(tmp_path / "out"),
        "--settings",
        "flies",
        "--seeds",
        "0,1",
    ]
    assert main(arguments) == 1
    assert len(asked) == 6
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(result["rows"]) == 4
    assert len(result["failed"]) == 2
    assert "no disk" in capsys.readouterr().err
    assert "| flies | DirectPose | 0.500" in (tmp_path / "out" / "table.md").read_text()


def test_a_run_that_has_scores_is_not_trained(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("trained again"))
    folder = options.out / "300-steps" / "flies-DirectPose-0"
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text('{"ap": 0.25, "ap_fine": 0.1}')
    assert fusion_table.train(Run("flies", "DirectPose", 0), options) == {
        "ap": 0.25,
        "ap_fine": 0.1,
    }


def test_other_settings_are_another_run(options: argparse.Namespace) -> None:
    """Otherwise a second call with other settings would report the scores of the first."""
    run, folders = Run("flies", "DirectPose", 0), set()
    for options.fit_options in ([], ["--model.sigma=0.1"], ["--model.sigma=0.2"], ["--model.sigma=0.1"]):
        folders.add(fusion_table.folder_of(run, options))
    assert len(folders) == 3


@pytest.mark.parametrize("steps", [50, 300, 350, 400, 450, 15000])
def test_the_last_evaluation_is_at_the_end(steps: int, options: argparse.Namespace, tmp_path: Path) -> None:
    options.steps = steps
    line = dict(
        word.split("=", 1)
        for word in command(Run("flies", "DirectPose", 0), tmp_path, options)
        if "=" in word
    )
    epochs = int(line["--trainer.max_epochs"])
    every = int(line["--trainer.check_val_every_n_epoch"])
    assert epochs % every == 0
    assert epochs // every >= min(4, epochs)


def test_every_setting_has_its_experiments(root: Path) -> None:
    for setting in SETTINGS.values():
        for kind in ("directpose", "semimultipose"):
            assert (root / "experiments" / f"{kind}_{setting.experiment}.yaml").is_file()


def test_steps_that_are_no_whole_epochs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--data", ".", "--steps", "130"])
    assert "130 steps are not a whole number of epochs of 50 steps; use 150" in capsys.readouterr().err


def test_fewer_steps_than_an_epoch(options: argparse.Namespace, tmp_path: Path) -> None:
    options.steps = 20
    line = command(planned(["flies"], ["SemiMultiPose"], [0])[0], tmp_path, options)
    assert {"--trainer.max_epochs=1", "--data.batches=20"} <= set(line)
    starts = json.loads((tmp_path / "curriculum.yaml").read_text())["trainer"]["callbacks"][0]
    assert starts["init_args"]["start"] == {"fusion_labelled": 3, "fusion_unlabelled": 7}


def test_data_that_are_not_there_are_told_before_any_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "There is no folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path / "nowhere")])
    assert "is not a folder" in capsys.readouterr().err


def test_values_may_follow_their_option_after_a_blank(capsys: pytest.CaptureFixture[str]) -> None:
    options = fusion_table._options(["--data", ".", "--data.size", "160", "--model.width=8"])
    assert options.fit_options == ["--data.size=160", "--model.width=8"]
    with pytest.raises(SystemExit):
        fusion_table._options(["--data", ".", "160"])
    assert "unknown: 160" in capsys.readouterr().err
