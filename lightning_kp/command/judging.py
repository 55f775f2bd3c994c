"""The verdict on a run, and the report that shows it."""

import dataclasses
import inspect
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_kp.confidence.calibration import Calibration
    from lightning_kp.diagnosis.verdict import Diagnosis
    from lightning_kp.method import KeypointMethod
    from lightning_kp.runs.folder import RunFolder

logger = logging.getLogger(__name__)


def training_progress(folder: "RunFolder") -> tuple[int | None, int | None]:
    """Return the finished epochs and steps of a run's training; None each without a checkpoint."""
    from lightning_kp.checkpoints import read_checkpoint

    if not folder.last_checkpoint.exists():
        return None, None
    content = read_checkpoint(folder.last_checkpoint)
    progress = content.get("loops", {}).get("fit_loop", {}).get("epoch_progress", {}).get("current", {})
    return int(progress.get("processed", 0)), int(content.get("global_step", 0))


def finish(videos: list[Path], folder: "RunFolder", *, overlay: bool = True) -> None:
    """Do everything that follows training: calibration, tracks, overlays, verdict, report.

    Calibration, tracks and overlays that are already there are kept.
    """
    from lightning_kp.checkpoints import data_settings, find_checkpoint
    from lightning_kp.command.calibrating import calibrate_run
    from lightning_kp.command.tracking import draw_overlays, track_all
    from lightning_kp.command.trained import content_of, load_for_tracking, origin_of
    from lightning_kp.files import unique_stems
    from lightning_kp.reports.document import write_report
    from lightning_kp.smoothing.refining import flip_lines, found_flips
    from lightning_kp.tracks.identity_files import add_to_diagnostics, summary_lines

    checkpoint = find_checkpoint(folder.path)
    method, view = load_for_tracking(checkpoint)
    datasets = pair_datasets(videos, data_settings(checkpoint))
    calibration = calibrate_run(method, datasets, folder, content_of(checkpoint))
    track_all(method, view, videos, folder.path, origin=origin_of(checkpoint), calibration=calibration)
    if overlay:
        draw_overlays(videos, folder.path)
    diagnosis = judge_pairs(method, datasets["train"], folder, calibration)
    swaps = add_to_diagnostics(folder, unique_stems(videos))
    flips = found_flips(folder, unique_stems(videos))
    for line in (*diagnosis.summary_lines(), *summary_lines(swaps), *flip_lines(flips)):
        logger.info(line)
    write_report(folder)
    logger.info("Report: %s", folder.report)


def judge(
    method: "KeypointMethod", videos: list[Path], folder: "RunFolder", settings: dict[str, Any]
) -> "Diagnosis":
    """Diagnose the run on pairs spread over its videos, made as in training; writes ``diagnostics.json``."""
    return judge_pairs(method, pair_datasets(videos, settings)["train"], folder)


def pair_datasets(videos: list[Path], settings: dict[str, Any]) -> dict[str, Any]:
    """Datasets of FramePairs by stage (``train``, ``val``) from videos, made as in the training with these settings."""
    from lightning_kp.frames.pairs import FramePairsModule

    accepted = inspect.signature(FramePairsModule).parameters
    same = {name: value for name, value in settings.items() if name in accepted}
    data = FramePairsModule(**same | {"videos": [str(video.absolute()) for video in videos]})
    data.prepare_data()
    data.setup("fit")
    return dict(data.datasets)


def judge_pairs(
    method: "KeypointMethod", pairs: Any, folder: "RunFolder", calibration: "Calibration | None" = None
) -> "Diagnosis":
    """Diagnose the run on a map-style dataset of FramePairs; writes ``diagnostics.json``."""
    from tqdm import tqdm

    from lightning_kp.command.calibrating import calibrated_evidence
    from lightning_kp.diagnosis.backgrounds import sampled_backgrounds
    from lightning_kp.diagnosis.evidence import collect_evidence, sampled_batches
    from lightning_kp.diagnosis.judgement import diagnose
    from lightning_kp.files import write_whole

    batches = tqdm(sampled_batches(pairs), desc="judge", unit="batch", delay=1.0, leave=False)
    evidence = collect_evidence(method, batches, backgrounds=sampled_backgrounds(pairs))
    evidence = calibrated_evidence(evidence, calibration)
    diagnosis = diagnose(
        evidence,
        steps=training_progress(folder)[1],
        look_alikes=_look_alikes(method, pairs, folder),
        terms=[field.name for field in dataclasses.fields(method.weights_type)],
    )
    write_whole(folder.diagnostics, diagnosis.to_json() + "\n")
    folder.add_metrics(
        {
            "found": len(diagnosis.found),
            "keypoints": len(diagnosis.keypoints),
            "verdict": str(diagnosis.verdict),
        }
    )
    return diagnosis


def _look_alikes(method: "KeypointMethod", pairs: Any, folder: "RunFolder") -> int:
    """How many look-alike animals one picture shows, by the inspection; 0 where each has a square or its own peak."""
    from lightning_kp.files import read_json

    has_squares = any(len(video.regions) > 1 for video in getattr(pairs, "videos", ()))
    if has_squares or getattr(method, "instances", 1) > 1:
        return 0
    videos = read_json(folder.inspection).get("videos", [])
    return max((int(each.get("animals") or 0) for each in videos if each.get("look_alike")), default=0)
