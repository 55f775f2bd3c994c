"""What to begin with and what to beware of, from what was measured on a video."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from lightning_kp.inspection.measures import Box, Measured
from lightning_kp.motion.boxes import FOLLOW
from lightning_kp.video.reader import VideoInfo

# What suggestions aim at, each with its reason.
STEP = 1 / 3  # of a thing's size within a pair: far enough to be seen, near enough to be the same posture
LONGEST_GAP_S = 1.0  # later an animal may be doing something else
LONGEST_GAP_SHARE = 0.25  # of the frames (ours): a longer gap leaves few pairs, or none to validate with
BODY_PX = 16.0  # network pixels: room for about eight parts that are told apart
SIZES = (64, 96, 128, 160, 192, 224, 256)  # 256 is the paper's; time grows with the square
PART_PX = 4.0  # network pixels that one keypoint needs for itself in each direction
FIRST_THING, FURTHER_THING = 8, 4  # B-KinD takes 10 for two mice and 12 for two flies
MOST_KEYPOINTS = 16  # B-KinD's number for a person
WORTHWHILE_CROP = 1.2  # a crop should enlarge the animal by a fifth at least
FOLLOWED_SIDE = 2.0  # sizes of the animal: about what the square that follows it shows
WORTHWHILE_FOLLOWING = 2.5  # enlarges by so much, or the whole picture does as well
ALONE_REGIONS = 1.5  # moving regions per frame: a second animal that stands out less is one of them
# When to warn.
SHAKE_PX = 0.004  # of the longest side: one pixel of a 256 px image
CROWDED = 0.25  # share of the picture that moves: no animal in an arena is as large


class Choice(NamedTuple):
    """A suggested value and why."""

    value: Any
    reason: str


FOLLOWED_SIZE = Choice(96, "fine enough for the parts of an animal that fills half the picture")


class Suggestion(NamedTuple):
    """Settings to begin with.

    ``gap`` in frames, or as "0.25s" for videos of several frame rates; ``box`` (left, top, right,
    bottom) in original pixels, "follow" for a square that goes with the animal, or None; ``size`` of
    the network's image in pixels; number of ``keypoints``.
    """

    gap: Choice
    box: Choice
    size: Choice
    keypoints: Choice


def suggest(info: VideoInfo, measured: Measured, *, may_follow: bool = True) -> Suggestion:
    """Settings to begin with for one video."""
    box = _suggest_box(info, measured, may_follow)
    longest = longest_side(info, measured, box.value)
    size = FOLLOWED_SIZE if box.value == FOLLOW else _suggest_size(measured, longest)
    return Suggestion(
        _suggest_gap(info, measured), box, size, _suggest_keypoints(measured, size.value / longest)
    )


def _suggest_gap(info: VideoInfo, measured: Measured) -> Choice:
    choice = _gap_for_motion(info, measured)
    if info.n_frames is None or choice.value <= (most := max(1, int(LONGEST_GAP_SHARE * info.n_frames))):
        return choice
    return Choice(most, f"a quarter of the video's {info.n_frames} frames: a longer gap leaves few pairs")


def _gap_for_motion(info: VideoInfo, measured: Measured) -> Choice:
    longest = max(1, round(LONGEST_GAP_S * info.fps))
    if not measured.speed > 0:
        return Choice(max(1, round(0.2 * info.fps)), "a fifth of a second: no speed could be measured")
    gap = round(STEP * info.fps / measured.speed)
    if gap > longest:
        return Choice(
            longest, f"one second at most: things move only {measured.speed:.2f} of their size in it"
        )
    gap = max(1, gap)
    step = measured.speed * gap / info.fps
    return Choice(gap, f"{gap / info.fps:.2f} s, in which a moving thing goes about {step:.2f} of its size")


def _suggest_box(info: VideoInfo, measured: Measured, may_follow: bool) -> Choice:
    whole = max(info.frame_size)
    if measured.box is None:
        return Choice(None, "the whole picture: nothing moved")
    followed = whole / longest_side(info, measured, FOLLOW)
    if may_follow and _is_alone(info, measured) and followed >= WORTHWHILE_FOLLOWING:
        return Choice(
            FOLLOW, f"a square that goes with the one moving thing shows it {followed:.1f} times larger"
        )
    left, top, right, bottom = measured.box
    gain = whole / max(right - left, bottom - top)
    if gain < WORTHWHILE_CROP:
        return Choice(None, "the whole picture: things move nearly everywhere in it")
    return Choice(
        measured.box, f"nothing moves outside; things become {gain:.1f} times larger for the network"
    )


def _is_alone(info: VideoInfo, measured: Measured) -> bool:
    """Whether there is one thing to follow, before a background that a camera which stands still can know."""
    steady = measured.shake_px <= SHAKE_PX * max(info.frame_size) and measured.covered <= CROWDED
    seen = measured.size_px >= BODY_PX  # in the frame: no square gives an animal of fewer pixels parts
    return measured.things == 1 and measured.regions < ALONE_REGIONS and steady and seen


def longest_side(info: VideoInfo, measured: Measured, box: Box | str | None) -> float:
    """Original pixels that the network's square image shows along its side."""
    whole = max(info.frame_size)
    if isinstance(box, str):
        return min(float(whole), FOLLOWED_SIDE * measured.size_px)
    return whole if box is None else max(box[2] - box[0], box[3] - box[1])


