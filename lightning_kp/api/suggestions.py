"""Frames worth labelling next: ``kp.suggest(run)``."""

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_kp.api.paths import PathLike, Paths, as_list
from lightning_kp.api.suggested_frames import SuggestedFrame, SuggestedFrames, write_stubs, write_table
from lightning_kp.checkpoints import data_settings, find_checkpoint
from lightning_kp.command.calibrating import calibration_of
from lightning_kp.command.tracking import track_all
from lightning_kp.command.trained import (
    load_for_tracking,
    origin_of,
    origin_with_threshold,
    warn_unfiltered,
    warn_whole_frames,
)
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.files import companion, unique_stems
from lightning_kp.frames.view import ViewSettings
from lightning_kp.geometry import Region, place
from lightning_kp.labels.animals import LabelledAnimals
from lightning_kp.labels.reading import read_animals
from lightning_kp.method import KeypointMethod
from lightning_kp.metrics.bridge import fit_bridge
from lightning_kp.metrics.regression import LinearRegressor
from lightning_kp.motion.boxes import followed_animals
from lightning_kp.runs.folder import RunFolder
from lightning_kp.scoring.discovered import discovered_points
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.tracks.stubs import Stub
from lightning_kp.tracks.suggestions import Suggestion, candidates, choose, pose_density
from lightning_kp.tracks.table import Tracks
from lightning_kp.tracks.writing import read_sidecar
from lightning_kp.video.paths import find_videos

logger = logging.getLogger(__name__)


def suggest(
    run: PathLike,
    *,
    videos: Paths | None = None,
    count: int = 20,
    labels: PathLike | None = None,
    root: PathLike | None = None,
    names: Sequence[str] | None = None,
    threshold: float = 0.0,
    scorer: str = "kp",
    out: PathLike | None = None,
    device: str = "auto",
) -> SuggestedFrames:
    """Choose frames that are uncertain, doubtful and far from labelled ones, and write files to label them in.

    Args:
        run: A run folder or a checkpoint file.
        videos: Videos to choose from; by default those of the training.
        count: How many frames to suggest.
        labels: Frames that are labelled already, in any format that :func:`lightning_kp.name` reads.
        root: Folder below which the images of the labels lie.
        names: Points to label; by default those of the run, or of the labels, or else the discovered keypoints.
        threshold: Leaves out animals whose points' mean confidence is lower; only for methods that find whole animals.
        scorer: Name of the annotator in DeepLabCut's files.
        out: Folder to write to; by default RUN/suggestions, then RUN/suggestions-2 and so on.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.

    Raises:
        ConfigurationError: ``names`` are not among those of the run.
        DataError: ``out`` holds suggestions already.

    Example:
        found = kp.suggest("runs/me", count=3, names=["nose", "tail"])
        print([(each.name, each.frame, each.reason) for each in found.frames])
    """
    checkpoint = find_checkpoint(Path(run))
    method, view = load_for_tracking(checkpoint, device)
    origin = origin_with_threshold(origin_of(checkpoint), method, threshold)
    warn_whole_frames(method, checkpoint, "`kp track --boxes` crops frames; `kp suggest` cannot yet.")
    settings = data_settings(checkpoint)
    labelled = _labels(labels, names, root, view, method)
    points = _points_to_label(names, method.keypoint_names, labelled)
    paths = find_videos(as_list(videos)) if videos else find_videos(
        settings.get("videos", []), settings.get("root", ".")
    )  # fmt: skip
    folder = RunFolder(Path(run) if Path(run).is_dir() else checkpoint.parent)
    # Found before the videos are tracked, which may take hours.
    target = _free_folder(
        Path(out) if out is not None else folder.path / "suggestions", is_given=out is not None
    )
    stems = unique_stems(paths)
    calibration = calibration_of(checkpoint, method)
    marked = origin + ("" if calibration is None else calibration.mark)
    if any(_has_other_tracks(folder.tracks(stem), marked) for stem in stems):
        folder = RunFolder(target)  # tracks of other boxes or of another checkpoint are kept
    track_all(
        method, view, paths, folder.path, origin=origin, formats=("csv",), threshold=threshold,
        calibration=calibration,
    )  # fmt: skip
    warn_unfiltered(method, threshold)
    tracks = [read_tracks(companion(folder.tracks(stem), ".csv")) for stem in stems]
    if not points:
        points = tracks[0].keypoint_names
        logger.info(
            "The points to label are called as the run discovered them (%s to %s). "
            "--names nose,tail gives other points, and no predictions.",
            points[0], points[-1],
        )  # fmt: skip
    has_squares = followed_animals(view.boxes) > 1  # one for each animal, whose numbers may change
    poses = [
        _poses(each, view, is_ordered=not (method.finds_whole_animals or has_squares)) for each in tracks
    ]
    known, bridge = _known_poses(method, labelled, has_squares=has_squares)
    chosen = choose(candidates(tracks, poses), known, count)
    predicted = [_predicted_points(each, tracks[each.video], points, view, bridge) for each in chosen]
    animals = bridge.animals if bridge and not bridge.is_for_each else _most_animals(tracks)
    found = SuggestedFrames(target, tuple(_with_time(each, paths, stems, tracks) for each in chosen))
    stubs = [Stub(each.video, each.frame, xyc) for each, xyc in zip(chosen, predicted, strict=True)]
    write_stubs(stubs, dict(zip(stems, paths, strict=True)), points, animals, scorer, target)
    write_table(found)
    return found


