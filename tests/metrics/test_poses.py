"""Reference lengths, PCP and double counting by hand, and on two processes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor, tensor
from two_processes import on_two_processes

from lightning_kp.keypoints import Keypoints
from lightning_kp.metrics.pck import PCK
from lightning_kp.metrics.pose_scores import PoseScores
from lightning_kp.metrics.poses import PCP, DoubleCounting, DoubleCounts
from lightning_kp.metrics.protocols import HEAD_BOX, LSP, MPII, Limb, PoseProtocol, Ruler, reference_lengths
from lightning_kp.skeleton import Skeleton

HAND = ("left_hand", "right_hand", "head")
PROTOCOL = PoseProtocol(
    Skeleton(HAND, mirror_pairs=((0, 1),)),
    (Ruler("left_hand", "right_hand"),),
    0.2,
    (Limb("arm", ("left_hand",), ("head",)), Limb("arm", ("right_hand",), ("head",))),
    unscored=("head",),
)


def pose(*points: tuple[float, float], seen: list[float] | None = None) -> Keypoints:
    """One pose in one image."""
    confidence = torch.ones(len(points)) if seen is None else tensor(seen)
    return Keypoints(tensor([[points]]).float(), confidence[None, None])


def test_a_length_is_that_of_the_first_labelled_ruler() -> None:
    names, rulers = ("a", "b", "c"), (Ruler("a", "b", 0.5), Ruler("b", "c"))
    points = ((0.0, 0.0), (0.6, 0.8), (0.6, 0.5))
    for seen, length in (([1.0, 1, 1], 0.5), ([0.0, 1, 1], 0.3), ([1.0, 0, 1], 0.0)):
        assert reference_lengths(pose(*points, seen=seen), names, rulers).item() == pytest.approx(length)


def test_pckh_is_at_half_of_six_tenths_of_the_diagonal() -> None:
    # Head box 0.3 x 0.4: diagonal 0.5, head 0.3, reach 0.15.
    joints = ((0.0, 0.0),) * len(MPII.skeleton.names)
    offered = (*MPII.skeleton.names, *HEAD_BOX)
    scores = PoseScores(MPII.skeleton.names, MPII.skeleton.mirror, MPII, offered)
    found = pose((0.149, 0.0), (0.151, 0.0), *joints[2:])
    scores.update(
        torch.zeros(1, len(joints), 4, 4),
        found,
        pose(*joints, (0.0, 0.0), (0.3, 0.4)),
        list(range(len(joints))),
    )
    assert scores.pck.compute().per_keypoint[:2].tolist() == [1.0, 0.0]


def test_strict_pcp_needs_both_ends() -> None:
    # A limb of length 1: both ends within 0.5. A mean over the ends would forgive the second prediction.
    metric = PCP(("a", "b"), (Limb("arm", ("a",), ("b",)),))
    label = pose((0.0, 0.0), (1.0, 0.0))
    for end, right in ((0.5, 1), (0.51, 0)):
        metric.reset()
        metric.update(pose((0.0, 0.0), (1.0, end)), label)
        assert metric.compute().mean == right
    metric.update(pose((0.0, 0.0), (1.0, 0.0)), pose((0.0, 0.0), (1.0, 0.0), seen=[1.0, 0.0]))
    assert metric.compute().counted == 1


def test_a_limb_may_end_between_two_joints_and_be_one_of_two() -> None:
    limbs = (Limb("torso", ("neck",), ("lhip", "rhip")), Limb("leg", ("lhip",), ("foot",)))
    metric = PCP(("neck", "lhip", "rhip", "foot"), (*limbs, Limb("leg", ("rhip",), ("foot",))))
    label = pose((0.0, 0.0), (-0.2, 1.0), (0.2, 1.0), (0.0, 2.0))
    # The hips are 0.6 wrong each, in opposite directions: their middle, and so the torso, is right.
    metric.update(pose((0.0, 0.0), (-0.8, 1.0), (0.8, 1.0), (0.0, 2.0)), label)
    scores = metric.compute()
    assert metric.limb_names == ("torso", "leg")
    assert scores.per_keypoint.tolist() == [1.0, 0.0]
    assert scores.counted.tolist() == [1, 2]


def heatmaps(*peaks: list[tuple[int, int, float]]) -> Tensor:
    """Maps (1, K, 10, 10) that are 0.01 but for the given (row, column, value)."""
    maps = torch.full((1, len(peaks), 10, 10), 0.01)
    for k, each in enumerate(peaks):
        for row, column, value in each:
            maps[0, k, row, column] = value
    return maps


# Hands at the centres of pixels (4, 1) and (4, 8) of 10 x 10, x = -0.7 and 0.7; a radius is 0.2 * 1.4 = 0.28.
LEFT, RIGHT, HEAD = (-0.7, -0.1), (0.7, -0.1), (0.0, -0.9)


def test_double_counting_by_hand() -> None:
    metric = DoubleCounting((1, 0, 2), threshold=0.2, share=0.3)
    # The left hand shows at both hands and is found at the right one; the right hand's second peak is too faint.
    maps = heatmaps([(4, 1, 0.5), (4, 8, 0.6)], [(4, 8, 0.9), (4, 1, 0.26)], [(0, 5, 1.0)])
    metric.update(maps, pose(RIGHT, RIGHT, HEAD), pose(LEFT, RIGHT, HEAD), tensor([[1.4]]))
    found = metric.compute()
    assert [each.tolist() for each in found] == [[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]]
    # The same heatmaps read at the left hand: doubled, and right.
    metric.update(maps, pose(LEFT, RIGHT, HEAD), pose(LEFT, RIGHT, HEAD), tensor([[1.4]]))
    found = metric.compute()
    assert [each.tolist() for each in found] == [[2, 2, 0], [1, 0, 0], [2, 0, 0], [1, 0, 0]]
    shares = found.shares()
    assert (shares["confused"], shares["doubled"], shares["doubled_right"]) == (0.25, 0.5, 0.5)


@pytest.mark.parametrize(
    ("labelled", "length"),
    [
        (pose(LEFT, RIGHT, HEAD, seen=[1.0, 0, 1]), 1.4),  # no mirror image to be taken for
        (pose((-0.1, 0.0), (0.1, 0.0), HEAD), 1.4),  # nearer than two radii: nothing can be told
        (pose(LEFT, RIGHT, HEAD), 0.0),  # no length
    ],
)
def test_what_cannot_be_told_does_not_count(labelled: Keypoints, length: float) -> None:
    metric = DoubleCounting((1, 0, 2))
    metric.update(torch.ones(1, 3, 10, 10), pose(LEFT, LEFT, LEFT), labelled, tensor([[length]]))
    assert metric.compute().counted.tolist() == [0, 0, 0]


def test_pose_scores_of_a_protocol() -> None:
    scores = PoseScores(HAND, (1, 0, 2), PROTOCOL, ("head", *HAND[:2]))
    labelled = pose(HEAD, LEFT, RIGHT)  # as the data name them: another order
    maps = heatmaps([(4, 1, 1.0)], [(4, 8, 1.0)], [(0, 5, 1.0)])
    scores.update(maps, pose(LEFT, (0.7, 0.2), (0.9, 0.9)), labelled, [1, 2, 0])
    # Reach 0.28: the left hand hits, the right one is 0.3 off, the head does not enter the overall figure.
    figures = {name: value.item() for name, value in scores.compute().items()}
    assert figures["pck"] == 0.5
    assert (figures["pck_left_hand"], figures["pck_right_hand"], figures["pck_head"]) == (1.0, 0.0, 0.0)
    assert figures["pcp"] == figures["pcp_arm"] == 0.0
    assert (figures["confused"], figures["doubled"]) == (0.0, 0.0)
    scores.reset()
    assert scores.pck.count.sum() == 0


def test_without_a_protocol_a_length_is_the_image() -> None:
    scores = PoseScores(("a", "b"), (0, 1), None, ("a", "b"))
    scores.update(torch.zeros(1, 2, 4, 4), pose((0.19, 0.0), (0.21, 0.0)), pose((0.0, 0), (0.0, 0)), [0, 1])
    figures = scores.compute()
    assert set(figures) == {"pck", "pck_a", "pck_b"}
    assert (figures["pck_a"], figures["pck_b"]) == (1.0, 0.0)


@pytest.mark.parametrize("protocol", [LSP, MPII], ids=["LSP", "MPII"])
def test_protocols_name_joints_that_exist(protocol: PoseProtocol) -> None:
    names = protocol.skeleton.names
    for limb in protocol.limbs:
        assert {*limb.start, *limb.end} <= set(names)
    for a, b in protocol.skeleton.mirror_pairs:
        assert {names[a].partition("_")[0], names[b].partition("_")[0]} == {"left", "right"}
        assert names[a].partition("_")[2] == names[b].partition("_")[2]
    for a, b in protocol.skeleton.edges:
        sides = {names[k].partition("_")[0] for k in (a, b)} & {"left", "right"}
        assert len(sides) <= 1


# Two processes


def drawn(seed: int) -> tuple[Tensor, Keypoints, Keypoints]:
    random = torch.Generator().manual_seed(seed)
    maps = torch.rand(6, 3, 10, 10, generator=random)
    points = [2 * torch.rand(6, 1, 3, 2, generator=random) - 1 for _ in range(2)]
    seen = (torch.rand(6, 1, 3, generator=random) > 0.2).float()
    near = points[1] + 0.2 * (points[0] - points[1])
    return maps, Keypoints(near, torch.ones(6, 1, 3)), Keypoints(points[1], seen)


def filled(seeds: list[int]) -> PoseScores:
    scores = PoseScores(HAND, (1, 0, 2), PROTOCOL, HAND)
    for seed in seeds:
        scores.update(*drawn(seed), [0, 1, 2])
    return scores


def measure(rank: int, world: int) -> dict[str, Tensor]:
    """Two batches for process 0, one for process 1."""
    return filled([0, 1, 2] if world == 1 else [[0, 1], [2]][rank]).compute()


def measure_by_head(rank: int, world: int) -> dict[str, Tensor]:
    """PCK with a head box of its own for each image; as many images as :func:`measure`."""
    metric = PCK(3, threshold=0.5)
    for seed in [0, 1, 2] if world == 1 else [[0, 1], [2]][rank]:
        _, found, labelled = drawn(seed)
        corner = torch.linspace(0.2, 1, 6).view(6, 1, 1, 1) * tensor([[[[0.6, 0.8]]]])
        box = Keypoints(torch.cat((torch.zeros_like(corner), corner), dim=2), torch.ones(6, 1, 2))
        metric.update(found, labelled, reference_lengths(box, HEAD_BOX, MPII.rulers[:1]))
    return dict(metric.compute()._asdict())


@pytest.mark.parametrize(("measured", "figure"), [(measure, "pck"), (measure_by_head, "mean")])
def test_two_processes_agree_with_one(
    tmp_path: Path, measured: Callable[[int, int], dict[str, Tensor]], figure: str
) -> None:
    alone = measured(0, 1)
    for shared in on_two_processes(measured, tmp_path):
        assert shared.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(shared[name], value, equal_nan=True)
    assert 0 < alone[figure] < 1


def test_counts_are_shares_of_all_keypoints() -> None:
    counts = DoubleCounts(tensor([4, 0]), tensor([1, 0]), tensor([2, 0]), tensor([1, 0]))
    assert {name: value.item() for name, value in counts.shares().items()} == {
        "confused": 0.25, "doubled": 0.5, "doubled_right": 0.5,
    }  # fmt: skip
