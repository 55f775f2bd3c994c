"""Images with many fully labelled animals, made of images that have few (001, section 5, mouse pups).

Every animal whose parts are all labelled is cut out with the box around them; ten of them (the paper's number)
are laid at random on a random image of the set.  The paper forgets the labels of that image; here they stay where
nothing covers them, and a covered part counts as missing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.errors import DataError
from lightning_kp.geometry import normalise, to_pixels
from lightning_kp.labels.animals import LabelledAnimals


def cut_and_paste(
    labelled: LabelledAnimals, images: int, animals: int = 10, *, border: float = 0.15, seed: int = 0
) -> LabelledAnimals:
    """``images`` new images with ``animals`` whole ones laid on each; at most those and the background's are labelled.

    ``border`` is added around an animal's box on each side, as a share of its longer side.  Raises DataError where no
    animal is labelled whole.
    """
    rng = np.random.default_rng(seed)
    side = labelled.image.shape[-1]
    pixels = to_pixels(labelled.points, (side, side))
    everywhere = torch.tensor([[0, 0, side, side]]).expand(len(pixels), 4)
    regions = everywhere if labelled.inside is None else labelled.inside
    # In view, too: what a crop left out has no pixels to cut.  Comparisons with NaN are false.
    low, high = (each[:, None, None] - 0.5 for each in (regions[:, :2], regions[:, 2:]))
    whole = ((pixels >= low) & (pixels <= high)).all(dim=-1).all(dim=-1).nonzero().tolist()
    if not whole:
        raise DataError(
            f"None of the animals in {len(labelled.image)} images has all of {', '.join(labelled.names)} "
            "labelled and in view.",
            remedy="Choose fewer points with --data.names, or train with --data.pasted=0.",
        )
    cuts = [_cut(labelled.image[i], pixels[i, n], border, regions[i].tolist()) for i, n in whole]
    backgrounds = rng.integers(len(labelled.image), size=images).tolist()
    made = [
        _laid(labelled.image[i].clone(), pixels[i], cuts, animals, rng, regions[i].tolist())
        for i in backgrounds
    ]
    most = max(len(points) for _, points in made)
    placed = torch.stack(
        [F.pad(points, (0, 0, 0, 0, 0, most - len(points)), value=torch.nan) for _, points in made]
    )
    images_made = torch.stack([image for image, _ in made])
    return LabelledAnimals(images_made, normalise(placed, (side, side)).float(), labelled.names)


class _Cut(NamedTuple):
    """Pixels (3, h, w) of an animal and its points (K, 2) within them."""

    image: Tensor
    points_px: Tensor


def _cut(image: Tensor, points_px: Tensor, border: float, region: Sequence[int]) -> _Cut:
    low, high = points_px.aminmax(dim=0)
    added = border * float((high - low).max())
    # Within the picture: the black of the padding is no part of an animal.
    limit = torch.tensor(region)
    left, top = (low - added).floor().long().maximum(limit[:2]).tolist()
    right, bottom = (high + added).ceil().long().add(1).minimum(limit[2:]).tolist()
    cut = image[:, top:bottom, left:right]
    return _Cut(cut, points_px - points_px.new_tensor((left, top)))


def _laid(
    image: Tensor,
    points_px: Tensor,
    cuts: Sequence[_Cut],
    animals: int,
    rng: np.random.Generator,
    region: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """The image with animals laid on its ``region``, and the points (I, K, 2) of all that are left, in pixels.

    Images that are padded in different ways may leave too little room for an animal: such are not laid there.
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
        corner = points.new_tensor((left, top)) - 0.5
        inside = ((points >= corner) & (points < corner + points.new_tensor((width, height)))).all(dim=-1)
        covered = points.masked_fill(inside.unsqueeze(-1), torch.nan)
        new = (cut.points_px + points.new_tensor((left, top))).to(points)
        points = torch.cat((covered, new.unsqueeze(0)))
    seen = ~torch.isnan(points).all(dim=-1).all(dim=-1)
    return image, points[seen]
