"""Keypoints of whole videos: decode, prepare, compute and write, overlapped and in constant memory."""

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lightning_kp.batches import Frames, floats_in_unit_range
from lightning_kp.errors import VideoError
from lightning_kp.files import companion, file_mark, write_whole
from lightning_kp.frames.preprocessing import covariance_in_frame, points_in_frame
from lightning_kp.frames.stream import FrameBatch, stream_frames
from lightning_kp.frames.view import ViewSettings
from lightning_kp.keypoints import Keypoints
from lightning_kp.method import KeypointMethod, Prediction
from lightning_kp.motion.boxes import FOLLOW, box_file, per_animal
from lightning_kp.tracks.identity_files import keep_identities
from lightning_kp.tracks.pixels import Regions
from lightning_kp.tracks.store import TrackStore
from lightning_kp.tracks.table import TrackInfo, default_names
from lightning_kp.tracks.writing import FORMATS, is_finished, read_sidecar
from lightning_kp.video.image_folder import ImageFolderReader
from lightning_kp.video.opening import open_video


@dataclass(frozen=True)
class TrackingReport:
    """What tracking one video took: ``frames`` done now, seconds in all, and where they went.

    ``waiting_s`` is the time that the network waited for frames; when it is small, decoding was
    hidden behind computing.
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
    least: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> TrackingReport:
    """Track one video into ``<stem>.*``; goes on after what an earlier, interrupted call has written.

    ``origin`` names checkpoint and settings: results of another origin are replaced.  Animals whose points' mean
    confidence is below ``least`` are left out.  ``progress`` is called with the number of frames done.
    """
    wanted = tuple(FORMATS if formats is None else formats)
    reader = open_video(video)
    found = reader.info
    crops = per_animal(view.boxes)
    animals, keypoints = _counts(method, view.size, len(crops))
    names = method.keypoint_names or default_names(keypoints)
    info = TrackInfo(
        str(video.resolve()),
        found.frame_size,
        found.fps,
        names,
        animals,
        f"{origin}:{_contents(video, view)}",
    )
    _refuse_other_video(stem, info)
    if is_finished(stem, info) and all(companion(stem, FORMATS[name][0]).exists() for name in wanted):
        return TrackingReport(stem.name, 0, 0.0, 0.0, 0.0, 0.0, (), skipped=True)
    method.eval()
    start = time.perf_counter()
    with reader, TrackStore(stem, info) as store:
        done_before = len(store)
        streams = [
            stream_frames(
                reader, size=view.size, fit=view.fit, boxes=boxes, batch_size=batch_size,
                start_index=done_before, preprocessing=view.preprocessing,
            )
            for boxes in crops
        ]  # fmt: skip
        computing, writing = _fill(store, method, streams, least, progress)
        frames = len(store) - done_before
        tick = time.perf_counter()
        if animals > 1:
            keep_identities(store, regroup=not method.finds_whole_animals)
        if isinstance(reader, ImageFolderReader):
            _name_images(reader, stem)
        files = store.finish(wanted)
        writing += time.perf_counter() - tick
    seconds = time.perf_counter() - start
    waiting = max(0.0, seconds - computing - writing)
    return TrackingReport(stem.name, frames, seconds, computing, waiting, writing, tuple(files))


def _name_images(reader: ImageFolderReader, stem: Path) -> None:
    """``<stem>.images.txt``: which image of a folder each frame number is; after a whole pass."""
    rows = "".join(f"{number}\t{path.name}\n" for number, path in enumerate(reader.images))
    write_whole(companion(stem, ".images.txt"), f"frame\timage\n{rows}")


def _contents(video: Path, view: ViewSettings) -> str:
    """Changes with what is in a video and in its boxes: a file may be written anew under its old name."""
    given = view.boxes
    boxes = [box_file(given)] if isinstance(given, str | Path) and given != FOLLOW else []
    return hashlib.sha256("".join(map(file_mark, (video, *boxes))).encode()).hexdigest()[:16]


def _refuse_other_video(stem: Path, info: TrackInfo) -> None:
    """Two videos of one name, tracked one after the other, would replace each other's results."""
    old = read_sidecar(companion(stem, ".json"))
    if old is not None and old.video != info.video and Path(old.video).exists():
        raise VideoError(
            f"{stem.parent} holds the tracks of another video of this name, {old.video}.",
            remedy="Choose another --out.",
        )


def _fill(
    store: TrackStore,
    method: KeypointMethod,
    streams: Sequence[Iterable[FrameBatch]],
    least: float,
    progress: Callable[[int], None] | None,
) -> tuple[float, float]:
    """Append what is found in the crops' streams, batch by batch; seconds of computing and of writing."""
    computing = writing = 0.0
    for batches in zip(*streams, strict=True):
        tick = time.perf_counter()
        predictions = [_surer(predict(method, batch), least) for batch in batches]
        tock = time.perf_counter()
        regions = [_regions(batch) for batch in batches]
        store.append_crops(predictions, regions, batches[0].time_s.tolist())
        computing += tock - tick
        writing += time.perf_counter() - tock
        if progress is not None:
            progress(len(store))
    return computing, writing


def _surer(found: Prediction, least: float) -> Prediction:
    """Without the animals of a lower score."""
    if least <= 0:
        return found
    points, confidence = found.keypoints
    kept = (found.keypoints.score >= least).unsqueeze(-1)
    return found._replace(keypoints=Keypoints(points, confidence * kept))


@torch.inference_mode()
def predict(method: KeypointMethod, batch: FrameBatch) -> Prediction:
    """``predict_step`` on a batch of uint8 frames of one video, on the method's device.

    Points and covariances are those of the images as they were cut out, before any registration.
    """
    image = floats_in_unit_range(batch.image.to(method.device, non_blocking=True))
    found = method.predict_step(Frames(image, torch.zeros_like(batch.index), batch.index))
    if bool((batch.transforms == torch.eye(3)).all()):
        return found
    points = points_in_frame(found.keypoints.points, batch.transforms)
    covariance = covariance_in_frame(found.covariance, batch.transforms)
    return found._replace(keypoints=found.keypoints._replace(points=points), covariance=covariance)


def _regions(batch: FrameBatch) -> Regions:
    """One region where all frames of the batch share it, which is the quicker case."""
    if bool((batch.regions == batch.regions[0]).all()):
        return batch.region(0)
    return [batch.region(i) for i in range(len(batch.index))]


@torch.inference_mode()
def _counts(method: KeypointMethod, size: int, crops: int) -> tuple[int, int]:
    """Numbers of animals in all crops together and of keypoints that the method finds on each."""
    blank = torch.zeros(1, 3, size, size, device=method.device)
    animals, keypoints = method.eval().locate(blank).points.shape[1:3]
    return animals * crops, keypoints
