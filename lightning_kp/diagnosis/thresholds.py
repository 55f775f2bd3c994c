"""The limits by which :mod:`lightning_kp.diagnosis.judgement` judges a discovery run."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """The verdict's limits, each with unit, meaning and reason.

    All values are ours: no paper judges discovery without labels.  A body size is the side of a square with the
    area of the animal; distances given in body sizes are never below ``min_distance_px``.
    """

    min_overlap: float = 0.1
    """Share of the disc around a keypoint that has to be foreground for it to be on the animal.

    A disc that just reaches the animal's outline has this share.
    """
    found_on_animal: float = 0.95
    """Share of the frames in which a found keypoint is on the animal: one frame in twenty may be wrong."""
    failed_on_animal: float = 0.5
    """Share of the frames: below it a keypoint is more often on the background than on the animal."""
    centre_distance: float = 0.1
    """Half image sides from the image centre: the mean position of a flat heatmap is this close to it."""
    flat_width: float = 0.7
    """Width of a heatmap in widths of a uniform one: above it the heatmap has no clear peak."""
    still: float = 0.2
    """Spread of a keypoint relative to the animal's: below it the keypoint does not follow the animal."""
    roaming: float = 0.25
    """Body sizes: an animal whose position spreads less cannot show which keypoints follow it."""
    same_place: float = 0.15
    """Body sizes: a person would not name two parts closer than this differently."""
    same_share: float = 0.7
    """Share of the frames in which duplicates are in the same place; distinct parts only meet at times."""
    jitter: float = 0.1
    """Body sizes from frame to frame: more is visible as trembling in an overlay."""
    standing: float = 0.2
    """Share of the steps without movement while the animal moves; the true snout of an arena's animal has 0.04."""
    rotation: float = 0.5
    """Body sizes: an error beyond half a body may point to the animal's other end."""
    min_distance_px: float = 1.5
    """Pixels of the network's image: no distance limit is finer than what heatmaps resolve."""
    coverage_radius: float = 0.75
    """Body sizes around a found keypoint within which the foreground counts as covered."""
    run_coverage: float = 0.6
    """Share of the foreground: if less is covered, an animal or most of one has no keypoint."""
    run_found: float = 0.5
    """Share of the keypoints that have to be found for the run to count as found."""
    run_failed: float = 0.25
    """Share of the keypoints: a run that finds fewer has failed, as they make no pose."""
    small_body_px: float = 8.0
    """Pixels of the network's image: a smaller body has room for two or three keypoints only."""
    small_step: float = 0.1
    """Body sizes moved within a frame pair (upper quartile): less leaves nothing to reconstruct."""
    min_frames: int = 8
    """Frames with foreground that any statement about the animal needs."""
    min_steps: int = 300
    """Training steps: the small preset's terms are active from step 150 on and need about as many again."""
