"""Run folders with the files that a report shows."""

import dataclasses
import json
import math
from pathlib import Path

import clips
import numpy as np
from PIL import Image as Pictures

from lightning_kp.diagnosis.verdict import (
    Diagnosis,
    KeypointDiagnosis,
    Measures,
    Problem,
    Remedy,
    Scene,
    Verdict,
)
from lightning_kp.runs.folder import RunFolder
from lightning_kp.tracks.table import Tracks, default_names
from lightning_kp.tracks.writing import write_tracks

EVIL = "<script>alert(1)</script>&\"'"


def diagnosis(reason: str = "1 of 2 keypoints found.") -> Diagnosis:
    measures = Measures(0.98, 0.5, 0.3, 0.9, 0.0, 0.4, 1.5, 0.1, 0.25, 0.1)
    blind = dataclasses.replace(measures, on_animal=math.nan, jitter_px=math.nan)
    good = KeypointDiagnosis(Verdict.FOUND, Problem.NONE, "on the animal", Remedy.NONE, None, measures)
    bad = KeypointDiagnosis(Verdict.FAILED, Problem.STUCK, reason, Remedy.FEWER, None, blind)
    scene = Scene(100, 100, 64, 20.0, 1.0, 0.3)
    return Diagnosis(Verdict.DOUBTFUL, reason, Remedy.FEWER, 0.5, scene, (good, bad))


def add_video(folder: RunFolder, name: str) -> Path:
    """A tracked video with its overlay."""
    video = clips.write_numbered(folder.path.parent / f"{name}.mp4", 3, (32, 32))
    points = np.full((3, 1, 2, 2), 10, np.float32)
    tracks = Tracks(
        str(video), (32, 32), 25.0, np.arange(3) / 25, points, np.ones((3, 1, 2), np.float32),
        np.ones((3, 1, 2, 3), np.float32), default_names(2),
    )  # fmt: skip
    folder.overlay(name).parent.mkdir(exist_ok=True)
    write_tracks(tracks, folder.tracks(name), ("csv",))
    return clips.write_numbered(folder.overlay(name), 3, (32, 32))


def fill(folder: RunFolder, word: str) -> None:
    """Every part of a run, with ``word`` wherever text comes from outside."""
    folder.config.write_text(f"model: '{word}'\n")
    folder.diagnostics.write_text(diagnosis(word).to_json())
    folder.add_metrics({word: 4.25, "matches": {word: 1}, "verdict": word})
    (folder.path / "metrics.csv").write_text(
        "epoch,step,train/loss_step,train/rotation_step,val/loss\n0,1,2.5,0.5,\n0,9,1.5,0.25,\n0,9,,,1.75\n1,1"
    )
    (folder.path / "pictures").mkdir(exist_ok=True)
    for path in ("inspection.png", "pictures/val_keypoints-00000012.png"):
        Pictures.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder.path / path)
    add_video(folder, "session")


def add_results(folder: RunFolder, word: str) -> None:
    """Files of other commands: identity switches, labels needed, behaviour, inspection."""
    swaps = {"session": [{"frame": 2, "animals": [1, 2], "margin": 0.5, "reason": word}], word: []}
    known = json.loads(folder.diagnostics.read_text())
    folder.diagnostics.write_text(json.dumps(known | {"suspected_swaps": swaps}))
    rows = [
        {"dataset": word, "method": "bridge", "labels": 5, "seed": seed, "pck": 0.25 + seed, "note": word}
        for seed in (0, 1)
    ]
    (folder.path / "label_efficiency.json").write_text(json.dumps({"rows": rows}))
    setting = {"setting": word, "problem": word, "seeds": {"0": {}, "1": {}}, "mean": {"map": 0.625}}
    (folder.path / "behaviour.json").write_text(json.dumps([setting]))
    suggestion = {"gap": {"value": 6, "reason": word}, "box": {"value": None, "reason": "whole"}}
    inspected = {"videos": [{"notes": [word]}], "suggestion": suggestion}
    folder.inspection.write_text(json.dumps(inspected))
    for name in ("label_efficiency.png", "ethogram.png"):
        Pictures.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder.path / name)
