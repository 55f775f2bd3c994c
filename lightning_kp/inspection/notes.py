"""Notes on a video: what may disturb discovery, and what to do about it."""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from lightning_kp.inspection.advice import CROWDED_SHARE, Suggestion, duration_text, shown_side_px
from lightning_kp.inspection.measures import Measured, Sampled
from lightning_kp.inspection.shake import MAX_SHAKE
from lightning_kp.motion.boxes import followed_animals
from lightning_kp.video.reader import VideoInfo

# Limits above or below which a note is written; all are ours.
FLICKER = 5.0  # grey levels, 2 % of the range
SCATTERED = 6.0  # moving regions per frame: leaves, water, reflections, or a crowd
SHORT_S = 10.0  # seconds: an animal that rests for most of a shorter time is taken for background
ABSENCES = 5  # stretches without an animal that are listed
TINY_PX = 8.0  # pixels of the network's image at its largest size: two or three heatmap cells


class Trouble(StrEnum):
    """What may disturb discovery; the text is stored in inspection.json."""

    FILE = "file"
    STILL = "nothing moves"
    TINY = "tiny"
    ALIKE = "look-alikes"
    SHAKE = "camera shake"
    FLICKER = "flicker"
    BACKGROUND = "moving background"
    UNUSUAL = "something large appears"
    ABSENT = "no animal found"
    SHORT = "short"
    PART = "partly looked at"


class Note(NamedTuple):
    """A trouble and a text that explains it and says what to do."""

    trouble: Trouble
    text: str


def notes_on(sampled: Sampled, measured: Measured, suggestion: Suggestion) -> tuple[Note, ...]:
    """Describe what may disturb discovery on this video, each with advice."""
    notes = [Note(Trouble.FILE, problem) for problem in sampled.info.problems]
    notes += _camera_notes(sampled.info, measured)
    notes += _animal_notes(sampled.info, measured, suggestion)
    notes += _absence_notes(measured)
    if (seconds := sampled.decoded / sampled.info.fps) < SHORT_S:
        text = (
            f"Only {duration_text(seconds)} of video were examined. An animal that hardly moves in this time is taken "
            "for background. Treat these measurements with caution and give discovery longer videos."
        )
        notes.append(Note(Trouble.SHORT, text))
    if not sampled.is_whole:
        seen = duration_text(sampled.decoded / sampled.info.fps)
        notes.append(Note(Trouble.PART, f"Only the first {seen} were examined (change this with --frames)."))
    return tuple(notes)


def _camera_notes(info: VideoInfo, measured: Measured) -> Iterator[Note]:
    if measured.shake_px > MAX_SHAKE * max(info.frame_size):
        yield Note(
            Trouble.SHAKE,
            f"The camera moves by about {measured.shake_px:.1f} px, so that edges of the background look like motion. "
            "Correct it with --data.preprocessing.registration=translation (--preview translation shows the effect), "
            "and treat the sizes and speeds reported here with caution.",
        )
    if measured.flicker > FLICKER:
        yield Note(
            Trouble.FLICKER,
            f"The brightness changes by {measured.flicker:.0f} of 255 grey levels. Choose a training target that "
            "compares structure instead of brightness (--model.target ssim).",
        )
    if measured.unusual > 0:
        yield Note(
            Trouble.UNUSUAL,
            f"In {100 * measured.unusual:.1f} % of the frames something much larger than usual appears (a hand, "
            "a door, a change of light). Cut these sections out of the video.",
        )


def _absence_notes(measured: Measured) -> Iterator[Note]:
    if measured.absences:
        listed = "; ".join(str(each) for each in measured.absences[:ABSENCES])
        more = len(measured.absences) - ABSENCES
        rest = f"; and {more} more" if more > 0 else ""
        yield Note(Trouble.ABSENT, f"{listed}{rest}. Cut out sections in which there is no animal.")


def _animal_notes(info: VideoInfo, measured: Measured, suggestion: Suggestion) -> Iterator[Note]:
    if measured.count.animals == 0:
        yield Note(
            Trouble.STILL,
            "Nothing moves in the frames examined. Discovery learns from motion: use a section of video in "
            "which the animal moves.",
        )
    crowded, scattered = measured.covered > CROWDED_SHARE, measured.regions > SCATTERED
    if crowded or scattered:
        share = f"{100 * measured.covered:.0f} % of the frame moves"
        yield Note(
            Trouble.BACKGROUND,
            (share if crowded else f"About {measured.regions:.0f} separate regions move at a time")
            + ", which suggests a moving background, reflections, a crowd, or a moving camera. Keypoints may settle "
            "there. Crop to the animal, or film it against a background that stays still.",
        )
    body = measured.size_px * suggestion.size.value / shown_side_px(info, measured, suggestion.box.value)
    if body < TINY_PX:
        yield Note(
            Trouble.TINY,
            f"Moving animals are about {measured.size_px:.0f} px large, and {body:.0f} px in the network's image, "
            "which is too small for several keypoints. Crop more tightly, or film from closer up.",
        )
    has_squares = followed_animals(suggestion.box.value) > 0
    if measured.count.look_alike and not (crowded or scattered or has_squares):
        number = measured.count.animals
        yield Note(
            Trouble.ALIKE,
            f"{number} animals look alike, and keypoints in the whole picture confuse them. A square for each of them "
            f"(kp discover --animals {number}) keeps them apart where they do not touch.",
        )
