"""All figures of a supervised pose network in one place: PCK of every joint, PCP of every limb, double counting."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_kp.keypoints import Keypoints
from lightning_kp.metrics.points import PCK
from lightning_kp.metrics.poses import PCP, DoubleCounting
from lightning_kp.metrics.protocols import Limb, PoseProtocol, Ruler, lengths

SIDE_SHARE = 0.1  # PCK of data that names no length: of the image's side


class PoseScores(nn.Module):
    """Metrics of ``names``, measured as ``protocol`` says, from labels of ``offered`` points.

    ``mirror`` as in Skeleton.  Without a protocol a length is the image's side and there are no limbs.
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
        self.pck = PCK(len(names), threshold)
        self.pcp = PCP(names, limbs) if limbs else None
        self.doubles = DoubleCounting(mirror, threshold) if list(mirror) != list(range(len(names))) else None

    def update(
        self, heatmaps: Tensor, predicted: Keypoints, labelled: Keypoints, columns: Sequence[int]
    ) -> None:
        """Heatmaps (B, K, h, w), predicted (B, 1, K, 2) and all labelled points, of which ``columns`` are ours."""
        length = labelled.points.new_full(labelled.points.shape[:2], 2.0)
        if self.rulers:
            length = lengths(labelled, self.offered, self.rulers)
        wanted = labelled.select(torch.tensor(list(columns), device=labelled.points.device))
        measured = wanted._replace(confidence=wanted.confidence * (length > 0).unsqueeze(-1))
        self.pck.update(predicted, measured, length)
        if self.pcp is not None:
            self.pcp.update(predicted, wanted)
        if self.doubles is not None:
            self.doubles.update(heatmaps, predicted, wanted, length)

    def figures(self) -> dict[str, Tensor]:
        """Shares in [0, 1] by name: ``pck``, ``pck_JOINT``, ``pcp``, ``pcp_LIMB``, and those of DoubleCounts.

        What nothing was counted for is NaN.
        """
        pck = self.pck.compute()
        each, counted = pck.per_keypoint.reshape(-1), pck.counted.reshape(-1)
        scored = torch.tensor(self.scored, device=each.device)
        mean = torch.where(scored, each.nan_to_num(0) * counted, 0).sum() / counted[scored].sum()
        found = {"pck": mean} | {f"pck_{name}": value for name, value in zip(self.names, each, strict=True)}
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
        """Forget what was counted."""
        for metric in (self.pck, self.pcp, self.doubles):
            if metric is not None:
                metric.reset()
