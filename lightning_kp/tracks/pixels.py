"""Predictions in the network's square to pixels of the original frame."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.geometry import Region
from lightning_kp.tracks.table import ARRAYS, Floats, TrackInfo, Tracks, concatenate, make_tracks

if TYPE_CHECKING:
    from lightning_kp.method import Prediction

Regions = Region | Sequence[Region]


def original_pixels(prediction: "Prediction", regions: Regions) -> tuple[Floats, Floats, Floats]:
    """Points (B, I, K, 2), confidence (B, I, K), covariance (B, I, K, 3) of a prediction in original pixels.

    ``regions``: the part of the original frame that the network saw, for all frames or one for each.
    A keypoint with confidence 0 is absent: its point and covariance are NaN.
    """
    import torch

    # float64: a region's edge of some thousand pixels would cost float32 the last digits
    points = prediction.keypoints.points.detach().double().cpu()
    confidence = prediction.keypoints.confidence.detach().float().cpu()
    frames = len(points)
    each = [regions] * frames if isinstance(regions, Region) else list(regions)
    if len(each) != frames:
        raise DataError(f"{frames} predicted frames were given {len(each)} regions.")
    if not frames:
        return points.float().numpy(), confidence.numpy(), prediction.covariance.float().cpu().numpy()
    if isinstance(regions, Region):
        points_px = regions.to_original_px(points)
    else:
        points_px = torch.stack([region.to_original_px(p) for region, p in zip(each, points, strict=True)])
    # [-1, 1] spans the region: a normalised unit is half its extent, a variance scales with the square
    half = torch.tensor([(r.right - r.left, r.bottom - r.top) for r in each], dtype=torch.float64) / 2
    scale = torch.stack((half[:, 0] ** 2, half[:, 1] ** 2, half[:, 0] * half[:, 1]), dim=-1)
    covariance_px = prediction.covariance.detach().double().cpu() * scale[:, None, None]
    absent = ~(confidence > 0).unsqueeze(-1)
    nan = float("nan")
    return (
        points_px.masked_fill(absent, nan).float().numpy(),
        confidence.numpy(),
        covariance_px.masked_fill(absent, nan).float().numpy(),
    )


def tracks_from_predictions(
    predictions: Iterable["Prediction"], regions: Regions, info: TrackInfo, times_s: NDArray[np.float64]
) -> Tracks:
    """Predictions of one whole video, in frame order -> tracks; ``regions`` for all or for each frame."""
    pieces, start = [], 0
    for prediction in predictions:
        stop = start + len(prediction.index)
        part = regions if isinstance(regions, Region) else regions[start:stop]
        check_order(prediction, start, info.video)
        arrays = (times_s[start:stop], *original_pixels(prediction, part))
        pieces.append(make_tracks(info, dict(zip(ARRAYS, arrays, strict=True))))
        start = stop
    return concatenate(info, pieces)


def check_order(prediction: "Prediction", start: int, video: str) -> None:
    """Refuse a prediction that does not begin at frame ``start`` or skips one.  Raises DataError."""
    index = prediction.index.tolist()
    if index != list(range(start, start + len(index))):
        raise DataError(
            f"{video}: frame {start} was due, but frames {index[:3]}... arrived.",
            remedy="Predict every frame once, in order, continuing at `store.rows`.",
        )
