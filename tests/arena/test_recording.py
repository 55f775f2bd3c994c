"""The rendered arena: plausible motion, correct ground truth, and frames that agree with it."""

import dataclasses
import functools
import hashlib

import numpy as np
import pytest

from lightning_kp.arena import body as arena_body
from lightning_kp.arena import recording as arena
from lightning_kp.arena import render as arena_render
from lightning_kp.arena.body import CHASE, CONTACT, KEYPOINT_NAMES, PAUSE, TURN
from lightning_kp.arena.recording import ArenaSettings, read_truth, render_frames, simulate, write_arena
from lightning_kp.errors import ConfigurationError, DataError

SHORT = ArenaSettings(size=96, frames=24, seed=3)
CLEAN = dataclasses.replace(SHORT, noise=0.0)


def frames_of(settings):
    return np.stack(list(render_frames(settings, simulate(settings))))


@functools.cache
def simulated(seed):
    settings = ArenaSettings(frames=900, seed=seed)
    return settings, simulate(settings)


@pytest.fixture(params=[0, 1])
def long(request):
    return simulated(request.param)


def midline(settings, truth):
    """(T, I, N, 2) in image sides."""
    return (truth.midline_px + 0.5) / settings.size


# ---- motion


def test_speed_is_bounded_and_continuous(long):
    settings, truth = long
    velocity = np.diff(midline(settings, truth), axis=0)[:, :, arena_body.TRUNK] * settings.fps
    assert np.linalg.norm(velocity, axis=-1).max() < 1.0  # image sides per second
    change = np.linalg.norm(np.diff(velocity[:, :, arena_body.BODY], axis=0), axis=-1)
    assert change.max() < 0.5
    assert np.linalg.norm(velocity, axis=-1).mean() > 0.08  # they do move


def test_turn_rate_is_bounded_and_full_turns_happen(long):
    settings, truth = long
    trunk = truth.midline_px[:, :, arena_body.NECK] - truth.midline_px[:, :, arena_body.CHEST]
    heading = np.unwrap(np.arctan2(trunk[..., 1], trunk[..., 0]), axis=0)
    assert np.degrees(np.abs(np.diff(heading, axis=0))).max() < 15
    window = round(4 * settings.fps)
    assert np.abs(heading[window:] - heading[:-window]).max() > 2 * np.pi  # a full turn within 4 s


def test_links_keep_their_length(long):
    settings, truth = long
    lengths = np.linalg.norm(np.diff(midline(settings, truth), axis=2), axis=-1)
    assert np.allclose(lengths, arena_body.LINKS, atol=1e-9)
    assert 0.25 <= sum(arena_body.LINKS[: arena_body.TAIL_BASE]) <= 0.30


def test_joints_do_not_fold(long):
    settings, truth = long
    links = np.diff(midline(settings, truth), axis=2)[:, :, : arena_body.TAIL_BASE]
    angle = np.arctan2(links[..., 1], links[..., 0])
    bend = (np.diff(angle, axis=-1) + np.pi) % (2 * np.pi) - np.pi
    assert np.degrees(np.abs(bend)).max() < 52


def test_walls_hold(long):
    settings, truth = long
    nodes, radii = midline(settings, truth), np.array(arena_body.RADII)[:, None]
    trunk = nodes[:, :, arena_body.TRUNK]
    assert (trunk - radii[: arena_body.TAIL_BASE + 1]).min() > arena_body.WALL - 1e-6
    assert (trunk + radii[: arena_body.TAIL_BASE + 1]).max() < 1 - arena_body.WALL + 1e-6
    assert nodes.min() > arena_body.WALL - 0.02
    assert nodes.max() < 1 - arena_body.WALL + 0.02


def test_animals_touch_but_do_not_pass_through_each_other(long):
    settings, truth = long
    deepest = truth.gap_px.min() / settings.size
    assert -0.035 < deepest < 0  # a snout goes into the other's fur, no further


def test_the_hind_follows_the_path_of_the_head(long):
    settings, truth = long
    nodes = midline(settings, truth)
    neck, tail_base = nodes[:, 0, arena_body.NECK], nodes[:, 0, arena_body.TAIL_BASE]
    trail = [neck[t - 75 : t + 1] - tail_base[t] for t in range(75, 900)]
    recent = [np.linalg.norm(path, axis=-1).min() for path in trail]
    assert np.median(recent) < 0.06


