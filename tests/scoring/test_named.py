"""Named points are compared by their names, in pixels: values by hand."""

import dataclasses

import pytest
import torch
from still_points import Still

from lightning_kp.labels.animals import LabelledSet
from lightning_kp.scoring.named import score_named

NAN = float("nan")
SHOWN = torch.tensor([[100.0, 200.0]]).expand(3, 2)  # squares that were squashed out of 200 x 100 pixels


def labels(*columns: list[tuple[float, float]], names: tuple[str, ...]) -> LabelledSet:
    points = torch.tensor(columns).transpose(0, 1)
    image = torch.zeros(len(points), 3, 4, 4, dtype=torch.uint8)
    return LabelledSet(image, points, names, shown_px=SHOWN[: len(points)])


def test_errors_in_pixels_of_the_original() -> None:
    nose = [(0.1, 0.0), (0.0, 0.08), (0.0, 0.0)]  # 10 px along x, 4 px along y, exact
    tail = [(NAN, NAN), (NAN, NAN), (0.0, 1.0)]  # 20 px off, and 50 px from the nose
    ear = [(0.1, 1.0), (NAN, NAN), (NAN, NAN)]  # 50 px from the nose
    found = score_named(Still(), labels(nose, ear, tail, names=("nose", "ear", "tail")))
    assert found is not None
    assert dataclasses.astuple(found.overall) == pytest.approx((4, 8.5, 7.0, 0.5), abs=1e-5)
    assert dataclasses.astuple(found.per_point["nose"]) == pytest.approx((3, 14 / 3, 4.0, 2 / 3), abs=1e-5)
    assert dataclasses.astuple(found.per_point["tail"]) == pytest.approx((1, 20.0, 20.0, 0.0), abs=1e-5)
    assert found.reach == "10 % of the body: 5.0 px (median body length 50 px)"
    assert found.unknown == ("ear",)
    printed = "\n".join(found.lines())
    assert "10 % of the body" in printed
    assert "no such point: ear" in printed
    assert found.as_metrics("new_")["new_named_mean_px"] == pytest.approx(8.5, abs=1e-5)


def test_pck_at_a_length() -> None:
    nose = [(0.1, 0.0), (0.0, 0.08), (0.0, 0.0)]  # 10, 4 and 0 px off
    for within_px, pck in ((3.9, 1 / 3), (4.1, 2 / 3), (10.1, 1.0)):
        found = score_named(Still(), labels(nose, names=("nose",)), within_px)
        assert found is not None
        assert found.overall.pck == pytest.approx(pck)
        assert found.reach == f"{within_px:.1f} px"


def test_one_point_has_no_body_and_is_measured_by_the_frame() -> None:
    one = labels([(0.09, 0.0), (0.0, 0.3), (0.0, 0.0)], names=("nose",))
    found = score_named(Still(), one)
    assert found is not None
    assert found.reach == "5 % of the frame's longer side: 10.0 px"
    assert found.overall.pck == pytest.approx(2 / 3)  # 9, 15 and 0 px
    followed = one._replace(shown=torch.tensor([[[0.0, 0, 200, 100], [0.0, 0, 400, 300]]]).expand(3, 2, 4))
    wider = score_named(Still(), followed)
    assert wider is not None
    assert wider.reach == "5 % of the frame's longer side: 20.0 px"
    assert wider.overall.pck == 1


def test_the_number_of_the_only_animal_is_no_part_of_a_name() -> None:
    found = score_named(Still(), labels([(0.0, 0.0)], [(0.0, 1.0)], names=("nose_1", "tail_1")))
    assert found is not None
    assert list(found.per_point) == ["nose", "tail"]


def test_nothing_in_common() -> None:
    assert score_named(Still(), labels([(0.0, 0.0)], names=("wing",))) is None
    assert score_named(Still(), labels([(NAN, NAN)], [(0.0, 0.0)], names=("nose", "wing"))) is None
