"""B-KinD for animals that look alike: every heatmap has one peak per animal.

Ryou, PhD thesis, Caltech 2022 (000), section 5.8, Fly vs. Fly: of each heatmap the N highest maxima are
taken, with the spatial softmax over the region around each; the animal whose centroid has the smaller y
comes first.

Terms as in :mod:`lightning_kp.methods.bkind`.  What the paper leaves open, and what is done here:
the Gaussian maps of a keypoint's animals are joined by their maximum (or sum) before they reach the
decoder and before eq. 5.2 compares them, so that the order of the animals plays no part; eq. 5.3 pushes
different keypoints apart, of whichever animal; peaks of different keypoints are grouped into animals by
least scatter (lightning_kp/readout/instances.py); a pixel belongs to the nearest peak only.  Over time identities
come from lightning_kp/tracks/identity.py in place of the order by y, which swaps animals that pass each other.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import QUARTER_TURNS
from lightning_kp.heatmaps import Moments
from lightning_kp.keypoints import Keypoints
from lightning_kp.losses.coverage import coverage_loss
from lightning_kp.losses.rotation import rotation_of_animals
from lightning_kp.losses.separation import separation_of_animals
from lightning_kp.methods.bkind import BKinD
from lightning_kp.readout.instances import group, order_by_height, rearranged, reordered
from lightning_kp.readout.peaks import highest_peaks, window_moments
from lightning_kp.warps import Turn

Join = Literal["max", "sum"]


class MultiInstanceBKinD(BKinD):
    """B-KinD whose keypoints are found once on each of several look-alike animals (000, 5.8).

    Args:
        instances: Number of animals, that is of peaks read per heatmap (5.8: 2).
        region: Half the side of the window around a peak, normalised (ours; the paper does not say).
        apart: Least distance of two peaks of one heatmap, normalised (ours).
        faint: A peak below this share of the heatmap's highest is no animal (ours; a softmax spans many
            decades, look-alike mice of the arena have 1e-7 to 1).
        join: How the Gaussian maps of a keypoint's animals become one: ``max`` or ``sum`` (ours).
        bkind: Every argument of BKinD, ``weights`` of the terms among them.
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
        # BKinD's own arguments, weights included, keep their types: a configuration of BKinD holds for both.
        super().__init__(**bkind)
        if instances < 1 or not 0 < region <= 1 or not 0 < apart <= 1:
            raise ConfigurationError(
                f"instances={instances}, region={region}, apart={apart} read no peaks.",
                remedy="Use at least one instance, and region and apart above 0 and at most 1.",
            )
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self.instances = instances
        self.region = region
        self.apart = apart
        self.faint = faint
        self.join: Join = join

    def locate(self, image: Tensor) -> Moments:
        """Images (B, 3, H, W) in [0, 1] -> Moments (B, I, K, ...), animals in the order of their centroids' y."""
        found, value = self._peaks(self.heatmaps(image))
        # Without confidence a peak counts nowhere; training reads faint ones too, so that they may grow.
        found = found._replace(peak=found.peak * (value > self.faint * value[:, :1]))
        order = group(found.points, found.peak)
        animals = [reordered(each, order) for each in found]
        rank = order_by_height(animals[0], animals[2])
        return Moments(*(rearranged(each, rank) for each in animals))

    def forward(self, image: Tensor) -> Keypoints:
        found = self.locate(image)
        return Keypoints(found.points, found.peak)

    def points(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> points (B, I K, 2), one animal after another."""
        return self.locate(image).points.flatten(1, 2)

    def _peaks(self, heatmaps: Tensor) -> tuple[Moments, Tensor]:
        """Moments (B, N, K, ...) in the order of height, and the heatmap's value at each peak (B, N, K)."""
        half = min(heatmaps.shape[-2:]) / 2
        reach, radius = max(1, round(self.apart * half)), max(1, round(self.region * half))
        peaks = highest_peaks(heatmaps, self.instances, reach)
        return window_moments(heatmaps, peaks, radius), peaks.value.transpose(1, 2)

    def _read(self, heatmaps: Tensor) -> Tensor:
        return self._peaks(heatmaps)[0].points

    def _rebuild(self, appearance: Tensor, now: Tensor, future: Tensor) -> Tensor:
        size = (appearance.shape[-2], appearance.shape[-1])
        maps = self.decoder.maps(torch.cat((future, now), dim=2), size)
        joined = [each.amax(dim=1) if self.join == "max" else each.sum(dim=1) for each in maps]
        return self.decoder.decode(appearance, joined)

    def _rotation(self, points: Tensor, found: Tensor, turn: Turn, size: tuple[int, int]) -> Tensor:
        amplitude = 1.0 if self.unit_amplitude else None
        variance = self.rotation_variance
        return rotation_of_animals(points, found, turn, size, variance=variance, amplitude=amplitude)

    def _separation(self, upright: Tensor, rotated: Sequence[Tensor]) -> Tensor:
        loss = separation_of_animals(upright, self.separation_sigma)
        if not rotated:
            return loss
        share = 1 / (1 + len(QUARTER_TURNS))
        turned = separation_of_animals(torch.cat(tuple(rotated)), self.separation_sigma)
        return share * loss + (1 - share) * turned

    def _coverage(self, points: Tensor, masks: Tensor) -> Tensor:
        return coverage_loss(points.flatten(1, 2), masks)