def _with_time(
    each: Suggestion, paths: Sequence[Path], stems: Sequence[str], tracks: Sequence[Tracks]
) -> SuggestedFrame:
    time_s = float(tracks[each.video].times_s[each.frame])
    return SuggestedFrame(paths[each.video], stems[each.video], each.frame, time_s, each)


class _LabelBridge(NamedTuple):
    """Map from discovered points (N, K, 2) to the labelled points of ``animals``, one animal after another.

    ``is_for_each``: it maps the points of one animal, whichever of several it is, to its labelled points.
    """

    regressor: LinearRegressor
    animals: int
    is_for_each: bool = False


def _has_other_tracks(stem: Path, origin: str) -> bool:
    """Whether finished tracks of another origin lie there: tracking would replace them."""
    known = read_sidecar(companion(stem, ".json"))
    return known is not None and known.origin.rpartition(":")[0] != origin


def _free_folder(folder: Path, *, is_given: bool) -> Path:
    """A folder without suggestions: those of an earlier call may have been labelled since."""

    def is_used(each: Path) -> bool:
        return (each / "suggestions.slp").exists() or any(each.glob("labeled-data/*/CollectedData_*"))

    if not is_used(folder):
        return folder
    if is_given:
        raise DataError(
            f"{folder} holds suggestions, perhaps labelled ones.", remedy="Choose another folder (--out DIR)."
        )
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(each for each in numbered if not is_used(each))


def _labels(
    file: PathLike | None,
    names: Sequence[str] | None,
    root: PathLike | None,
    view: ViewSettings,
    method: KeypointMethod,
) -> LabelledAnimals | None:
    if file is None:
        return None
    if method.finds_whole_animals:
        names = method.keypoint_names  # poses are compared by them
    return read_animals(
        Path(file), view.size, view.fit, view.boxes, names=list(names) if names else None,
        root=Path(root) if root is not None else None, preprocessing=view.preprocessing,
    )  # fmt: skip


def _points_to_label(
    given: Sequence[str] | None, known: tuple[str, ...], labels: LabelledAnimals | None
) -> tuple[str, ...]:
    """Names of the points to label; none stands for the discovered keypoints, which the tracks name."""
    names = tuple(given or known or (labels.names if labels else ()))
    if known and set(names) - set(known):
        raise ConfigurationError(
            f"The run knows the points {', '.join(known)}, not {', '.join(sorted(set(names) - set(known)))}.",
            remedy="Leave names out.",
        )
    return names


