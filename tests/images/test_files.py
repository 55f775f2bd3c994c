"""Image files: their order, and their pixels as RGB of 8 bits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures

from lightning_kp.errors import DataError, VideoError
from lightning_kp.images.files import decode_image, images_in, read_image


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
