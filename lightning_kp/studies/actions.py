"""Action recognition from true 2-D poses, over several trainings and errors of the poses (003, Figure 4.7, Table 4.16).

``python -m lightning_kp.studies.actions --data FOLDER --out OUT [--seeds 0,1,2] [--errors 0,0.02,0.04,0.0635,0.1]``
trains an ActionLSTM for every error and seed, and fits the baselines: chance, the majority, and a linear discriminant
on each window's mean pose and on its mean, deviation and speed.  Finished trainings of an earlier call are kept.
Writes ``results.json``, ``actions.png`` (a box for each error) and ``confusion.png`` to OUT.
"""

import argparse
import json
import logging
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_kp.datamodules import PoseActions
from lightning_kp.files import read_json, replacing, write_whole
from lightning_kp.methods import ActionLSTM
from lightning_kp.people.pose_actions import PoseWindows, all_windows
from lightning_kp.studies.trainings import number_list

RIDGE = 1e-3
"""Share of the mean variance that is added to the covariance of the discriminant."""
FIXED_STARTS = 20
"""Windows of each training track from which a discriminant learns; the network sees others in every epoch."""
Matrix = NDArray[np.float64]


def linear_discriminant(features: Matrix, labels: NDArray[np.int64], unseen: Matrix) -> NDArray[np.int64]:
    """Classify ``unseen`` (M, F) by class means and one covariance of ``features`` (N, F) with ``labels`` (N,)."""
    classes = np.unique(labels)
    means = np.stack([features[labels == each].mean(axis=0) for each in classes])
    within = features - means[np.searchsorted(classes, labels)]
    covariance = within.T @ within / len(within)
    covariance += RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    direction = np.linalg.solve(covariance, means.T)
    prior = np.log(np.bincount(labels)[classes] / len(labels))
    scores = unseen @ direction - (means.T * direction).sum(axis=0) / 2 + prior
    return np.asarray(classes[scores.argmax(axis=1)])


def summaries(windows: Tensor) -> dict[str, Matrix]:
    """Windows (M, T, F) -> their mean pose (M, F), and their mean, deviation and speed (M, 3 F)."""
    values = windows.double().numpy()
    mean, speed = values.mean(axis=1), np.abs(np.diff(values, axis=1)).mean(axis=1)
    return {
        "mean pose": mean,
        "mean, deviation, speed": np.concatenate((mean, values.std(axis=1), speed), axis=1),
    }


def baselines(data: PoseActions) -> dict[str, float]:
    """Accuracies in per cent of single test windows without a network."""
    train, test = data.datasets["train"], data.datasets["test"]
    assert isinstance(train, PoseWindows)  # PoseActions has no other datasets
    assert isinstance(test, PoseWindows)
    (windows, action, _), (unseen, truth, _) = all_windows(_fixed(train)), all_windows(test)
    majority = action.bincount().argmax()
    found = {
        "chance": 100 / len(data.class_names),
        "majority": 100 * (truth == majority).float().mean().item(),
    }
    seen_by, unseen_by = summaries(windows), summaries(unseen)
    for name in seen_by:
        guess = linear_discriminant(seen_by[name], action.numpy(), unseen_by[name])
        found[f"discriminant, {name}"] = 100 * float((guess == truth.numpy()).mean())
    return found


def _fixed(random: PoseWindows) -> PoseWindows:
    """The same tracks with fixed starts."""
    tracks = [track.unflatten(1, (-1, 2)).numpy() for track in random.tracks]
    length = (random.span - 1) // random.step + 1
    return PoseWindows(tracks, random.action, length, random.step, FIXED_STARTS)


def train_once(data: PoseActions, seed: int, epochs: int, out: Path) -> dict[str, Any]:
    """Train an ActionLSTM; returns its accuracies in per cent, single and voted, and its confusion (C, C)."""
    L.seed_everything(seed, verbose=False)
    runner = L.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=out,
    )  # fmt: skip
    method = ActionLSTM()
    runner.fit(method, datamodule=data)
    figures = runner.test(method, datamodule=data, verbose=False)[0]
    test = data.datasets["test"]
    assert isinstance(test, PoseWindows)
    windows, action, _ = all_windows(test)
    with torch.inference_mode():
        guess = method.eval()(windows).argmax(dim=1)
    classes = len(data.class_names)
    confusion = (action * classes + guess).bincount(minlength=classes**2).view(classes, classes)
    return {
        "single": 100 - figures["test/error"], "voted": 100 - figures["test/error_voted"],
        "confusion": confusion.tolist(),
    }  # fmt: skip


def draw(results: dict[str, Any], names: Sequence[str], out: Path) -> None:
    """Draw the accuracies of all trainings as boxes, and the confusion of those without error."""
    from matplotlib.figure import Figure

    errors = list(results["trainings"])
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    singles = [[each["single"] for each in results["trainings"][error].values()] for error in errors]
    axes.boxplot(singles, tick_labels=[f"{100 * float(error):g} %" for error in errors])
    for name, value in results["baselines"].items():
        axes.axhline(value, linestyle=":", linewidth=1)
        axes.annotate(name, (0.55, value), fontsize=7, va="bottom")
    axes.set_xlabel("mean error of the poses, share of the image side")
    axes.set_ylabel("accuracy of single windows, %")
    with replacing(out / "actions.png") as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    total = np.sum([each["confusion"] for each in results["trainings"][errors[0]].values()], axis=0)
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(total / total.sum(axis=1, keepdims=True), cmap="viridis")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("found")
    axes.set_ylabel("true")
    with replacing(out / "confusion.png") as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(prog="python -m lightning_kp.studies.actions", description=__doc__)
    parser.add_argument("--data", required=True, help="folder of h36m_17j_12.5fps.npz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=number_list, default=list(range(10)))
    parser.add_argument("--errors", default="0", help="mean errors of the poses, shares of the image side")
    parser.add_argument("--epochs", type=int, default=150)
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "results.json"
    results: dict[str, Any] = read_json(file) if file.is_file() else {"baselines": {}, "trainings": {}}
    names: Sequence[str] = ()
    for error in options.errors.split(","):
        data = PoseActions(root=options.data, error=float(error))
        data.setup()
        names = data.class_names
        if float(error) == 0:
            results["baselines"] = baselines(data)
        done = results["trainings"].setdefault(error, {})
        for seed in options.seeds:
            if str(seed) not in done:
                done[str(seed)] = train_once(data, seed, options.epochs, options.out)
                write_whole(file, json.dumps(results))
        single, voted = ([each[name] for each in done.values()] for name in ("single", "voted"))
        print(
            f"error {100 * float(error):g} %: single windows {statistics.mean(single):.1f} % ({min(single):.1f} to "
            f"{max(single):.1f}), voted {statistics.mean(voted):.1f} %, {len(done)} trainings"
        )
    for name, value in results["baselines"].items():
        print(f"{name}: {value:.1f} %")
    draw(results, names, options.out)


if __name__ == "__main__":
    main()
