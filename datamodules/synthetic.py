"""A rendered arena as training data: video files with the ground truth of every keypoint."""

import zlib
from pathlib import Path
from typing import Literal

from lightning_kp.arena.recording import ArenaSettings, ArenaTruth, read_truth, write_arena
from lightning_kp.errors import ConfigurationError
from lightning_kp.frames.pair_rows import PairRows, pair_rows
from lightning_kp.frames.pairs import FramePairsModule, PairDataset
from lightning_kp.frames.preprocessing import Preprocessing
from lightning_kp.frames.thinning import parse_gap
from lightning_kp.geometry import Fit
from lightning_kp.labels.animals import LabelledSet
from lightning_kp.labels.reading import read_labels


class SyntheticArena(FramePairsModule):
    """Frame pairs of two rendered animals that walk, turn, chase and touch.

    Two videos are written below ``root`` and then read like other videos: pairs of video 0 train and validate, and
    pairs of video 1, rendered from another seed, test.  ``predict`` serves the frames of both, :meth:`labels` the
    true points.

    Args:
        frames: Frames of the training video.
        test_frames: Frames of the test video.
        frame_px: Side of the videos in pixels (even).
        fps: Frames per second.
        animals: Number of animals, 1 to 4.
        look_alike: Give all animals the same coat.
        shadow: Let the animals cast shadows.
        shadow_reach: Distance of the shadows from the animals, in image sides (at most 0.1).
        flicker: Standard deviation of the brightness over time, as a fraction of the brightness.
        shake: Standard deviation of the camera's displacement, in pixels.
        drift: Standard deviation of a slow displacement of the camera, with periods of over half a minute, in pixels.
        noise: Standard deviation of the sensor noise, as a fraction of full scale.
        arena_seed: Seed of the training video.
        test_seed: Seed of the test video; it must differ from ``arena_seed``.
        folder: Folder where the videos are written; relative paths start from ``root``.
        size: Side of the square image that the network sees, in pixels.
        fit: Has no effect, since the videos are square.
        gap: Distance of the two frames of a pair: a time (``0.2s``) or a number of frames (``6``).
        pair_stride: Use every n-th pair of each video.
        preprocessing: Shadow removal and registration, as for ``VideoFramePairs``.
        val_fraction: Share of the training video, one block of time, held out for validation; 0 for none.
        cache_dir: Folder of the frame cache; by default the user's cache folder, or ``KP_CACHE_DIR``.
        cache_gb: Largest size of the cache in GB.
        seed: Decides which pairs validate, and the order of training.
        root: Folder where relative paths start.
        batch_size: Pairs in a batch.
        num_workers: Processes that load data.
    """

    def __init__(
        self,
        frames: int = 1200,
        test_frames: int = 400,
        frame_px: int = 192,
        fps: float = 25.0,
        animals: int = 2,
        look_alike: bool = False,
        shadow: bool = False,
        flicker: float = 0.0,
        shake: float = 0.0,
        noise: float = 0.02,
        drift: float = 0.0,
        shadow_reach: float = 0.0256,
        arena_seed: int = 0,
        test_seed: int = 1,
        folder: str = "arena",
        size: int = 96,
        fit: Fit = "pad",
        gap: int | str = "0.24s",
        pair_stride: int = 1,
        val_fraction: float = 0.1,
        preprocessing: Preprocessing | None = None,
        cache_dir: str | None = None,
        cache_gb: float = 8.0,
        seed: int = 0,
        root: str = ".",
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> None:
        if arena_seed == test_seed:
            raise ConfigurationError(
                f"arena_seed and test_seed are both {test_seed}, so the training and test videos would be the same.",
                remedy="Give them different numbers.",
            )

        def settings(length: int, video_seed: int) -> ArenaSettings:
            return ArenaSettings(
                size=frame_px, frames=length, fps=fps, seed=video_seed, animals=animals,
                look_alike=look_alike, shadow=shadow, flicker=flicker, shake=shake, noise=noise,
                drift=drift, shadow_reach=shadow_reach,
            )  # fmt: skip

        self.settings = {"train": settings(frames, arena_seed), "test": settings(test_frames, test_seed)}
        names = [f"{folder}/{_name(arena)}.mp4" for arena in self.settings.values()]
        super().__init__(
            names, size=size, fit=fit, gap=gap, pair_stride=pair_stride, val_fraction=val_fraction,
            split="time", preprocessing=preprocessing, cache_dir=cache_dir, cache_gb=cache_gb, seed=seed,
            root=root, batch_size=batch_size, num_workers=num_workers,
        )  # fmt: skip

    def video_paths(self) -> list[Path]:
        """The training video and the test video, which :meth:`prepare_data` writes."""
        return [self.path(name) for name in self.videos]

    def prepare_data(self) -> None:
        """Render the videos that do not exist yet, and build the cache."""
        for path, settings in zip(self.video_paths(), self.settings.values(), strict=True):
            write_arena(settings, path.parent, path.stem)
        super().prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Open the cache; pairs of the test video are only used for ``test``."""
        super().setup(stage)
        video = self.cached[1]
        self.datasets["test"] = PairDataset(self.cached, pair_rows(video, 1, parse_gap(self.gap, video.fps)))

    def truth(self, video: Literal["train", "test"] = "test") -> ArenaTruth:
        """Ground truth of one of the two videos."""
        return read_truth(self._path_of(video))

    def labels(self, video: Literal["train", "test"] = "test", *, at_most: int = 600) -> LabelledSet:
        """Images (N, 3, S, S) and true points (N, I * K, 2), covered ones too, of up to ``at_most`` thinned frames."""
        truth = self._path_of(video).with_suffix(".truth.npz")
        return read_labels(truth, self.size, self.fit, at_most=at_most, preprocessing=self.preprocessing)

    def _path_of(self, video: Literal["train", "test"]) -> Path:
        return self.video_paths()[list(self.settings).index(video)]

    def split_pairs(self, pairs: list[PairRows], gaps: list[int]) -> tuple[PairRows, PairRows]:
        return super().split_pairs(pairs[:1], gaps[:1])


def _name(settings: ArenaSettings) -> str:
    """File name that is unique to the settings, so that several runs can share a folder."""
    return f"arena_seed{settings.seed}_{zlib.crc32(repr(settings).encode()):08x}"