def _region(tracks: Tracks, view: ViewSettings) -> Region:
    """The part of the frames that the network saw; the whole frame where a box follows the animal."""
    box: Any = None if isinstance(view.boxes, str | Path) or view.boxes is None else tuple(view.boxes)
    return place(tracks.frame_size, view.size, view.fit, box).region


def _poses(tracks: Tracks, view: ViewSettings, *, is_ordered: bool) -> NDArray[Any]:
    """Poses (T, F) in normalised units of that region: the points, or features that ignore the animals' order."""
    points_px = torch.from_numpy(tracks.points_px).double()
    points: NDArray[np.float64] = _region(tracks, view).from_original_px(points_px).numpy()
    return points.reshape(len(points), -1) if is_ordered else pose_density(points)


def _known_poses(
    method: KeypointMethod, labels: LabelledAnimals | None, *, has_squares: bool
) -> tuple[NDArray[Any] | None, _LabelBridge | None]:
    """Poses (N, F) of the labelled frames as this network sees them, and a bridge to their points.

    ``has_squares``: each row of the labels is the square of one of several animals.
    """
    if labels is None:
        return None, None
    # In the whole frame, as tracks are, also where squares follow the animal.
    flat = labels.flat()
    points = flat.in_frame(flat.points.double())
    if method.finds_whole_animals:
        return pose_density(points.reshape(labels.points.shape).numpy()), None
    found = flat.in_frame(discovered_points(method, labels.image))
    known = pose_density(_by_frame(found, labels.sources)) if has_squares else found.flatten(1).numpy()
    if method.keypoint_names:
        return known, None
    return known, _LabelBridge(fit_bridge(found, points).regressor, labels.points.shape[1], has_squares)


def _by_frame(points: torch.Tensor, sources: Sequence[str]) -> NDArray[np.float64]:
    """Points (N, K, 2) of single animals, joined by frame: (T, I, K, 2), NaN = no such animal."""
    rows = [[i for i, other in enumerate(sources) if other == source] for source in dict.fromkeys(sources)]
    joined = np.full((len(rows), max(map(len, rows)), *points.shape[1:]), np.nan)
    for frame, each in zip(joined, rows, strict=True):
        frame[: len(each)] = points[each].numpy()
    return joined


def _predicted_points(
    each: Suggestion,
    tracks: Tracks,
    names: tuple[str, ...],
    view: ViewSettings,
    bridge: _LabelBridge | None,
) -> NDArray[np.float64] | None:
    """Points (I, L, 3) = x, y in pixels and confidence, of a named run or over a bridge; None without either."""
    xy, confidence = tracks.points_px[each.frame], tracks.confidence[each.frame]
    if bridge is not None:
        region = _region(tracks, view)
        given = region.from_original_px(torch.from_numpy(xy).double())
        given = given if bridge.is_for_each else given.view(1, -1, 2)
        found = region.to_original_px(bridge.regressor.predict(given.nan_to_num()))
        found[given.isnan().all(dim=-1).all(dim=-1)] = torch.nan
        animals = len(found) if bridge.is_for_each else bridge.animals
        xy = found.numpy().reshape(animals, -1, 2)
        confidence = np.full(xy.shape[:2], np.nanmean(confidence))
    elif set(names) <= set(tracks.keypoint_names):
        order = [tracks.keypoint_names.index(name) for name in names]
        xy, confidence = xy[:, order], confidence[:, order]
    else:
        return None
    return np.concatenate((xy, confidence[..., None]), axis=-1).astype(np.float64)


def _most_animals(tracks: list[Tracks]) -> int:
    """The largest number of animals in a frame: a network may look for more than there ever are."""
    seen = (np.isfinite(each.points_px).all(axis=-1).any(axis=-1).sum(axis=1) for each in tracks)
    return max(1, *(int(each.max(initial=0)) for each in seen))
