"""Tracks keypoints in whole videos: decodes, predicts and writes at the same time, in constant memory."""

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lightning_kp.batches import Frames, floats_in_unit_range
from lightning_kp.errors import VideoError
from lightning_kp.files import companion, file_fingerprint, write_whole
from lightning_kp.frames.preprocessing import covariance_in_frame, points_in_frame
from lightning_kp.frames.stream import FrameBatch, stream_frames
from lightning_kp.frames.view import ViewSettings
from lightning_kp.keypoints import Keypoints
from lightning_kp.method import KeypointMethod, Prediction
from lightning_kp.motion.boxes import box_file, boxes_per_animal, followed_animals
from lightning_kp.tracks.engine import Engine
from lightning_kp.tracks.identity_files import keep_identities
from lightning_kp.tracks.pixels import Regions
from lightning_kp.tracks.store import PART, Refine, TrackStore
from lightning_kp.tracks.table import TrackInfo, default_names
from lightning_kp.tracks.writing import FORMATS, is_finished, read_sidecar
from lightning_kp.video.image_folder import ImageFolderReader
from lightning_kp.video.opening import open_video
from lightning_kp.video.reader import VideoInfo, VideoReader


@dataclass(frozen=True)
class TrackingReport:
    """Duration of tracking one video.

    Attributes:
        video: Name of the results.
        frames: Number of frames tracked now, without those of an earlier, interrupted call.
        seconds: Seconds in all.
        computing_s: Seconds of prediction.
        waiting_s: Seconds that the network waited for frames; small if decoding kept up.
        writing_s: Seconds of writing.
        files: Result files.
        skipped: Whether the video had been tracked before.
    """

    video: str
    frames: int
    seconds: float
    computing_s: float
    waiting_s: float
    writing_s: float
    files: tuple[Path, ...]
    skipped: bool = False

    def line(self) -> str:
        """One line for the terminal."""
        if self.skipped:
            return f"{self.video}: already done"
        rate = self.frames / self.seconds if self.seconds else 0.0
        return (
            f"{self.video}: {self.frames} frames in {self.seconds:.1f} s, {rate:.0f} fps "
            f"(network {self.computing_s:.1f} s, waiting for frames {self.waiting_s:.1f} s, "
            f"writing {self.writing_s:.1f} s)"
        )


def track_video(
    method: KeypointMethod,
    video: Path,
    stem: Path,
    view: ViewSettings,
    *,
    origin: str,
    batch_size: int = 32,
    formats: Iterable[str] | None = None,
    threshold: float = 0.0,
    engine: Engine | None = None,
    refine: Refine | None = None,
    progress: Callable[[int], None] | None = None,
) -> TrackingReport:
    """Track one video and write ``<stem>.*``; continues after an earlier, interrupted call.

    Args:
        method: Trained method.
        video: Video file or folder of images.
        stem: Path of the result files without their suffixes.
        view: How frames become the network's square.
        origin: Text that identifies checkpoint and settings; results of another origin are replaced.
        batch_size: Frames predicted at a time.
        formats: Keys of :data:`~lightning_kp.tracks.writing.FORMATS`; all by default.
        threshold: Instances with a score (mean confidence of their keypoints) below it are left out.
        engine: Computes the network; torch by default.  Engines agree to rounding and are no part of ``origin``.
        refine: Changes the tracks before they are written; ``origin`` has to tell whether it does.
        progress: Called with the number of frames done so far.

    Raises:
        VideoError: if the video cannot be read, or the results belong to another video of this name.
        DataError: if the results cannot be written.
    """
    wanted = tuple(FORMATS if formats is None else formats)
    reader = open_video(video)
    info = track_info(
        method,
        reader.info,
        view,
        video=str(video.resolve()),
        origin=f"{origin}:{_content_fingerprint(video, view)}",
    )
    _refuse_other_video(stem, info)
    if is_finished(stem, info) and all(companion(stem, FORMATS[name][0]).exists() for name in wanted):
        companion(stem, PART).unlink(missing_ok=True)  # of a call that was killed at its very end
        return TrackingReport(stem.name, 0, 0.0, 0.0, 0.0, 0.0, (), skipped=True)
    start = time.perf_counter()
    with reader, TrackStore(stem, info) as store:
        done_before = len(store)
        computing, writing = fill_store(
            store, method, reader, view,
            batch_size=batch_size, threshold=threshold, engine=engine, progress=progress,
        )  # fmt: skip
        frames = len(store) - done_before
        tick = time.perf_counter()
        if isinstance(reader, ImageFolderReader):
            _name_images(reader, stem)
        files = store.finish(wanted, refine=refine)
        writing += time.perf_counter() - tick
    seconds = time.perf_counter() - start
    waiting = max(0.0, seconds - computing - writing)
    return TrackingReport(stem.name, frames, seconds, computing, waiting, writing, tuple(files))


def track_info(
    method: KeypointMethod, found: VideoInfo, view: ViewSettings, *, video: str, origin: str = ""
) -> TrackInfo:
    """Describe the tracks that ``method`` gives for a video seen through ``view``, before it is tracked."""
    animals, keypoints = output_counts(method, view.size)
    names = method.keypoint_names or default_names(keypoints)
    animals *= len(boxes_per_animal(view.boxes))
    return TrackInfo(video, found.frame_size, found.fps, names, animals, origin)


