"""The label-efficiency study: its plan, halves and scores, and that it resumes."""

import json
import math
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lightning_kp.studies import label_efficiency, label_halves
from lightning_kp.studies.label_curves import draw_curves, summary, table
from lightning_kp.studies.label_efficiency import Run, command, main, planned
from lightning_kp.studies.label_halves import SETS, LabelSet, chosen, scores


def test_scores_by_hand() -> None:
    """The side of 100 px is 2 normalised units, so that 5 % are 0.1."""
    labelled = torch.tensor([[[0.0, 0.0], [0.5, 0.5]], [[0.0, 0.0], [torch.nan, torch.nan]]])
    predicted = torch.tensor([[[0.09, 0.0], [0.5, 0.9]], [[torch.nan, torch.nan], [0.0, 0.0]]])
    found = scores(predicted, labelled, side_px=100)
    assert found["pck"] == pytest.approx(
        1 / 3
    )  # near, far, never learnt; the unlabelled point does not count
    assert found["error_px"] == pytest.approx((4.5 + 20 + 0) / 3)


def test_every_combination_is_planned_once_and_a_bridge_serves_all_numbers() -> None:
    runs = planned(["a", "b"], [5, 10], [0, 1, 2])
    assert len(runs) == len(set(runs)) == 2 * 2 * 3 + 2 * 2 * 3 + 2 * 3
    assert sum(run.method == "bridge" for run in runs) == 6
    assert [run.method for run in runs][-1] == "supervised"  # the quickest last


def test_nested_labels_inside_the_pool() -> None:
    pool = [3, 5, 8, 13, 21, 34]
    few, more = set(chosen(pool, 2, seed=1)), set(chosen(pool, 4, seed=1))
    assert few < more < set(pool)
    assert chosen(pool, 4, seed=2) != chosen(pool, 4, seed=1)


@pytest.mark.parametrize("name", SETS)
def test_halves_of_the_real_data(name: str, kp_data: Path) -> None:
    if not (kp_data / name).is_dir():
        pytest.skip(f"needs {name} in KP_DATA")
    pool, test = SETS[name].halves(kp_data)
    assert not set(pool) & set(test)
    assert len(pool) >= 50
    assert len(test) >= 40
    assert SETS[name].halves(kp_data) == (pool, test)
    assert (pool == list(range(58))) == (name == "mouse_openfield")
    assert SETS[name].side_px(kp_data) == {"mouse_openfield": 640, "mirror_mouse": 406}[name]


