"""Which reader opens what, and what is no file at all."""

import os
import socket
import sys
from pathlib import Path

import clips
import pytest

from lightning_kp.cli import main
from lightning_kp.errors import VideoError
from lightning_kp.files import unique_stems
from lightning_kp.video.opening import open_video, refuse_no_file

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


def test_a_pipe_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Opening it would wait for ever for somebody who writes."""
    os.mkfifo(tmp_path / "live.mp4")
    with pytest.raises(
        VideoError, match=r"live.mp4 is a pipe; videos are read several times.*ffmpeg -i SOURCE"
    ):
        open_video(tmp_path / "live.mp4")
    assert main(["inspect", str(tmp_path / "live.mp4"), "--out", str(tmp_path / "out")]) == 2
    assert "live.mp4" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="no such device")
def test_a_device_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(VideoError, match="/dev/zero is a device"):
        open_video("/dev/zero")
    assert main(["inspect", "/dev/zero"]) == 2
    assert "kp: error: " in capsys.readouterr().err


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s.mp4")
        with pytest.raises(VideoError, match=r"s\.mp4 is a socket"):
            open_video("s.mp4")


def test_files_folders_and_links_to_them_pass(tmp_path: Path) -> None:
    video = clips.write_numbered(tmp_path / "a.mp4", 3)
    (tmp_path / "b.mp4").symlink_to(video)
    for path in (video, tmp_path / "b.mp4", tmp_path, tmp_path / "missing.mp4"):
        refuse_no_file(path)
    with open_video(tmp_path / "b.mp4") as reader:
        assert sum(1 for _ in reader) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is read, printed, drawn and tracked; a training, whose settings would have to name it, refuses it."""
    video = clips.write_numbered(tmp_path / "a.mp4", 6)
    odd = video.rename(os.fsdecode(os.fsencode(tmp_path) + b"/mouse\xff.mp4"))
    assert main(["inspect", str(odd), "--out", str(tmp_path / "out")]) == 0
    assert "mouse\\udcff" in (tmp_path / "out" / "inspection.txt").read_text()
    assert unique_stems([odd]) == ["mouse\N{REPLACEMENT CHARACTER}"]
    capsys.readouterr()
    assert main(["discover", str(odd), "--out", str(tmp_path / "run")]) == 2
    assert r"mouse\udcff.mp4 is not UTF-8" in capsys.readouterr().err
