"""How well the people of crowds are found (000, 3.6): AP and AR, AP by number of people, counting, PCK.

PCK as the paper takes it for Immediacy: every labelled person is matched with the prediction that resembles
it most, one to one, and points of people without one are left out; a point is right within 0.2 of the longer
side of its person's box, here the box of the labelled points.
"""

from collections.abc import Sequence
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_kp.batches import CrowdImages
from lightning_kp.keypoints import Keypoints, box_of, oks
from lightning_kp.metrics.oks import OKSAveragePrecision, evaluate

MANY = 6  # from so many people on a crowd's AP goes into one figure (Table 3.2)
PCK_SHARE = 0.2
SIMILAR = (
    0.1  # OKS from which a prediction may be a labelled person rather than somebody who need not be found
)
MATRIX, HITS, COUNTED = "confusion", "hits", "counted"  # the entries of compute() that are no single figures


class CrowdScores(OKSAveragePrecision):
    """All figures of 000, 3.6 in one metric, over any number of processes.

    Who need not be found (``others`` of the batch) counts neither way, as COCO's evaluation has it.
    Beside COCO's: ``AP_2``, ``AP_3``, ... by the number of labelled people, ``AP_6+`` for six and more;
    ``count_right``, the share of images whose people are counted right, and ``count_off``, the mean error;
    ``PCK``.  ``confusion`` (N, N): images with so many labelled (row) and so many predicted people (column)
    (Figure 3.6); ``hits`` and ``counted`` (K,) behind the PCK.
    """

    def add(self, predicted: Keypoints, batch: CrowdImages) -> None:
        """Predictions (B, I, K, 2) for a batch of crowds; distances are measured in the original pictures."""
        side = batch.side.double()[:, None, None]
        boxes = ((batch.others.double() + 1) * side - 1) / 2
        ignored = boxes.isfinite().all(dim=-1)
        boxes = torch.cat((boxes[..., :2], boxes[..., 2:] - boxes[..., :2]), dim=-1).nan_to_num()
        own = box_of(((batch.points.double() + 1) * side.unsqueeze(-1) - 1) / 2, batch.confidence > 0)
        nobody = batch.points.new_zeros(*ignored.shape, *batch.points.shape[2:])
        self.update(
            predicted,
            Keypoints(
                torch.cat((batch.points, nobody), dim=1),
                torch.cat((batch.confidence, nobody[..., 0]), dim=1),
            ),
            torch.cat((batch.area, boxes[..., 2:].prod(dim=-1).to(batch.area)), dim=1),
            size=torch.stack((batch.side, batch.side), dim=-1),
            ignored=torch.cat((torch.zeros_like(batch.area, dtype=torch.bool), ignored), dim=1),
            box=torch.cat((own, boxes), dim=1),
        )

    def compute(self) -> dict[str, Tensor]:
        found, wanted = self.tables()
        figures = evaluate(found, wanted, self.sigma, self.at_most)
        figures |= by_number(found, wanted, self.sigma, self.at_most)
        matrix = confusion(without_others(found, wanted, self.sigma), wanted)
        off = (torch.arange(len(matrix)).unsqueeze(1) - torch.arange(len(matrix))).abs()
        figures["count_right"] = matrix.diagonal().sum() / matrix.sum()
        figures["count_off"] = (matrix * off).sum() / matrix.sum()
        hits, counted = matched_hits(found, wanted, self.sigma)
        figures["PCK"] = hits.sum() / counted.sum()
        return figures | {MATRIX: matrix, HITS: hits, COUNTED: counted}

    def summary(self, names: Sequence[str], told: str = "") -> tuple[dict[str, float], str]:
        """All single figures by name, and a page of Markdown with them and the tables; ``told`` says of what."""
        result: dict[str, Tensor] = dict(self.compute())
        matrix, hits, counted = (result.pop(name) for name in (MATRIX, HITS, COUNTED))
        matrix = (
            matrix.reshape(1, 1) if matrix.ndim == 0 else matrix
        )  # torchmetrics squeezes what has one value
        figures = {name: float(value) for name, value in result.items()}
        share = dict(zip(names, (hits / counted).reshape(-1).tolist(), strict=True))
        columns = [str(number) for number in range(len(matrix))]
        lines = [
            "# Crowds",
            "",
            *([told, ""] if told else []),
            *_table(list(figures), [_three(figures.values())]),
            "",
        ]
        lines += [
            "PCK by keypoint, of matched people:",
            "",
            *_table(list(share), [_three(share.values())]),
            "",
        ]
        lines += ["Images by number of people, labelled (rows) and predicted (columns):", ""]
        rows = [[name, *map(str, row)] for name, row in zip(columns, matrix.tolist(), strict=True)]
        return figures, "\n".join([*lines, *_table(["", *columns], rows)]) + "\n"


