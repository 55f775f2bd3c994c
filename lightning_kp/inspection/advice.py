"""Settings to start with, suggested from what was measured on a video.

All values are ours unless a comment names a source.
"""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from lightning_kp.inspection.measures import Box, Measured
from lightning_kp.inspection.shake import MAX_SHAKE
from lightning_kp.motion.boxes import FOLLOW, follow, followed_animals
from lightning_kp.video.reader import VideoInfo

# Targets of the suggestions.
TARGET_STEP = 1 / 3  # animal sizes moved within a pair: enough to be seen, little enough to keep the posture
MAX_GAP_S = 1.0  # seconds: later the animal may be doing something else
MAX_GAP_SHARE = 0.25  # share of the frames: a longer gap leaves few pairs, or none for validation
MIN_BODY_PX = 16.0  # pixels of the network's image: room for about eight distinct parts
IMAGE_SIZES = (
    64,
    96,
    128,
    160,
    192,
    224,
    256,
)  # pixels; B-KinD uses 256; training time grows with the square
PART_PX = 4.0  # pixels of the network's image that each keypoint needs in each direction
KEYPOINTS_FIRST_ANIMAL, KEYPOINTS_FURTHER_ANIMAL = (
    8,
    4,
)  # keypoints; B-KinD uses 10 for two mice and 12 for two flies
MAX_KEYPOINTS = 16  # B-KinD's number for a person
MIN_CROP_GAIN = 1.2  # a crop has to enlarge the animal by at least this factor
FOLLOWED_SIDE = 2.0  # animal sizes: about what a square that follows the animal shows
MIN_FOLLOWING_GAIN = 2.5  # following has to enlarge a single animal by at least this factor
MIN_SEPARATING_GAIN = 1.5  # and each of several, which are also separated by it, by at least this one
MAX_TOUCHING = 0.5  # share of the frames in which animals touch: with more, no square shows one alone
ALONE_REGIONS = (
    1.5  # moving regions per frame: with more, a second, less conspicuous animal may be among them
)
# Limits of the warnings.
CROWDED_SHARE = 0.25  # share of the frame that moves: no animal in an arena is that large


class Choice(NamedTuple):
    """A suggested value and the reason for it."""

    value: Any
    reason: str


FOLLOWED_SIZE = Choice(96, "fine enough for the parts of an animal that fills half of the image")


class Suggestion(NamedTuple):
    """Settings to start with.

    Attributes:
        gap: Gap of a frame pair in frames, or as "0.25s" for videos of several frame rates.
        box: (left, top, right, bottom) in original pixels, "follow" for a square that follows the animal, or None.
        size: Side of the network's image in pixels.
        keypoints: Number of keypoints.
    """

    gap: Choice
    box: Choice
    size: Choice
    keypoints: Choice


def suggest(info: VideoInfo, measured: Measured, *, may_follow: bool = True) -> Suggestion:
    """Suggest settings for one video.

    Args:
        info: Frame size, frame rate and length of the video.
        measured: What was measured on it.
        may_follow: Whether a square that follows the animal may be suggested.
    """
    box = _suggest_box(info, measured, may_follow)
    longest = shown_side_px(info, measured, box.value)
    follows = followed_animals(box.value) > 0
    size = FOLLOWED_SIZE if follows else _suggest_size(measured, longest)
    shown = 1 if follows else max(1, measured.count.animals)
    return Suggestion(
        _suggest_gap(info, measured), box, size, _suggest_keypoints(measured, size.value / longest, shown)
    )


def _suggest_gap(info: VideoInfo, measured: Measured) -> Choice:
    choice = _gap_for_motion(info, measured)
    if info.n_frames is None or choice.value <= (most := max(1, int(MAX_GAP_SHARE * info.n_frames))):
        return choice
    return Choice(
        most, f"a quarter of the video's {info.n_frames} frames, because a longer gap leaves few pairs"
    )


