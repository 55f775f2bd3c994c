"""Tables of classes and boxes, as people's programs write them."""

import unicodedata
from pathlib import Path

import pytest

from lightning_kp.errors import DataError
from lightning_kp.stills.listing import Still
from lightning_kp.stills.tables import ImageNames, with_boxes, with_classes

STILLS = [Still(f"/data/birds/{name}", name, "old") for name in ("a/1.jpg", "a/2.JPG", "b/1.jpg")]


def classes(folder: Path, text: str | bytes, stills: list[Still] = STILLS) -> list[tuple[str, str]]:
    path = folder / "classes.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(still.label, still.split) for still in with_classes(stills, path)]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_separators_and_byte_order_marks(tmp_path: Path, separator: str, mark: str) -> None:
    lines = ["Image,Class", "a/1.jpg,owl", "A/2.jpg,hen", r"b\1.jpg,owl"]
    text = mark + "\r\n".join(lines).replace(",", separator)
    assert classes(tmp_path, text) == [("owl", ""), ("hen", ""), ("owl", "")]


def test_paths_of_another_computer_and_official_parts(tmp_path: Path) -> None:
    text = (
        "class,split,image\nowl,train,C:\\Users\\me\\birds\\a\\1.jpg\n"
        "hen,validation,/other/a/2.jpg\nowl,TEST,birds/b/1.jpg\n"
    )
    assert classes(tmp_path, text) == [("owl", "train"), ("hen", "val"), ("owl", "test")]


def test_names_with_spaces_commas_and_umlauts(tmp_path: Path) -> None:
    name = "Möwe, die graue 1.jpg"
    stills = [Still(f"/x/{unicodedata.normalize('NFD', name)}", unicodedata.normalize("NFD", name))]
    assert classes(tmp_path, f'image,class\n"{name}",Möwen\n', stills) == [("Möwen", "")]
    assert classes(tmp_path, f"image;class\n{name};Möwen\n".encode("cp1252"), stills) == [("Möwen", "")]


def test_what_fits_nothing_is_told(tmp_path: Path) -> None:
    text = "image,class\na/1.jpg,owl\nc/9.jpg,hen\n"
    with pytest.warns(UserWarning, match="classes.csv") as told:
        assert classes(tmp_path, text) == [("owl", ""), ("", ""), ("", "")]
    messages = " ".join(str(each.message) for each in told)
    assert "1 name(s)" in messages
    assert "fit no image: c/9.jpg" in messages
    assert "2 image(s) have no class" in messages
    assert "a/2.JPG, b/1.jpg" in messages
    assert "1 class(es)" in messages
    assert "have no image: hen" in messages


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name,class\na/1.jpg,owl\n", r"no columns image, class in its first line \('name,class'\)"),
        ("", "no columns image, class"),
        ("image,class\n1.jpg,owl\n", r"1\.jpg in .* could be a/1\.jpg or b/1\.jpg"),
        ("image,class\na/1.jpg,owl\na/1.jpg,hen\n", r"gives a/1\.jpg 2 classes or parts: hen, owl"),
        ("image,class,split\na/1.jpg,owl,dev\n", "has the part 'dev'"),
        ("image,class\nx.jpg,owl\n", r"None of the 1 rows .* such as a/1\.jpg: x\.jpg"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        classes(tmp_path, text)
    with pytest.raises(DataError, match="cannot be read"):
        with_classes(STILLS, tmp_path / "none.csv")


def test_the_longest_common_end_decides() -> None:
    names = ImageNames(STILLS)
    assert names.rows("other/birds/a/1.jpg") == ([0], 3)
    assert names.rows("a/1.jpg") == ([0], 2)
    assert names.rows("1.jpg") == ([0, 2], 1)
    assert names.rows("2.jpg") == ([1], 1)
    assert names.rows("c/2.jpg") == ([], 0)  # another folder is another image
    assert names.rows("") == ([], 0)


def test_rows_of_another_folder_do_not_fit(tmp_path: Path) -> None:
    owls = [Still("/data/owls/1.jpg", "1.jpg")]
    with pytest.warns(UserWarning, match="1 name.* fit no image: hens/1.jpg"):
        assert classes(tmp_path, "image,class\nhens/1.jpg,hen\nowls/1.jpg,owl\n", owls) == [("owl", "")]
    with pytest.raises(DataError, match=r"a/1\.jpg and b/1\.jpg in .* would both be the image 1\.jpg"):
        classes(tmp_path, "image,class\na/1.jpg,hen\nb/1.jpg,owl\n", owls)
    assert classes(tmp_path, "image,class\nelsewhere/1.jpg,owl\n", owls) == [("owl", "")]


def test_boxes_make_one_entry_each(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(
        "image,left,top,right,bottom\na/1.jpg,1,2,11,12\na/1.jpg,5.5,2,9,12\na/2.jpg,3,3,3,9\na/2.jpg,x,3,4,9\n"
    )
    with pytest.warns(UserWarning, match="boxes.csv") as told:
        found = with_boxes(STILLS, path)
    assert [(still.name, still.box) for still in found] == [
        ("a/1.jpg", (1, 2, 11, 12)),
        ("a/1.jpg#2", (5.5, 2, 9, 12)),
    ]
    messages = " ".join(str(each.message) for each in told)
    assert "2 box(es)" in messages
    assert "have no area: a/2.JPG, a/2.JPG" in messages
    assert "1 image(s) have no box" in messages
    assert "left out: b/1.jpg" in messages
    path.write_text("image,left,top,right,bottom\na/1.jpg,4,4,1,1\n")
    with (
        pytest.warns(UserWarning, match=r"1 box\(es\)"),
        pytest.raises(DataError, match="no box for any"),
    ):
        with_boxes(STILLS, path)
