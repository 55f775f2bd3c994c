import warnings
from fractions import Fraction

import av
import numpy as np
import pytest

from lightning_kp.errors import DataError
from lightning_kp.images import drawing
from lightning_kp.images.drawing import PALETTE, Markers, colour, draw_keypoints, legend, opacity, shape, tile
from lightning_kp.reports.overlay import contact_sheet, full_confidence_of, write_overlay
from lightning_kp.tracks.table import Tracks, default_names
from lightning_kp.tracks.writing import write_tracks


def grey(height, width, value=100):
    return np.full((height, width, 3), value, np.uint8)


def make_video(path, frames=12, size=(48, 64), times=None, value=100):
    """A plain grey video; ``times`` in ms."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(grey(*size, value), format="rgb24")
            frame.pts = 40 * number if times is None else times[number]
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_tracks(video, frames=12, size=(48, 64), keypoints=2, animals=1, times=None):
    """The first keypoint walks to the right, 3 pixels a frame, others stand still."""
    points = np.zeros((frames, animals, keypoints, 2), np.float32)
    points[..., 0] = 20 + 10 * np.arange(keypoints)
    points[..., 1] = size[0] * 0.75
    points[:, :, 0, 0] = 10 + 3 * np.arange(frames)[:, None]
    points[:, :, 0, 1] = 12
    confidence = np.ones(points.shape[:3], np.float32)
    covariance = np.ones((*points.shape[:3], 3), np.float32)
    times = np.arange(frames) / 25 if times is None else np.asarray(times) / 1000
    return Tracks(str(video), size, 25.0, times, points, confidence, covariance, default_names(keypoints))


def decode(path):
    with av.open(str(path)) as container:
        return [(float(f.time), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def centre_of_colour(image, wanted):
    """Centroid (x, y) of the pixels, weighted by how much of the wanted colour they hold."""
    away = np.abs(image.astype(float) - np.asarray(wanted)).sum(-1)
    weight = np.clip(90 - away, 0, None)
    assert weight.sum() > 0, "the colour is nowhere"
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


# --- drawing


def test_the_first_eight_colours_differ_and_then_shapes_do():
    looks = [(colour(k), shape(k)) for k in range(32)]
    assert len(set(looks)) == 32
    assert looks[3] == (PALETTE[3], "disc")
    assert looks[11] == (PALETTE[3], "square")
    assert (colour(32), shape(32)) == looks[0]


def test_neighbouring_colours_differ_also_for_the_colour_blind():
    """Every pair is at least 14 CIELAB units apart (2 can just be seen), for red-green deficiencies too.

    Simulation: the single-matrix approximation of Machado et al. 2009 (severity 1), in linear light.
    """
    protan = [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
    deutan = [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
    srgb = np.array(PALETTE) / 255
    linear = np.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    for sight in (np.eye(3), protan, deutan):
        xyz = np.clip(linear @ np.array(sight).T, 0, 1) @ to_xyz.T / np.array([0.9505, 1, 1.089])
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        lab = np.stack((116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])), -1)
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1000 * np.eye(8)
        assert apart.min() > 14, (sight, apart.min())


def test_opacity_by_hand():
    np.testing.assert_allclose(opacity([0, np.nan, 1e-9, 0.2, 0.4, 0.9], full=0.4), [0, 0, 0.15, 0.575, 1, 1])


@pytest.mark.parametrize("keypoint", [0, 8, 16, 24])
@pytest.mark.parametrize("place", [(20.0, 15.0), (20.5, 15.25), (19.9, 14.6)])
def test_a_marker_lies_where_its_point_is(keypoint, place):
    points = np.full((keypoint + 1, 2), np.nan)
    points[keypoint] = place
    image = draw_keypoints(grey(32, 40), points, radius=5)
    drawn = (image != 100).any(-1)
    ink = np.abs(image.astype(float) - 100).sum(-1)
    rows, columns = np.nonzero(drawn)
    assert np.ptp(rows) < 18
    weight = ink[rows, columns]
    np.testing.assert_allclose(
        [(columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()], place, atol=0.1
    )


def test_a_disc_covers_its_area():
    """Fill of radius 5: 78.5 pixels of full colour (anti-aliased edges counted in part)."""
    white = Markers.of(1, 5.0, [(255, 255, 255)])
    canvas = np.zeros((30, 30, 3), np.uint8)
    white.draw(canvas, np.array([[[14.3, 15.8]]]), np.ones((1, 1)))
    # the outline is nearly black (20): take it off where the ring of radius 5 to 6 lies
    assert canvas.sum() / 3 / 255 == pytest.approx(np.pi * 25 + np.pi * 11 * 20 / 255, rel=0.02)


def test_drawing_leaves_the_given_image_and_absent_points_alone():
    image = grey(20, 20)
    drawn = draw_keypoints(image, [[5, 5], [np.nan, 5], [15, 15]], [1, 1, 0])
    assert (image == 100).all()
    assert (drawn[10:] == 100).all()
    assert (drawn[5, 5] == PALETTE[0]).all()


@pytest.mark.parametrize(
    "point", [(-3, 10), (10, -3), (21, 10), (10, 21), (-1e6, 5), (1e9, 1e9), (0, 0), (19, 19)]
)
def test_points_at_and_over_the_border_are_cut_off(point):
    drawn = draw_keypoints(grey(20, 20), [point], radius=5)
    assert drawn.shape == (20, 20, 3)
    assert (drawn != 100).any() == (max(np.abs(np.array(point))) < 25)


def test_half_opacity_is_half_way():
    strength = (0.5 - drawing.MIN_OPACITY) / (1 - drawing.MIN_OPACITY)
    drawn = draw_keypoints(grey(20, 20, 50), [[10, 10]], [strength], [(150, 250, 50)], radius=4)
    np.testing.assert_allclose(drawn[10, 10], [100, 150, 50], atol=1)


def test_two_animals_have_different_outlines():
    drawn = draw_keypoints(grey(20, 60), [[[10, 10]], [[40, 10]]], radius=4)
    assert (drawn[10, 10] == drawn[10, 40]).all()
    # the fill, orange, has no blue: what is bluer than the ground is a white outline
    assert drawn[10, 34:46, 2].max() > 150
    assert drawn[10, 4:16, 2].max() == 100


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(DataError, match=r"Points \(.*\) need confidence \(.*\), not"):
        draw_keypoints(grey(9, 9), [[1, 1]], [1, 1])
    with pytest.raises(DataError, match="2 keypoints need as many colours, not 1"):
        draw_keypoints(grey(9, 9), [[1, 1], [2, 2]], colours=[(0, 0, 0)])
    with pytest.raises(DataError, match="no image"):
        tile([], 3)


def test_the_legend_wraps_to_its_width_and_shows_each_colour():
    wide, narrow = legend(default_names(10), 800), legend(default_names(10), 120)
    assert wide.shape[1] == 800
    assert narrow.shape[0] > 3 * wide.shape[0]
    for k in range(8):
        assert (wide == PALETTE[k]).all(-1).any(), k
    assert legend(("a",), 100, ("animal1", "animal2")).shape[0] >= legend(("a",), 100).shape[0]


def test_tiles_lie_in_rows():
    sheet = tile([grey(4, 6, v) for v in (10, 20, 30)], 2, gap=1)
    assert sheet.shape == (9, 13, 3)
    assert [sheet[0, 0, 0], sheet[0, 7, 0], sheet[5, 0, 0], sheet[5, 7, 0]] == [10, 20, 30, 255]


# --- videos


@pytest.mark.parametrize("size", [(48, 64), (47, 65)])
def test_every_frame_is_drawn_from_the_saved_file(tmp_path, size):
    video = make_video(tmp_path / "v.mp4", size=size)
    tracks = make_tracks(video, size=size)
    write_tracks(tracks, tmp_path / "v", ["csv"])
    steps: list[int] = []
    assert write_overlay(tmp_path / "v.csv", video, tmp_path / "o.mp4", radius=4, progress=steps.append) == 12
    assert steps == [1] * 12
    frames = decode(tmp_path / "o.mp4")
    assert len(frames) == 12
    np.testing.assert_allclose([time for time, _ in frames], tracks.times_s, atol=1e-4)
    for (_, image), points in zip(frames, tracks.points_px[:, 0], strict=True):
        found = centre_of_colour(image[: size[0]], PALETTE[0])
        np.testing.assert_allclose(found, points[0], atol=0.8)  # 4:2:0 halves the colours' resolution
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.mp4", "v.csv", "v.json", "v.mp4"]


def test_a_large_video_is_scaled_and_its_keypoints_with_it(tmp_path):
    video = make_video(tmp_path / "v.mp4", frames=2, size=(200, 400))
    tracks = make_tracks(video, frames=2, size=(200, 400), keypoints=1)
    tracks.points_px[:] = [300, 80]
    write_tracks(tracks, tmp_path / "v", ["csv"])
    write_overlay(tmp_path / "v.csv", video, tmp_path / "o.mp4", max_side=100, with_legend=False, radius=4)
    image = decode(tmp_path / "o.mp4")[1][1]
    assert image.shape == (50, 100, 3)
    # pixel 300 of 400 -> (300 + 0.5) / 4 - 0.5
    np.testing.assert_allclose(centre_of_colour(image, PALETTE[0]), [74.625, 19.625], atol=0.6)


def test_uneven_times_are_kept(tmp_path):
    times = [0, 40, 55, 200, 210, 500]
    video = make_video(tmp_path / "v.mkv", frames=6, times=times)
    write_tracks(make_tracks(video, frames=6, times=times), tmp_path / "v", ["csv"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_overlay(tmp_path / "v.csv", video, tmp_path / "o.mp4")
    np.testing.assert_allclose([time * 1000 for time, _ in decode(tmp_path / "o.mp4")], times, atol=0.1)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [(11, "has more than 11 frames"), (13, "has 12 frames, but the keypoint file has 13")],
)
def test_another_number_of_frames_is_refused(tmp_path, rows, problem):
    video = make_video(tmp_path / "v.mp4")
    write_tracks(make_tracks(video, frames=rows), tmp_path / "v", ["csv"])
    with pytest.raises(DataError, match=problem):
        write_overlay(tmp_path / "v.csv", video, tmp_path / "o.mp4")
    assert not (tmp_path / "o.mp4").exists()
    assert not list(tmp_path.glob(".*partial*"))


def test_another_frame_size_is_refused(tmp_path):
    video = make_video(tmp_path / "v.mp4")
    write_tracks(make_tracks(video, size=(480, 640)), tmp_path / "v", ["csv"])
    with pytest.raises(DataError, match=r"frames of 64x48 pixels; .* 640x480"):
        write_overlay(tmp_path / "v.csv", video, tmp_path / "o.mp4")


def test_slp_files_are_drawn_too(tmp_path):
    video = make_video(tmp_path / "v.mp4")
    write_tracks(make_tracks(video, animals=2), tmp_path / "v", ["slp"])
    assert write_overlay(tmp_path / "v.slp", video, tmp_path / "o.mp4") == 12


def test_what_counts_as_confident_is_the_nine_tenths_quantile(tmp_path):
    tracks = make_tracks("v", frames=100, keypoints=1)
    tracks.confidence[:, 0, 0] = np.arange(100) / 1000
    assert full_confidence_of(tracks) == pytest.approx(0.09, abs=0.002)
    tracks.confidence[:] = 0
    assert full_confidence_of(tracks) == 1


def test_a_contact_sheet_shows_frames_from_the_whole_video(tmp_path):
    video = make_video(tmp_path / "v.mp4")
    tracks = make_tracks(video)
    write_tracks(tracks, tmp_path / "v", ["csv"])
    sheet = contact_sheet(tmp_path / "v.csv", video, tmp_path / "s.png", number=3, columns=3)
    from PIL import Image

    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "s.png")), sheet)
    assert sheet.shape[1] == 3 * 64 + 2 * 2
    for cell, index in enumerate((0, 6, 11)):  # round(5.5) is 6
        found = centre_of_colour(sheet[:48, cell * 66 : cell * 66 + 64], PALETTE[0])
        np.testing.assert_allclose(found, tracks.points_px[index, 0, 0], atol=0.8)
