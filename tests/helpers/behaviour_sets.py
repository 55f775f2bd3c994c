"""Small data sets of behaviours in the exact layout of the published ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from lightning_kp.arena.recording import ArenaSettings, write_arena
from lightning_kp.tracks.table import Floats, TrackInfo, Tracks, default_names, make_tracks
from lightning_kp.tracks.writing import write_tracks

VOCABULARY = {"attack": 0, "investigation": 1, "mount": 2, "other": 3}
FLY_FIELDS = [
    "pos x", "pos y", "ori", "major axis len", "minor axis len", "body area", "fg area", "img contrast",
    "min fg dist", "wing l x", "wing l y", "wing r x", "wing r y", "wing l ang", "wing l len", "wing r ang",
    "wing r len",
]  # fmt: skip
FLY_FEATURES = ["vel", "ang_vel", "dist_to_other"]


def calms21_sequence(frames: int, seed: int, block: int = 6) -> dict[str, Any]:
    """One sequence in the layout of the official json; the distance between the mice determines the behaviour."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(0, 4, frames // block + 1), block)[:frames]
    keypoints = np.empty((frames, 2, 2, 7))
    keypoints[:, 0] = rng.normal([[500.0], [300.0]], 5, (frames, 2, 7))
    keypoints[:, 1] = keypoints[:, 0] + [[30.0], [0.0]]
    keypoints[:, 1, 0] += 60.0 * labels[:, None]
    return {
        "keypoints": keypoints.tolist(),
        "scores": rng.uniform(0.5, 1, (frames, 2, 7)).tolist(),
        "annotations": labels.tolist(),
        "metadata": {"annotator": 0, "vocab": VOCABULARY},
    }


def write_calms21(folder: Path, frames: int = 60, sequences: int = 2) -> Path:
    """Both official files of task 1."""
    for first, split in ((1, "train"), (71, "test")):  # as the official numbers begin
        content = {
            "annotator-id_0": {
                f"task1/{split}/mouse{first + index:03d}_task1_annotator1": calms21_sequence(
                    frames + index, first + index
                )
                for index in range(sequences)
            }
        }
        (folder / f"calms21_task1_{split}.json").write_text(json.dumps(content))
    return folder


def as_npy(path: Path) -> Path:
    """Output of the official converter for a json: the dictionary with arrays, pickled by NumPy."""
    content = json.loads(path.read_text())
    for sequences in content.values():
        for sequence in sequences.values():
            for key in ("keypoints", "scores", "annotations"):
                sequence[key] = np.array(sequence[key])
    target = path.with_suffix(".npy")
    np.save(target, content, allow_pickle=True)
    return target


def cell(values: list[Any]) -> np.ndarray[Any, Any]:
    """A MATLAB cell array of one row."""
    array = np.empty((1, len(values)), object)
    array[0] = values
    return array


def write_movie(folder: Path, number: int, frames: int = 60) -> Path:
    """One Fly vs. Fly movie: two flies walk to the right; fly 1 lunges in frames 11 to 20 (from 1)."""
    movie = folder / f"movie{number}"
    movie.mkdir(parents=True)
    data = np.zeros((2, frames, len(FLY_FIELDS)))
    for fly in range(2):
        fields = dict.fromkeys(FLY_FIELDS, np.ones(frames))
        x, y = 20.0 + np.arange(frames), np.full(frames, 40.0 + 30 * fly)
        fields |= {"pos x": x, "pos y": y, "ori": np.zeros(frames), "major axis len": np.full(frames, 20.0)}
        fields |= {"wing l x": x - 8, "wing l y": y - 4, "wing r x": x - 8, "wing r y": y + 4}
        data[fly] = np.stack([fields[name] for name in FLY_FIELDS], axis=1)
    data[1, 30:33] = np.nan  # FlyTracker lost it
    names = cell(FLY_FIELDS)
    savemat(movie / f"movie{number}_track.mat", {"trk": {"names": names, "data": data, "flags": []}})
    features = np.random.default_rng(number).normal(size=(2, frames, len(FLY_FEATURES)))
    features[:, 5] = np.nan
    units = cell(["mm/s", "rad/s", "mm"])
    struct = {"names": cell(FLY_FEATURES), "units": units, "data": features}
    savemat(movie / f"movie{number}_feat.mat", {"feat": struct})
    bouts = np.empty((2, 2), object)
    bouts[0] = [np.array([[11.0, 20, 1], [41, 50, 0]]), np.zeros((0, 0))]
    bouts[1] = [np.zeros((0, 0)), np.array([[31.0, 36, 1]])]
    actions = {"behs": cell(["lunge", "wing threat"]), "bouts": bouts}
    savemat(movie / f"movie{number}_actions.mat", actions)
    return movie


