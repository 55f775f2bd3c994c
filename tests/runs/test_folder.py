"""Layout of a run folder, and files that are written whole or not at all."""

import json
from pathlib import Path

import pytest

from lightning_kp.errors import DataError
from lightning_kp.files import read_json, unique_stems, write_whole
from lightning_kp.runs.folder import RunFolder


def test_places(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    names = {
        folder.config: "config.yaml", folder.last_checkpoint: "checkpoints/last.ckpt",
        folder.tracks("session.1"): "tracks/session.1", folder.overlay("session.1"): "overlays/session.1.mp4",
        folder.diagnostics: "diagnostics.json", folder.metrics: "metrics.json",
        folder.report: "report.html", folder.inspection: "inspection.json",
    }  # fmt: skip
    assert {path.relative_to(tmp_path).as_posix(): name for path, name in names.items()} == {
        name: name for name in names.values()
    }


def test_create_is_repeatable(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a" / "run").create()
    (folder.checkpoints / "last.ckpt").touch()
    assert folder.create().last_checkpoint.exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/run cannot be written: .*--out DIR"):
        RunFolder(tmp_path / "file" / "run").create()


def test_a_folder_is_tried_without_leaving_it_behind(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("there", "there/not/yet"):
        RunFolder(tmp_path / name).refuse_unwritable()
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc here")
@pytest.mark.parametrize("place", ["/proc/foo/run", "/proc"])
def test_a_folder_in_which_nobody_may_write(place: str) -> None:
    """Permissions let the administrator write, so that only an attempt shows the problem."""
    with pytest.raises(DataError, match=rf"{place} cannot be written: .*--log DIR"):
        RunFolder(Path(place)).refuse_unwritable("--log")


def test_metrics_are_merged(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.add_metrics({"linear": 4.0, "found": 3})
    folder.add_metrics({"linear": 3.5, "points": {"nose": float("nan"), "tail": 1.0}})
    assert "NaN" not in folder.metrics.read_text()
    wanted = {"linear": 3.5, "found": 3, "points": {"nose": None, "tail": 1.0}}
    assert json.loads(folder.metrics.read_text()) == wanted


def test_damaged_metrics_are_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.metrics.write_text('{"linear": 4')
    with pytest.raises(DataError, match=r"metrics\.json is damaged"):
        folder.add_metrics({"found": 3})
    folder.metrics.write_text("3")
    with pytest.raises(DataError, match=r"metrics\.json is damaged"):
        read_json(folder.metrics)


def test_a_failed_write_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "a.json"
    write_whole(path, "old")

    def torn(self: Path, text: str, **options: str) -> int:
        with self.open("w") as file:
            file.write(text[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", torn)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "newer")
    assert path.read_text() == "old"


def test_each_video_has_a_name_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "frames.v2").mkdir()
    paths = ["a/x.mp4", "b/x.avi", "c/x_2.mp4", "d/x.mp4", "e/session.2024.mp4"]
    names = unique_stems([*map(Path, paths), tmp_path / "frames.v2"])
    assert names == ["x", "x_2", "x_2_2", "x_3", "session.2024", "frames.v2"]


def test_folders_that_are_named_by_dots_have_a_stem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shots" / "s1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "shots" / "s1")
    assert unique_stems([Path(), Path("..")]) == ["s1", "shots"]