def _gap_for_motion(info: VideoInfo, measured: Measured) -> Choice:
    longest = max(1, round(MAX_GAP_S * info.fps))
    if not measured.speed > 0:
        return Choice(
            max(1, round(0.2 * info.fps)), "a fifth of a second, because no speed could be measured"
        )
    gap = round(TARGET_STEP * info.fps / measured.speed)
    if gap > longest:
        return Choice(
            longest, f"one second, the maximum, in which animals move only {measured.speed:.2f} of their size"
        )
    gap = max(1, gap)
    step = measured.speed * gap / info.fps
    return Choice(
        gap, f"{gap / info.fps:.2f} s, in which a moving animal covers about {step:.2f} of its size"
    )


def _suggest_box(info: VideoInfo, measured: Measured, may_follow: bool) -> Choice:
    whole = max(info.frame_size)
    if measured.box is None:
        return Choice(None, "the whole frame, because nothing moved")
    followed = whole / shown_side_px(info, measured, FOLLOW)
    if may_follow and _is_alone(info, measured) and followed >= MIN_FOLLOWING_GAIN:
        return Choice(
            FOLLOW, f"a square that follows the only moving animal shows it {followed:.1f} times larger"
        )
    number, obstacle = measured.count.animals, _obstacle_to_squares(info, measured, followed)
    if may_follow and number > 1 and not obstacle:
        return Choice(
            follow(number),
            f"a square for each of {number} animals shows it {followed:.1f} times larger, and alone",
        )
    together = f"; not a square for each animal, because {obstacle}" if may_follow and number > 1 else ""
    left, top, right, bottom = measured.box
    gain = whole / max(right - left, bottom - top)
    if gain < MIN_CROP_GAIN:
        return Choice(None, f"the whole frame, because animals move nearly everywhere in it{together}")
    return Choice(
        measured.box,
        f"nothing moves outside this box; it makes the animals {gain:.1f} times larger for the network"
        f"{together}",
    )


def _is_alone(info: VideoInfo, measured: Measured) -> bool:
    """Whether there is exactly one animal to follow."""
    return measured.count.animals == 1 and measured.regions < ALONE_REGIONS and _stands_out(info, measured)


def _obstacle_to_squares(info: VideoInfo, measured: Measured, gain: float) -> str:
    """Why no square should follow each of several animals, in words; empty if nothing speaks against it."""
    count = measured.count
    if not count.is_sure:
        return "their number is not sure (--animals N gives it)"
    if count.still:
        return f"{count.still} of them never moved"
    if count.touching > MAX_TOUCHING:
        return f"they touch in {100 * count.touching:.0f} % of the frames"
    if not _stands_out(info, measured):
        return "they cannot be told from the background reliably"
    if gain < MIN_SEPARATING_GAIN:
        return f"it would show them only {gain:.1f} times larger"
    return ""


def _stands_out(info: VideoInfo, measured: Measured) -> bool:
    """Whether animals are large enough, in front of a background that a still camera can learn."""
    is_steady = measured.shake_px <= MAX_SHAKE * max(info.frame_size) and measured.covered <= CROWDED_SHARE
    # In original pixels: enlarging a smaller animal shows no more parts.
    return is_steady and measured.size_px >= MIN_BODY_PX


def shown_side_px(info: VideoInfo, measured: Measured, box: Box | str | None) -> float:
    """Side of what the network's square image shows, in original pixels."""
    whole = max(info.frame_size)
    if isinstance(box, str):
        return min(float(whole), FOLLOWED_SIDE * measured.size_px)
    return whole if box is None else max(box[2] - box[0], box[3] - box[1])


