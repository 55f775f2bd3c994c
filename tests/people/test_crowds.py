"""Crowd regions, views of them, and rendered crowds."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_kp.arena.body import KEYPOINT_NAMES
from lightning_kp.errors import ConfigurationError
from lightning_kp.images.patches import Patch, cut_patch
from lightning_kp.loading import EpochRows
from lightning_kp.people.crowd_data import CrowdAugmentation, CrowdDataset, covered_by
from lightning_kp.people.crowds import Crowd, Person, Scene, box_overlaps, crowds_of, linked_sets, statistics
from lightning_kp.people.rendered import CrowdSettings, render_crowds, stored_crowds

NOWHERE = np.full((2, 2), np.nan)


def person(left: float, top: float, width: float, height: float, labelled: bool = True) -> Person:
    points = np.array([[left, top], [left + width, top + height]]) if labelled else NOWHERE
    return Person((left, top, width, height), points, width * height)


def scene(*people: Person, size: tuple[int, int] = (60, 80)) -> Scene:
    picture = np.zeros((*size, 3), np.uint8)
    picture[:, :, 0], picture[:, :, 1] = np.arange(size[1]), np.arange(size[0])[:, None]
    return Scene(lambda: picture, size, people, (1, 0))


def test_overlap_by_hand() -> None:
    # 10 x 10 boxes shifted by 5: 50 of 150; touching: none.
    boxes = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [10, 0, 10, 10]], float)
    found = box_overlaps(boxes)
    np.testing.assert_allclose(found, [[1, 1 / 3, 0], [1 / 3, 1, 1 / 3], [0, 1 / 3, 1]])


def test_linked_pairs_are_merged_as_in_figure_3_2() -> None:
    # The figure's example: [1,2], [3,4] and [4,5] overlap and give the regions [1,2] and [3,4,5]; a sixth is alone.
    boxes = [
        [0, 0, 10, 10],
        [5, 0, 10, 10],
        [30, 0, 10, 10],
        [35, 0, 10, 10],
        [40, 0, 10, 10],
        [60, 0, 10, 10],
    ]
    assert linked_sets(np.array(boxes, float)) == [[0, 1], [2, 3, 4]]


def test_the_border_of_one_tenth_counts() -> None:
    boxes = np.array([[0, 0, 11, 1], [9, 0, 11, 1]], float)  # 2 of 20
    assert linked_sets(boxes) == [[0, 1]]
    assert linked_sets(boxes, 0.11) == []


def test_unlabelled_people_link_nobody_and_do_not_count() -> None:
    bridge = person(5, 0, 10, 10, labelled=False)
    people = (person(0, 0, 10, 10), bridge, person(10, 0, 10, 10), person(12, 0, 10, 10))
    (found,) = crowds_of(scene(*people))
    assert found.people == people[2:]
    assert found.others == (people[0], bridge)
    assert found.box == (10, 0, 12, 10)


def test_statistics_by_hand() -> None:
    people = [person(0, 0, 10, 10), person(5, 0, 10, 10), person(10, 0, 10, 10), person(40, 40, 5, 5)]
    scenes = [scene(*people), scene(person(0, 0, 9, 9))]
    crowds = [crowd for each in scenes for crowd in crowds_of(each)]
    found = statistics(scenes, crowds)
    assert found.per_image == {1: 1, 4: 1}
    assert found.per_crowd == {3: 1}
    assert found.per_instance == {1: 2, 2: 1}
    assert "| 1 | 1 | 0 | 2 |" in found.table()
    assert "1 crowds with 3 instances." in found.table()


# Views


def test_an_upright_view_by_hand() -> None:
    picture = scene().read()
    cut = cut_patch(picture, Patch((30.0, 20.0), 20.0), 10)
    assert cut.image.shape == (3, 10, 10)
    assert cut.side == 20
    # Edges 20 to 40 and 10 to 30; the first pixel is the mean of columns 20 and 21 and of rows 10 and 11.
    assert cut.image[0, 0, 0] in (20, 21)
    assert cut.image[1, 0, 0] in (10, 11)
    torch.testing.assert_close(
        cut.place(torch.tensor([[19.5, 9.5], [39.5, 29.5]])), torch.tensor([[-1.0, -1], [1, 1]])
    )


def test_outside_the_picture_it_is_black() -> None:
    cut = cut_patch(scene().read() + 1, Patch((0.0, 0.0), 20.0), 20)
    assert (cut.image[:, :10] == 0).all()
    assert (cut.image[:, 10:, 10:].sum(dim=0) > 0).all()


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0])
@pytest.mark.parametrize("flip", [False, True])
def test_points_stay_on_what_they_mark(angle: float, flip: bool) -> None:
    picture = np.zeros((80, 100, 3), np.uint8)
    spots = [(40, 30), (62, 38), (50, 52)]
    for x, y in spots:
        picture[y - 1 : y + 2, x - 1 : x + 2] = 255
    cut = cut_patch(picture, Patch((50.0, 40.0), 48.0, angle, flip), 96)
    assert cut.side == pytest.approx(48, rel=0.02)
    points = cut.place(torch.tensor(spots, dtype=torch.float64))
    pixels = ((points + 1) * 96 - 1) / 2
    grey = cut.image[0].double()
    for x, y in pixels.tolist():
        near = grey[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5]
        steps = torch.arange(-4, 5).double()
        assert (near.sum(dim=0) * steps).sum() / near.sum() == pytest.approx(x - round(x), abs=0.25)
        assert (near.sum(dim=1) * steps).sum() / near.sum() == pytest.approx(y - round(y), abs=0.25)


def test_what_a_polygon_box_and_run_lengths_cover() -> None:
    boxed = person(2, 3, 4, 5)
    polygon = Person((0, 0, 1, 1), NOWHERE, 1.0, [[10, 10, 20, 10, 20, 20, 10, 20]])
    lengths = Person((0, 0, 1, 1), NOWHERE, 1.0, {"size": [30, 30], "counts": [0, 3, 897]})
    found = covered_by([boxed, polygon, lengths], (30, 30)) > 0
    assert found[3:8, 2:6].all()
    assert found[10:20, 10:20].all()
    assert found[:3, 0].all()
    assert found.sum() == pytest.approx(20 + 100 + 3, abs=2)
    assert not covered_by([], (5, 6)).any()


def crowd(*others: Person) -> Crowd:
    people = (person(10, 10, 20, 20), person(15, 10, 20, 20))
    return Crowd(scene(*people, *others), (10, 10, 25, 20), people, others)


def test_a_batch_is_filled_up() -> None:
    alone = crowd()
    batch = CrowdDataset([alone, Crowd(alone.scene, alone.box, alone.people[:1])], 16).__getitems__([0, 1])
    assert batch.points.shape == (2, 2, 2, 2)
    assert batch.confidence.tolist() == [[[1, 1], [1, 1]], [[1, 1], [0, 0]]]
    assert batch.area.tolist() == [[400, 400], [400, 0]]
    assert batch.side.tolist() == [25, 25]
    assert batch.counts.all()
    assert batch.image.dtype == torch.uint8


def test_unlabelled_people_are_masked() -> None:
    counts = CrowdDataset([crowd(person(30, 10, 50, 50))], 25)[0].counts
    assert counts[:, :18].all()
    assert not counts[3:20, 21:].any()


def test_every_epoch_has_its_own_view_and_repeats_it() -> None:
    crowds = [crowd(), crowd()]
    dataset = CrowdDataset(crowds, 16, CrowdAugmentation())
    views = [dataset.patch(epoch, row) for epoch in (0, 1) for row in (0, 1)]
    assert len(set(views)) == 4
    assert views[0] == CrowdDataset(crowds, 16, CrowdAugmentation()).patch(0, 0)
    assert torch.equal(dataset[2].image, dataset._item(1, 0).image)
    assert CrowdDataset(crowds, 16).patch(1, 0) == CrowdDataset(crowds, 16).patch(0, 0)


def test_views_keep_to_the_ranges() -> None:
    dataset = CrowdDataset([crowd()], 16, CrowdAugmentation(turn_deg=40, least_scale=0.8, most_scale=1.6))
    views = [dataset.patch(epoch, 0) for epoch in range(200)]
    sides = [view.side / 25 for view in views]
    angles = [math.degrees(view.angle) for view in views]
    assert 0.8 <= min(sides) < 0.9
    assert 1.5 < max(sides) <= 1.6
    assert -40 <= min(angles) < -35
    assert 35 < max(angles) <= 40
    assert 60 < sum(view.flip for view in views) < 140


def test_mirrored_keypoints_change_names() -> None:
    dataset = CrowdDataset([crowd()], 50, CrowdAugmentation(turn_deg=0, least_scale=1, most_scale=1))
    epoch = next(each for each in range(20) if dataset.patch(each, 0).flip)
    plain, mirrored = CrowdDataset([crowd()], 50)[0], dataset[epoch]
    torch.testing.assert_close(mirrored.points[0, 1, 0], -plain.points[0, 0, 0])
    torch.testing.assert_close(mirrored.points[0, 1, 1], plain.points[0, 0, 1])


def test_people_out_of_view_train_nobody() -> None:
    far = person(60, 40, 10, 10)
    both = Crowd(scene(), (10, 10, 20, 20), (person(10, 10, 20, 20), far))
    wide = CrowdAugmentation(flip=False, turn_deg=0, least_scale=1.1, most_scale=1.1)
    assert CrowdDataset([both], 16, wide)[0].points.shape[0] == 1
    assert CrowdDataset([both], 16)[0].points.shape[0] == 2  # what is scored is scored whole


def test_jitter_moves_the_edges() -> None:
    dataset = CrowdDataset([crowd()] * 100, 16, jitter_px=5)
    centres = np.array([dataset.patch(0, row).centre for row in range(100)])
    moved = np.abs(centres - [22.5, 20]).max()
    assert 2 < moved <= 5


def test_the_order_of_an_epoch_tells_the_epoch() -> None:
    shuffle = EpochRows(5, seed=3)
    shuffle.set_epoch(2)
    assert sorted(shuffle) == [10, 11, 12, 13, 14]


def test_ranges_that_cannot_be() -> None:
    with pytest.raises(ConfigurationError, match="least_scale"):
        CrowdAugmentation(least_scale=2.0)


# Rendered crowds


def test_drawn_animals_overlap_and_lie_where_they_should() -> None:
    drawn = render_crowds(CrowdSettings(12, size=96, seed=5))
    counts = np.isfinite(drawn.boxes[:, :, 0]).sum(axis=1)
    assert set(counts.tolist()) <= {2, 3, 4, 5}
    assert len(set(counts.tolist())) > 1
    for row, each in enumerate(drawn.crowds()):
        assert len(each.people) == counts[row]
        assert linked_sets(np.array([one.box for one in each.people])) == [list(range(counts[row]))]
        points = drawn.points[row, : counts[row]]
        assert points.shape[1] == len(KEYPOINT_NAMES)
        assert ((points > 0) & (points < 96)).all()
    # The animal that is drawn last is covered by none: its body is not bedding.
    body = drawn.points[0, counts[0] - 1, 4].round().astype(int)
    patch = drawn.images[0, body[1] - 2 : body[1] + 3, body[0] - 2 : body[0] + 3].astype(float)
    assert np.abs(patch.mean(axis=(0, 1)) - [134, 128, 116]).max() > 25


def test_stored_crowds_are_drawn_once(tmp_path: Path) -> None:
    settings = CrowdSettings(2, size=64)
    first = stored_crowds(settings, tmp_path)
    (file,) = tmp_path.iterdir()
    before = file.stat().st_mtime_ns
    again = stored_crowds(settings, tmp_path)
    assert file.stat().st_mtime_ns == before
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.points, render_crowds(settings).points)
    file.write_bytes(b"damaged")
    np.testing.assert_array_equal(stored_crowds(settings, tmp_path).images, first.images)


def test_crowds_that_cannot_be_drawn() -> None:
    with pytest.raises(ConfigurationError, match="3 to 2 animals"):
        CrowdSettings(1, least=3, most=2)


def test_a_missing_point_changes_its_name_too() -> None:
    points = np.array([[np.nan, np.nan], [25, 25]])
    alone = Person((10, 10, 20, 20), points, 400)
    one = Crowd(scene(), (10, 10, 20, 20), (alone,), ())
    dataset = CrowdDataset([one], 50, CrowdAugmentation(turn_deg=0, least_scale=1, most_scale=1))
    epoch = next(each for each in range(20) if dataset.patch(each, 0).flip)
    assert CrowdDataset([one], 50)[0].confidence.tolist() == [[0, 1]]
    assert dataset[epoch].confidence.tolist() == [[1, 0]]
