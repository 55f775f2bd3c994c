"""Csv files of DeepLabCut as people's programs leave them: two to four header rows, Excel's and Windows' marks."""

from pathlib import Path

import numpy as np
import pytest

from lightning_kp.deeplabcut.csv_files import open_csv

HEAD = "scorer,me,me,me\nbodyparts,nose,nose,nose\ncoords,x,y,likelihood\n"
BODY = "0,1.5,2,0.9\n3,4.25,,0.1\n"
WAYS = {
    "as DeepLabCut": HEAD + BODY,
    "two rows of header": HEAD.partition("\n")[2] + BODY,
    "byte order mark": "\ufeff" + HEAD + BODY,
    "Windows line ends": (HEAD + BODY).replace("\n", "\r\n"),
    "semicolons": (HEAD + BODY).replace(",", ";"),
    "decimal commas": (HEAD + BODY).replace(",", ";").replace(".", ","),
    "tabs": (HEAD + BODY).replace(",", "\t"),
    "empty lines": HEAD.replace("\n", "\n\n") + "\n" + BODY + "\n\n",
    "empty columns at the end": (HEAD + BODY).replace("\n", ",,\n"),
    "quotes": "".join('"' + line.replace(",", '","') + '"\n' for line in (HEAD + BODY).splitlines()),
    "the name of the index": HEAD + "frame,,,\n" + BODY,
    "other order": "bodyparts,nose,nose,nose\ncoords,likelihood,y,x\n0,0.9,2,1.5\n3,0.1,,4.25\n",
    "capitals": HEAD.title().replace("Nose", "nose") + BODY,
    "floats for numbers": HEAD + BODY.replace("0,1.5", "0.0,1.5").replace("3,4", "3.0,4"),
    "saved again by pandas": ",scorer,me,me.1,me.2\n0,bodyparts,nose,nose,nose\n1,coords,x,y,likelihood\n"
    "2,0,1.5,2,0.9\n3,3,4.25,,0.1\n",
    "more coordinates": "bodyparts,nose,nose,nose,nose,nose\ncoords,x,x_ens_var,y,z,likelihood\n"
    "0,1.5,9,2,9,0.9\n3,4.25,9,,9,0.1\n",
}


@pytest.mark.parametrize("way", WAYS)
def test_numbers_count_by_name(way: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(WAYS[way], newline="")
    table = open_csv(path)
    index, values = table.numbers()
    assert [float(each) for each in index] == [0, 3]
    assert table.columns.parts == ("nose",)
    found = [table.columns.values(coord, values)[:, 0, 0] for coord in ("x", "y", "likelihood")]
    np.testing.assert_array_equal(found, [[1.5, 4.25], [2, np.nan], [0.9, 0.1]])
    rows = [row[:1] + [row[table.first - table.start + place] for place in table.columns.places.values()]
            for row in table.text_rows() if row[0] != "frame"]  # fmt: skip
    x = list(table.columns.places).index(("", "nose", "x")) + 1
    assert [float(row[x]) for row in rows] == [1.5, 4.25]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "it is empty"),
        ("\n\n", "it is empty"),
        ("frame,x,y\n1,2,3\n", "its header has no row coords"),
        ("scorer,me,me\ncoords,x,y\n0,1,2\n", "its header has no row bodyparts"),
        ("rater,me,me\nbodyparts,a,a\ncoords,x,y\n0,1,2\n", "its header has a row 'rater'"),
        (HEAD.replace("likelihood", "x") + BODY, "nose has 2 columns called x"),
    ],
)
def test_other_files_are_refused(content: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=told):
        open_csv(path)


def test_a_cell_that_is_no_number_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(HEAD + BODY + "5,six,1,1\n")
    with pytest.raises(ValueError, match="nose x is 'six' in row 5, which is not a number"):
        open_csv(path).numbers()


def test_a_table_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(HEAD)
    assert open_csv(path).text_rows() == []
    with pytest.raises(ValueError, match="No columns to parse"):
        open_csv(path).numbers()