# ---------------------------------------------------------------- the command


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of twelve frames."""
    folder = tmp_path / "data" / "toy"
    folder.mkdir(parents=True)
    lines = ["scorer,a,a", "bodyparts,nose,nose", "coords,x,y"]
    from PIL import Image as Pictures

    for number in range(12):
        Pictures.new("L", (40, 40)).save(folder / f"img{number}.png")
        lines.append(f"img{number}.png,{number},{2 * number}")
    (folder / "CollectedData.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setitem(SETS, "toy", LabelSet("toy", "CollectedData.csv", "openfield", pool=8, in_time=True))
    monkeypatch.setattr(label_efficiency, "_cache", lambda *given: None)
    return tmp_path


def arguments(toy: Path, *more: str) -> list[str]:
    return ["--data", str(toy / "data"), "--out", str(toy / "out"), "--sets", "toy", "--labels", "2,4",
            "--seeds", "0,1", "--jobs", "2", *more]  # fmt: skip


def test_it_goes_on_where_it_stopped(toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    trained: list[str] = []
    broken = {"toy-supervised-4-1"}

    def fit(line: list[str], stdout: Any, **given: Any) -> SimpleNamespace:
        name = Path(next(o for o in line if "default_root_dir" in o).partition("=")[2]).name
        trained.append(name)
        stdout.write(f"kp: error: {name} is broken\n")
        return SimpleNamespace(returncode=int(name in broken))

    def score(data: Any, folder: Path, run: Path, seed: int, labels: list[int]) -> dict[str, Any]:
        return {str(n): {"pck": n / 10, "error_px": 10.0 / n} for n in labels}

    monkeypatch.setattr(subprocess, "run", fit)
    monkeypatch.setattr(label_halves, "score_run", score)
    assert main(arguments(toy)) == 1
    assert "toy-supervised-4-1 failed: kp: error: toy-supervised-4-1 is broken" in capsys.readouterr().err
    assert len(trained) == 2 * 2 + 2 * 2 + 2
    trained.clear()
    broken.clear()
    assert main(arguments(toy, "--finished")) == 0
    assert trained == []  # missing runs are neither trained nor reported
    assert len(json.loads((toy / "out" / "results.json").read_text())["rows"]) == 4 * 2 * 2 - 1
    assert main(arguments(toy)) == 0
    assert trained == ["toy-supervised-4-1"]
    result = json.loads((toy / "out" / "results.json").read_text())
    assert result["failed"] == []
    assert len(result["rows"]) == 4 * 2 * 2  # three methods and the mean pose
    assert (toy / "out" / "label_efficiency.png").stat().st_size > 10_000
    assert "0.20±0.00 5.0±0.0px" in capsys.readouterr().out
    assert main(arguments(toy, "--seeds", "0", "--finished")) == 0
    assert "0.20 5.0px" in capsys.readouterr().out  # one seed has no deviation


def test_mean_pose_by_hand(toy: Path) -> None:
    """Labels lie on a line; the mean of the chosen ones, against frames 8 to 11."""
    [row] = SETS["toy"].mean_pose(toy / "data", [2], [0])
    rows = chosen(list(range(8)), 2, 0)
    middle = sum(rows) / 2
    wanted = sum(((n - middle) ** 2 + (2 * n - 2 * middle) ** 2) ** 0.5 for n in range(8, 12)) / 4
    assert row["error_px"] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("method", ["supervised", "semi-supervised", "bridge"])
def test_the_command_of_a_run_is_understood(
    method: str, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the real parser, on the real experiment files, with the frames of the pool and no others."""
    import yaml

    from lightning_kp import cli

    options = label_efficiency._options(arguments(toy, "--steps", "100", "--model.sharpness=4"))
    run = Run("toy", method, 0 if method == "bridge" else 4, 1)
    line = command(run, SETS["toy"], options)
    start = line.index("fit")
    assert cli.main([*line[start:], "--print_config"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["seed_everything"] == 1
    assert config["trainer"]["max_epochs"] == 2
    assert config["model"]["init_args"]["sharpness"] == 4
    data = config["data"]["init_args"]
    if method != "bridge":
        assert data["rows"] == list(range(8))
        assert data["train_frames"] == 4


def test_a_killed_run_goes_on_from_its_checkpoint(toy: Path) -> None:
    options = label_efficiency._options(arguments(toy))
    run = Run("toy", "supervised", 2, 0)
    assert not any("ckpt_path" in option for option in command(run, SETS["toy"], options))
    last = label_efficiency.folder_of(run, options) / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    assert f"--ckpt_path={last}" in command(run, SETS["toy"], options)


def test_other_settings_are_another_run(toy: Path) -> None:
    """Otherwise a second call with other settings would report the scores of the first."""
    run = Run("toy", "supervised", 2, 0)
    folders = {
        label_efficiency.folder_of(run, label_efficiency._options(arguments(toy, *more)))
        for more in ([], ["--model.sharpness=4"], ["--model.sharpness=5"], ["--model.sharpness=5"])
    }
    assert len(folders) == 3


@pytest.mark.parametrize("wrong", [["--sets", "mice"], ["--step", "x", "--jobbs=2"]])
def test_a_wrong_option_is_refused(wrong: list[str], toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*arguments(toy), *wrong])
    assert "error" in capsys.readouterr().err


# ---------------------------------------------------------------- curves


def row(method: str, labels: int, seed: int, pck: float) -> dict[str, Any]:
    return {"dataset": "toy", "method": method, "labels": labels, "seed": seed, "pck": pck, "error_px": 1.0}


def test_mean_and_deviation_over_seeds() -> None:
    rows = [row("bridge", 5, seed, pck) for seed, pck in enumerate((0.4, 0.5, 0.6))] + [
        row("bridge", 10, 0, 0.7)
    ]
    assert summary(rows, "toy", "bridge", "pck") == [
        (5, pytest.approx(0.5), pytest.approx(0.1)),
        (10, pytest.approx(0.7), pytest.approx(math.nan, nan_ok=True)),
    ]
    assert "0.50±0.10" in table(rows)


def test_a_method_without_results_is_left_out(tmp_path: Path) -> None:
    draw_curves([row("bridge", 5, 0, 0.4)], tmp_path / "new" / "curve.png")
    assert (tmp_path / "new" / "curve.png").is_file()
    assert "supervised" not in table([row("bridge", 5, 0, 0.4)])


def test_methods_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    options = label_efficiency._options(["--data", ".", "--methods", "supervised,bridge"])
    runs = label_efficiency.planned(["mirror_mouse"], [5, 10], [0], options.methods)
    assert [run.method for run in runs] == ["bridge", "supervised", "supervised"]
    with pytest.raises(SystemExit):
        label_efficiency._options(["--data", ".", "--methods", "supervise"])
    assert (
        "supervise is not a method; methods are supervised, semi-supervised, bridge"
        in capsys.readouterr().err
    )
