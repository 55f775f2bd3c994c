"""Rotation equivariance: keypoints turn with the image (000, eq. 5.2)."""

from torch import Tensor

from lightning_kp.geometry import rotate_points
from lightning_kp.heatmaps import reference_amplitude, render_gaussians

REFERENCE_VARIANCE = 0.001


def rotation_loss(
    points: Tensor,
    rotated: Tensor,
    quarter_turns: int,
    size: tuple[int, int],
    *,
    variance: float = REFERENCE_VARIANCE,
    amplitude: float | None = None,
) -> Tensor:
    """Mean squared error between the Gaussian maps of two sets of points.

    ``points`` (B, K, 2) of the upright image are turned and serve as pseudo labels (no gradient);
    ``rotated`` (B, K, 2) are those found in the image turned by ``quarter_turns``.  Turning the
    points turns their maps exactly, so no map is resampled.  ``amplitude`` is the peak of a map;
    None takes eq. 4.1's normaliser.
    """
    target, found = (
        _maps(each, size, variance, amplitude)
        for each in (rotate_points(points.detach(), quarter_turns), rotated)
    )
    return (found - target).square().mean()


def rotation_of_animals(
    points: Tensor,
    rotated: Tensor,
    quarter_turns: int,
    size: tuple[int, int],
    *,
    variance: float = REFERENCE_VARIANCE,
    amplitude: float | None = None,
) -> Tensor:
    """The same for animals that share their keypoints' heatmaps: points and ``rotated`` (B, I, K, 2).

    A map is the maximum over its animals, so that their order plays no part.
    """
    target, found = (
        _maps(each, size, variance, amplitude).amax(dim=1)
        for each in (rotate_points(points.detach(), quarter_turns), rotated)
    )
    return (found - target).square().mean()


def _maps(points: Tensor, size: tuple[int, int], variance: float, amplitude: float | None) -> Tensor:
    peak = reference_amplitude(variance) if amplitude is None else amplitude
    return render_gaussians(points, size, variance**0.5, amplitude=peak)
