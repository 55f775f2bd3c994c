"""The background of a fixed camera: what is there when no animal is, also where animals rest most of the time.

The median over time shows an animal that rests in one place for half of the video.  Its place then differs in every
frame in which it is elsewhere, and the outline of that difference is an edge of the median, not of the frame: a ghost
(:func:`~lightning_kp.motion.foreground.without_ghosts`).  :func:`learn_background` looks for such regions and takes
their content from the frames that show the ghost, in which the animal is away.  :class:`FrameSampler` chooses frames
for it out of a stream: half of them evenly spaced, half of them where something changes, since those spaced evenly may
show hardly a frame without the resting animal.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lightning_kp.motion import foreground as fg

Images = fg.Images

ROUNDS = 3
"""Regions are mended at most so often; below the first animal there may be another one."""
COMPARED_PX = 192
"""Longest side in pixels of the images in which ghosts are searched."""
MIN_FRAMES = 3
"""Frames in which a region must be a ghost: the median of fewer may show another animal."""
MIN_SHARE = 0.01
"""The same as a share of the images."""
GHOST_SHARE = 0.5
"""Share of a region that is a ghost in the frames that show its background."""
WITHIN_SHARE = 0.7
"""Share of a ghost that must lie in the region that many frames have in common."""
MARGIN_PX = 2
"""Pixels by which a ghost is enlarged: the blurred outline of the animal belongs to it."""
EVEN_FRAMES = 64
"""At least so many evenly spaced frames are kept of a stream, if it has them, and fewer than twice as many."""
NOVEL_FRAMES = 64
"""At most so many frames are kept of a stream because they show something new."""
CANDIDATES = 8
"""Frames that are looked at for each evenly spaced one."""
NOVELTY_PX = 128
"""Longest side in pixels of the images in which changes between candidates are measured."""
NOVEL_LEVEL = 12.0
"""Grey levels above which a pixel of these images has changed."""


def learn_background(images: Images) -> Images:
    """Return what images (T, h, w, C), uint8, of a fixed camera show behind the animals: (h, w, C), uint8.

    The images are those of one scene in any order.  Where an animal rests in more than half of them, they must show
    its place without it in at least MIN_FRAMES images, and clearly more often than other animals there.
    """
    background = fg.median_background(images, max_images=len(images))
    factor = max(1, -(-max(images.shape[1:3]) // COMPARED_PX))
    small = np.stack([_reduced(image, factor) for image in images])
    edges = [_edge_strength(image) for image in small]
    least = max(MIN_FRAMES, round(MIN_SHARE * len(images)))
    for _ in range(ROUNDS):
        mended = False
        reduced = _reduced(background, factor)
        ghosts = _ghosts(small, edges, reduced)
        for region, frames in _resting_places(ghosts, least):
            candidate = reduced.copy()
            candidate[region] = np.median(small[frames][:, region], axis=0).round()
            if _outline_strength(candidate, region) < _outline_strength(reduced, region):
                whole = _enlarged(region, factor, (background.shape[0], background.shape[1]))
                background[whole] = np.median(images[frames][:, whole], axis=0).round()
                mended = True
        if not mended:
            break
    return background


def sampled_background(images: Iterable[Images]) -> Images:
    """Background (h, w, C) of a sequence of images (h, w, C), uint8, in order of time; see the module's header."""
    sampler = FrameSampler()
    for index, image in enumerate(images):
        if sampler.wants(index):
            sampler.add(index, image)
    return learn_background(sampler.images())


