"""Keypoints of one video or of a stack of images, in pixels, and the forms that other tools read."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lightning_kp.api.paths import PathLike
from lightning_kp.errors import ConfigurationError
from lightning_kp.files import replacing, unique_stems
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.tracks.table import Tracks, animal_names
from lightning_kp.tracks.writing import FORMATS, deeplabcut_pieces, tidy_frame, write_tracks

if TYPE_CHECKING:
    import pandas as pd
    from xarray import Dataset

SOURCE = "lightning_kp"


@dataclass(frozen=True, eq=False, repr=False)
class Poses:
    """Keypoints of every frame of one video, or of every image of a stack.

    Pixels count pixel centres of the original frames: the centre of the top left pixel is (0, 0).

    Attributes:
        tracks: The arrays, see :class:`lightning_kp.tracks.table.Tracks`.

    Example:
        poses = kp.load("runs/me").predict("new.mp4")
        nose_px = poses.points_px[:, 0, 0]  # (frames, 2): the first keypoint of the first instance
        table = poses.to_pandas()
        poses.to_sleap("new.slp")
        poses.save("out/")                  # out/tracks/new.csv, .slp, .dlc.csv, .dlc.h5
    """

    tracks: Tracks

    @classmethod
    def read(cls, path: PathLike) -> Self:
        """Read a file that :meth:`save` or ``kp track`` wrote (.csv, .slp, .dlc.csv, .dlc.h5).  Raises DataError."""
        return cls(read_tracks(Path(path)))

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.tracks)

    def __repr__(self) -> str:
        frames, instances, keypoints = self.confidence.shape
        return (
            f"Poses({self.name}: {frames} frames, {instances} instance{'s' * (instances > 1)}, "
            f"{keypoints} keypoints {', '.join(self.keypoint_names)})"
        )

    @property
    def points_px(self) -> NDArray[np.float32]:
        """Points (T, I, K, 2) as (x, y) in pixels of the original frames; NaN = absent."""
        return self.tracks.points_px

    @property
    def confidence(self) -> NDArray[np.float32]:
        """Confidence (T, I, K) in [0, 1]; 0 = absent."""
        return self.tracks.confidence

    @property
    def covariance_px(self) -> NDArray[np.float32]:
        """Covariance (T, I, K, 3) as (var x, var y, cov xy) in px^2; NaN = unknown."""
        return self.tracks.covariance_px

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Presentation times (T,) in seconds; for images their numbers, since they carry no times."""
        return self.tracks.times_s

    @property
    def fps(self) -> float:
        """Frames per second; 0 = unknown, as for images."""
        return self.tracks.fps

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the original frames in pixels; (0, 0) = unknown."""
        return self.tracks.frame_size

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        """Names of the K keypoints; kp01, kp02, ... where they were discovered."""
        return self.tracks.keypoint_names

    @property
    def instance_names(self) -> tuple[str, ...]:
        """Names of the I instances in tables and files: animal1, animal2, ..."""
        return animal_names(self.confidence.shape[1])

    @property
    def name(self) -> str:
        """The video's name without folder and suffix; ``images`` for a stack of images."""
        return unique_stems([Path(self.tracks.video or "images")])[0]

    def to_pandas(self, layout: Literal["tidy", "deeplabcut"] = "tidy") -> "pd.DataFrame":
        """Return a table.

        Args:
            layout: ``tidy``, one row per frame, instance and keypoint with the columns of our .csv files (frame,
                time_s, animal, keypoint, x, y, confidence, var_x, var_y, cov_xy); or ``deeplabcut``, one row per
                frame with the column levels scorer, (individuals, if several), bodyparts, coords.
        """
        import pandas as pd

        if layout == "tidy":
            return tidy_frame(self.tracks, 0)
        if layout == "deeplabcut":
            return pd.concat(list(deeplabcut_pieces(self.tracks)))
        raise ConfigurationError(f"There is no layout '{layout}'.", remedy="Use 'tidy' or 'deeplabcut'.")

    def to_xarray(self) -> "Dataset":
        """Return a poses dataset of ``movement``: position (time, space, keypoints, individuals) and confidence.

        Time is in seconds, in frame numbers where the frame rate is unknown.  Raises ConfigurationError without the
        extra ``analysis``.
        """
        try:
            from movement.io import load_poses
        except ImportError as error:
            raise ConfigurationError(
                "to_xarray needs the package movement.", remedy='pip install "lightning-kp[analysis]"'
            ) from error
        dataset: Any = load_poses.from_numpy(
            position_array=self.points_px.transpose(0, 3, 2, 1),
            confidence_array=self.confidence.transpose(0, 2, 1),
            individual_names=list(self.instance_names),
            keypoint_names=list(self.keypoint_names),
            fps=self.fps or None,
            source_software=SOURCE,
        )
        if self.fps:  # the real times, also where the frame rate varies
            dataset = dataset.assign_coords(time=self.times_s)
        return dataset  # type: ignore[no-any-return]

    def to_sleap(self, path: PathLike) -> Path:
        """Write a .slp file for SLEAP and return its path."""
        target = Path(path)
        if target.suffix != ".slp":
            raise ConfigurationError(
                f"{target} is not the name of a SLEAP file.", remedy=f"Use {target.with_suffix('.slp')}"
            )
        _, write = FORMATS["slp"]
        with replacing(target) as temporary:
            write(self.tracks, temporary, None)
        return target

    def save(self, folder: PathLike, formats: Iterable[str] | None = None) -> list[Path]:
        """Write ``folder/tracks/<video>.*`` as ``kp track --out folder`` does, and return the paths.

        Args:
            folder: Any folder; the verbs that read tracks accept it as a run folder.
            formats: Some of slp, csv, dlc_csv, dlc_h5; all by default.
        """
        return write_tracks(self.tracks, Path(folder) / "tracks" / self.name, formats)
