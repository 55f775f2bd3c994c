"""Image files: their order, and their pixels as RGB of 8 bits."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pictures

from lightning_kp.errors import DataError, VideoError
from lightning_kp.images.files import (
    decode_image,
    decode_pages,
    image_size,
    images_in,
    page_count,
    read_image,
)


def test_images_are_listed_in_natural_order(tmp_path: Path) -> None:
    for name in ("img10.png", "img9.PNG", "._img1.png", "notes.txt", "IMG2.tif"):
        (tmp_path / name).touch()
    assert [path.name for path in images_in(tmp_path)] == ["IMG2.tif", "img9.PNG", "img10.png"]


def test_grey_images_become_rgb(tmp_path: Path) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Pictures.fromarray(grey).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png"), np.repeat(grey[..., None], 3, axis=2))


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    wide = np.array([[0, 256, 257, 65535]], dtype=np.uint16)
    Pictures.fromarray(wide).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png")[0, :, 0], [0, 0, 1, 255])


def test_exif_rotation_counts_only_where_asked_for(tmp_path: Path) -> None:
    rotation = Pictures.Exif()
    rotation[0x0112] = 6  # the camera was turned by 90 degrees
    Pictures.new("RGB", (4, 2)).save(tmp_path / "a.jpg", exif=rotation)
    assert decode_image(tmp_path / "a.jpg").shape == (2, 4, 3)
    assert decode_image(tmp_path / "a.jpg", upright=True).shape == (4, 2, 3)


def test_a_damaged_file_is_named_with_its_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Pictures.new("RGB", (64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image: .*\. Remove or replace it\.$"):
        read_image(path)
    with pytest.raises(VideoError, match=r"a\.png cannot be read as an image: .*\. Extract it\.$"):
        read_image(path, kind=VideoError, remedy="Extract it.")


def test_labels_of_a_lying_picture_have_the_size_of_the_upright_one(tmp_path: Path) -> None:
    rotation = Pictures.Exif()
    rotation[0x0112] = 6
    Pictures.new("RGB", (4, 2)).save(tmp_path / "a.jpg", exif=rotation)
    Pictures.new("RGB", (4, 2)).save(tmp_path / "a.tif", exif=rotation)
    Pictures.new("RGB", (4, 2)).save(tmp_path / "b.png")
    for name in ("a.jpg", "a.tif", "b.png"):
        assert image_size(tmp_path / name) == decode_image(tmp_path / name, upright=True).shape[:2], name


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (np.array([0, 300, 3800, 4095], np.uint16), [0, 18, 236, 255]),  # 12 bits: v * 255 // 4095
        (np.array([0, 100, 900, 1000], np.uint16), [0, 24, 224, 249]),  # 10 bits
        (np.array([0, 9, 10, 20], np.uint16), [0, 114, 127, 255]),  # nearly nothing: the largest is white
        (np.array([0, 0.25, 0.5, 0.9], np.float32), [0, 63, 127, 229]),
        (np.array([-1, 0, np.nan, 3], np.float32), [0, 63, 0, 255]),
    ],
)
def test_deep_images_are_scaled_by_what_they_hold(
    values: np.ndarray, shown: list[int], tmp_path: Path
) -> None:
    Pictures.fromarray(values[None]).save(tmp_path / "a.tif")
    with pytest.warns(UserWarning, match="images of more than 8 bits are scaled; "):
        assert decode_image(tmp_path / "a.tif")[0, :, 0].tolist() == shown


def test_one_rule_for_a_folder_told_once(tmp_path: Path) -> None:
    """A dark image of 12 bits is not brightened to the next one's white."""
    for name, value in (("dark.png", 200), ("white.png", 4000)):
        Pictures.fromarray(np.full((2, 2), value, np.uint16)).save(tmp_path / name)
    with pytest.warns(UserWarning, match=r"12-bit data, 0 is shown as black and 4095 as white") as told:
        shown = [int(decode_image(tmp_path / name)[0, 0, 0]) for name in ("dark.png", "white.png")]
    assert shown == [200 * 255 // 4095, 4000 * 255 // 4095]
    assert len(told) == 1


def test_colours_of_sixteen_bits_keep_their_lower_bits(tmp_path: Path) -> None:
    import av

    colours = np.zeros((4, 4, 3), np.uint16)
    colours[...] = (4095, 2000, 0)
    codec = av.CodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt = 4, 4, "rgb48be"  # type: ignore[attr-defined]
    codec.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(colours, format="rgb48be")
    (tmp_path / "a.png").write_bytes(
        b"".join(bytes(each) for each in [*codec.encode(frame), *codec.encode(None)])
    )  # type: ignore[attr-defined]
    assert decode_image(tmp_path / "a.png")[0, 0].tolist() == [255, 2000 * 255 // 4095, 0]


def test_pictures_of_one_file_are_counted_and_read(tmp_path: Path) -> None:
    pages = [Pictures.fromarray(np.full((2, 3), value, np.uint8)) for value in (10, 20, 30)]
    for name in ("a.tif", "a.png", "a.webp"):
        options: dict[str, Any] = {"lossless": True} if name == "a.webp" else {}
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:], duration=40, **options)
        assert page_count(tmp_path / name) == 3, name
        assert [int(image[0, 0, 0]) for image, _ in decode_pages(tmp_path / name)] == [10, 20, 30], name
        assert decode_image(tmp_path / name, page=2)[0, 0].tolist() == [30, 30, 30], name
