"""Confidences of a run as probabilities: made once for each checkpoint, kept in the run folder, used by every verb."""

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_kp.confidence.calibration import Calibration
    from lightning_kp.diagnosis.evidence import Evidence
    from lightning_kp.method import KeypointMethod
    from lightning_kp.runs.folder import RunFolder

FILE = "confidence.json"
FEWEST_PAIRS = 64
"""Held-out pairs of frames from which these are used alone; below, those of the training as well (ours)."""

logger = logging.getLogger(__name__)


def calibrate_run(
    method: "KeypointMethod", datasets: dict[str, Any], folder: "RunFolder", content: str
) -> "Calibration":
    """Calibrate a checkpoint of digest ``content`` without labels, on held-out pairs; writes ``confidence.json``.

    ``datasets`` are map-style datasets of FramePairs by stage (``train``, ``val``).  A calibration of the same
    checkpoint that is there already is used.
    """
    from tqdm import tqdm

    from lightning_kp.confidence.fitting import Reading, calibrate
    from lightning_kp.confidence.rereading import Rereader
    from lightning_kp.diagnosis.backgrounds import sampled_backgrounds
    from lightning_kp.diagnosis.evidence import collect_evidence, sampled_batches
    from lightning_kp.files import write_whole

    if (known := read_calibration(folder)) is not None and known.checkpoint == content:
        return known
    held_out = datasets.get("val")
    pairs = held_out if held_out is not None and len(held_out) >= FEWEST_PAIRS else datasets["train"]
    rereader = Rereader(method)
    batches = tqdm(sampled_batches(pairs), desc="calibrate", unit="batch", delay=1.0, leave=False)
    evidence = collect_evidence(method, rereader.watch(batches), backgrounds=sampled_backgrounds(pairs))
    copies = rereader.points()[: len(evidence.points)]
    shape = (len(copies), *copies.shape[2:4])
    reading = Reading(
        evidence.points.reshape(*shape, 2), evidence.confidence.reshape(shape),
        evidence.covariance.reshape(*shape, 3), copies, evidence.foreground_under.reshape(shape),
        evidence.video, evidence.index,
    )  # fmt: skip
    found = calibrate(reading, evidence.body_px, evidence.image_size, checkpoint=content)
    write_whole(folder.path / FILE, found.to_json() + "\n")
    return found


def read_calibration(folder: "RunFolder") -> "Calibration | None":
    """The calibration of a run folder; None without one.  Raises DataError for a damaged file."""
    from lightning_kp.confidence.calibration import Calibration

    path = folder.path / FILE
    return Calibration.from_json(path.read_text(encoding="utf-8")) if path.is_file() else None


def calibration_of(checkpoint: Path, method: "KeypointMethod") -> "Calibration | None":
    """The calibration of a checkpoint in its run folder; without one, one line says what the confidence is.

    Methods that find whole animals have scores of their own, which are not calibrated.
    """
    from lightning_kp.command.trained import content_of
    from lightning_kp.runs.folder import RunFolder, run_of

    if method.finds_whole_animals:
        return None
    run = run_of(checkpoint)
    found = None if run is None else read_calibration(RunFolder(run))
    if found is not None and found.checkpoint == content_of(checkpoint):
        return found
    logger.info(
        "Confidence is the height of each heatmap's peak, not a probability: %s.",
        "this checkpoint has no calibration" if found is None else f"{FILE} is that of another checkpoint",
    )
    return None


def calibrated_evidence(evidence: "Evidence", calibration: "Calibration | None") -> "Evidence":
    """The evidence with probabilities as confidence; as it is without a calibration."""
    import numpy as np

    from lightning_kp.confidence.cues import raw_cues, relative_cues, usual_cues

    if calibration is None:
        return evidence
    frames, keypoints = len(evidence.points), len(calibration.bias)
    shape = (frames, -1, keypoints)
    follows = np.concatenate(([False], (np.diff(evidence.index) == 1) & (np.diff(evidence.video) == 0)))
    raw = raw_cues(
        evidence.points.reshape(*shape, 2), evidence.confidence.reshape(shape),
        evidence.covariance.reshape(*shape, 3), follows[:frames],
    )  # fmt: skip
    confidence = calibration.probability(relative_cues(raw, usual_cues(raw)))
    return dataclasses.replace(evidence, confidence=confidence.reshape(frames, -1))