def write_fly_tracks(folder: Path, number: int, frames: int = 60, animals: int = 2) -> Tracks:
    """Tracks of three keypoints of each fly of :func:`write_movie`, named the other way round: animal 1 is fly 2."""
    rng = np.random.default_rng(number)
    centres = np.stack((20.0 + np.arange(frames), np.full(frames, 40.0)), axis=-1)[:, None] + [
        [0, 30],
        [0, 0],
    ]
    offsets = np.array([[4, 0], [0, 0], [-4, 1]])
    points = (centres[:, :animals, None] + offsets).astype(np.float32)
    info = TrackInfo(f"movie{number}.seq", (144, 144), 30.0, default_names(3), animals)
    arrays = {
        "times_s": np.arange(frames) / 30,
        "points_px": points,
        "confidence": rng.uniform(0.5, 1, points.shape[:3]).astype(np.float32),
        "covariance_px": np.tile(np.float32([4, 2, 1]), (*points.shape[:3], 1)),
    }
    tracks = make_tracks(info, arrays)
    write_tracks(tracks, folder / f"movie{number}", ("csv",))
    return tracks


def write_open_field(folder: Path, name: str, frames: int = 120, seed: int = 0) -> Path:
    """Points of a mouse with likelihoods, and a table of bouts of three raters in DLCAnalyzer's layout."""
    rng = np.random.default_rng(seed)
    points = rng.normal([[300, 200], [320, 210], [340, 220], [360, 230]], 3, (frames, 4, 2))
    starts = np.arange(10, frames - 20, 30)
    for start in starts:
        points[start : start + 10, 0] -= 60  # the nose goes up the wall
    points_px: Floats = points.astype(np.float32)
    np.savez(
        folder / f"{name}.npz", points=points_px, likelihood=np.ones((frames, 4), np.float32),
        node_names=np.array(["nose", "neck", "body", "tail"]), fps=np.float32(25),
    )  # fmt: skip
    lines = [",file,Experimenter,from,to,type,ID,DLCFile"]
    for rater, late in (("Furkan", 0.0), ("Jin", 0.04), ("Oliver", -0.04)):
        for number, start in enumerate(starts):
            kind = "Unsupported" if number % 3 == 2 else "Supported"
            begin, end = start / 25 + late, (start + 10) / 25 + late
            lines.append(f"{number},x,{rater},{begin:.3f},{end:.3f},{kind},OFT_1,x")
    (folder / f"{name}_labels_all_raters.csv").write_text("\n".join(lines) + "\n")
    return folder / f"{name}.npz"


def write_for(experiment: str, folder: Path) -> list[str]:
    """Small data for an experiment file, and the options that match it to them."""
    options = [f"--data.root={folder}", "--data.past=6", "--data.future=6", "--model.widths=[4]"]
    if experiment.endswith("calms21"):
        write_calms21(folder)
    elif experiment.endswith("flyvsfly"):
        for number in (1, 2):
            write_movie(folder / "Aggression", number)
            write_fly_tracks(folder / "tracks", number)
        options += ["--data.train=[1]", "--data.test=[2]", "--data.min_frames=1"]
    elif experiment.endswith("oft"):
        for number, name in enumerate(("8_01_A_190507134142", "12_01_A_190507144429")):
            write_open_field(folder, name, seed=number)
    else:
        for seed in (0, 1):
            settings = ArenaSettings(size=48, frames=300, seed=seed)
            write_arena(settings, folder / "arena", f"arena_seed{seed}_x")
    return options
