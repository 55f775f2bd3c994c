"""Converts predictions in the network's square to pixels of the original frame."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_kp.errors import DataError
from lightning_kp.geometry import Region
from lightning_kp.tracks.table import Floats

if TYPE_CHECKING:
    from lightning_kp.method import Prediction

Regions = Region | Sequence[Region]


def original_pixels(prediction: "Prediction", regions: Regions) -> tuple[Floats, Floats, Floats]:
    """Points, confidence and covariance of a prediction in pixels of the original frame.

    Args:
        prediction: Keypoints of B frames, normalised to the region that the network saw.
        regions: This region of the original frame, one for all frames or one for each.

    Returns:
        Points (B, I, K, 2) as (x, y) in pixels, confidence (B, I, K), and covariance (B, I, K, 3) as
        (var x, var y, cov xy) in px^2.  A keypoint with confidence 0 is absent: its point and covariance are NaN.

    Raises:
        DataError: if there are not as many regions as frames.
    """
    import torch

    # float64, because the edge of a region may be some thousand pixels, where float32 loses the last digits
    points = prediction.keypoints.points.detach().double().cpu()
    confidence = prediction.keypoints.confidence.detach().float().cpu()
    frames = len(points)
    each = [regions] * frames if isinstance(regions, Region) else list(regions)
    if len(each) != frames:
        raise DataError(f"{frames} predicted frames need as many regions, got {len(each)}.")
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


def check_order(prediction: "Prediction", start: int, video: str) -> None:
    """Raise DataError if a prediction does not begin at frame ``start`` or skips a frame."""
    index = prediction.index.tolist()
    if index != list(range(start, start + len(index))):
        raise DataError(
            f"{video}: expected frames from {start} on, got frames {index[:3]}...",
            remedy="Predict every frame once and in order, continuing at `store.rows`.",
        )
