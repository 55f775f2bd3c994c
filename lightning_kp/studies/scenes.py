"""Effect of preprocessing on the error of discovered keypoints in hard scenes.

``python -m lightning_kp.studies.scenes [--out FOLDER] [--jobs N] [--seeds 0,1,2] [--only shadow,shake]``
renders arenas with cast shadows, with a shaking camera and with a drifting camera. It trains one
experiment on each scene with every treatment and seed, scores each run on a held-out recording, and
writes scenes.json and scenes.md. Finished runs are kept: the same command resumes a stopped study.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from lightning_kp.files import write_whole
from lightning_kp.studies.trainings import options_suffix

SCENES: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "shadow": {"shadow": True, "shadow_reach": 0.06},
    "shake": {"shake": 4.0},
    "drift": {"drift": 8.0},
}
"""Options of SyntheticArena that make each scene hard; in pixels of a frame that is 192 px wide."""
TREATMENTS: Mapping[str, dict[str, str]] = {
    "none": {},
    "hsv": {"shadow": "hsv"},
    "hsv black": {"shadow": "hsv", "fill": "black"},
    "ssim": {"shadow": "ssim"},
    "filter": {"shadow": "filter"},
    "registration": {"registration": "translation"},
}
TRIED: Mapping[str, tuple[str, ...]] = {
    "plain": ("none",),
    "shadow": ("none", "hsv", "hsv black", "ssim", "filter"),
    "shake": ("none", "registration"),
    "drift": ("none", "registration"),
}
COLUMNS = ("linear", "matched", "untrained_linear", "untrained_matched", "mean_pose")
EXPERIMENT = Path(__file__).resolve().parents[2] / "experiments" / "bkind_arena.yaml"


@dataclass(frozen=True)
class Job:
    """One training: a scene, a treatment and a seed; ``out`` is the folder of the whole study."""

    scene: str
    treatment: str
    seed: int
    out: Path
    config: Path
    options: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Run folder; other options of ``kp fit`` give another one."""
        name = f"{self.scene}-{self.treatment.replace(' ', '_')}-{self.seed}"
        return self.out / f"{name}{options_suffix(self.options)}"

    @property
    def root(self) -> Path:
        """Folder of the scene's videos."""
        return self.out / "videos" / self.scene

    def data(self) -> list[str]:
        """Scene and treatment as options of ``kp fit``."""
        treatment = {f"preprocessing.{name}": value for name, value in TREATMENTS[self.treatment].items()}
        chosen = {**SCENES[self.scene], **treatment, "root": self.root}
        return [
            f"--data.{name}={str(value).lower() if value is True else value}"
            for name, value in chosen.items()
        ]

    def fit(self) -> list[str]:
        """Arguments of ``kp`` to train, or to resume a training."""
        arguments = ["fit", "--config", str(self.config), *self.data(), f"--seed_everything={self.seed}"]
        arguments += [f"--trainer.default_root_dir={self.folder}", "--trainer.enable_progress_bar=false"]
        last = self.folder / "checkpoints" / "last.ckpt"
        return [*arguments, *self.options, *([f"--ckpt_path={last}"] if last.exists() else [])]

    def score(self) -> list[str]:
        """Arguments of ``kp`` to score the run on the scene's held-out video."""
        truth = sorted(self.root.glob("arena/arena_seed1_*.truth.npz"), key=lambda path: path.stat().st_mtime)
        return ["score", str(self.folder), "--labels", str(truth[-1])]

    def scores(self) -> dict[str, float] | None:
        """Scores of a finished run; None before."""
        try:
            known = json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return {name: known[name] for name in COLUMNS} if "matched" in known else None


def jobs_of(
    out: Path, config: Path, seeds: Sequence[int], scenes: Sequence[str], options: Sequence[str]
) -> Iterator[Job]:
    """All jobs, ordered by seed, so that a stopped study has complete seeds."""
    for seed in seeds:
        for scene in scenes:
            for treatment in TRIED[scene]:
                yield Job(scene, treatment, seed, out, config, tuple(options))


