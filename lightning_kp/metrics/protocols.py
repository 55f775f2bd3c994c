"""How pose benchmarks count: their joints, which mirror each other, their limbs, and what their threshold is of.

LSP (Johnson and Everingham 2010): PCK at 0.2 of the torso, from one shoulder to the opposite hip, and strict PCP.
MPII (Andriluka et al. 2014): PCKh at 0.5 of the head's size, 0.6 times the diagonal of the head box; its overall
figure leaves pelvis and thorax out.  Where a head box is missing, the head's own two joints measure it (ours).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_kp.keypoints import Keypoints
from lightning_kp.skeleton import Skeleton


class Ruler(NamedTuple):
    """A length of the body: ``factor`` times the distance of two labelled points, by name."""

    start: str
    end: str
    factor: float = 1.0


class Limb(NamedTuple):
    """A part of the body between two joints, or between the means of several, by name."""

    name: str
    start: tuple[str, ...]
    end: tuple[str, ...]


@dataclass(frozen=True)
class PoseProtocol:
    """What a data set scores.

    ``skeleton`` of the joints that are predicted; ``rulers``: the first of them whose points are labelled gives
    a pose its length, and a pose without any does not count; ``threshold`` in such lengths; ``limbs`` of PCP,
    those of one name counted together; ``unscored`` joints are missing from the overall figure.
    """

    skeleton: Skeleton
    rulers: tuple[Ruler, ...]
    threshold: float
    limbs: tuple[Limb, ...] = ()
    unscored: tuple[str, ...] = ()


def lengths(labelled: Keypoints, names: Sequence[str], rulers: Sequence[Ruler]) -> Tensor:
    """The first labelled ruler's length of each pose, (B, I) in the unit of the points; 0 where there is none."""
    found = labelled.points.new_zeros(labelled.points.shape[:2])
    for ruler in reversed(rulers):
        start, end = names.index(ruler.start), names.index(ruler.end)
        length = ruler.factor * (labelled.points[:, :, start] - labelled.points[:, :, end]).norm(dim=-1)
        found = torch.where(labelled.present[:, :, start] & labelled.present[:, :, end], length, found)
    return found


LSP = PoseProtocol(
    Skeleton(
        (
            "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
            "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
            "neck", "head_top",
        ),
        (
            (0, 1), (1, 2), (2, 12), (3, 12), (3, 4), (4, 5),
            (6, 7), (7, 8), (8, 12), (9, 12), (9, 10), (10, 11), (12, 13),
        ),
        ((0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)),
    ),
    (Ruler("left_shoulder", "right_hip"), Ruler("right_shoulder", "left_hip")),
    0.2,
    (
        Limb("torso", ("neck",), ("right_hip", "left_hip")),
        *(
            Limb(name, (f"{side}_{start}",), (f"{side}_{end}",))
            for name, start, end in (
                ("upper_leg", "hip", "knee"), ("lower_leg", "knee", "ankle"),
                ("upper_arm", "shoulder", "elbow"), ("forearm", "elbow", "wrist"),
            )
            for side in ("right", "left")
        ),
        Limb("head", ("neck",), ("head_top",)),
    ),
)  # fmt: skip

HEAD_BOX = ("head_box_start", "head_box_end")
"""Opposite corners of the head box: labelled points that MPII's pictures carry as a measure, never predicted."""
MPII = PoseProtocol(
    Skeleton(
        (
            "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax",
            "upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder",
            "left_elbow", "left_wrist",
        ),
        (
            (0, 1), (1, 2), (2, 6), (3, 6), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9), (7, 12), (7, 13),
            (10, 11), (11, 12), (13, 14), (14, 15),
        ),
        ((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
    ),
    (Ruler(*HEAD_BOX, 0.6), Ruler("upper_neck", "head_top")),
    0.5,
    (
        Limb("torso", ("thorax",), ("pelvis",)),
        *(limb for limb in LSP.limbs if limb.name not in ("torso", "head")),
        Limb("head", ("upper_neck",), ("head_top",)),
    ),
    ("pelvis", "thorax"),
)  # fmt: skip
