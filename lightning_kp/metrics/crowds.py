"""Metrics of crowds (000, 3.6): AP and AR, AP by number of people, counting, and PCK of matched people.

PCK as in the paper for Immediacy: labelled people and predictions are matched one to one at the largest total
similarity, and the points of people without a match are left out.  A point is correct within 0.2 times the longer side
of its person's bounding box, here the box of the labelled points.

The tables ``predicted`` (N, 2 + 3 K) and ``labelled`` (M, 7 + 3 K) of all functions are described in
:func:`lightning_kp.metrics.oks.evaluate`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_kp.batches import CrowdImages
from lightning_kp.geometry import to_pixels
from lightning_kp.keypoints import Keypoints, bounding_box, oks
from lightning_kp.metrics.oks import OKSAveragePrecision, evaluate

MANY_PEOPLE = 6  # crowds of this many people and more share one AP (Table 3.2)
PCK_SHARE = 0.2  # of the longer side of a person's box
MIN_OKS = 0.1  # of a prediction that belongs to a labelled person, not to an ignored one
MATRIX, HITS, COUNTED = "confusion", "hits", "counted"  # the entries of compute() that are not single numbers


class CrowdScores(OKSAveragePrecision):
    """All metrics of 000, section 3.6, over any number of processes.

    People in ``others`` of the batch are ignored, as in COCO's evaluation: finding or missing them changes nothing.
    ``compute()`` returns, beside COCO's metrics:

    * ``AP_1``, ``AP_2``, ... by the number of labelled people in the image, and ``AP_6+`` for six and more;
    * ``count_right``, the share of images with the correct number of people, and ``count_off``, the mean absolute
      error of that number;
    * ``PCK``, with ``hits`` and ``counted`` (K,), the correct and the counted points behind it;
    * ``confusion`` (P, P), images by number of labelled people (row) and predicted people (column) (Figure 3.6).
    """

    def add(self, predicted: Keypoints, batch: CrowdImages) -> None:
        """Add predicted keypoints (B, I, K, 2), normalised, of a batch of crowds.

        Distances are measured in pixels of the original images.
        """
        size = batch.side.double().unsqueeze(-1).expand(-1, 2)
        boxes = to_pixels(batch.others.double().unflatten(-1, (2, 2)), size).flatten(-2)
        ignored = boxes.isfinite().all(dim=-1)
        boxes = torch.cat((boxes[..., :2], boxes[..., 2:] - boxes[..., :2]), dim=-1).nan_to_num()
        own = bounding_box(to_pixels(batch.points.double(), size), batch.confidence > 0)
        absent = batch.points.new_zeros(*ignored.shape, *batch.points.shape[2:])
        self.update(
            predicted,
            Keypoints(
                torch.cat((batch.points, absent), dim=1),
                torch.cat((batch.confidence, absent[..., 0]), dim=1),
            ),
            torch.cat((batch.area, boxes[..., 2:].prod(dim=-1).to(batch.area)), dim=1),
            size=torch.stack((batch.side, batch.side), dim=-1),
            ignored=torch.cat((torch.zeros_like(batch.area, dtype=torch.bool), ignored), dim=1),
            box=torch.cat((own, boxes), dim=1),
        )

    def compute(self) -> dict[str, Tensor]:
        predicted, labelled = self.tables()
        metrics = evaluate(predicted, labelled, self.sigma, self.at_most)
        metrics |= ap_by_people(predicted, labelled, self.sigma, self.at_most)
        matrix = confusion(without_ignored(predicted, labelled, self.sigma), labelled)
        off = (torch.arange(len(matrix)).unsqueeze(1) - torch.arange(len(matrix))).abs()
        metrics["count_right"] = matrix.diagonal().sum() / matrix.sum()
        metrics["count_off"] = (matrix * off).sum() / matrix.sum()
        hits, counted = matched_hits(predicted, labelled, self.sigma)
        metrics["PCK"] = hits.sum() / counted.sum()
        return metrics | {MATRIX: matrix, HITS: hits, COUNTED: counted}

    def summary(self, names: Sequence[str], subtitle: str = "") -> tuple[dict[str, float], str]:
        """All single numbers by name, and a page of Markdown with them and the tables.

        Args:
            names: Names of the K keypoints.
            subtitle: A line below the title that says what was measured.
        """
        result: dict[str, Tensor] = dict(self.compute())
        matrix, hits, counted = (result.pop(name) for name in (MATRIX, HITS, COUNTED))
        matrix = matrix.reshape(1, 1) if matrix.ndim == 0 else matrix  # torchmetrics squeezes single values
        metrics = {name: float(value) for name, value in result.items()}
        share = dict(zip(names, (hits / counted).reshape(-1).tolist(), strict=True))
        columns = [str(number) for number in range(len(matrix))]
        lines = [
            "# Crowds",
            "",
            *([subtitle, ""] if subtitle else []),
            *_table(list(metrics), [_three(metrics.values())]),
            "",
        ]
        lines += [
            "PCK by keypoint, over matched people:",
            "",
            *_table(list(share), [_three(share.values())]),
            "",
        ]
        lines += ["Images by number of people, labelled (rows) and predicted (columns):", ""]
        rows = [[name, *map(str, row)] for name, row in zip(columns, matrix.tolist(), strict=True)]
        return metrics, "\n".join([*lines, *_table(["", *columns], rows)]) + "\n"


def _three(values: Any) -> list[str]:
    return [f"{value:.3f}" for value in values]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def ap_by_people(
    predicted: Tensor, labelled: Tensor, sigma: Sequence[float], at_most: int
) -> dict[str, Tensor]:
    """AP () by name (``AP_1``, ``AP_2``, ..., ``AP_6+``) of the images with that number of labelled people."""
    images, counts = labelled[labelled[:, 2] == 0, 0].unique(return_counts=True)
    metrics = {}
    for number in counts.clamp_max(MANY_PEOPLE).unique().tolist():
        chosen = images[counts >= MANY_PEOPLE if number == MANY_PEOPLE else counts == number]
        parts = [table[torch.isin(table[:, 0], chosen)] for table in (predicted, labelled)]
        name = f"AP_{number}+" if number == MANY_PEOPLE else f"AP_{number}"
        metrics[name] = evaluate(parts[0], parts[1], sigma, at_most)["AP"]
    return metrics


def without_ignored(predicted: Tensor, labelled: Tensor, sigma: Sequence[float]) -> Tensor:
    """Rows of ``predicted`` without those that belong to ignored people.

    A prediction belongs to an ignored person if it is matched with no labelled person and its centre lies in the
    ignored person's bounding box.
    """
    spread = torch.tensor(sigma, dtype=torch.float64)
    kept = torch.ones(len(predicted), dtype=torch.bool)
    for image in labelled[labelled[:, 2] == 1, 0].unique().tolist():
        rows = torch.nonzero(predicted[:, 0] == image)[:, 0]
        of_image = labelled[labelled[:, 0] == image]
        people, others = of_image[of_image[:, 2] == 0], of_image[of_image[:, 2] == 1, 3:7]
        points, labels = (each.unflatten(1, (-1, 3)) for each in (predicted[rows, 2:], people[:, 7:]))
        similarity = oks(points[:, None, :, :2], labels[..., :2], labels[..., 2] > 0, people[:, 1], spread)
        free = torch.ones(len(rows), dtype=torch.bool)
        rows_of, columns = (torch.from_numpy(each) for each in linear_sum_assignment(-similarity.numpy()))
        free[rows_of[similarity[rows_of, columns] >= MIN_OKS]] = (
            False  # below it, the assignment is a forced one
        )
        seen = (points[..., 2:] > 0).double()
        centre = (points[..., :2] * seen).sum(dim=1) / seen.sum(dim=1).clamp_min(1)
        offset = centre[:, None] - others[:, :2]
        inside = ((offset >= 0) & (offset <= others[:, 2:])).all(dim=-1).any(dim=-1)
        kept[rows] = ~(free & inside)
    return predicted[kept]


def confusion(predicted: Tensor, labelled: Tensor) -> Tensor:
    """Images by number of labelled people (row) and predicted people (column), (P, P).

    Images with neither are in no table, and so not counted.
    """
    of_labelled, of_predicted = labelled[labelled[:, 2] == 0, 0], predicted[:, 0]
    images = torch.cat((of_labelled, of_predicted)).unique()
    rows, columns = ((each == images.unsqueeze(1)).sum(dim=1) for each in (of_labelled, of_predicted))
    side = int(torch.cat((rows, columns, rows.new_zeros(1))).max()) + 1
    matrix = torch.zeros(side, side, dtype=torch.long)
    return matrix.index_put_((rows, columns), torch.ones_like(rows), accumulate=True)


def matched_hits(predicted: Tensor, labelled: Tensor, sigma: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Correct points and counted points, (K,) each, of the labelled people that have a match."""
    spread = torch.tensor(sigma, dtype=torch.float64)
    hits, counted = torch.zeros(2, len(sigma), dtype=torch.long)
    for image in labelled[:, 0].unique().tolist():
        rows_predicted = predicted[predicted[:, 0] == image]
        people = labelled[(labelled[:, 0] == image) & (labelled[:, 2] == 0)]
        points, labels = rows_predicted[:, 2:].unflatten(1, (-1, 3)), people[:, 7:].unflatten(1, (-1, 3))
        present = labels[..., 2] > 0
        similarity = oks(points[:, None, :, :2], labels[..., :2], present, people[:, 1], spread)
        rows, columns = (torch.from_numpy(each) for each in linear_sum_assignment(-similarity.numpy()))
        far = (points[rows, :, :2] - labels[columns, :, :2]).norm(dim=-1)
        reach = PCK_SHARE * people[columns, 5:7].amax(dim=-1, keepdim=True)
        right = (far <= reach) & (points[rows, :, 2] > 0)
        measured = present[columns] & (reach > 0)  # the box of one point has no side
        hits += (right & measured).sum(dim=0)
        counted += measured.sum(dim=0)
    return hits, counted