def run_all(jobs: Sequence[Job], workers: int) -> list[str]:
    """Run the unfinished jobs, ``workers`` at a time; return one line for each failure."""
    waiting = [job for job in jobs if job.scores() is None]
    print(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are finished; {workers} at a time.", flush=True)
    # The seeds of a scene share videos and caches, so these are made before any training starts.
    prepared = {(job.scene, job.treatment): job for job in reversed(waiting)}
    scenes = {job.scene: job for job in prepared.values()}
    problems: list[str] = []
    for name, stage in (
        ("render", scenes),
        ("preprocess", prepared),
        ("train", {id(job): job for job in waiting}),
    ):
        problems += _stage(name, list(stage.values()), workers)
        if problems and name != "train":
            return problems
    return problems


def _stage(name: str, jobs: Sequence[Job], workers: int) -> list[str]:
    problems = []
    with ThreadPoolExecutor(max_workers=workers) as pool:
        futures = {pool.submit(_run, name, job): job for job in jobs}
        for number, future in enumerate(as_completed(futures), start=1):
            job, problem = futures[future], future.result()
            print(f"{name} {number}/{len(jobs)}: {job.folder.name} {problem or 'done'}", flush=True)
            problems += [f"{job.folder.name}: {problem}"] if problem else []
    return problems


def _run(stage: str, job: Job) -> str:
    """Run one stage of a job in its own processes, logged in the run folder; return an error or nothing."""
    job.folder.mkdir(parents=True, exist_ok=True)
    if stage == "train":
        return _kp(job, job.fit()) or _kp(job, job.score())
    preparation = [
        sys.executable,
        "-m",
        "lightning_kp.studies.scenes",
        "--prepare",
        stage,
        "--out",
        str(job.folder),
    ]
    return _process(job, [*preparation, "--", *job.fit()])


def _kp(job: Job, arguments: Sequence[str]) -> str:
    return _process(job, [sys.executable, "-m", "lightning_kp", *arguments])


def _process(job: Job, command: Sequence[str]) -> str:
    log = job.folder / "log.txt"
    environment = {"OMP_NUM_THREADS": "1", **os.environ}  # jobs run at the same time, with one core each
    with log.open("ab") as file:
        code = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False
        ).returncode
    if code == 0:
        return ""
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    return f"failed ({code}), see {log}: {' '.join(last)}"


def prepare(stage: str, arguments: Sequence[str]) -> None:
    """Render a scene's videos, or also fill the frame cache, as ``kp fit`` with these arguments would do first."""
    from lightning_kp.arena.recording import write_arena
    from lightning_kp.command.training import launch

    data: Any = launch("fit", list(arguments[1:]), start=False).datamodule
    if stage == "preprocess":
        data.prepare_data()
        return
    for path, settings in zip(data.video_paths(), data.settings.values(), strict=True):
        write_arena(settings, path.parent, path.stem)


def table(jobs: Sequence[Job]) -> str:
    """Markdown table of mean and standard deviation over the seeds, in % of the image side."""
    rows = [
        "| scene | treatment | seeds | linear | matched | untrained linear | untrained matched | mean pose |"
    ]
    rows.append("|---|---|---|---|---|---|---|---|")
    for scene, treatment in dict.fromkeys((job.scene, job.treatment) for job in jobs):
        group = [job for job in jobs if (job.scene, job.treatment) == (scene, treatment)]
        found = [scores for job in group if (scores := job.scores()) is not None]
        cells = [_over_seeds([scores[name] for scores in found]) for name in COLUMNS]
        rows.append(f"| {scene} | {treatment} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _over_seeds(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study; return the exit code."""
    given = _parser().parse_args(arguments)
    options = given.options[1:] if given.options[:1] == ["--"] else given.options
    if given.prepare:
        prepare(given.prepare, options)
        return 0
    scenes = given.only.split(",")
    if unknown := [scene for scene in scenes if scene not in SCENES]:
        print(f"There is no scene {unknown[0]}; scenes are {', '.join(SCENES)}.", file=sys.stderr)
        return 2
    out = given.out.resolve()
    os.environ.setdefault("KP_CACHE_DIR", str(out / "cache"))
    seeds = [int(seed) for seed in given.seeds.split(",")]
    jobs = list(jobs_of(out, given.config, seeds, scenes, options))
    problems = run_all(jobs, given.jobs)
    found = [
        {"scene": job.scene, "treatment": job.treatment, "seed": job.seed, **(job.scores() or {})}
        for job in jobs
    ]
    write_whole(out / "scenes.json", json.dumps(found, indent=2) + "\n")
    write_whole(out / "scenes.md", table(jobs) + "\n")
    print(table(jobs), *problems, sep="\n")
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lightning_kp.studies.scenes", description=__doc__)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/scenes"),
        help="folder of runs, videos and tables (default: runs/scenes)",
    )
    parser.add_argument(
        "--jobs", type=int, default=2, help="processes at the same time, one core each (default: 2)"
    )
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated (default: 0,1,2)")
    parser.add_argument("--only", default=",".join(SCENES), help=f"of {','.join(SCENES)} (default: all)")
    parser.add_argument(
        "--config",
        type=Path,
        default=EXPERIMENT,
        help="experiment that is trained on each scene (default: bkind_arena.yaml)",
    )
    parser.add_argument("--prepare", choices=("render", "preprocess"), help=argparse.SUPPRESS)
    parser.add_argument(
        "options", nargs=argparse.REMAINDER, help="after --: options of kp fit, for every run"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
