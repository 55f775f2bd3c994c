import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_kp.errors import ConfigurationError
from lightning_kp.skeleton import Skeleton, distance_variance, minimum_spanning_tree, rigid_skeleton


def test_mirror_swaps_pairs_and_leaves_the_rest():
    skeleton = Skeleton(("nose", "left", "right", "tail"), mirror_pairs=((1, 2),))
    assert skeleton.mirror == (0, 2, 1, 3)


def test_limb_lengths_of_a_3_4_5_triangle():
    skeleton = Skeleton(("a", "b", "c"), edges=((0, 1), (1, 2), (0, 2)))
    points = torch.tensor([[[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]])
    torch.testing.assert_close(skeleton.limb_lengths(points), torch.tensor([[3.0, 4.0, 5.0]]))
    assert Skeleton(("a",)).limb_lengths(points).shape == (1, 0)


@pytest.mark.parametrize(
    ("given_", "problem"),
    [
        ({"names": ("a", "a")}, "must be unique"),
        ({"names": ("a", "b"), "edges": ((0, 2),)}, "does not join two"),
        ({"names": ("a", "b"), "edges": ((1, 1),)}, "does not join two"),
        ({"names": ("a", "b", "c"), "mirror_pairs": ((0, 1), (1, 2))}, "two mirror images"),
    ],
)
def test_impossible_skeletons_are_refused(given_, problem):
    with pytest.raises(ConfigurationError, match=problem):
        Skeleton(**given_)


def test_distance_variance_by_hand():
    # the first pair is 1, 3 apart (variance 1), the third keypoint is never seen
    points = torch.tensor(
        [[[0.0, 0.0], [1.0, 0.0], [torch.nan, 0.0]], [[5.0, 0.0], [8.0, 0.0], [torch.nan, torch.nan]]]
    )
    variance = distance_variance(points)
    assert variance[0, 1].item() == pytest.approx(1)
    assert variance[0, 0].item() == 0
    assert torch.isinf(variance[0, 2])


def test_spanning_tree_of_a_known_graph():
    cost = torch.full((4, 4), 9.0)
    for (a, b), value in {(0, 1): 1.0, (1, 2): 2.0, (0, 2): 3.0, (2, 3): 1.0, (0, 3): 5.0}.items():
        cost[a, b] = cost[b, a] = value
    assert minimum_spanning_tree(cost) == ((0, 1), (1, 2), (2, 3))
    assert minimum_spanning_tree(torch.zeros(0, 0)) == ()
    assert minimum_spanning_tree(torch.zeros(1, 1)) == ()


@given(st.lists(st.integers(0, 50), min_size=6, max_size=6))
def test_no_spanning_tree_of_four_nodes_is_cheaper(values):
    pairs = list(itertools.combinations(range(4), 2))
    cost = torch.zeros(4, 4)
    for (a, b), value in zip(pairs, values, strict=True):
        cost[a, b] = cost[b, a] = value

    def joins_all(edges):
        reached = {0}
        for _ in edges:
            reached |= {k for edge in edges if set(edge) & reached for k in edge}
        return len(reached) == 4

    best = min(
        sum(float(cost[e]) for e in edges) for edges in itertools.combinations(pairs, 3) if joins_all(edges)
    )
    tree = minimum_spanning_tree(cost)
    assert joins_all(tree)
    assert sum(float(cost[e]) for e in tree) == best


def test_a_jointed_arm_is_found_again():
    """Three rigid limbs in a chain, all joints turning freely: the tree is the chain."""
    generator = torch.Generator().manual_seed(0)
    angles = torch.rand(200, 3, generator=generator) * 2 * torch.pi
    steps = torch.stack((angles.cos(), angles.sin()), -1) * torch.tensor([[1.0], [2.0], [1.5]])
    start = torch.rand(200, 1, 2, generator=generator)
    points = torch.cat((start, start + steps.cumsum(1)), dim=1)[:, [2, 0, 3, 1]]  # shuffled
    assert rigid_skeleton(points, "abcd").edges == ((0, 2), (0, 3), (1, 3))