# ---- labels


def test_every_behaviour_happens():
    seen = np.concatenate([simulated(seed)[1].behaviour for seed in range(2)])
    share = np.bincount(seen.ravel(), minlength=5) / seen.size
    assert share.min() > 0.03
    assert share.max() < 0.5


def test_contact_means_near(long):
    settings, truth = long
    near = truth.gap_px < arena_body.TOUCH * settings.size
    assert np.array_equal(near, truth.behaviour == CONTACT)
    assert np.array_equal(near[:, 0], near[:, 1])
    # checked against the keypoints, which know nothing of outlines: nobody touches from far away
    one, two = truth.points_px[:, 0, :6], truth.points_px[:, 1, :6]
    distance = np.linalg.norm(one[:, :, None] - two[:, None], axis=-1).min((1, 2))
    assert distance[near[:, 0]].max() < 0.13 * settings.size
    assert (truth.gap_px.min(1) <= distance).all()


def test_labels_agree_with_the_motion(long):
    settings, truth = long
    chest = midline(settings, truth)[:, :, arena_body.CHEST]
    speed = np.linalg.norm(np.gradient(chest, axis=0), axis=-1) * settings.fps
    assert np.median(speed[truth.behaviour == PAUSE]) < 0.03
    assert np.median(speed[truth.behaviour == CHASE]) > 0.2
    trunk = truth.midline_px[:, :, arena_body.NECK] - truth.midline_px[:, :, arena_body.BODY]
    heading = np.unwrap(np.arctan2(trunk[..., 1], trunk[..., 0]), axis=0)
    rate = np.abs(np.gradient(heading, axis=0)) * settings.fps
    assert np.median(rate[truth.behaviour == TURN]) > 4 * np.median(rate[truth.behaviour != TURN])


def test_gap_of_two_parallel_animals_by_hand():
    line = np.zeros((arena_body.NODES, 2))
    line[1:, 0] = np.cumsum(arena_body.LINKS)
    pair = np.stack((line, line + np.array((0.0, 0.15))))[None]
    widest = max(arena_body.RADII)  # 0.15 apart, both 0.05 thick at the belly
    assert arena._gaps(pair)[0] == pytest.approx(0.15 - 2 * widest, abs=2e-3)


def test_what_the_upper_animal_covers_is_invisible():
    line = np.zeros((arena_body.NODES, 2))
    line[1:, 0] = np.cumsum(arena_body.LINKS)
    crossing = line[:, ::-1] + np.array((0.13, -0.10))  # at right angles over the belly (x = 0.157 is node 4)
    pair = np.stack((line, crossing))[None]
    over = arena._visibility(pair, np.array([[0, 1]]))
    under = arena._visibility(pair, np.array([[1, 0]]))
    body = KEYPOINT_NAMES.index("body")
    assert not over[0, 0, body]
    assert over[0, 0, [0, 1, 2, 5]].all()
    assert over[0, 1].all()
    assert under[0, 0].all()
    assert not under[0, 1].all()


def test_visibility_is_false_now_and_then(long):
    _, truth = long
    assert 0.5 < truth.visible[..., -1].mean() < 1  # tails are walked over
    assert truth.visible[..., KEYPOINT_NAMES.index("body")].mean() > 0.97


# ---- pictures


def test_same_seed_same_bytes():
    digests = {hashlib.sha256(frames_of(SHORT).tobytes()).hexdigest() for _ in range(2)}
    assert len(digests) == 1
    assert not np.array_equal(frames_of(SHORT), frames_of(dataclasses.replace(SHORT, seed=4)))


def test_keypoints_lie_on_their_animal():
    settings = dataclasses.replace(CLEAN, size=192)
    truth = simulate(settings)
    empty = arena_render.arena_floor(settings, arena_render._padding(settings))
    pad = arena_render._padding(settings)
    empty = empty[pad:-pad, pad:-pad]
    for t, frame in enumerate(render_frames(settings, truth)):
        for i in range(2):
            for k, name in enumerate(KEYPOINT_NAMES):
                if not truth.visible[t, i, k]:
                    continue
                x, y = np.round(truth.points_px[t, i, k]).astype(int)
                difference = np.abs(frame[y, x] - empty[y, x]).max()
                assert difference > (12 if name == "tail_tip" else 16), (t, i, name)


