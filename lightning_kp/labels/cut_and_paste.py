"""Augmentation by cut and paste: images with many fully labelled animals (001, section 5, mouse pups).

Every animal whose points are all labelled is cut out with the box around them; ten of them (the paper's number)
are pasted at random onto a random image of the set.  Deviation: the paper discards the labels of that image; here
they are kept, and points that a pasted animal covers count as missing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.errors import DataError
from lightning_kp.geometry import from_edges, normalise, to_pixels
from lightning_kp.labels.animals import LabelledAnimals


def cut_and_paste(
    labelled: LabelledAnimals, images: int, animals: int = 10, *, border: float = 0.15, seed: int = 0
) -> LabelledAnimals:
    """Make ``images`` new images with ``animals`` fully labelled ones pasted onto each.

    Args:
        labelled: Images (N, 3, S, S) uint8 with points (N, I, K, 2), normalised, NaN = not labelled.
        images: Number of images to make, M.
        animals: Number of animals pasted onto each image.
        border: Margin added to an animal's box on each side, as a share of the box's longer side.
        seed: Decides which animals are pasted where.

    Returns:
        Images (M, 3, S, S) with points (M, J, K, 2): those of the pasted animals and of the image below them.

    Raises:
        DataError: No animal has all of its points labelled and in view.
    """
    rng = np.random.default_rng(seed)
    side = labelled.image.shape[-1]
    pixels = to_pixels(labelled.points, (side, side))
    everywhere = torch.tensor([[0, 0, side, side]]).expand(len(pixels), 4)
    regions = everywhere if labelled.inside is None else labelled.inside
    # Points must be in view, too: outside of a crop there are no pixels to cut.  Comparisons with NaN are false.
    low, high = (from_edges(each[:, None, None]) for each in (regions[:, :2], regions[:, 2:]))
    whole = ((pixels >= low) & (pixels <= high)).all(dim=-1).all(dim=-1).nonzero().tolist()
    if not whole:
        raise DataError(
            f"No animal in the {len(labelled.image)} training images has all of its points labelled and in view "
            f"({', '.join(labelled.names)}).",
            remedy="Use fewer points (--data.names), or do not paste animals (--data.pasted=0).",
        )
    cuts = [_cut(labelled.image[i], pixels[i, n], border, regions[i].tolist()) for i, n in whole]
    backgrounds = rng.integers(len(labelled.image), size=images).tolist()
    composed = [
        _pasted(labelled.image[i].clone(), pixels[i], cuts, animals, rng, regions[i].tolist())
        for i in backgrounds
    ]
    most = max(len(points) for _, points in composed)
    placed = torch.stack(
        [F.pad(points, (0, 0, 0, 0, 0, most - len(points)), value=torch.nan) for _, points in composed]
    )
    composed_images = torch.stack([image for image, _ in composed])
    return LabelledAnimals(composed_images, normalise(placed, (side, side)).float(), labelled.names)


class _Cut(NamedTuple):
    """An animal that was cut out: ``image`` (3, h, w) and ``points_px`` (K, 2) in its pixels."""

    image: Tensor
    points_px: Tensor


def _cut(image: Tensor, points_px: Tensor, border: float, region: Sequence[int]) -> _Cut:
    low, high = points_px.aminmax(dim=0)
    added = border * float((high - low).max())
    # Only within the image: its black padding belongs to no animal.
    limit = torch.tensor(region)
    left, top = (low - added).floor().long().maximum(limit[:2]).tolist()
    right, bottom = (high + added).ceil().long().add(1).minimum(limit[2:]).tolist()
    cut = image[:, top:bottom, left:right]
    return _Cut(cut, points_px - points_px.new_tensor((left, top)))


def _pasted(
    image: Tensor,
    points_px: Tensor,
    cuts: Sequence[_Cut],
    animals: int,
    rng: np.random.Generator,
    region: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Paste animals into the ``region`` of an image (3, S, S); return it with the points (I, K, 2) left, in pixels.

    Images with different padding may be too small for some animals; these are not pasted there.
    """
    points = points_px
    first_x, first_y, last_x, last_y = region
    room = (last_y - first_y, last_x - first_x)
    fitting = [cut for cut in cuts if cut.image.shape[1] <= room[0] and cut.image.shape[2] <= room[1]]
    for number in rng.integers(len(fitting), size=animals).tolist() if fitting else ():
        cut = fitting[number]
        height, width = cut.image.shape[1:]
        top = int(rng.integers(first_y, last_y - height + 1))
        left = int(rng.integers(first_x, last_x - width + 1))
        image[:, top : top + height, left : left + width] = cut.image
        corner = from_edges(points.new_tensor((left, top)))
        inside = ((points >= corner) & (points < corner + points.new_tensor((width, height)))).all(dim=-1)
        covered = points.masked_fill(inside.unsqueeze(-1), torch.nan)
        new = (cut.points_px + points.new_tensor((left, top))).to(points)
        points = torch.cat((covered, new.unsqueeze(0)))
    seen = ~torch.isnan(points).all(dim=-1).all(dim=-1)
    return image, points[seen]
