"""The package as a notebook uses it: the code of the README, from videos to tables."""

import inspect
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sleap_io as sio
import tiny_runs
from tiny_runs import FRAMES, ONE_EPOCH, TINY

import lightning_kp as kp

SETTINGS: dict[str, Any] = dict(option.removeprefix("--").split("=") for option in (*TINY, ONE_EPOCH))


@pytest.fixture(autouse=True)
def _frame_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KP_CACHE_DIR", str(tiny_runs.frame_cache(tmp_path_factory)))


@pytest.fixture
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two videos with awkward names."""
    return tiny_runs.two_videos(tmp_path_factory)


def run_alone(code: str) -> str:
    """What ``code`` prints last, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = {"torch", "lightning", "numpy", "pandas", "matplotlib", "av", "sleap_io", "yaml"}
    code = f"import sys, lightning_kp; dir(lightning_kp); print(sorted({heavy!r} & set(sys.modules)))"
    assert run_alone(code) == "[]"


def test_the_package_report_does_not_take_the_place_of_the_function() -> None:
    """Importing a module of a package for the first time puts the package into its parent."""
    assert (
        run_alone("import lightning_kp as kp, lightning_kp.reports.page; print('report' in vars(kp))")
        == "False"
    )

    assert callable(kp.report)


def test_every_public_name_is_there_and_listed() -> None:
    assert set(kp.__all__) <= set(dir(kp))
    for name in kp.__all__:
        assert getattr(kp, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'discovr'"):
        kp.discovr  # noqa: B018


def test_the_notebook(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = kp.discover(videos[0].parent, out="runs/me", overlay=False, settings=SETTINGS)
    assert (run.path, run.report) == (Path("runs/me"), Path("runs/me/report.html"))
    assert run.report.is_file()
    assert run.diagnosis is not None
    assert run.verdict == run.diagnosis.verdict == run.metrics["verdict"]
    assert sorted(run.tracks) == ["b.2", "it's"]
    assert str(run).startswith("Run runs/me\nDiscovery: ")

    model = kp.load("runs/me", device="cpu")
    assert str(model) == (
        "BKinD on cpu: predicts 3 discovered keypoints in images of 48 px [runs/me/checkpoints/last.ckpt]"
    )
    poses = model.predict(videos[0])
    assert repr(poses) == "Poses(it's: 30 frames, 1 instance, 3 keypoints kp01, kp02, kp03)"
    assert poses.points_px.shape == (FRAMES, 1, 3, 2)
    assert poses.confidence.shape == (FRAMES, 1, 3)
    np.testing.assert_allclose(poses.points_px, run.poses("it's").points_px, atol=1e-4)
    assert poses.to_pandas().shape == (FRAMES * 3, 11)
    assert poses.to_xarray().sizes == {"time": FRAMES, "space": 2, "keypoints": 3, "individuals": 1}
    assert sio.load_slp(str(poses.to_sleap("new.slp"))).skeletons[0].node_names == ["kp01", "kp02", "kp03"]
    assert Path("out/tracks/it's.csv") in poses.save("out/")

    found = kp.inspect(videos)
    assert "Suggested settings for all 2 videos" in repr(found)
    tracked = kp.track(run, videos[1], out="new", formats=["csv"])
    assert len(tracked.poses("b.2")) == FRAMES
    score = kp.score(run, labels=videos[1].with_name("b.2.truth.npz"))
    assert score.labelled is not None
    assert run.metrics["linear"] == score.labelled.linear  # type: ignore[union-attr]
    named = kp.name(run, videos[1].with_name("b.2.truth.npz"))
    assert kp.load(named, device="cpu").keypoint_names == tuple(point.name for point in named.points)
    assert len(kp.suggest(run, count=3, names=["nose"])) == 3
    assert kp.report(run).report.is_file()
    printed = capsys.readouterr().out
    assert "Discovery:" not in printed  # a function returns what a verb prints
    assert "Suggested settings" not in printed


def example_of(name: str) -> str:
    """The code below ``Example:`` in the docstring of a public name."""
    _, found, code = (inspect.getdoc(getattr(kp, name)) or "").partition("Example:\n")
    return textwrap.dedent(code) if found else ""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples name: videos/, new.mp4 with its ground truth, runs/me."""
    folder = tmp_path_factory.mktemp("notebook")
    videos = tiny_runs.two_videos(tmp_path_factory)
    shutil.copytree(videos[0].parent, folder / "videos")
    for suffix in (".mp4", ".truth.npz"):
        shutil.copy(videos[1].with_suffix(suffix), folder / f"new{suffix}")
    shutil.copytree(tiny_runs.discovery_run(tmp_path_factory), folder / "runs" / "me")
    return folder


# The test above runs the code of discover's example.
@pytest.mark.parametrize("name", sorted(set(kp.__all__) - {"discover"}))
def test_the_example_of_every_public_name_runs(
    name: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in ("export", "ExportedNetwork"):
        pytest.importorskip("onnxruntime")
    monkeypatch.chdir(workplace)
    code = example_of(name)
    assert code
    exec(code, {"kp": kp, "np": np, "Path": Path})


def test_settings_are_refused_before_any_work(videos: list[Path], tmp_path: Path) -> None:
    from lightning_kp.errors import ConfigurationError

    for settings, problem in (
        ({"model.keypoint": 3}, r"Did you mean --model\.keypoints\?"),
        ({"data.videos": ["a.mp4"]}, r"sets data\.videos itself"),
        ({"data.batch_size": 0}, "batch_size is 0"),
    ):
        with pytest.raises(ConfigurationError, match=problem):
            kp.discover(videos, out=tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()