def _suggest_size(measured: Measured, longest: float) -> Choice:
    if not measured.size_px > 0:
        return Choice(128, "a middle value: nothing moved")
    size = next((each for each in SIZES if measured.size_px * each / longest >= BODY_PX), SIZES[-1])
    body = measured.size_px * size / longest
    if body < BODY_PX:
        return Choice(
            size, f"the largest that trains in reasonable time; things are only {body:.0f} px large in it"
        )
    return Choice(
        size, f"the smallest in which things of {measured.size_px:.0f} px keep {BODY_PX:.0f} px ({body:.0f})"
    )


def _suggest_keypoints(measured: Measured, scale: float) -> Choice:
    if not measured.size_px > 0:
        return Choice(FIRST_THING, "the usual number for one animal: nothing moved")
    things = max(1, measured.things)
    usual = min(MOST_KEYPOINTS, FIRST_THING + FURTHER_THING * (things - 1))
    room = max(2, round((measured.size_px * scale / PART_PX) ** 2)) * things
    if room < usual:
        return Choice(room, "there is no room for more on so few pixels")
    why = f"{FIRST_THING} for one moving thing"
    return Choice(
        usual, why if things == 1 else f"{why} and {FURTHER_THING} for each further one (there are {things})"
    )


def together(inspected: Sequence[tuple[VideoInfo, Measured, Suggestion]]) -> Suggestion:
    """One suggestion for all: the middle gap in time, the largest size, the box that holds every box.

    The animal is followed where it can be in every video in which anything moves.
    """
    if len(inspected) == 1:
        return inspected[0][2]
    moving = [each for each in inspected if each[1].box is not None] or list(inspected)
    if all(suggestion.box.value == FOLLOW for _, _, suggestion in moving):
        videos = [(info, suggestion) for info, _, suggestion in moving]
    else:
        videos = [(info, suggest(info, measured, may_follow=False)) for info, measured, _ in inspected]
    seconds = statistics.median(suggestion.gap.value / info.fps for info, suggestion in videos)
    rates = {round(info.fps, 1) for info, _ in videos}
    gap = Choice(
        max(1, round(seconds * rates.pop())), f"{seconds:.2f} s, the middle of what suits each video"
    )
    if rates:
        gap = Choice(f"{seconds:.2f}s", "the middle of what suits each video, in seconds: their rates differ")
    sizes = [suggestion.size.value for _, suggestion in videos]
    counts = [suggestion.keypoints.value for _, suggestion in videos]
    return Suggestion(
        gap,
        _common_box(videos),
        Choice(
            max(sizes),
            "the largest that one of the videos needs" if len(set(sizes)) > 1 else "the same for all",
        ),
        Choice(
            max(counts),
            "the most that one of them has room for" if len(set(counts)) > 1 else "the same for all",
        ),
    )


def _common_box(videos: Sequence[tuple[VideoInfo, Suggestion]]) -> Choice:
    boxes = [suggestion.box.value for _, suggestion in videos]
    if all(box == FOLLOW for box in boxes):
        return videos[0][1].box
    if len({info.frame_size for info, _ in videos}) > 1:
        return Choice(None, "the whole picture: the videos differ in size")
    if any(box is None for box in boxes):
        return Choice(None, "the whole picture: one of the videos needs all of it")
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return Choice(
        (min(lefts), min(tops), max(rights), max(bottoms)), "holds all that moves in any of the videos"
    )


def crop_words(box: Box | str | None) -> str:
    """A suggested box in words: "none", "follow", or its edges."""
    if box is None:
        return "none"
    return box if isinstance(box, str) else ",".join(map(str, box))


def clock(seconds: float) -> str:
    """Seconds in words: "12.0 s", "1 min 18 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
