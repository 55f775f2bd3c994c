"""Baseline of a pose network: the mean pose of the training crops, predicted for every test image.

``python -m lightning_kp.studies.mean_pose --config experiments/stackedhourglass_lsp.yaml --data.root FOLDER`` takes the
options of ``kp fit`` (see ``kp fit --help``) and prints the metrics that ``kp test`` logs.
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
    """Mean position (1, K, 2) of each joint over the images in which it is labelled.

    Args:
        labelled: Points (N, 1, K, 2), normalised (x, y); confidence (N, 1, K) is 0 for unlabelled joints.
    """
    weight = labelled.confidence.unsqueeze(-1)
    total: Tensor = (labelled.points * weight).sum(dim=0)
    return total / weight.sum(dim=0).clamp_min(1)


def mean_pose_scores(data: PersonModule, stage: str = "test") -> dict[str, float]:
    """PCK and PCP of the mean pose on one stage of the data, by name."""
    joints = data.protocol.skeleton
    columns = list(range(len(joints.names)))
    mean = mean_pose(_labels(data, "train"))[:, columns]
    labelled = _labels(data, stage)
    number = len(labelled.points)
    # Without double counting, since there are no heatmaps that could show a joint twice.
    metric = PoseScores(joints.names, columns, data.protocol, data.point_names)
    predicted = Keypoints(mean.expand(number, -1, -1, -1), torch.ones(number, 1, len(columns)))
    metric.update(torch.empty(0), predicted, Keypoints(labelled.points, labelled.confidence), columns)
    return {name: value.item() for name, value in metric.compute().items()}


def _labels(data: PersonModule, stage: str) -> LabelledImages:
    """All labels of a stage, on crops without augmentation."""
    dataset = data.datasets[stage]
    assert isinstance(dataset, PersonDataset)  # PersonModule has no other datasets
    plain = PersonDataset(dataset.people, dataset.mirror, dataset.size, dataset.images)
    return plain.__getitems__(list(range(len(plain))))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the metrics."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(given) or not given:
        print(__doc__)
        return
    from lightning_kp.command import training

    data = training.launch("fit", given, start=False).datamodule
    data.setup("test")
    for name, value in mean_pose_scores(data).items():
        print(f"{name:<22}{value:.3f}")


if __name__ == "__main__":
    main()
