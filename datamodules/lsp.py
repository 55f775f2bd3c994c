"""Leeds Sports Pose and its extension, in their official layout."""

from typing import Literal

import numpy as np

from lightning_kp.errors import ConfigurationError
from lightning_kp.metrics.protocols import LSP as PROTOCOL
from lightning_kp.people.lsp import read_lsp
from lightning_kp.people.person_data import PersonAugmentation, PersonModule, PlacedPerson, hold_out


class LSP(PersonModule):
    """People doing sports with 14 joints (Johnson and Everingham 2010, 2011), one in each image.

    Each folder holds ``joints.mat`` and ``images/``, as published.  The crop is the square around the labelled joints.

    Args:
        folders: Folders of LSP and LSP extended; relative paths start from ``root``.
        split: ``official``: the second half of LSP tests, all other people train; ``drawn``: ``test_fraction`` of all
            people, drawn by ``seed``, for a part of the data or for the extension alone.
        test_fraction: Share of the people that ``drawn`` holds out for the test.
        val_fraction: Share of the others held out for validation; 0 for none.
        size: Side of the square image that the network sees, in pixels (000, section 2.5: 256).
        margin: Side of the crop, in multiples of the extent of the labelled joints (ours).
        augmentation: Random changes of the training images.
        seed: Decides who tests and validates, and the augmentation.
        hold_gb: Keep decoded images in memory, up to this many GB.
        root: Folder where relative paths start.
        batch_size: Images in a batch.
        num_workers: Processes that load data.
    """

    protocol = PROTOCOL
    part_names = PROTOCOL.skeleton.names

    def __init__(
        self,
        folders: list[str] | str = ".",
        split: Literal["official", "drawn"] = "official",
        test_fraction: float = 0.2,
        val_fraction: float = 0.1,
        size: int = 256,
        margin: float = 1.3,
        augmentation: PersonAugmentation | None = None,
        seed: int = 0,
        hold_gb: float = 1.0,
        root: str = ".",
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> None:
        super().__init__(size, augmentation, seed, hold_gb, root, batch_size, num_workers)
        if margin <= 0:
            raise ConfigurationError(
                f"margin is {margin}.", remedy="Give a --data.margin above 0, such as 1.3."
            )
        self.save_hyperparameters(ignore=["augmentation"], logger=False)
        self.folders = [folders] if isinstance(folders, str) else folders
        self.split = split
        self.test_fraction, self.val_fraction = test_fraction, val_fraction
        self.margin = margin

    def setup(self, stage: str | None = None) -> None:
        """Read the folders, once, and divide their people into training, validation and test."""
        if self.datasets:
            return
        people: list[PlacedPerson] = []
        testing: list[int] = []
        for folder in self.folders:
            found, is_lsp = read_lsp(self.path(folder), self.margin)
            if is_lsp:
                testing += range(len(people) + len(found) // 2, len(people) + len(found))
            people += found
        rows = np.arange(len(people))
        if self.split == "drawn":
            rest, test = hold_out(rows, self.test_fraction, self.seed, "test_fraction")
        else:
            rest, test = np.setdiff1d(rows, testing), np.array(testing, np.int64)
        if not len(test) and self.split == "official":
            raise ConfigurationError(
                "The official split has no test people: LSP extended is for training only.",
                remedy="Add the folder of LSP to --data.folders, or draw test people with --data.split=drawn.",
            )
        train, val = hold_out(rest, self.val_fraction, self.seed + 1, "val_fraction")
        stages = {"train": train, "val": val, "test": test}
        self.serve({name: [people[row] for row in each] for name, each in stages.items() if len(each)})
