"""B-KinD for animals that look alike: every heatmap has one peak per animal.

Ryou, PhD thesis, Caltech 2022 (000), section 5.8, Fly vs. Fly: the N highest maxima of each heatmap are used, with the
spatial softmax over the region around each. The animal whose centroid has the smaller y comes first.

Terms as in :mod:`lightning_kp.methods.bkind`. The paper leaves some points open; here:

- The Gaussian maps of a keypoint's animals are combined by their maximum (or sum) before they reach the decoder and
  before eq. 5.2 compares them, so that the order of the animals does not matter.
- Eq. 5.3 pushes different keypoints apart, whichever animals they belong to.
- Peaks of different keypoints are grouped into animals by least scatter (lightning_kp/readout/instances.py).
- A pixel belongs to the nearest peak only.
- Over time, identities come from lightning_kp/tracks/identity.py in place of the order by y, which would exchange
  animals that pass each other.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError, require_choice
from lightning_kp.heatmaps import Moments
from lightning_kp.keypoints import Keypoints
from lightning_kp.losses.motion import coverage_loss
from lightning_kp.losses.rotation import rotation_of_animals
from lightning_kp.losses.separation import separation_of_animals, separation_over_turns
from lightning_kp.methods.bkind import BKinD
from lightning_kp.readout.instances import group_peaks, order_by_height, reorder_animals, reorder_peaks
from lightning_kp.readout.peaks import Peaks, highest_peaks, window_moments
from lightning_kp.readout.subgrid import subgrid_window_moments
from lightning_kp.warps import Turn

Join = Literal["max", "sum"]


class MultiInstanceBKinD(BKinD):
    """B-KinD for several look-alike animals: each keypoint is found once on each of them (000, 5.8).

    Images (B, 3, H, W) in [0, 1] -> Keypoints (B, I, K, 2), normalised (x, y).

    Args:
        instances: Number of animals I, which is the number of peaks per heatmap (5.8: 2).
        region: Half the side of the window around a peak, normalised, in (0, 1] (ours; the paper does not state it).
        apart: Minimum distance between two peaks of one heatmap, normalised, in (0, 1] (ours).
        faint: A peak below this share of the heatmap's highest peak is no animal (ours; a softmax spans many orders
            of magnitude, and look-alike mice of the rendered arena have 1e-7 to 1).
        join: How the Gaussian maps of a keypoint's animals are combined: ``max`` or ``sum`` (ours).
        bkind: All arguments of BKinD, including ``weights``.
    """

    paper = "000 ch. 5, 5.8 (Fly vs. Fly)"

    def __init__(
        self,
        instances: int = 2,
        region: float = 0.12,
        apart: float = 0.08,
        faint: float = 1e-8,
        join: Join = "max",
        **bkind: Any,
    ) -> None:
        # BKinD's own arguments, weights included, keep their types, so that its configurations fit both classes.
        super().__init__(**bkind)
        if instances < 1 or not 0 < region <= 1 or not 0 < apart <= 1:
            raise ConfigurationError(
                f"instances must be at least 1, and region and apart above 0 and at most 1; got instances={instances}, "
                f"region={region}, apart={apart}.",
                remedy="Use for example --model.instances=2 --model.region=0.12 --model.apart=0.08.",
            )
        require_choice("join", join, get_args(Join))
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self.instances = instances
        self.region = region
        self.apart = apart
        self.faint = faint
        self.join: Join = join

    def locate(self, image: Tensor) -> Moments:
        """Images (B, 3, H, W) in [0, 1] -> Moments (B, I, K, ...), animals ordered by the y of their centroids."""
        heatmaps = self.heatmaps(image)
        peaks, radius = self._peaks(heatmaps)
        found, value = subgrid_window_moments(heatmaps, peaks, radius), peaks.value.transpose(1, 2)
        # A peak of confidence 0 counts nowhere. Training uses faint peaks too, so that they can grow.
        found = found._replace(peak=found.peak * (value > self.faint * value[:, :1]))
        order = group_peaks(found.points, found.peak)
        animals = [reorder_peaks(each, order) for each in found]
        rank = order_by_height(animals[0], animals[2])
        return Moments(*(reorder_animals(each, rank) for each in animals))

    def forward(self, image: Tensor) -> Keypoints:
        """Images (B, 3, H, W) in [0, 1] -> Keypoints (B, I, K, 2), normalised (x, y)."""
        found = self.locate(image)
        return Keypoints(found.points, found.peak)

    def points(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> points (B, I K, 2), one animal after another."""
        return self.locate(image).points.flatten(1, 2)

    def _peaks(self, heatmaps: Tensor) -> tuple[Peaks, int]:
        """Peaks of heatmaps (B, K, h, w) by decreasing height, and half the side of their windows, in cells."""
        half = min(heatmaps.shape[-2:]) / 2
        reach, radius = max(1, round(self.apart * half)), max(1, round(self.region * half))
        return highest_peaks(heatmaps, self.instances, reach), radius

    def _points_of(self, heatmaps: Tensor) -> Tensor:
        """Heatmaps (B, K, h, w) -> points (B, I, K, 2), by decreasing height of the peaks."""
        return window_moments(heatmaps, *self._peaks(heatmaps)).points

    def _rebuild(self, appearance: Tensor, now: Tensor, future: Tensor) -> Tensor:
        size = (appearance.shape[-2], appearance.shape[-1])
        maps = self.decoder.maps(torch.cat((future, now), dim=2), size)
        joined = [each.amax(dim=1) if self.join == "max" else each.sum(dim=1) for each in maps]
        return self.decoder.decode(appearance, joined)

    def _rotation(self, points: Tensor, rotated: Tensor, turn: Turn, size: tuple[int, int]) -> Tensor:
        amplitude = 1.0 if self.unit_amplitude else None
        variance = self.rotation_variance
        return rotation_of_animals(points, rotated, turn, size, variance=variance, amplitude=amplitude)

    def _separation(self, upright: Tensor, rotated: Sequence[Tensor]) -> Tensor:
        return separation_over_turns(upright, rotated, self.separation_sigma, separation_of_animals)

    def _coverage(self, points: Tensor, masks: Tensor) -> Tensor:
        return coverage_loss(points.flatten(1, 2), masks)