def _three(values: Any) -> list[str]:
    return [f"{value:.3f}" for value in values]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def by_number(found: Tensor, wanted: Tensor, sigma: Sequence[float], at_most: int) -> dict[str, Tensor]:
    """AP of the images with 1, 2, ... labelled people; tables as in :mod:`lightning_kp.metrics.oks`."""
    images, counts = wanted[wanted[:, 2] == 0, 0].unique(return_counts=True)
    figures = {}
    for number in counts.clamp_max(MANY).unique().tolist():
        chosen = images[counts >= MANY if number == MANY else counts == number]
        parts = [table[torch.isin(table[:, 0], chosen)] for table in (found, wanted)]
        name = f"AP_{number}+" if number == MANY else f"AP_{number}"
        figures[name] = evaluate(parts[0], parts[1], sigma, at_most)["AP"]
    return figures


def without_others(found: Tensor, wanted: Tensor, sigma: Sequence[float]) -> Tensor:
    """The predictions but those of people who need not be found: matched with nobody, and centred in one's box."""
    spread = torch.tensor(sigma, dtype=torch.float64)
    kept = torch.ones(len(found), dtype=torch.bool)
    for image in wanted[wanted[:, 2] == 1, 0].unique().tolist():
        rows = torch.nonzero(found[:, 0] == image)[:, 0]
        of_image = wanted[wanted[:, 0] == image]
        theirs, others = of_image[of_image[:, 2] == 0], of_image[of_image[:, 2] == 1, 3:7]
        points, labels = (each.unflatten(1, (-1, 3)) for each in (found[rows, 2:], theirs[:, 7:]))
        alike = oks(points[:, None, :, :2], labels[..., :2], labels[..., 2] > 0, theirs[:, 1], spread)
        free = torch.ones(len(rows), dtype=torch.bool)
        rows_of, columns = (torch.from_numpy(each) for each in linear_sum_assignment(-alike.numpy()))
        free[rows_of[alike[rows_of, columns] >= SIMILAR]] = False  # whoever is left over is paired, too
        seen = (points[..., 2:] > 0).double()
        centre = (points[..., :2] * seen).sum(dim=1) / seen.sum(dim=1).clamp_min(1)
        offset = centre[:, None] - others[:, :2]
        inside = ((offset >= 0) & (offset <= others[:, 2:])).all(dim=-1).any(dim=-1)
        kept[rows] = ~(free & inside)
    return found[kept]


def confusion(found: Tensor, wanted: Tensor) -> Tensor:
    """Images by numbers of labelled and predicted people, (N, N); those without either are not known here."""
    labelled, predicted = wanted[wanted[:, 2] == 0, 0], found[:, 0]
    images = torch.cat((labelled, predicted)).unique()
    rows, columns = ((each == images.unsqueeze(1)).sum(dim=1) for each in (labelled, predicted))
    side = int(torch.cat((rows, columns, rows.new_zeros(1))).max()) + 1
    matrix = torch.zeros(side, side, dtype=torch.long)
    return matrix.index_put_((rows, columns), torch.ones_like(rows), accumulate=True)


def matched_hits(found: Tensor, wanted: Tensor, sigma: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Right points and counted points (K,) of the people that a prediction was matched with."""
    spread = torch.tensor(sigma, dtype=torch.float64)
    hits, counted = torch.zeros(2, len(sigma), dtype=torch.long)
    for image in wanted[:, 0].unique().tolist():
        mine, theirs = found[found[:, 0] == image], wanted[(wanted[:, 0] == image) & (wanted[:, 2] == 0)]
        points, labels = mine[:, 2:].unflatten(1, (-1, 3)), theirs[:, 7:].unflatten(1, (-1, 3))
        present = labels[..., 2] > 0
        alike = oks(points[:, None, :, :2], labels[..., :2], present, theirs[:, 1], spread)
        rows, columns = (torch.from_numpy(each) for each in linear_sum_assignment(-alike.numpy()))
        far = (points[rows, :, :2] - labels[columns, :, :2]).norm(dim=-1)
        reach = PCK_SHARE * theirs[columns, 5:7].amax(dim=-1, keepdim=True)
        right = (far <= reach) & (points[rows, :, 2] > 0)
        measured = present[columns] & (reach > 0)  # one point has no box to measure by
        hits += (right & measured).sum(dim=0)
        counted += measured.sum(dim=0)
    return hits, counted
