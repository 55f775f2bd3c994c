"""HOTA, MOTA and IDF1 of tracked animals: the measures that papers on tracking report.

Luiten et al. 2021 (HOTA), Bernardin and Stiefelhagen 2008 (CLEAR MOT) and Ristani et al. 2016 (IDF1); the last two by
py-motmetrics.  Animals are compared by their centroids, and no two that are farther apart than the reach are matched,
as in :mod:`lightning_kp.metrics.animals`.
"""

import math
from dataclasses import asdict, dataclass
from importlib.util import find_spec

import numpy as np

from lightning_kp.metrics.animals import Floats, centroids
from lightning_kp.scoring.hota import hota

INSTALL = "MOTA and IDF1: pip install 'lightning-kp[tracking]'"


@dataclass(frozen=True)
class FieldMeasures:
    """Measures of the field, 1 is best.

    Attributes:
        hota: Mean over thresholds of sqrt(detection accuracy x association accuracy), in [0, 1].  The distance of the
            centroids counts, unlike in the other two.
        mota: 1 - (misses + false positives + identity switches) / true animals; may be negative.  NaN where
            py-motmetrics is not installed.
        idf1: F1 of the animals found under one number each, in [0, 1]; NaN likewise.
    """

    hota: float
    mota: float = math.nan
    idf1: float = math.nan

    def as_metrics(self) -> dict[str, float]:
        """Metrics by name, for ``metrics.json``."""
        return {name: value for name, value in asdict(self).items() if math.isfinite(value)}

    def line(self, name: str) -> str:
        """A line for the terminal; ``name`` is that of the network."""
        measured = ", ".join(f"{key.upper()} {value:.1%}" for key, value in self.as_metrics().items())
        return f"{name}: {measured} (identities by assignment)"

    @property
    def complete(self) -> bool:
        """Were all measured?"""
        return len(self.as_metrics()) == 3


def field_measures(found_px: Floats, true_px: Floats, reach_px: float) -> FieldMeasures:
    """Compare tracked animals with true ones.

    Args:
        found_px: Found points (N, I, K, 2) in pixels, one animal per index of the second axis; NaN = absent.
        true_px: True points (N, J, L, 2) in pixels, likewise.
        reach_px: Largest distance of two matched centroids, in pixels.

    Returns:
        The measures; HOTA alone where py-motmetrics is not installed.
    """
    centres, true_centres = centroids(found_px), centroids(true_px)
    overall = hota(centres, true_centres, reach_px)
    if find_spec("motmetrics") is None:
        return FieldMeasures(overall)
    import motmetrics

    scored = motmetrics.MOTAccumulator(auto_id=True)
    for found, true in zip(centres, true_centres, strict=True):
        (own,), (others,) = (np.nonzero(np.isfinite(each).all(axis=-1)) for each in (true, found))
        apart = np.linalg.norm(true[own][:, None] - found[others][None], axis=-1)
        scored.update(own, others, np.where(apart <= reach_px, apart, np.nan))
    table = motmetrics.metrics.create().compute(scored, metrics=["mota", "idf1"])
    return FieldMeasures(overall, float(table["mota"].iloc[0]), float(table["idf1"].iloc[0]))
