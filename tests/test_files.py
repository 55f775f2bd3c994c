"""Files that appear whole or not at all, and fingerprints of files."""

import errno
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lightning_kp.errors import DataError
from lightning_kp.files import (
    file_fingerprint,
    read_json,
    replacing,
    unique_stems,
    write_whole,
    writing,
    writing_cache,
    writing_text,
)


@contextmanager
def through_a_path(path: Path) -> Iterator[Any]:
    with replacing(path) as temporary, temporary.open("wb") as file:
        yield file


WRITERS = [writing, through_a_path, writing_cache]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_appears_only_when_it_is_complete(
    writer: Callable[[Path], AbstractContextManager[Any]], tmp_path: Path
) -> None:
    path = tmp_path / "new" / "a.bin"
    with writer(path) as file:
        file.write(b"old")
        assert not path.exists()
        assert len(list(path.parent.iterdir())) == 1
    with pytest.raises(ZeroDivisionError), writer(path) as file:
        file.write(bytes(1 // 0))
    assert path.read_bytes() == b"old"
    assert [each.name for each in path.parent.iterdir()] == ["a.bin"]


def test_text_keeps_its_line_ends(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.csv", "é\r\n1\n")
    assert (tmp_path / "a.csv").read_bytes() == b"\xc3\xa9\r\n1\n"


def test_a_library_that_opens_the_path_sees_its_suffix(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.b.mp4") as temporary:
        assert temporary.suffix == ".mp4"
        assert temporary.parent == tmp_path
        temporary.touch()
    assert [each.name for each in tmp_path.iterdir()] == ["a.b.mp4"]


@pytest.mark.parametrize("context", [writing, replacing])
def test_each_of_several_writers_has_its_own_temporary(context: Any, tmp_path: Path) -> None:
    with context(tmp_path / "a.bin", several_writers=True) as opened:
        (name,) = (each.name for each in tmp_path.iterdir()) if context is writing else (opened.name,)
        assert f"{socket.gethostname()}.{os.getpid()}." in name
        if context is replacing:
            opened.touch()


@pytest.mark.parametrize("writer", [writing, through_a_path])
def test_a_full_disk_names_the_file_itself(writer: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(OSError, match=r"No space left") as caught, writer(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(path)
    assert not list(tmp_path.iterdir())


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"input\.mp4"), writing(tmp_path / "a.bin"):
        (tmp_path / "input.mp4").read_bytes()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, "The disk is full: the frame cache in .* could not be written"),
        (errno.EFBIG, "The disk is full"),
        (errno.EIO, "The frame cache in .* cannot be written: Input/output error"),
    ],
)
def test_a_cache_that_cannot_be_written_names_its_options(number: int, expected: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{expected}.* Set cache_dir"), writing_cache(tmp_path / "a"):
        raise OSError(number, os.strerror(number))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_whole(tmp_path / "file" / "a.txt", "text")


def test_a_fingerprint_changes_with_the_content(tmp_path: Path) -> None:
    one, copy, other = (tmp_path / name for name in ("one", "copy", "other"))
    one.write_bytes(bytes(200_000))
    copy.write_bytes(bytes(200_000))
    os.utime(copy, (1, 1))
    other.write_bytes(bytes(100_000) + b"1" + bytes(99_999))  # differs in the middle only
    assert file_fingerprint(one) == file_fingerprint(copy) != file_fingerprint(other)
    assert file_fingerprint(one, with_time=True) != file_fingerprint(copy, with_time=True)


def test_a_fingerprint_of_a_folder_changes_with_its_files(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"1")
    before = file_fingerprint(tmp_path)
    (tmp_path / "2.png").write_bytes(b"2")
    assert file_fingerprint(tmp_path) != before


def test_long_names_are_shortened_and_stay_apart(tmp_path: Path) -> None:
    """Names of 244 bytes and more leave no room for endings; letters of several bytes are not cut."""
    paths = [tmp_path / f"{'é' * 120}{end}.mp4" for end in "ab"]
    names = unique_stems(paths)
    assert len(set(names)) == 2
    assert all(len(os.fsencode(name)) <= 255 - 63 and name.startswith("é" * 80) for name in names)
    assert unique_stems([paths[1]]) == names[1:]  # the same name again, whatever lies beside it
    assert unique_stems([tmp_path / f"{'x' * 192}.mp4"]) == ["x" * 192]


@pytest.mark.parametrize("context", [writing, replacing])
def test_the_longest_name_can_be_written(context: Any, tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 251}.csv"
    with context(path, several_writers=True) as opened:
        opened.write_bytes(b"1") if isinstance(opened, Path) else opened.write(b"1")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_table_appears_line_by_line_under_another_name(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.csv"
    with writing_text(path) as file:
        file.write("é\r\n")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"\xc3\xa9\r\n"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"null", b'[["a", 1]]', b"\xff", b"[" * 100_000])
def test_json_that_is_no_object_is_damaged(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a.json is damaged \(.*Delete it; it will be written again"):
        read_json(tmp_path / "a.json")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to write a file beyond ``size`` bytes, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve room")
def test_a_disk_without_room_is_told_before_a_library_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_text("old")
    with pytest.raises(OSError, match=r"a\.h5") as told, files_of_at_most(1000), replacing(path, room=1001):
        pytest.fail("there is no room")
    assert (told.value.errno, told.value.filename) == (errno.EFBIG, str(path))
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]
    with files_of_at_most(1000), replacing(path, room=1000) as temporary:
        assert temporary.stat().st_size == 0
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_a_full_disk_is_known_from_the_text_of_a_library(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device") as told, replacing(tmp_path / "a.h5"):
        raise RuntimeError(
            "Can't decrement id ref count (file write failed: errno = 28, error message = 'No space')"
        )
    assert (told.value.errno, told.value.filename) == (errno.ENOSPC, str(tmp_path / "a.h5"))
    with pytest.raises(RuntimeError, match="other"), replacing(tmp_path / "a.h5"):
        raise RuntimeError("other, errno = 5")