def test_the_trunk_is_dark_or_brown_and_the_snout_is_pink():
    truth = simulate(CLEAN)
    body, snout = KEYPOINT_NAMES.index("body"), KEYPOINT_NAMES.index("snout")
    for t, frame in enumerate(render_frames(CLEAN, truth)):
        for i in range(2):
            x, y = np.round(truth.points_px[t, i, body]).astype(int)
            red, _, blue = frame[y, x].astype(int)
            if truth.visible[t, i, body]:
                assert red < 60 if i == 0 else red > blue + 30
            x, y = np.round(truth.points_px[t, i, snout]).astype(int)
            if i == 0 and truth.visible[t, i, snout]:
                assert frame[y, x, 0] > red  # lighter than the dark coat


def test_a_mirrored_ear_lies_to_the_left():
    line = np.zeros((arena_body.NODES, 2))
    line[:, 0] = -np.concatenate(([0], np.cumsum(arena_body.LINKS)))  # faces right; left is up (y < 0)
    points = arena_body.keypoints(line)
    assert points[1, 1] == pytest.approx(-0.027)
    assert points[2, 1] == pytest.approx(0.027)
    assert points[1, 0] == pytest.approx(points[2, 0])


def test_edges_are_antialiased():
    samples = np.array([[10.0, 10.0], [20.0, 10.0]])
    field = arena_render.chain_field(samples, np.array([3.0, 3.0]), margin=2.0)
    rows, columns = field.window
    at = {
        (y, x): field.distance[y - rows.start, x - columns.start] for y, x in ((10, 15), (13, 15), (15, 15))
    }
    assert at == pytest.approx({(10, 15): -3, (13, 15): 0, (15, 15): 2}, abs=1e-5)
    assert arena_render._coverage(np.float32([-3, 0, 2])) == pytest.approx([1, 0.5, 0])


# ---- variants change what they say, and nothing else


def test_noise_has_the_stated_strength():
    difference = frames_of(dataclasses.replace(CLEAN, noise=0.02)).astype(float) - frames_of(CLEAN)
    assert difference.std() == pytest.approx(0.02 * 255, rel=0.05)
    assert abs(difference.mean()) < 0.1


def test_look_alike_wears_one_coat():
    settings = dataclasses.replace(CLEAN, look_alike=True)
    truth, body = simulate(settings), KEYPOINT_NAMES.index("body")
    assert truth.coats == ("black", "black")
    assert np.array_equal(truth.points_px, simulate(CLEAN).points_px)
    frame = next(render_frames(settings, truth))
    for i in range(2):
        x, y = np.round(truth.points_px[0, i, body]).astype(int)
        assert frame[y, x].max() < 60


def test_shadow_only_darkens():
    plain = frames_of(CLEAN).astype(int)
    difference = frames_of(dataclasses.replace(CLEAN, shadow=True)) - plain
    assert difference.max() <= 0
    assert (difference < -20).mean() > 0.005


def test_flicker_scales_the_whole_picture():
    settings = dataclasses.replace(CLEAN, flicker=0.1, frames=400, fps=10)
    brightness = arena_render.flicker(settings)
    assert brightness.std() == pytest.approx(0.1, rel=0.1)
    settings = dataclasses.replace(CLEAN, flicker=0.05)
    ratio = frames_of(settings).mean((1, 2, 3)) / frames_of(CLEAN).mean((1, 2, 3))
    assert ratio == pytest.approx(arena_render.flicker(settings), abs=0.01)


def test_shake_moves_picture_and_truth_together():
    settings = dataclasses.replace(CLEAN, shake=2.0)
    truth, still = simulate(settings), simulate(CLEAN)
    assert np.allclose(truth.points_px - truth.camera_px[:, None, None], still.points_px)
    assert 0.5 < truth.camera_px.std() < 5
    whole = dataclasses.replace(still, camera_px=np.full_like(still.camera_px, 3.0))
    whole = dataclasses.replace(whole, midline_px=still.midline_px + 3.0)
    moved, plain = next(render_frames(CLEAN, whole)), next(render_frames(CLEAN, still))
    assert np.abs(moved[8:-8, 8:-8].astype(int) - plain[5:-11, 5:-11]).max() <= 1


