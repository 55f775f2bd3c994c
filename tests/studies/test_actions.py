"""The baselines of action recognition by hand."""

import numpy as np
import torch

from lightning_kp.studies.actions import linear_discriminant, summaries


def test_a_discriminant_of_two_gaussians_splits_them_in_the_middle() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 500)
    features = rng.normal(size=(1000, 2)) * (1, 10) + labels[:, None] * (4, 0)
    unseen = np.array([[1.5, 30.0], [2.5, -30.0]])  # the second feature varies more, but tells nothing
    assert linear_discriminant(features, labels, unseen).tolist() == [0, 1]


def test_summaries_of_a_window() -> None:
    found = summaries(torch.tensor([[[0.0], [2.0], [-2.0]]]))
    assert found["mean pose"].tolist() == [[0]]
    np.testing.assert_allclose(found["mean, deviation, speed"], [[0, np.sqrt(8 / 3), 3]])
