"""Protocols of pose benchmarks: joints, mirrored joints, limbs, reference length and threshold.

LSP (Johnson and Everingham 2010): PCK at 0.2 of the torso, from one shoulder to the opposite hip, and strict PCP.
MPII (Andriluka et al. 2014): PCKh, PCK at 0.5 of the head size, which is 0.6 times the diagonal of the head box; the
overall PCKh leaves out pelvis and thorax.  Without a head box, the distance of the two head joints is used (ours).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_kp.keypoints import Keypoints
from lightning_kp.skeleton import Skeleton


class Ruler(NamedTuple):
    """A reference length: ``factor`` times the distance of two labelled points, given by name."""

    start: str
    end: str
    factor: float = 1.0


class Limb(NamedTuple):
    """A body part between two joints, or between the means of several joints, given by name."""

    name: str
    start: tuple[str, ...]
    end: tuple[str, ...]


@dataclass(frozen=True)
class PoseProtocol:
    """The evaluation protocol of a data set.

    Attributes:
        skeleton: Skeleton of the joints that are predicted.
        rulers: Candidates for the reference length of a pose.  The first one whose points are labelled is used; a
            pose without any is ignored.
        threshold: Largest distance of a correct joint, in reference lengths.
        limbs: Limbs of PCP; limbs of the same name are counted together.
        unscored: Joints that the overall PCK leaves out.
    """

    skeleton: Skeleton
    rulers: tuple[Ruler, ...]
    threshold: float
    limbs: tuple[Limb, ...] = ()
    unscored: tuple[str, ...] = ()


def reference_lengths(labelled: Keypoints, names: Sequence[str], rulers: Sequence[Ruler]) -> Tensor:
    """Reference length of each pose, from the first ruler whose points are labelled.

    Args:
        labelled: Keypoints (B, I, K, D).
        names: Names of the K keypoints.
        rulers: Candidates, the preferred one first.

    Returns:
        Lengths (B, I) in the unit of the points; 0 for a pose without a labelled ruler.

    Example:
        >>> pose = Keypoints(torch.tensor([[[[0.0, 0.0], [0.3, 0.4]]]]), torch.ones(1, 1, 2))
        >>> reference_lengths(pose, ("neck", "hip"), [Ruler("neck", "hip", factor=2.0)])
        tensor([[1.]])
    """
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
"""Opposite corners of MPII's head box: labelled points that only give the reference length and are never predicted."""
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
