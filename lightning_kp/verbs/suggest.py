"""``kp suggest RUN``: the frames worth labelling next, as stubs that SLEAP and DeepLabCut open."""

import csv
import io
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_kp.command.arguments import VerbParser, positive, share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lightning_kp.frames.view import ViewSettings
    from lightning_kp.geometry import Region
    from lightning_kp.labels.animals import LabelledAnimals
    from lightning_kp.metrics.regression import LinearRegressor
    from lightning_kp.tracks.suggestions import Suggestion
    from lightning_kp.tracks.table import Tracks

SUMMARY = (
    "Choose frames of the run's videos that are uncertain, doubtful and far from labelled ones; writes "
    "suggestions.slp for SLEAP, a labeled-data folder for DeepLabCut, and suggestions.csv with the reasons."
)


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    given = _parser().parse_args(arguments)

    from lightning_kp.checkpoints import data_settings, find_checkpoint
    from lightning_kp.command.tracking import track_all
    from lightning_kp.command.trained import (
        load_for_tracking,
        origin_of,
        surer_origin,
        tell_crops,
        tell_unsure,
    )
    from lightning_kp.files import unique_stems
    from lightning_kp.runs.folder import RunFolder
    from lightning_kp.tracks.reading import read_tracks
    from lightning_kp.tracks.suggestions import candidates, choose
    from lightning_kp.video.paths import find_videos

    checkpoint = find_checkpoint(given.run)
    method, view = load_for_tracking(checkpoint, given.device)
    origin = surer_origin(origin_of(checkpoint), method, given.least)
    tell_crops(method, checkpoint, "`kp track` can cut them out, and `kp suggest` cannot yet.")
    settings = data_settings(checkpoint)
    labels = _labels(given, view, method)
    names = _names(given, method.keypoint_names, labels)
    videos = find_videos(
        given.videos or settings.get("videos", []), "." if given.videos else settings.get("root", ".")
    )
    folder = RunFolder(Path(given.run) if Path(given.run).is_dir() else checkpoint.parent)
    # Before the videos are tracked, which may take hours, rather than after.
    out = _free(Path(given.out) if given.out else folder.path / "suggestions", is_chosen=bool(given.out))
    stems = unique_stems(videos)
    if any(_is_of_others(folder.tracks(stem), origin) for stem in stems):
        folder = RunFolder(out)  # tracks of other boxes or of another checkpoint stay
    track_all(method, view, videos, folder.path, origin=origin, formats=("csv",), least=given.least)
    tell_unsure(method, given.least)
    tracks = [read_tracks(folder.tracks(stem).with_name(f"{stem}.csv")) for stem in stems]
    poses = [_poses(each, view, ordered=not method.finds_whole_animals) for each in tracks]
    labelled, bridged = _known(method, labels)
    found = choose(candidates(tracks, poses), labelled, given.count)
    points = [
        _points(each, tracks[each.video], names, poses[each.video][each.frame], view, bridged)
        for each in found
    ]
    animals = bridged.animals if bridged else _most_animals(tracks)
    _write(found, points, videos, stems, tracks, names, animals, given.scorer, out)
    return 0


class Bridged(NamedTuple):
    """Labelled points of ``animals``, one after another, from discovered ones."""

    regressor: "LinearRegressor"
    animals: int


def _is_of_others(stem: Path, origin: str) -> bool:
    """Whether finished tracks lie there that were made in another way: their files would be replaced."""
    from lightning_kp.files import companion
    from lightning_kp.tracks.writing import read_sidecar

    known = read_sidecar(companion(stem, ".json"))
    return known is not None and known.origin.rpartition(":")[0] != origin


def _free(folder: Path, *, is_chosen: bool) -> Path:
    """A folder without suggestions: those of an earlier call may hold labels by now."""
    from lightning_kp.errors import DataError

    def holds(each: Path) -> bool:
        return (each / "suggestions.slp").exists() or any(each.glob("labeled-data/*/CollectedData_*"))

    if not holds(folder):
        return folder
    if is_chosen:
        raise DataError(f"{folder} holds suggestions, perhaps labelled ones.", remedy="Choose another --out.")
    number = next(n for n in itertools.count(2) if not holds(folder.with_name(f"{folder.name}-{n}")))
    return folder.with_name(f"{folder.name}-{number}")