def test_one_animal_and_four():
    alone = simulate(dataclasses.replace(SHORT, animals=1))
    assert alone.points_px.shape == (24, 1, 7, 2)
    assert np.isinf(alone.gap_px).all()
    assert not (alone.behaviour == CONTACT).any()
    assert frames_of(dataclasses.replace(SHORT, animals=4, frames=2)).shape == (2, 96, 96, 3)


@pytest.mark.parametrize(
    "wrong",
    [{"size": 95}, {"size": 16}, {"frames": 0}, {"animals": 5}, {"noise": -1.0}, {"fps": 0.0}, {"seed": -1}],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigurationError, match="Give"):
        ArenaSettings(**wrong)


# ---- files


def decode(path):
    import av

    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 25
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_mp4_round_trip(tmp_path):
    path = write_arena(SHORT, tmp_path / "new" / "folder")
    decoded, truth = decode(path), simulate(SHORT)
    assert decoded.shape == (24, 96, 96, 3)
    assert np.abs(decoded.astype(int) - frames_of(SHORT)).mean() < 5
    body = KEYPOINT_NAMES.index("body")
    for t in range(24):
        x, y = np.round(truth.points_px[t, 0, body]).astype(int)
        if truth.visible[t, 0, body]:
            assert decoded[t, y, x].mean() < 70
    read = read_truth(path)
    for field in dataclasses.fields(truth):
        assert np.array_equal(getattr(read, field.name), getattr(truth, field.name)), field.name
    assert read.edges == arena_body.EDGES
    assert sorted(p.name for p in path.parent.iterdir()) == ["arena_seed3.mp4", "arena_seed3.truth.npz"]


def test_files_are_reused_only_for_the_same_settings(tmp_path):
    path = write_arena(SHORT, tmp_path, "a")
    written = path.stat().st_mtime_ns
    assert write_arena(SHORT, tmp_path, "a").stat().st_mtime_ns == written
    write_arena(dataclasses.replace(SHORT, frames=5), tmp_path, "a")
    assert len(decode(path)) == 5
    path.unlink()
    assert len(decode(write_arena(dataclasses.replace(SHORT, frames=5), tmp_path, "a"))) == 5


def test_damaged_truth_is_named_and_rewritten(tmp_path):
    settings = dataclasses.replace(SHORT, frames=3)
    path = write_arena(settings, tmp_path, "a")
    (tmp_path / "a.truth.npz").write_bytes(b"PK garbage")
    with pytest.raises(DataError, match=r"a\.truth\.npz"):
        read_truth(path)
    assert read_truth(write_arena(settings, tmp_path, "a")).points_px.shape == (3, 2, 7, 2)
    with pytest.raises(DataError, match="missing"):
        read_truth(tmp_path / "missing.mp4")


def test_a_killed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(*_):
        yield np.zeros((96, 96, 3), np.uint8)
        raise KeyboardInterrupt

    monkeypatch.setattr(arena, "render_frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_arena(SHORT, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file.*could not be written"):
        write_arena(dataclasses.replace(SHORT, frames=1), tmp_path / "file")


# ---- harder scenes


def test_a_drifting_camera_goes_far_and_slowly():
    still = simulate(dataclasses.replace(SHORT, frames=200))
    drift = simulate(dataclasses.replace(SHORT, frames=1500, drift=8.0)).camera_px
    assert 4 < drift.std() < 14
    assert np.abs(np.diff(drift, axis=0)).max() < 0.2  # pixels per frame
    assert not still.camera_px.any()
    both = simulate(dataclasses.replace(SHORT, shake=2.0, drift=8.0)).camera_px
    shake = simulate(dataclasses.replace(SHORT, shake=2.0)).camera_px
    assert np.allclose(both - shake, simulate(dataclasses.replace(SHORT, drift=8.0)).camera_px)


def test_a_shadow_falls_as_far_as_its_reach_says():
    truth = simulate(CLEAN)
    far = dataclasses.replace(CLEAN, shadow=True, shadow_reach=0.08)

    def darkened(settings):
        plain, dark = (next(iter(render_frames(each, truth))).astype(int) for each in (CLEAN, settings))
        return (plain - dark).sum(axis=-1) > 30

    near, away = darkened(dataclasses.replace(far, shadow_reach=0.02)), darkened(far)
    assert away.sum() > 1.5 * near.sum()  # less of it lies under its animal
    for reach in (-0.01, 0.2):
        with pytest.raises(ConfigurationError, match="shadow_reach"):
            dataclasses.replace(CLEAN, shadow_reach=reach)
