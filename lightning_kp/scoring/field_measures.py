"""MOTA and IDF1 of tracked animals, by py-motmetrics: the measures that papers on tracking report.

Bernardin and Stiefelhagen 2008 (CLEAR MOT) and Ristani et al. 2016 (IDF1).  Animals are compared by their centroids,
and no two that are farther apart than the reach are matched, as in :mod:`lightning_kp.metrics.animals`.  HOTA is left
out: py-motmetrics 1.4 lacks it, and the package trackeval brings OpenCV, with which sleap-io decodes videos as soon as
it is installed.
"""

import math
from dataclasses import asdict, dataclass
from importlib.util import find_spec

import numpy as np

from lightning_kp.metrics.animals import Floats, centroids

INSTALL = "MOTA and IDF1: pip install 'lightning-kp[tracking]'"


@dataclass(frozen=True)
class FieldMeasures:
    """Measures of the field, 1 is best.

    Attributes:
        mota: 1 - (misses + false positives + identity switches) / true animals; may be negative.
        idf1: F1 of the animals found under one number each, in [0, 1].
    """

    mota: float
    idf1: float

    def as_metrics(self) -> dict[str, float]:
        """Metrics by name, for ``metrics.json``."""
        return {name: value for name, value in asdict(self).items() if math.isfinite(value)}

    def line(self, name: str) -> str:
        """A line for the terminal; ``name`` is that of the network."""
        return f"{name}: MOTA {self.mota:.1%}, IDF1 {self.idf1:.1%} (py-motmetrics, identities by assignment)"


def field_measures(found_px: Floats, true_px: Floats, reach_px: float) -> FieldMeasures | None:
    """Compare tracked animals with true ones.

    Args:
        found_px: Found points (N, I, K, 2) in pixels, one animal per index of the second axis; NaN = absent.
        true_px: True points (N, J, L, 2) in pixels, likewise.
        reach_px: Largest distance of two matched centroids, in pixels.

    Returns:
        The measures; None where py-motmetrics is not installed.
    """
    if find_spec("motmetrics") is None:
        return None
    import motmetrics

    scored = motmetrics.MOTAccumulator(auto_id=True)
    for found, true in zip(centroids(found_px), centroids(true_px), strict=True):
        (own,), (others,) = (np.nonzero(np.isfinite(each).all(axis=-1)) for each in (true, found))
        apart = np.linalg.norm(true[own][:, None] - found[others][None], axis=-1)
        scored.update(own, others, np.where(apart <= reach_px, apart, np.nan))
    table = motmetrics.metrics.create().compute(scored, metrics=["mota", "idf1"])
    return FieldMeasures(float(table["mota"].iloc[0]), float(table["idf1"].iloc[0]))
