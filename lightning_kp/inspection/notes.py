"""Notes on videos: what may go wrong in discovery, and what to do about it."""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from lightning_kp.inspection.advice import CROWDED, SHAKE_PX, Suggestion, clock, longest_side
from lightning_kp.inspection.measures import Measured, Sampled
from lightning_kp.video.reader import VideoInfo

FLICKER = 5.0  # grey levels, 2 % of the range
SCATTERED = 6.0  # regions per frame: leaves, water, reflections, or a crowd
ALIKE_SHARE = 0.5  # of the frames
SHORT_S = 10.0  # an animal that rests most of so short a time passes for background
TINY_PX = 8.0  # network pixels at the largest size: two or three heatmap cells


class Trouble(StrEnum):
    """What may keep discovery from working; the value is a key in JSON."""

    FILE = "file"
    STILL = "nothing moves"
    TINY = "tiny"
    ALIKE = "look-alikes"
    SHAKE = "camera shake"
    FLICKER = "flicker"
    BACKGROUND = "moving background"
    UNUSUAL = "something large appears"
    SHORT = "short"
    PART = "partly looked at"


class Note(NamedTuple):
    """A trouble in words that say what to do."""

    trouble: Trouble
    text: str


def notes_on(sampled: Sampled, measured: Measured, suggestion: Suggestion) -> tuple[Note, ...]:
    """What may keep discovery from working on this video, in words that say what to do."""
    notes = [Note(Trouble.FILE, problem) for problem in sampled.info.problems]
    notes += _camera_notes(sampled.info, measured)
    notes += _thing_notes(sampled.info, measured, suggestion)
    if (seconds := sampled.decoded / sampled.info.fps) < SHORT_S:
        notes.append(Note(
            Trouble.SHORT, f"Only {clock(seconds)} of video: what hardly leaves its place meanwhile passes for "
            "background here. Trust the figures less, and give discovery more video."))  # fmt: skip
    if not sampled.is_whole:
        seen = clock(sampled.decoded / sampled.info.fps)
        notes.append(Note(Trouble.PART, f"Only the first {seen} were looked at (--frames changes that)."))
    return tuple(notes)


def _camera_notes(info: VideoInfo, measured: Measured) -> Iterator[Note]:
    if measured.shake_px > SHAKE_PX * max(info.frame_size):
        yield Note(
            Trouble.SHAKE,
            f"The camera moves by about {measured.shake_px:.1f} px. Background edges will look like motion: "
            "undo the motion (--data.preprocessing.registration=translation; --preview translation shows it), and "
            "trust sizes and speeds here less.",
        )
    if measured.flicker > FLICKER:
        yield Note(
            Trouble.FLICKER,
            f"The light changes by {measured.flicker:.0f} of 255 grey levels. Choose a target that looks at "
            "structure (--model.target ssim).",
        )
    if measured.unusual > 0:
        yield Note(
            Trouble.UNUSUAL,
            f"In {100 * measured.unusual:.1f} % of the frames something far larger than usual appears (a hand, "
            "a door, a light): better leave those stretches out.",
        )


def _thing_notes(info: VideoInfo, measured: Measured, suggestion: Suggestion) -> Iterator[Note]:
    if measured.things == 0:
        yield Note(
            Trouble.STILL,
            "Nothing moves in the frames looked at. Discovery learns from motion: use a stretch of video in "
            "which the animal moves.",
        )
    crowded, scattered = measured.covered > CROWDED, measured.regions > SCATTERED
    if crowded or scattered:
        share = f"{100 * measured.covered:.0f} % of the picture moves"
        yield Note(
            Trouble.BACKGROUND,
            (share if crowded else f"About {measured.regions:.0f} separate regions move at a time")
            + ": a moving background, reflections, a crowd, or a moving camera. Keypoints may go there; crop to "
            "the animal, or film against something that stays still.",
        )
    body = measured.size_px * suggestion.size.value / longest_side(info, measured, suggestion.box.value)
    if body < TINY_PX:
        yield Note(
            Trouble.TINY,
            f"Moving things are about {measured.size_px:.0f} px large, {body:.0f} px in the network's image: too "
            "small for several keypoints. Crop closer, or film closer.",
        )
    if measured.alike > ALIKE_SHARE and not (crowded or scattered):
        yield Note(
            Trouble.ALIKE,
            f"{measured.things} things look alike. Discovery finds one set of keypoints for the picture and may "
            "swap animals; different coats, or one animal in each crop, work better.",
        )
