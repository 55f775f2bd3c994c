"""Look at videos before training: ``kp.inspect(videos)``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from lightning_kp.api.paths import PathLike, Paths, as_list
from lightning_kp.errors import ConfigurationError
from lightning_kp.files import unique_stems, write_whole
from lightning_kp.frames.thinning import parse_gap
from lightning_kp.inspection.advice import Suggestion
from lightning_kp.inspection.picture import write_picture
from lightning_kp.inspection.previews import CHOICES, write_preview
from lightning_kp.inspection.videos import Inspection, VideoInspection, inspect_videos
from lightning_kp.motion.animals import find_boxes
from lightning_kp.motion.boxes import AnimalBoxes, write_boxes
from lightning_kp.video.paths import find_videos

BoxSource = Literal["background", "ssim"]
MAX_FRAMES = 3000
"""Frames that are read of each video by default."""


def inspect(
    videos: Paths,
    *,
    out: PathLike | None = None,
    frames: int = MAX_FRAMES,
    preview: str | Sequence[str] = (),
    boxes: PathLike | None = None,
    animals: int | None = None,
    boxes_from: BoxSource = "background",
    box_side: int | None = None,
) -> "VideoReport":
    """Measure what videos show and suggest gap, crop, image size and number of keypoints for discovery.

    Args:
        videos: Video files, folders or globs.
        out: A folder for inspection.png, inspection.txt and inspection.json.
        frames: Read at most this many frames of each video.
        preview: With ``out``, also draw the effect of preprocessing: ``all``, or some of hsv, ssim, filter,
            translation, similarity.
        boxes: Write a csv file with a box around each animal, for the setting ``data.boxes``.
        animals: With ``boxes``, the number of animals; by default the number of moving regions.
        boxes_from: With ``boxes``, where animals are found: in the difference from the background (``background``)
            or from the frame one gap later (``ssim``, for changing scenes).
        box_side: With ``boxes``, side of the squares in pixels.

    Raises:
        VideoError: A path names no video, or a video has no usable frame.
        ConfigurationError: An unknown preview, or a preview without ``out``.

    Example:
        found = kp.inspect("videos/")
        print(found)
        settings = found.settings  # {"data.gap": 6, "data.size": 96, "model.keypoints": 8}
    """
    names = preview_names(preview, out)
    with tqdm(desc="inspect", unit="frame", delay=2.0, leave=False) as bar:
        inspection = inspect_videos(find_videos(as_list(videos)), frames=frames, progress=bar.update)
    found = VideoReport(inspection, frames)
    if out is not None:
        found.write(out)
        found.write_previews(out, names)
    if boxes is not None:
        found.write_boxes(boxes, animals=animals, source=boxes_from, side_px=box_side)
    return found


def preview_names(names: str | Sequence[str], out: PathLike | None) -> tuple[str, ...]:
    """Return the names of preprocessings.  Raises ConfigurationError for an unknown one, or without ``out``."""
    if names == "all":
        names = tuple(CHOICES)
    chosen = tuple(name.strip() for name in (names.split(",") if isinstance(names, str) else names) if name)
    if unknown := [name for name in chosen if name not in CHOICES]:
        raise ConfigurationError(
            f"There is no preview '{unknown[0]}'.", remedy=f"Choose all, or some of {','.join(CHOICES)}."
        )
    if chosen and out is None:
        raise ConfigurationError("A preview needs a folder to write to.", remedy="Give out (--out DIR).")
    return chosen


@dataclass(frozen=True, eq=False, repr=False)
class VideoReport:
    """What was measured in videos, and the suggested settings; printed as text.

    Attributes:
        inspection: The measurements of each video.
        frames: How many frames of each were read at most.

    Example:
        found = kp.inspect("videos/", frames=200)
        print(found.suggestion.size.value, found.suggestion.size.reason)
        found.write("inspected/")
    """

    inspection: Inspection
    frames: int = MAX_FRAMES

    def __repr__(self) -> str:
        return self.inspection.text()

    @property
    def videos(self) -> tuple[VideoInspection, ...]:
        """Each video: the file's facts, measurements, problems, suggestion."""
        return self.inspection.videos

    @property
    def suggestion(self) -> Suggestion:
        """Gap, box, size and keypoints that suit all videos, each with its reason."""
        return self.inspection.suggestion

    @property
    def settings(self) -> dict[str, Any]:
        """The suggestion as settings for :func:`lightning_kp.discover` or ``kp fit``, by option name."""
        gap, box, size, keypoints = (choice.value for choice in self.suggestion)
        found = {"data.gap": gap, "data.size": size, "data.boxes": box, "model.keypoints": keypoints}
        return {name: value for name, value in found.items() if value is not None}

    def to_json(self) -> str:
        """All measurements as JSON text; NaN is null."""
        return self.inspection.to_json()

    def write(self, folder: PathLike) -> list[Path]:
        """Write inspection.png, inspection.txt and inspection.json and return their paths."""
        picture, text, json = (Path(folder) / f"inspection.{suffix}" for suffix in ("png", "txt", "json"))
        write_picture(self.inspection, picture)
        write_whole(text, self.inspection.text() + "\n")
        write_whole(json, self.to_json() + "\n")
        return [picture, text, json]

    def write_previews(self, folder: PathLike, names: Sequence[str]) -> list[Path]:
        """Draw the effect of preprocessing, one picture for each video, with the gap that is suggested for it."""
        if not names:
            return []
        paths = [video.info.path for video in self.videos]
        pictures = [Path(folder) / f"preprocessing_{stem}.png" for stem in unique_stems(paths)]
        for video, picture in zip(self.videos, pictures, strict=True):
            gap = int(video.suggestion.gap.value)
            write_preview(video.info.path, picture, tuple(names), gap=gap, frames=self.frames)
        return pictures

    def write_boxes(
        self,
        path: PathLike,
        *,
        animals: int | None = None,
        source: BoxSource = "background",
        side_px: int | None = None,
    ) -> list[AnimalBoxes]:
        """Find a box around each animal in every frame and write those of all videos into one csv file.

        Returns boxes (T, I, 4) of each video as left, top, right, bottom in pixels.  Raises ConfigurationError where
        two videos have one name.
        """
        names = [video.info.path.name for video in self.videos]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationError(
                f"Several videos are called {repeated[0]}; a file of boxes identifies videos by name.",
                remedy="Write one file for each, or rename them.",
            )
        found = [self._boxes_of(video, animals, source, side_px) for video in self.videos]
        write_boxes(found, Path(path))
        return found

    @staticmethod
    def _boxes_of(
        video: VideoInspection, animals: int | None, source: BoxSource, side_px: int | None
    ) -> AnimalBoxes:
        number = animals or max(1, video.measured.count.animals)
        gap = parse_gap(video.suggestion.gap.value, video.info.fps)
        with tqdm(desc=f"boxes {video.info.name}", unit="frame", delay=2.0, leave=False) as bar:
            return find_boxes(
                video.info.path, video.measured.background, number, source=source, gap=gap, side_px=side_px,
                progress=bar.update,
            )  # fmt: skip