def _parser() -> VerbParser:
    parser = VerbParser("suggest", SUMMARY)
    parser.add_argument("run", help="checkpoint or run folder")
    parser.add_argument("--videos", nargs="+", help="other videos than those the run was trained on")
    parser.add_argument("--count", type=positive, default=20, help="frames to suggest")
    parser.add_argument(
        "--labels", help="frames that are labelled already, in any format that `kp name` reads"
    )
    parser.add_argument("--root", help="folder below which the labels' images lie")
    parser.add_argument(
        "--names", help="points to label, comma-separated (default: the run's, or the labels')"
    )
    parser.add_argument(
        "--least", type=share, default=0.0, help="leave out unsure animals, as `kp track --least`"
    )
    parser.add_argument("--scorer", default="kp", help="name of the annotator in DeepLabCut's files")
    parser.add_argument("--out", help="folder to write to (default: RUN/suggestions, then -2 and so on)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    return parser


def _labels(given: Any, view: "ViewSettings", method: Any) -> "LabelledAnimals | None":
    from lightning_kp.labels.reading import read_animals

    if given.labels is None:
        return None
    names = given.names.split(",") if given.names else None
    if method.finds_whole_animals:
        names = list(method.keypoint_names)  # poses are compared by them
    root = Path(given.root) if given.root else None
    return read_animals(
        given.labels,
        view.size,
        view.fit,
        view.boxes,
        names=names,
        root=root,
        preprocessing=view.preprocessing,
    )


def _names(given: Any, known: tuple[str, ...], labels: "LabelledAnimals | None") -> tuple[str, ...]:
    from lightning_kp.errors import ConfigurationError

    names = tuple(given.names.split(",")) if given.names else known or (labels.names if labels else ())
    if not names:
        raise ConfigurationError(
            "The run discovered its keypoints, so that it is not known which points to label.",
            remedy="--names nose,tail or --labels FILE",
        )
    if known and set(names) - set(known):
        raise ConfigurationError(
            f"The run knows the points {', '.join(known)}, not {', '.join(sorted(set(names) - set(known)))}.",
            remedy="Leave --names out.",
        )
    return names


def _region(tracks: "Tracks", view: "ViewSettings") -> "Region":
    """What the network saw of the frames; all of them, where a box follows the animal."""
    from lightning_kp.geometry import place

    box: Any = None if isinstance(view.boxes, str | Path) or view.boxes is None else tuple(view.boxes)
    return place(tracks.frame_size, view.size, view.fit, box).region


def _poses(tracks: "Tracks", view: "ViewSettings", *, ordered: bool) -> "NDArray[Any]":
    """Poses (N, F) in normalised units of that region: the points, or what does not depend on the animals' order."""
    import torch

    from lightning_kp.tracks.suggestions import spread_of

    points_px = torch.from_numpy(tracks.points_px).double()
    points: NDArray[np.float64] = _region(tracks, view).from_original_px(points_px).numpy()
    return points.reshape(len(points), -1) if ordered else spread_of(points)


def _known(method: Any, labels: "LabelledAnimals | None") -> "tuple[NDArray[Any] | None, Bridged | None]":
    """Poses (M, F) of the labelled frames as this network sees them, and a bridge to their points."""
    from lightning_kp.metrics.bridge import fit_bridge
    from lightning_kp.scoring.discovered import discovered_points
    from lightning_kp.tracks.suggestions import spread_of

    if labels is None:
        return None, None
    # As the tracks are: in the whole frame, also where squares follow the animal.
    flat = labels.flat()
    points = flat.in_frame(flat.points.double())
    if method.finds_whole_animals:
        return spread_of(points.reshape(labels.points.shape).numpy()), None
    found = flat.in_frame(discovered_points(method, labels.image))
    bridge = None if method.keypoint_names else fit_bridge(found, points).regressor
    return found.flatten(1).numpy(), None if bridge is None else Bridged(bridge, labels.points.shape[1])


def _points(
    each: "Suggestion",
    tracks: "Tracks",
    names: tuple[str, ...],
    pose: Any,
    view: "ViewSettings",
    bridged: Bridged | None,
) -> "NDArray[np.float64] | None":
    """Points (I, L, 3) = x, y in pixels and confidence, of a named run or through a bridge; None if not known."""
    import numpy as np
    import torch

    xy, confidence = tracks.points_px[each.frame], tracks.confidence[each.frame]
    if bridged is not None:
        found = bridged.regressor.predict(torch.from_numpy(pose).view(1, -1, 2).nan_to_num())[0]
        xy = _region(tracks, view).to_original_px(found).numpy().reshape(bridged.animals, -1, 2)
        confidence = np.full(xy.shape[:2], confidence.mean())
    elif set(names) <= set(tracks.keypoint_names):
        order = [tracks.keypoint_names.index(name) for name in names]
        xy, confidence = xy[:, order], confidence[:, order]
    else:
        return None
    return np.concatenate((xy, confidence[..., None]), axis=-1).astype(np.float64)


def _most_animals(tracks: "list[Tracks]") -> int:
    """The most that any frame shows: a network may look for more than there ever are."""
    import numpy as np

    seen = (np.isfinite(each.points_px).all(axis=-1).any(axis=-1).sum(axis=1) for each in tracks)
    return max(1, *(int(each.max(initial=0)) for each in seen))


def _write(
    found: "list[Suggestion]",
    points: "list[NDArray[np.float64] | None]",
    videos: list[Path],
    stems: list[str],
    tracks: "list[Tracks]",
    names: tuple[str, ...],
    animals: int,
    scorer: str,
    out: Path,
) -> None:
    from lightning_kp.files import write_whole
    from lightning_kp.tracks.stubs import Stub, write_deeplabcut, write_sleap
    from lightning_kp.video.opening import open_video

    stubs = [Stub(each.video, each.frame, known) for each, known in zip(found, points, strict=True)]
    infos = []
    for video in videos:
        with open_video(video) as reader:
            infos.append(reader.info)
    out.mkdir(parents=True, exist_ok=True)
    write_sleap(stubs, infos, names, out / "suggestions.slp")
    write_deeplabcut(stubs, dict(zip(stems, videos, strict=True)), names, scorer, out, animals)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("video", "frame", "time_s", "worth", "uncertain", "doubtful", "far", "reason"))
    for each in found:
        time_s = tracks[each.video].times_s[each.frame]
        shares = (f"{value:.3f}" for value in (each.worth, each.uncertain, each.doubtful, each.far))
        table.writerow((stems[each.video], each.frame, f"{time_s:.3f}", *shares, each.reason))
        print(f"{stems[each.video]} frame {each.frame}: {each.reason}")
    write_whole(out / "suggestions.csv", text.getvalue())
    print(f"{len(found)} frames: {out / 'suggestions.slp'} for SLEAP, {out / 'labeled-data'} for DeepLabCut")
