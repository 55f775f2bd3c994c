"""MPII Human Pose, as published and as the widely used JSON conversion."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightning_kp.errors import DataError
from lightning_kp.metrics.protocols import HEAD_BOX
from lightning_kp.metrics.protocols import MPII as PROTOCOL
from lightning_kp.people.mpii import Located, read_head_boxes, read_json, read_official, to_placed
from lightning_kp.people.person_data import PersonAugmentation, PersonModule, PlacedPerson, hold_out


class MPII(PersonModule):
    """People in everyday activities with 16 joints (Andriluka et al. 2014), cropped by their position and scale.

    Supported are ``mpii_human_pose_v1_u12_1.mat``; a folder with ``train.json``, ``valid.json`` and, for PCKh,
    ``gt_valid.mat``; and one such JSON file.  The corners of the head box are two further points, which only PCKh
    uses and no method has to find.  The joints of the official test images are not published, so the validation
    people are also the test people.

    Args:
        annotations: The .mat file, the folder of JSON files, or one JSON file; relative paths start from ``root``.
        images: Folder of the images.
        val_images: Text file with the names of the validation images, one on each line (Tompson et al. 2015 drew
            3,000 people); by default ``val_fraction`` is drawn.  Ignored for a folder, which has its own split.
        val_fraction: Share of the images held out for validation; 0 for none.
        size: Side of the square image that the network sees, in pixels (000, section 2.5: 256).
        augmentation: Random changes of the training images.
        seed: Decides who validates, and the augmentation.
        hold_gb: Keep decoded images in memory, up to this many GB.
        root: Folder where relative paths start.
        batch_size: Images in a batch (000, section 2.5: 6).
        num_workers: Processes that load data.
    """

    protocol = PROTOCOL
    part_names = (*PROTOCOL.skeleton.names, *HEAD_BOX)

    def __init__(
        self,
        annotations: str = "mpii_human_pose_v1_u12_1.mat",
        images: str = "images",
        val_images: str | None = None,
        val_fraction: float = 0.1,
        size: int = 256,
        augmentation: PersonAugmentation | None = None,
        seed: int = 0,
        hold_gb: float = 1.0,
        root: str = ".",
        batch_size: int = 6,
        num_workers: int = 0,
    ) -> None:
        super().__init__(size, augmentation, seed, hold_gb, root, batch_size, num_workers)
        self.save_hyperparameters(ignore=["augmentation"], logger=False)
        self.annotations, self.images, self.val_images = annotations, images, val_images
        self.val_fraction = val_fraction

    def setup(self, stage: str | None = None) -> None:
        """Read the annotations, once, and divide their people into training and validation."""
        if self.datasets:
            return
        path = self.path(self.annotations)
        if path.is_dir():
            boxes = path / "gt_valid.mat"
            train = read_json(path / "train.json")
            val = read_json(path / "valid.json", read_head_boxes(boxes) if boxes.exists() else None)
        else:
            train, val = self._divided(read_json(path) if path.suffix == ".json" else read_official(path))
        people = {"train": self._placed(train)}
        if val:
            people["val"] = people["test"] = self._placed(val)
        self.serve(people)

    def _divided(self, people: list[Located]) -> tuple[list[Located], list[Located]]:
        """Divide people into training and validation; people of one image stay together."""
        names = sorted({person.image for person in people})
        if not names:
            raise DataError(
                f"{self.path(self.annotations)} has no person with joints, position and scale.",
                remedy="Give the published .mat file, or a JSON conversion of it: --data.annotations=FILE.",
            )
        if self.val_images is not None:
            held_out = set(_lines(self.path(self.val_images)))
            if not held_out & set(names):
                raise DataError(
                    f"{self.path(self.val_images)} names none of the {len(names)} images.",
                    remedy=f"Write one name on each line, such as {names[0]}.",
                )
        else:
            _, chosen = hold_out(np.arange(len(names)), self.val_fraction, self.seed, "val_fraction")
            held_out = {names[row] for row in chosen}
        return (
            [person for person in people if person.image not in held_out],
            [person for person in people if person.image in held_out],
        )

    def _placed(self, people: Sequence[Located]) -> list[PlacedPerson]:
        folder = self.path(self.images)
        found = [to_placed(person, folder) for person in people]
        missing = [row for row, person in enumerate(found) if not person.image.exists()]
        if missing:
            raise DataError(
                f"{folder} has no {found[missing[0]].image.name}, the image of row {missing[0]} of "
                f"{self.path(self.annotations)} ({len(missing)} of {len(found)} rows have no image).",
                remedy="Give the folder of the images: --data.images=FOLDER.",
            )
        return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read: {error}.", remedy="Give a text file: --data.val_images=FILE."
        ) from error