def fill_store(
    store: TrackStore,
    method: KeypointMethod,
    reader: VideoReader,
    view: ViewSettings,
    *,
    batch_size: int = 32,
    threshold: float = 0.0,
    engine: Engine | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[float, float]:
    """Predict the frames that ``store`` lacks and give each instance its own row over time.

    Parameters as in :func:`track_video`.  Returns the seconds spent on computing and on writing.
    """
    method.eval()
    streams = [
        stream_frames(
            reader, size=view.size, fit=view.fit, boxes=boxes, batch_size=batch_size,
            start_index=len(store), preprocessing=view.preprocessing,
        )
        for boxes in boxes_per_animal(view.boxes)
    ]  # fmt: skip
    engine = engine or Engine(method)
    engine.expect(len(streams) * max(0, (reader.info.n_frames or 0) - len(store)))
    computing, writing = _fill(store, engine, streams, threshold, progress)
    tick = time.perf_counter()
    if store.info.animals > 1:
        keep_identities(store, regroup=not method.finds_whole_animals)
    return computing, writing + time.perf_counter() - tick


def _name_images(reader: ImageFolderReader, stem: Path) -> None:
    """Write ``<stem>.images.txt``, which lists the image of each frame number; needs a complete pass."""
    rows = "".join(f"{number}\t{name}\n" for number, name in enumerate(reader.image_names()))
    write_whole(companion(stem, ".images.txt"), f"frame\timage\n{rows}")


def _content_fingerprint(video: Path, view: ViewSettings) -> str:
    """Fingerprint of the video and its file of boxes, which changes if a file is rewritten under its old name."""
    given = view.boxes
    boxes = [box_file(given)] if isinstance(given, str | Path) and not followed_animals(given) else []
    return hashlib.sha256("".join(map(file_fingerprint, (video, *boxes))).encode()).hexdigest()[:16]


def _refuse_other_video(stem: Path, info: TrackInfo) -> None:
    """Raise VideoError if the results belong to another video of this name, which would be overwritten."""
    old = read_sidecar(companion(stem, ".json"))
    if old is not None and old.video != info.video and Path(old.video).exists():
        raise VideoError(
            f"{stem.parent} contains the tracks of another video of this name, {old.video}.",
            remedy="Choose another --out.",
        )


def _fill(
    store: TrackStore,
    engine: Engine,
    streams: Sequence[Iterable[FrameBatch]],
    threshold: float,
    progress: Callable[[int], None] | None,
) -> tuple[float, float]:
    """Append the predictions on all crops' streams, batch by batch; returns seconds of computing and of writing."""
    computing = writing = 0.0
    for batches in zip(*streams, strict=True):
        tick = time.perf_counter()
        predictions = [
            without_unseen(_above(predict(engine.method, batch, engine), threshold), batch)
            for batch in batches
        ]
        tock = time.perf_counter()
        regions = [_regions(batch) for batch in batches]
        store.append_crops(predictions, regions, batches[0].time_s.tolist())
        computing += tock - tick
        writing += time.perf_counter() - tock
        if progress is not None:
            progress(len(store))
    return computing, writing


def _above(found: Prediction, threshold: float) -> Prediction:
    """The prediction without the instances whose score is below ``threshold``."""
    if threshold <= 0:
        return found
    points, confidence = found.keypoints
    kept = (found.keypoints.score >= threshold).unsqueeze(-1)
    return found._replace(keypoints=Keypoints(points, confidence * kept))


def without_unseen(found: Prediction, batch: FrameBatch) -> Prediction:
    """The prediction without the frames in which the animal that the square follows is not seen."""
    if bool(batch.seen.all()):
        return found
    points, confidence = found.keypoints
    seen = batch.seen.to(confidence.device)[:, None, None]
    return found._replace(keypoints=Keypoints(points, confidence * seen))


@torch.inference_mode()
def predict(method: KeypointMethod, batch: FrameBatch, engine: Engine | None = None) -> Prediction:
    """Predict a batch of frames (B, 3, H, W), uint8, of one video on the method's device, by default with torch.

    Points (B, I, K, 2) and covariances refer to the images as they were cropped, before any registration.
    """
    image = floats_in_unit_range(batch.image.to(method.device, non_blocking=True))
    frames = Frames(image, torch.zeros_like(batch.index), batch.index)
    found = method.predict_step(frames) if engine is None else engine.predict(frames)
    if bool((batch.transforms == torch.eye(3)).all()):
        return found
    points = points_in_frame(found.keypoints.points, batch.transforms)
    covariance = covariance_in_frame(found.covariance, batch.transforms)
    return found._replace(keypoints=found.keypoints._replace(points=points), covariance=covariance)


def _regions(batch: FrameBatch) -> Regions:
    """One region if all frames of the batch share it, which is faster; otherwise one for each frame."""
    if bool((batch.regions == batch.regions[0]).all()):
        return batch.region(0)
    return [batch.region(i) for i in range(len(batch.index))]


@torch.inference_mode()
def output_counts(method: KeypointMethod, size: int) -> tuple[int, int]:
    """Return the numbers of instances I and keypoints K that ``method`` finds in one image of side ``size``."""
    blank = torch.zeros(1, 3, size, size, device=method.device)
    instances, keypoints = method.eval().locate(blank).points.shape[1:3]
    return instances, keypoints