class FrameSampler:
    """Chooses frames of a stream of unknown length, in bounded memory: evenly spaced ones, and new ones.

    Whenever the evenly spaced frames fill their store, every second one is dropped and their interval doubled.  A new
    frame differs from the one kept before it; where the store of new frames is full, the one that differs least is
    dropped.  ``even`` and ``novel`` limit the numbers: fewer than 2 ``even`` + ``novel`` + 1 frames are held.
    """

    def __init__(self, even: int = EVEN_FRAMES, novel: int = NOVEL_FRAMES) -> None:
        self._even_limit, self._novel_limit = even, novel
        self._every = 1
        self._even: dict[int, Images] = {}
        self._novel: dict[int, tuple[Images, NDArray[np.int16]]] = {}
        self._change: dict[int, float] = {}

    def wants(self, index: int) -> bool:
        """Whether frame number ``index`` should be given to :meth:`add`: a frame that is not need not be decoded."""
        return index % max(1, self._every // CANDIDATES) == 0

    def add(self, index: int, image: Images) -> None:
        """Look at frame number ``index``, an image (h, w, C), uint8; numbers must increase.  Keeps a copy."""
        image = image.copy()
        if index % self._every == 0:
            self._even[index] = image
            if len(self._even) == 2 * self._even_limit:
                self._every *= 2
                self._even = {
                    number: kept for number, kept in self._even.items() if number % self._every == 0
                }
        step = max(1, -(-max(image.shape[:2]) // NOVELTY_PX))
        small = image[::step, ::step, image.shape[-1] // 2].astype(np.int16)
        before = next(reversed(self._novel), None)
        self._novel[index] = image, small
        self._change[index] = np.inf if before is None else _change(self._novel[before][1], small)
        if len(self._novel) > self._novel_limit:
            self._drop_least_novel()

    def _drop_least_novel(self) -> None:
        numbers = list(self._novel)
        place = min(range(len(numbers)), key=lambda i: self._change[numbers[i]])
        del self._novel[numbers[place]], self._change[numbers[place]]
        if 0 < place < len(numbers) - 1:
            before, after = numbers[place - 1], numbers[place + 1]
            self._change[after] = _change(self._novel[before][1], self._novel[after][1])

    def images(self) -> Images:
        """The frames kept so far (T, h, w, C), in order of time, each of them once."""
        kept = {**self._even, **{number: image for number, (image, _) in self._novel.items()}}
        return np.stack([kept[number] for number in sorted(kept)])


def _change(first: NDArray[np.int16], second: NDArray[np.int16]) -> float:
    """Share of the pixels that differ between two images (h, w), without a change of brightness of both."""
    difference = (first - second).astype(np.float32)
    smooth = ndimage.uniform_filter(difference - np.median(difference), 3)
    return float((np.abs(smooth) > NOVEL_LEVEL).mean())


def _reduced(image: Images, factor: int) -> Images:
    """Image (h', w', C) of an image (h, w, C), reduced by a whole ``factor``."""
    if factor == 1:
        return image
    padding = [(0, -side % factor) for side in image.shape[:2]]
    padded = np.pad(image, [*padding, (0, 0)], mode="edge").astype(np.float32)
    height, width = padded.shape[0] // factor, padded.shape[1] // factor
    blocks = padded.reshape(height, factor, width, factor, -1)
    return np.asarray(blocks.mean(axis=(1, 3)).round(), dtype=np.uint8)


def _edge_strength(image: Images) -> fg.Floats:
    """Largest edge strength (h, w) of the channels of an image (h, w, C): a coat may be as light as the ground."""
    channels = np.moveaxis(image, -1, 0)
    return np.asarray(np.max([fg.edge_strength(channel) for channel in channels], axis=0), dtype=np.float64)


def _enlarged(mask: fg.Masks, factor: int, size: tuple[int, int]) -> fg.Masks:
    """Bring a mask (h', w') of reduced images back to the ``size`` (h, w) of the images."""
    return mask.repeat(factor, axis=0).repeat(factor, axis=1)[: size[0], : size[1]]


def _ghosts(images: Images, edges: list[fg.Floats], background: Images) -> fg.Masks:
    """Masks (T, h, w) of the ghosts in images (T, h, w, C), whose edge strengths are given."""
    behind = _edge_strength(background)
    masks = fg.changed(fg.changes(images, background))
    for mask, strength in zip(masks, edges, strict=True):
        mask &= ~fg.without_ghosts(mask, strength, behind)
    return masks


def _resting_places(ghosts: fg.Masks, least: int) -> list[tuple[fg.Masks, NDArray[np.int64]]]:
    """Regions (h, w) that are ghosts in at least ``least`` frames, each with the numbers of these frames."""
    voted = ghosts.sum(axis=0) >= least
    labels, count = ndimage.label(ndimage.binary_dilation(voted, iterations=MARGIN_PX))
    found = []
    for number in range(1, count + 1):
        region = labels == number
        core = region & voted
        likely = np.flatnonzero(ghosts[:, core].mean(axis=1) > GHOST_SHARE)
        frames = np.asarray(
            [row for row in likely.tolist() if _lies_in(ghosts[row], core, region)], dtype=np.int64
        )
        if len(frames) >= least:
            found.append((region, frames))
    return found


def _lies_in(ghosts: fg.Masks, core: fg.Masks, region: fg.Masks) -> bool:
    """Whether the ghosts (h, w) that meet a core lie mostly in its region.

    Ghosts always have the outline of the animal that has left.  A walking animal that looks like one, because its
    outline is faint, has another outline in each frame, and these have only a small part in common.
    """
    labels, _ = ndimage.label(ghosts, structure=np.ones((3, 3)))
    meets = np.isin(labels, np.setdiff1d(labels[core], 0))
    return bool((meets & region).sum() > WITHIN_SHARE * meets.sum())


def _outline_strength(background: Images, region: fg.Masks) -> float:
    """Total edge strength of a background (h, w, C) along the outline of a region (h, w)."""
    band = region & ~ndimage.binary_erosion(region, iterations=2 * MARGIN_PX)
    return float(_edge_strength(background)[band].sum())
