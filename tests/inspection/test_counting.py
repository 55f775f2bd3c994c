"""Animals are counted by what walks, what looks like that, and how often all are seen apart."""

from collections.abc import Sequence

import numpy as np
import pytest

from lightning_kp.inspection.counting import AnimalCount, count_animals

FRAMES = 100
FLOOR = np.full((100, 200, 1), 120, dtype=np.uint8)
TIME = np.arange(FRAMES)
Body = tuple[float, float, float, float, float]


def body(x: float, y: float, area: float = 100, grey: float = 30) -> Body:
    """A body as long as a square of its area: area, centre, length, grey value."""
    return (area, x, y, area**0.5, grey)


def first(time: int, **look: float) -> Body:
    return body(20 + 0.5 * time, 20, **look)


def second(time: int, **look: float) -> Body:
    return body(150 - 0.5 * time, 80, **look)


def counted(frames: Sequence[Sequence[Body]], background: np.ndarray = FLOOR, **options: bool) -> AnimalCount:
    """Count of frames that list their bodies in any order."""
    tables = [np.array(sorted(each, reverse=True), dtype=float).reshape(-1, 5) for each in frames]
    return count_animals(tables, background, **options)[0]


def test_two_that_walk_are_two_look_alikes_for_sure() -> None:
    count = counted([(first(t), second(t)) for t in TIME])
    assert (count.animals, count.certainty, count.look_alike, count.touching) == (2, 1.0, True, 0.0)
    assert count.is_sure
    assert str(count) == "2 (sure, 1.00): 2 are seen apart in 100 % of the frames"


@pytest.mark.parametrize(("look", "alike"), [
    ({"grey": 50}, True), ({"grey": 60}, False), ({"area": 190}, True), ({"area": 210}, False),
])  # fmt: skip
def test_look_alikes_are_within_25_grey_levels_and_a_factor_of_two(
    look: dict[str, float], alike: bool
) -> None:
    count = counted([(first(t), second(t, **look)) for t in TIME])
    assert (count.animals, count.look_alike) == (2, alike)


def test_frames_in_which_they_touch_are_known_by_their_common_area() -> None:
    meet = range(30, 70)
    frames = [(body(60, 50, area=200),) if t in meet else (first(t), second(t)) for t in TIME]
    count = counted(frames)
    assert (count.animals, count.touching, count.certainty) == (2, 0.4, 1.0)
    assert count.reason == "2 are seen apart in 60 % of the frames, touching in 40 %"


def test_how_many_each_frame_shows() -> None:
    both, meeting, one = (body(20, 20), body(150, 80)), (body(60, 50, area=200),), (body(20, 20),)
    frames = [(first(t), second(t)) for t in TIME] + [meeting, one, (), both]
    tables = [np.array(each, dtype=float).reshape(-1, 5) for each in frames]
    assert count_animals(tables, FLOOR)[1].tolist() == [2] * FRAMES + [2, 1, 0, 2]


def test_a_shadow_is_no_animal_and_a_small_animal_is() -> None:
    beside = counted([(first(t), body(20 + 0.5 * t, 31, area=30, grey=90)) for t in TIME])
    assert (beside.animals, beside.certainty) == (1, 0.5)
    assert beside.reason.endswith("a shadow, a reflection or a young animal")
    at_times = [(first(t), body(20 + 0.5 * t, 31, area=30)) if t < 20 else (first(t),) for t in TIME]
    assert (counted(at_times).animals, counted(at_times).certainty) == (1, 0.9)
    visits = [(first(t), body(20 + 0.5 * t, 31, area=30) if t < 20 else second(t, area=30)) for t in TIME]
    assert counted(visits).animals == 2  # beside it in a fifth of the frames
    away = counted([(first(t), second(t, area=30)) for t in TIME])
    assert (away.animals, away.certainty, away.look_alike) == (2, 1.0, False)


def test_a_cloth_is_no_animal_and_one_that_rests_is() -> None:
    """The cloth looks unlike anything that walks; the sleeper looks like the walker."""
    cloth = counted([(first(t), body(150, 80, grey=220)) for t in TIME])
    assert (cloth.animals, cloth.certainty) == (1, 1.0)
    sleeper = counted([(first(t), body(150, 80)) for t in TIME])
    assert (sleeper.animals, sleeper.certainty) == (2, 0.5)
    assert sleeper.reason.endswith("not more than 1 at a time leave their place")
    wakes = counted([(first(t), body(150 - max(0, t - 80), 80)) for t in TIME])
    assert (wakes.animals, wakes.certainty) == (2, 1.0)


def test_one_that_is_seldom_there_makes_the_count_unsure() -> None:
    def frames(there: int) -> list[tuple[Body, ...]]:
        return [(first(t), second(t)) if t >= FRAMES - there else (first(t),) for t in TIME]

    assert (counted(frames(40)).animals, counted(frames(40)).certainty) == (2, 1.0)
    often = counted(frames(20))  # half of the 40 % that are asked for
    assert (often.animals, often.certainty, often.is_sure) == (2, 0.5, False)
    assert str(often).endswith("; often not all of them are seen; if this is wrong, say --animals N")
    seldom = counted(frames(6))  # of the 10 % from which they would be two
    assert (seldom.animals, seldom.certainty) == (1, 0.4)
    assert "6 % of the frames seem to show more" in seldom.reason


def test_what_comes_and_goes_is_told_from_animals() -> None:
    generator = np.random.default_rng(0)
    leaves = [[body(*generator.uniform((0, 0), (200, 100))) for _ in range(5)] for _ in TIME]
    count = counted(leaves)
    assert count.certainty < 0.5
    assert not count.is_sure


def test_nothing_is_no_animal_and_nothing_is_claimed() -> None:
    count = counted([() for _ in TIME])
    assert (count.animals, count.certainty) == (0, 0.0)


def test_doubts_of_the_whole_scene() -> None:
    frames = [(first(t),) for t in TIME]
    assert counted(frames).certainty == 1.0
    shaken = counted(frames, is_steady=False)
    assert (shaken.animals, shaken.certainty) == (1, 0.5)
    assert shaken.reason.endswith("the camera moves")
    stays = counted([(body(50, 50),) for _ in TIME])
    assert (stays.animals, stays.certainty) == (1, 0.5)
    assert stays.reason.endswith("not more than 0 at a time leave their place")


def test_something_that_never_moves_may_be_one_more() -> None:
    """A walker 90 levels darker than the floor; the still thing is 120 levels darker."""
    floor = FLOOR.copy()
    floor[70:82, 150:164] = 0
    frames = [(first(t),) for t in TIME]
    count = counted(frames, floor)
    assert (count.animals, count.moving, count.still, count.certainty) == (2, 1, 1, 0.5)
    assert "at the bottom right" in count.reason
    floor[70:82, 60:74] = 0  # two such things are furniture
    assert (counted(frames, floor).animals, counted(frames, floor).certainty) == (1, 1.0)
    faint = FLOOR.copy()
    faint[70:82, 150:164] = 25  # as dark as the walker on average, but a still animal has darker places
    assert counted(frames, faint).animals == 1


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_the_size_of_the_picture_does_not_matter(factor: float) -> None:
    frames = [(first(t), second(t)) if t % 3 else (body(60, 50, area=200),) for t in TIME]

    def scaled(each: Body) -> Body:
        area, x, y, length, grey = each
        return (factor**2 * area, factor * x, factor * y, factor * length, grey)

    assert counted([[scaled(each) for each in frame] for frame in frames]) == counted(frames)
