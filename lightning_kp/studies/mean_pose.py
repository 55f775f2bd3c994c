"""What a pose network has to beat: the mean pose of the training crops, for every picture of the test.

``python -m lightning_kp.studies.mean_pose --config experiments/stackedhourglass_lsp.yaml --data.root FOLDER`` takes the
options of ``kp fit`` and prints the figures that a test logs.
"""

import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_kp.batches import LabelledImages
from lightning_kp.keypoints import Keypoints
from lightning_kp.metrics.pose_scores import PoseScores
from lightning_kp.people.person_data import PersonDataset, PersonModule


def mean_pose(labelled: LabelledImages) -> Tensor:
    """Labels (N, 1, K, 2) -> mean point of each joint (1, K, 2) over the images in which it is labelled."""
    weight = labelled.confidence.unsqueeze(-1)
    total: Tensor = (labelled.points * weight).sum(dim=0)
    return total / weight.sum(dim=0).clamp_min(1)


def figures(data: PersonModule, stage: str = "test") -> dict[str, float]:
    """PCK and PCP of the mean pose on a stage of the data, by name."""
    joints = data.protocol.skeleton
    columns = list(range(len(joints.names)))
    guess = mean_pose(_labels(data, "train"))[:, columns]
    labelled = _labels(data, stage)
    number = len(labelled.points)
    # Without the mirror: heatmaps that might show a joint twice there are none.
    scores = PoseScores(joints.names, columns, data.protocol, data.point_names)
    guessed = Keypoints(guess.expand(number, -1, -1, -1), torch.ones(number, 1, len(columns)))
    scores.update(torch.empty(0), guessed, Keypoints(labelled.points, labelled.confidence), columns)
    return {name: value.item() for name, value in scores.figures().items()}


def _labels(data: PersonModule, stage: str) -> LabelledImages:
    """All labels of a stage, of unchanged crops."""
    found = data.datasets[stage]
    assert isinstance(found, PersonDataset)  # PersonModule makes no other
    plain = PersonDataset(found.people, found.mirror, found.size, found.pictures)
    return plain.__getitems__(list(range(len(plain))))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    from lightning_kp.command import training

    data = training.launch(
        "fit", list(sys.argv[1:] if arguments is None else arguments), start=False
    ).datamodule
    data.setup("test")
    for name, value in figures(data).items():
        print(f"{name:<22}{value:.3f}")


if __name__ == "__main__":
    main()
