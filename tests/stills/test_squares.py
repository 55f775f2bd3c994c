"""Squares of images of any mode, and of boxes with a margin."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pictures

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.geometry import Region
from lightning_kp.stills.listing import EdgeBox, Still
from lightning_kp.stills.squares import Square, SquareSettings, read_square, read_still


def saved(folder: Path, pixels: np.ndarray, name: str = "image.png", **options: object) -> Path:  # type: ignore[type-arg]
    Pictures.fromarray(pixels).save(folder / name, **options)  # type: ignore[arg-type]
    return folder / name


def square(
    path: Path, size: int, box: EdgeBox | None = None, margin: float = 1.0, *, mirrored: bool = False
) -> Square:
    return read_square(
        Still(str(path), path.name, box=box, mirrored=mirrored), SquareSettings(size, margin=margin)
    )


def test_a_box_is_cut_out_with_its_margin(tmp_path: Path) -> None:
    image = np.arange(20 * 30, dtype=np.int64).reshape(20, 30).astype(np.uint8)
    path = saved(tmp_path, np.repeat(image[..., None], 3, axis=2))
    found = square(path, 8, (10, 5, 18, 9))
    assert found.region == Region(10, 3, 18, 11)  # the longer side is 8, about the centre (14, 7)
    assert np.array_equal(found.pixels[0].numpy(), image[3:11, 10:18])
    wider = square(path, 16, (10, 5, 18, 9), margin=2.0)
    assert wider.region == Region(6, -1, 22, 15)
    repeated = np.concatenate((image[:1], image[:15]))[:, 6:22]
    assert np.array_equal(wider.pixels[0].numpy(), repeated)  # the border is repeated above
    assert wider.size_px == (20, 30)
    point_px = torch.tensor([12.0, 6.0])
    assert wider.region.from_original_px(point_px).tolist() == pytest.approx(
        [(6.5 / 16) * 2 - 1, (7.5 / 16) * 2 - 1]
    )


def test_boxes_that_reach_outside_are_clipped(tmp_path: Path) -> None:
    path = saved(tmp_path, np.zeros((20, 30, 3), np.uint8))
    assert square(path, 8, (-100, 4, 10, 12)).region == Region(0, 3, 10, 13)
    with pytest.raises(DataError, match=r"box .* lies outside the image of 30x20 px"):
        square(path, 8, (40, 4, 50, 12))


def test_whole_images_fit_as_videos_do(tmp_path: Path) -> None:
    path = saved(tmp_path, np.full((10, 20, 3), 200, np.uint8))
    found = square(path, 8)
    assert found.region == Region(0, -5, 20, 15)
    assert (found.pixels[:, 2:6] == 200).all()
    assert (found.pixels[:, :2] == 0).all()


def test_mirrored_squares(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :2] = 250
    path = saved(tmp_path, image)
    assert torch.equal(square(path, 8, mirrored=True).pixels, square(path, 8).pixels.flip(-1))


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    grey = np.full((6, 8), 90, np.uint8)
    for mode, name in (("L", "a.png"), ("CMYK", "b.jpg"), ("1", "c.png"), ("LA", "d.png"), ("RGB", "e.ppm")):
        Pictures.fromarray(grey).convert("RGB").convert(mode).save(tmp_path / name)
        image = read_still(tmp_path / name)
        assert image.shape == (6, 8, 3), name
        if mode != "1":
            assert abs(image.astype(int) - 90).max() <= 3, name


def test_transparent_images_lie_on_white(tmp_path: Path) -> None:
    pixels = np.zeros((6, 8, 4), np.uint8)
    pixels[:, 4:, 3] = 255
    image = read_still(saved(tmp_path, pixels))
    assert (image[:, :4] == 255).all()  # invisible, whatever colour is stored there
    assert (image[:, 4:] == 0).all()


def test_cameras_that_lay_on_their_side(tmp_path: Path) -> None:
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[0] = 255  # the top row as stored
    exif = Pictures.Exif()
    exif[0x0112] = 6  # show it turned clockwise
    path = saved(tmp_path, pixels, "turned.png", exif=exif)
    image = read_still(path)
    assert image.shape == (8, 6, 3)
    assert (image[:, -1] == 255).all()
    assert (image[:, :-1] == 0).all()


def png_head(side: int) -> bytes:
    """The start of a grey PNG of that side."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + data


def test_what_is_no_picture_is_told(tmp_path: Path) -> None:
    frames = [Pictures.new("L", (8, 8), value) for value in (0, 200)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    Pictures.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "huge.png").write_bytes(png_head(30_000))
    whole = saved(tmp_path, np.zeros((64, 64, 3), np.uint8), "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    for name, problem in (
        ("moving.gif", "holds 2 pictures"), ("dot.png", "only 1x1 px"), ("empty.png", "cannot be read"),
        ("text.jpg", "cannot be read"), ("huge.png", "cannot be read.*exceeds limit"), ("cut.png", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=problem):
            read_still(tmp_path / name)


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"size": 8, "margin": 0.0}, {"size": 8, "margin": float("nan")}]
)
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="size is"):
        SquareSettings(**options)  # type: ignore[arg-type]
