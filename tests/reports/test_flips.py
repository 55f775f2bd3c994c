"""The section of a report that lists keypoints at wrong ends."""

from report_folders import EVIL

from lightning_kp.reports.flips import MAX_FLIPS, flips
from lightning_kp.reports.videos import RunVideo

FLIP = {
    "frame": 7, "last_frame": 9, "start_s": 0.28, "end_s": 0.36, "animal": 2, "keypoints": ["kp02", EVIL],
    "kind": "exchange", "mended": True,
}  # fmt: skip
VIDEOS = [RunVideo("mouse", 0, None)]


def test_a_flip_is_listed_with_frames_times_and_a_button() -> None:
    markup = flips({"mouse": [FLIP], "unknown video": [FLIP | {"kind": "jump", "mended": False}]}, VIDEOS)
    assert markup.count("<tr>") == 3
    assert (
        'data-video="video-0" data-time="0.3000">7</button>' in markup
    )  # the middle of frame 7 at 25 per second
    assert markup.count("<button") == 1
    for text in (
        ">9<",
        "0.28",
        "0.36",
        "kp02, &lt;script&gt;",
        "exchanged places",
        "put back",
        "left as found",
    ):
        assert text in markup
    assert EVIL not in markup


def test_no_flips_make_no_section_and_many_are_cut() -> None:
    assert flips({}, VIDEOS) == ""
    assert flips({"mouse": []}, VIDEOS) == ""
    markup = flips({"mouse": [FLIP] * (MAX_FLIPS + 1)}, VIDEOS)
    assert markup.count("<tr>") == MAX_FLIPS + 1
    assert f"The first {MAX_FLIPS} of {MAX_FLIPS + 1} are listed." in markup
