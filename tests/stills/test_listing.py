"""Which images a set holds, and the classes that their folders name."""

from pathlib import Path

import pytest
from PIL import Image as Pictures

from lightning_kp.errors import DataError
from lightning_kp.stills.listing import Still, find_stills, present, some


def write(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Pictures.new("RGB", (8, 6)).save(path, format="PNG")
    return folder


def listed(sources: list[str] | str, root: Path) -> dict[str, str]:
    return {still.name: still.label for still in find_stills(sources, root)}


def test_folders_in_folders_are_classes(tmp_path: Path) -> None:
    names = ("ant/2.png", "ant/10.PNG", "bee/in the wild/1.jpg", "bee/x.gif", "bee/._x.png", ".hidden/1.png")
    write(tmp_path / "insects", *names)
    (tmp_path / "insects" / "notes.txt").write_text("nothing")
    expected = {"ant/2.png": "ant", "ant/10.PNG": "ant", "bee/in the wild/1.jpg": "bee", "bee/x.gif": "bee"}
    assert listed("insects", tmp_path) == expected
    assert list(listed("insects", tmp_path)) == list(expected)  # 2 before 10
    assert listed(".", tmp_path) == expected  # however far above them the folder lies
    assert listed("insects/*/*.*", tmp_path).keys() == {"ant/2.png", "ant/10.PNG", "bee/x.gif"}
    assert listed(["insects/ant", "insects/bee"], tmp_path) == expected


def test_one_folder_names_no_class(tmp_path: Path) -> None:
    write(tmp_path, "deep/down/1.png", "deep/down/2.png")
    assert listed(".", tmp_path) == {"1.png": "", "2.png": ""}


def test_a_list_names_images_from_its_folder_or_the_root(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "lists/2.png")
    (tmp_path / "lists" / "mine.txt").write_text("\ufeff2.png\n\na/1.png\n", encoding="utf-8")
    assert listed("lists/mine.txt", tmp_path) == {"lists/2.png": "lists", "a/1.png": "a"}
    (tmp_path / "lists" / "mine.txt").write_text("2.png\nlost.png\n")
    with pytest.raises(DataError, match=r"names 1 image\(s\) that do not exist: lost\.png"):
        find_stills("lists/mine.txt", tmp_path)


def test_images_given_twice_are_used_once(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "a/2.png")
    with pytest.warns(UserWarning, match=r"1 image\(s\) are given twice and used once"):
        assert len(find_stills(["a", "a/2.png"], tmp_path)) == 2


def test_sources_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source, problem in (
        ("empty", "empty holds no images"), ("none", "no file or folder"), ("empty/*.png", "holds no images"),
        ([], "No images were given"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=problem):
            find_stills(source, tmp_path)


def test_missing_files_are_told(tmp_path: Path) -> None:
    write(tmp_path, "1.png")
    stills = [Still(str(tmp_path / name), name) for name in ("1.png", "2.png", "3.png")]
    with pytest.warns(UserWarning, match=r"2 of 3 images are missing: 2\.png, 3\.png"):
        assert present(stills, tmp_path) == stills[:1]
    with pytest.raises(DataError, match="None of the 2 images"):
        present(stills[1:], tmp_path)


def test_long_lists_are_cut() -> None:
    assert some(["a", "b", "c"]) == "a, b, c"
    assert some(list("abcde")) == "a, b, c and 2 more"