def _suggest_size(measured: Measured, longest: float) -> Choice:
    if not measured.size_px > 0:
        return Choice(128, "a medium size, because nothing moved")
    size = next(
        (each for each in IMAGE_SIZES if measured.size_px * each / longest >= MIN_BODY_PX), IMAGE_SIZES[-1]
    )
    body = measured.size_px * size / longest
    if body < MIN_BODY_PX:
        return Choice(
            size,
            f"the largest that trains in reasonable time; animals are still only {body:.0f} px large in it",
        )
    return Choice(
        size,
        f"the smallest at which animals of {measured.size_px:.0f} px keep at least {MIN_BODY_PX:.0f} px "
        f"({body:.0f} px)",
    )


def _suggest_keypoints(measured: Measured, scale: float, things: int) -> Choice:
    if not measured.size_px > 0:
        return Choice(KEYPOINTS_FIRST_ANIMAL, "the usual number for one animal; nothing moved")
    usual = min(MAX_KEYPOINTS, KEYPOINTS_FIRST_ANIMAL + KEYPOINTS_FURTHER_ANIMAL * (things - 1))
    room = max(2, round((measured.size_px * scale / PART_PX) ** 2)) * things
    if room < usual:
        return Choice(room, "animals of so few pixels have no room for more")
    if things == 1:
        return Choice(usual, f"{KEYPOINTS_FIRST_ANIMAL} for one animal")
    return Choice(
        usual,
        f"{KEYPOINTS_FIRST_ANIMAL} for the first moving animal and {KEYPOINTS_FURTHER_ANIMAL} for each further one "
        f"({things} in all)",
    )


def combine_suggestions(inspected: Sequence[tuple[VideoInfo, Measured, Suggestion]]) -> Suggestion:
    """Combine the suggestions for several videos: median gap in seconds, largest size, box around all boxes.

    The animal is followed if it can be followed in every video in which anything moves.
    """
    if len(inspected) == 1:
        return inspected[0][2]
    moving = [each for each in inspected if each[1].box is not None] or list(inspected)
    boxes = {str(suggestion.box.value) for _, _, suggestion in moving}
    if len(boxes) == 1 and followed_animals(boxes.pop()):
        videos = [(info, suggestion) for info, _, suggestion in moving]
    else:
        videos = [(info, suggest(info, measured, may_follow=False)) for info, measured, _ in inspected]
    seconds = statistics.median(suggestion.gap.value / info.fps for info, suggestion in videos)
    rates = {round(info.fps, 1) for info, _ in videos}
    gap = Choice(
        max(1, round(seconds * rates.pop())), f"{seconds:.2f} s, the median of what suits each video"
    )
    if rates:
        gap = Choice(
            f"{seconds:.2f}s",
            "the median of what suits each video, in seconds because the frame rates differ",
        )
    sizes = [suggestion.size.value for _, suggestion in videos]
    counts = [suggestion.keypoints.value for _, suggestion in videos]
    return Suggestion(
        gap,
        _common_box(videos),
        Choice(
            max(sizes),
            "the largest that any of the videos needs" if len(set(sizes)) > 1 else "the same for all videos",
        ),
        Choice(
            max(counts),
            "the most that any of the videos has room for"
            if len(set(counts)) > 1
            else "the same for all videos",
        ),
    )


def _common_box(videos: Sequence[tuple[VideoInfo, Suggestion]]) -> Choice:
    boxes = [suggestion.box.value for _, suggestion in videos]
    if all(followed_animals(box) for box in boxes):
        return videos[0][1].box
    if len({info.frame_size for info, _ in videos}) > 1:
        return Choice(None, "the whole frame, because the videos differ in frame size")
    if any(box is None for box in boxes):
        return Choice(None, "the whole frame, because at least one of the videos needs all of it")
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return Choice(
        (min(lefts), min(tops), max(rights), max(bottoms)),
        "contains everything that moves in any of the videos",
    )


def crop_text(box: Box | str | None) -> str:
    """A suggested box as text: "none", "follow", or its edges."""
    if box is None:
        return "none"
    return box if isinstance(box, str) else ",".join(map(str, box))


def duration_text(seconds: float) -> str:
    """A duration as text: "12.0 s", "1 min 18 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
