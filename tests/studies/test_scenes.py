"""The study of preprocessing: its commands are valid, it resumes, and its table is correct."""

import json

import pytest

from lightning_kp.cli import main as kp
from lightning_kp.studies import scenes as bench_scenes
from lightning_kp.studies.scenes import (
    EXPERIMENT,
    SCENES,
    TREATMENTS,
    TRIED,
    Job,
    jobs_of,
    main,
    run_all,
    table,
)


def finish(job, linear):
    job.folder.mkdir(parents=True, exist_ok=True)
    scores = dict.fromkeys(bench_scenes.COLUMNS, 9.0) | {"linear": linear, "found": 8}
    (job.folder / "metrics.json").write_text(json.dumps(scores))


@pytest.fixture
def jobs(tmp_path):
    return list(jobs_of(tmp_path, EXPERIMENT, (0, 1), ("shadow", "shake"), ()))


def test_every_scene_is_tried_without_a_treatment_first():
    assert TRIED.keys() == SCENES.keys()
    assert all(treatments[0] == "none" for treatments in TRIED.values())
    assert {each for treatments in TRIED.values() for each in treatments} == TREATMENTS.keys()


@pytest.mark.parametrize("scene", SCENES)
def test_its_commands_are_understood(scene, tmp_path, capsys):
    for treatment in TRIED[scene]:
        job = Job(scene, treatment, 3, tmp_path, EXPERIMENT, ("--trainer.max_epochs=2",))
        assert kp([*job.fit(), "--print_config"]) == 0
        printed = capsys.readouterr().out
        assert "seed_everything: 3" in printed
        assert "max_epochs: 2" in printed
        for name, value in TREATMENTS[treatment].items():
            assert f"{name}: {value}" in printed
        for name, value in SCENES[scene].items():
            assert f"{name}: {str(value).lower()}" in printed


def test_whole_seeds_come_first(jobs):
    assert [job.seed for job in jobs] == [0] * 7 + [1] * 7
    assert len({job.folder for job in jobs}) == len(jobs)


def test_other_settings_are_another_run(tmp_path):
    """Otherwise a longer training would show the scores of an earlier, shorter one."""
    folders = {
        Job("plain", "none", 0, tmp_path, EXPERIMENT, options).folder
        for options in ((), ("--trainer.max_epochs=2",), ("--trainer.max_epochs=9",))
    }
    assert len(folders) == 3


def test_an_interrupted_run_goes_on(jobs):
    assert not any(argument.startswith("--ckpt_path") for argument in jobs[0].fit())
    last = jobs[0].folder / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    assert jobs[0].fit()[-1] == f"--ckpt_path={last}"


def test_finished_runs_are_left_alone_and_each_scene_is_rendered_once(jobs, monkeypatch):
    ran = []

    def pretend(stage, job):
        ran.append((stage, job.scene, job.treatment, job.seed))
        if stage == "train":
            finish(job, 5.0)
        return ""

    monkeypatch.setattr(bench_scenes, "_run", pretend)
    for job in jobs[:6]:
        finish(job, 4.0)
    assert run_all(jobs, workers=1) == []
    assert [each[1] for each in ran if each[0] == "render"].count("shadow") == 1
    assert sum(each[0] == "preprocess" for each in ran) == 7
    assert sum(each[0] == "train" for each in ran) == len(jobs) - 6
    ran.clear()
    assert run_all(jobs, workers=1) == []
    assert ran == []


def test_what_fails_is_told_and_does_not_stop_the_others(jobs, monkeypatch):
    monkeypatch.setattr(
        bench_scenes, "_run", lambda stage, job: "broke" * (stage == "train" and job.seed == 1)
    )
    problems = run_all(jobs, workers=2)
    assert len(problems) == 7
    assert "shadow-hsv_black-1: broke" in problems
    monkeypatch.setattr(bench_scenes, "_run", lambda stage, job: "no room")
    assert sorted(run_all(jobs, workers=2)) == [
        "shadow-none-0: no room",
        "shake-none-0: no room",
    ]  # nothing is trained


def test_the_table_by_hand(jobs):
    finish(jobs[0], 4.0)
    finish(jobs[7], 6.0)
    finish(jobs[1], 5.0)
    rows = table(jobs).splitlines()
    assert (
        rows[2]
        == "| shadow | none | 2 | 5.00 ± 1.41 | 9.00 ± 0.00 | 9.00 ± 0.00 | 9.00 ± 0.00 | 9.00 ± 0.00 |"
    )
    assert rows[3].startswith("| shadow | hsv | 1 | 5.00 | 9.00 |")
    assert rows[4].startswith("| shadow | hsv black | 0 | - |")
    assert len(rows) == 2 + 7


def test_unknown_scenes_are_refused(capsys, tmp_path):
    assert main(["--only", "fog", "--out", str(tmp_path)]) == 2
    assert "There is no scene fog; scenes are plain, shadow, shake, drift" in capsys.readouterr().err


@pytest.mark.slow
def test_one_scene_from_rendering_to_the_table(tmp_path, capsys):
    tiny = [
        "--data.frames=40", "--data.test_frames=16", "--data.frame_px=64", "--data.size=48", "--data.gap=2",
        "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1",
        "--trainer.accelerator=cpu",
    ]  # fmt: skip
    arguments = ["--out", str(tmp_path), "--jobs", "2", "--seeds", "0", "--only", "shake", "--", *tiny]
    assert main(arguments) == 0
    assert "0 of 2 runs are finished" in capsys.readouterr().out
    assert main(arguments) == 0
    assert "2 of 2 runs are finished" in capsys.readouterr().out
    found = json.loads((tmp_path / "scenes.json").read_text())
    assert [each["treatment"] for each in found] == ["none", "registration"]
    assert all(0 < each["matched"] < 100 for each in found)
