"""The verdict on a run, and the report that shows it."""

import inspect
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    """Do everything that follows training: tracks, overlays, verdict, report.

    Tracks and overlays that are already there are kept.
    """
    from lightning_kp.checkpoints import data_settings, find_checkpoint
    from lightning_kp.command.tracking import draw_overlays, track_all
    from lightning_kp.command.trained import load_for_tracking, origin_of
    from lightning_kp.files import unique_stems
    from lightning_kp.reports.document import write_report
    from lightning_kp.tracks.identity_files import add_to_diagnostics, summary_lines

    checkpoint = find_checkpoint(folder.path)
    method, view = load_for_tracking(checkpoint)
    track_all(method, view, videos, folder.path, origin=origin_of(checkpoint))
    if overlay:
        draw_overlays(videos, folder.path)
    diagnosis = judge(method, videos, folder, data_settings(checkpoint))
    swaps = add_to_diagnostics(folder, unique_stems(videos))
    for line in (*diagnosis.summary_lines(), *summary_lines(swaps)):
        logger.info(line)
    write_report(folder)
    logger.info("Report: %s", folder.report)


def judge(
    method: "KeypointMethod", videos: list[Path], folder: "RunFolder", settings: dict[str, Any]
) -> "Diagnosis":
    """Diagnose the run on pairs spread over its videos, made as in training; writes ``diagnostics.json``."""
    from lightning_kp.frames.pairs import FramePairsModule

    accepted = inspect.signature(FramePairsModule).parameters
    same = {name: value for name, value in settings.items() if name in accepted}
    data = FramePairsModule(**same | {"videos": [str(video.resolve()) for video in videos]})
    data.prepare_data()
    data.setup("fit")
    return judge_pairs(method, data.datasets["train"], folder)


def judge_pairs(method: "KeypointMethod", pairs: Any, folder: "RunFolder") -> "Diagnosis":
    """Diagnose the run on a map-style dataset of FramePairs; writes ``diagnostics.json``."""
    from tqdm import tqdm

    from lightning_kp.diagnosis.backgrounds import sampled_backgrounds
    from lightning_kp.diagnosis.evidence import collect_evidence, sampled_batches
    from lightning_kp.diagnosis.judgement import diagnose
    from lightning_kp.files import write_whole

    batches = tqdm(sampled_batches(pairs), desc="judge", unit="batch", delay=1.0, leave=False)
    evidence = collect_evidence(method, batches, backgrounds=sampled_backgrounds(pairs))
    diagnosis = diagnose(evidence, steps=training_progress(folder)[1])
    write_whole(folder.diagnostics, diagnosis.to_json() + "\n")
    folder.add_metrics(
        {
            "found": len(diagnosis.found),
            "keypoints": len(diagnosis.keypoints),
            "verdict": str(diagnosis.verdict),
        }
    )
    return diagnosis
