"""All metrics of a supervised pose network together: PCK of each joint, PCP of each limb, double counting."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_kp.keypoints import Keypoints
from lightning_kp.metrics.pck import PCK
from lightning_kp.metrics.poses import PCP, DoubleCounting
from lightning_kp.metrics.protocols import Limb, PoseProtocol, Ruler, reference_lengths

SIDE_SHARE = 0.1  # threshold of PCK without a protocol, in image sides


class PoseScores(nn.Module):
    """PCK, PCP and double counting of one pose network.

    Args:
        names: Names of the K predicted keypoints.
        mirror: For each of them the index of its mirror image, as in Skeleton.
        protocol: Protocol of the data set.  Without one, the reference length is the image side, the threshold
            :data:`SIDE_SHARE`, and there are no limbs.
        offered: Names of the L points that the data set labels.
    """

    def __init__(
        self,
        names: Sequence[str],
        mirror: Sequence[int],
        protocol: PoseProtocol | None,
        offered: Sequence[str],
    ) -> None:
        super().__init__()
        self.names, self.offered = tuple(names), tuple(offered)
        self.rulers: tuple[Ruler, ...] = ()
        threshold = SIDE_SHARE
        limbs: tuple[Limb, ...] = ()
        unscored: tuple[str, ...] = ()
        if protocol is not None:
            self.rulers, threshold, unscored = protocol.rulers, protocol.threshold, protocol.unscored
            limbs = tuple(limb for limb in protocol.limbs if {*limb.start, *limb.end} <= set(names))
        self.scored = [name not in unscored for name in names]
        parts = [name.removeprefix("left_") for name in names if name.startswith("left_")]
        self.both_sides = [part for part in parts if f"right_{part}" in names and part not in names]
        self.pck = PCK(len(names), threshold)
        self.pcp = PCP(names, limbs) if limbs else None
        self.doubles = DoubleCounting(mirror, threshold) if list(mirror) != list(range(len(names))) else None

    def update(
        self, heatmaps: Tensor, predicted: Keypoints, labelled: Keypoints, columns: Sequence[int]
    ) -> None:
        """Add images of one pose each.

        Args:
            heatmaps: Heatmaps (B, K, h, w), of any positive scale.
            predicted: Keypoints (B, 1, K, 2), normalised.
            labelled: Keypoints (B, 1, L, 2), normalised.
            columns: For each of the K keypoints its position among the L labelled points.
        """
        length = labelled.points.new_full(labelled.points.shape[:2], 2.0)
        if self.rulers:
            length = reference_lengths(labelled, self.offered, self.rulers)
        target = labelled.select(torch.tensor(list(columns), device=labelled.points.device))
        measured = target._replace(confidence=target.confidence * (length > 0).unsqueeze(-1))
        self.pck.update(predicted, measured, length)
        if self.pcp is not None:
            self.pcp.update(predicted, target)
        if self.doubles is not None:
            self.doubles.update(heatmaps, predicted, target, length)

    def compute(self) -> dict[str, Tensor]:
        """Shares () in [0, 1] by name: ``pck``, ``pck_JOINT``, ``pcp``, ``pcp_LIMB``, and those of DoubleCounts.

        ``pck_wrist`` is the mean of ``pck_left_wrist`` and ``pck_right_wrist``, as in tables of MPII.  A share of no
        counted point or limb is NaN.
        """
        pck = self.pck.compute()
        each, counted = pck.per_keypoint.reshape(-1), pck.counted.reshape(-1)
        scored = torch.tensor(self.scored, device=each.device)
        mean = torch.where(scored, each.nan_to_num(0) * counted, 0).sum() / counted[scored].sum()
        found = {"pck": mean} | {f"pck_{name}": value for name, value in zip(self.names, each, strict=True)}
        found |= {
            f"pck_{part}": (found[f"pck_left_{part}"] + found[f"pck_right_{part}"]) / 2
            for part in self.both_sides
        }
        if self.pcp is not None:
            pcp = self.pcp.compute()
            found["pcp"] = pcp.mean
            found |= {
                f"pcp_{name}": value
                for name, value in zip(self.pcp.limb_names, pcp.per_keypoint.reshape(-1), strict=True)
            }
        if self.doubles is not None:
            found |= self.doubles.compute().shares()
        return {name: value.float() for name, value in found.items()}

    def reset(self) -> None:
        """Reset all metrics."""
        for metric in (self.pck, self.pcp, self.doubles):
            if metric is not None:
                metric.reset()
