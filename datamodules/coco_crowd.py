"""COCO-crowd (000, 3.4): the regions of COCO, or of any file in its style, where people overlap."""

from pathlib import Path

import numpy as np

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.people.coco import CocoPeople, chosen_crowds, missing_images, read_people
from lightning_kp.people.coco_checks import check_pictures
from lightning_kp.people.crowd_data import CrowdAugmentation, CrowdModule
from lightning_kp.people.crowds import OVERLAP, Crowd


class COCOCrowd(CrowdModule):
    """Crowd regions cut out of whole pictures, from COCO keypoint files or from those of ``kp crowds``.

    Without ``test`` the crowds of ``val`` are halved at random, as the paper's 6,672 of COCO's 2014 validation
    pictures are.

    Args:
        train: Keypoint file whose crowds train; relative paths are taken from ``root``.
        val: One whose crowds validate.
        test: One whose crowds test.
        images: Folders of the pictures; they are looked for beside the files too.
        overlap: Intersection over union from which boxes are linked (3.4: 0.1); files of ``kp crowds`` have theirs.
        most: Leave out crowds of more people (at least 2); by default none.
        mirror: Which keypoint each one becomes in a mirrored picture (numbers from 0); by default told from left
            and right in their names.
        size: Side of the square that the network sees, in pixels (3.6: 512).
        augmentation: Random changes of the training views.
        jitter_px: Move the edges of the test regions by up to so many pixels (Table 3.3: 5, 10, 15).
        seed: Fixes the augmentation, the jitter and the halves.
        root: Folder that relative paths start from.
        batch_size: Crowds in a batch (3.6: 32 on 8 GPUs).
        num_workers: Processes that read pictures.
    """

    def __init__(
        self,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        images: list[str] | None = None,
        overlap: float = OVERLAP,
        most: int | None = None,
        mirror: list[int] | None = None,
        size: int = 512,
        augmentation: CrowdAugmentation | None = None,
        jitter_px: float = 0.0,
        seed: int = 0,
        root: str = ".",
        batch_size: int = 4,
        num_workers: int = 0,
    ) -> None:
        super().__init__(size, augmentation, jitter_px, seed, root, batch_size, num_workers)
        if train is val is test is None or not 0 < overlap <= 1:
            raise ConfigurationError(
                f"No keypoint file was given, or an overlap of {overlap}.",
                remedy="--data.train=FILE, --data.val=FILE or --data.test=FILE; an overlap above 0 and at most 1.",
            )
        if most is not None and most < 2:
            raise ConfigurationError(
                f"most is {most}.", remedy="--data.most=2 or more: a crowd has two people."
            )
        self.save_hyperparameters(ignore=["augmentation"], logger=False)
        self.files = {"train": train, "val": val, "test": test}
        self.images = images or []
        self.overlap = overlap
        self.most = most
        self.mirror_given = mirror

    def setup(self, stage: str | None = None) -> None:
        """Read the files and find their crowds, once."""
        if self.datasets:
            return
        crowds: dict[str, list[Crowd]] = {}
        for name, file in self.files.items():
            if file is not None:
                people = self._read(self.path(file))
                crowds[name] = self._crowds(people, self.path(file))
        if "val" in crowds and "test" not in crowds:
            order = np.random.default_rng(self.seed).permutation(len(crowds["val"]))
            halves = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
            crowds["test"], crowds["val"] = ([crowds["val"][row] for row in half] for half in halves)
        self.serve({name: each for name, each in crowds.items() if each})

    def _read(self, file: Path) -> CocoPeople:
        people = read_people(file, self._folders(file))
        if self.part_names not in ((), people.names):
            raise DataError(
                f"{file} names {', '.join(people.names)}; another file {', '.join(self.part_names)}.",
                remedy="Train, validate and test with files of one kind.",
            )
        self.part_names = people.names
        if self.mirror_given is not None:
            people = people.mirrored_by(self.mirror_given)
        self.mirror = people.scenes[0].mirror if people.scenes else ()
        return people

    def _crowds(self, people: CocoPeople, file: Path) -> list[Crowd]:
        found = chosen_crowds(people, file, self.overlap, self.most, "--data.")
        if missing := missing_images(found, self._folders(file)):
            raise DataError(
                f"{len(missing)} pictures of {file.name} are missing: {', '.join(missing[:4])}"
                + (" and others." if len(missing) > 4 else "."),
                remedy="Name their folder with --data.images=[FOLDER].",
            )
        check_pictures(found, self._folders(file), file)
        return found

    def _folders(self, file: Path) -> list[Path]:
        return [*map(self.path, self.images), self.root, file.parent, file.parent / "images"]
