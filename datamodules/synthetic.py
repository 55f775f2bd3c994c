"""A rendered arena as training data: real video files whose every keypoint is known."""

import zlib
from pathlib import Path
from typing import Literal

from lightning_kp.arena.recording import ArenaSettings, ArenaTruth, read_truth, write_arena
from lightning_kp.errors import ConfigurationError
from lightning_kp.frames.pairs import FramePairsModule, PairDataset, PairRows, pair_rows
from lightning_kp.frames.preprocessing import Preprocessing
from lightning_kp.frames.thinning import parse_gap
from lightning_kp.geometry import Fit
from lightning_kp.labels.animals import LabelledSet
from lightning_kp.labels.reading import read_labels


class SyntheticArena(FramePairsModule):
    """Frame pairs of two rendered animals that walk, turn, chase and touch.

    Two videos are written below ``root`` and then read like anybody's: video 0, whose pairs train
    and validate, and video 1, rendered from another seed, whose pairs test.  ``predict`` yields the
    frames of both, :meth:`labels` the true points.

    Args:
        frames: Frames of the training video.
        test_frames: Frames of the test video.
        frame_px: Side of the videos in pixels (even).
        fps: Frames per second.
        animals: 1 to 4.
        look_alike: Give all animals the same coat.
        shadow: Let the animals cast shadows.
        shadow_reach: How far these lie from the animals, in image sides (at most 0.1).
        flicker: Standard deviation of the brightness over time, as a fraction of it.
        shake: Standard deviation of the camera's displacement, in pixels.
        drift: The same for a displacement that takes half a minute and more to come and go.
        noise: Standard deviation of the sensor noise, as a fraction of full scale.
        arena_seed: Fixes the training video.
        test_seed: Fixes the test video; another number than ``arena_seed``.
        folder: Where the videos are written, from ``root``.
        size: Side of the square that the network sees, in pixels.
        fit: Without effect on what is seen, since the videos are square.
        gap: Distance of the two frames: time (``0.2s``) or a number of frames (``6``).
        pair_stride: Use every n-th pair of each video.
        preprocessing: Shadow removal and registration, as for ``VideoFramePairs``.
        val_fraction: Share of the training video that validates: one block of time; 0 for none.
        cache_dir: Folder of the frame cache; by default the user's cache folder, or ``KP_CACHE_DIR``.
        cache_gb: Bound on the cache.
        seed: Fixes what validates and the order of training.
        root: Folder that relative paths start from.
        batch_size: Pairs in a batch.
        num_workers: Processes that load.
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
                f"Training and test video would be the same: arena_seed and test_seed are both {test_seed}.",
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
        """Render the videos that are not there yet, and build the cache."""
        for path, settings in zip(self.video_paths(), self.settings.values(), strict=True):
            write_arena(settings, path.parent, path.stem)
        super().prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Open the cache; the test video's pairs go to ``test`` and nowhere else."""
        super().setup(stage)
        video = self.cached[1]
        self.datasets["test"] = PairDataset(self.cached, pair_rows(video, 1, parse_gap(self.gap, video.fps)))

    def truth(self, video: Literal["train", "test"] = "test") -> ArenaTruth:
        """Everything that is known about one of the two videos."""
        return read_truth(self._path_of(video))

    def labels(self, video: Literal["train", "test"] = "test", *, at_most: int = 600) -> LabelledSet:
        """Images and true points (N, I K, 2) of at most ``at_most`` evenly spread frames, covered points too."""
        truth = self._path_of(video).with_suffix(".truth.npz")
        return read_labels(truth, self.size, self.fit, at_most=at_most, preprocessing=self.preprocessing)

    def _path_of(self, video: Literal["train", "test"]) -> Path:
        return self.video_paths()[list(self.settings).index(video)]

    def _divide(self, pairs: list[PairRows], gaps: list[int]) -> tuple[PairRows, PairRows]:
        return super()._divide(pairs[:1], gaps[:1])


def _name(settings: ArenaSettings) -> str:
    """Every set of settings has files of its own, so that two runs can share a folder."""
    return f"arena_seed{settings.seed}_{zlib.crc32(repr(settings).encode()):08x}"
