"""What every test file shares: one thread, a fixed seed, the real data and the golden values."""

import os
import random
from pathlib import Path

from golden_values import Goldens

# Before torch is imported, and inherited by subprocesses: the tests themselves run one per core.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["WANDB_MODE"] = "disabled"

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest
import torch
from repository import ROOT

torch.set_num_threads(1)

# Drawn inputs are the same in every run: a red build says something about the change. No deadline: the first
# call of a torch function pays for the ones after it.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def seed() -> None:
    """Every test starts from the same random state, whichever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (libraries that draw from the global generator)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def kp_data() -> Path:
    """The folder of real data sets, named by KP_DATA; the test is skipped without it."""
    folder = os.environ.get("KP_DATA", "")
    if not folder:
        pytest.skip("needs real data: set KP_DATA to their folder")
    if not Path(folder).is_dir():
        pytest.skip(f"needs real data: KP_DATA={folder} is no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def goldens(kp_data: Path) -> Goldens:
    """Values of the reference implementations: ``goldens("gaussian_maps")`` -> arrays by name."""

    def load(name: str) -> dict[str, npt.NDArray[np.generic]]:
        path = kp_data.parent / "goldens" / f"{name}.npz"
        if not path.is_file():
            pytest.skip(f"needs golden values: no {path.name} in {path.parent.name}/ beside KP_DATA")
        with np.load(path) as arrays:
            return dict(arrays)

    return load
