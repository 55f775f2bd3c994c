"""Immediacy (Chu et al. 2015; 000, 3.6): pictures of people in contact, 12 points of the upper body each.

What is known of the data set from the paper and from its authors' page: 7,500 training and 2,500 test images, 20,499
people, head top, neck, and both shoulders, elbows, wrists, hands and hips.  Its files were not at hand.  Assumed are
COCO-style files, ``train.json`` and ``test.json`` below ``root``, whose category names those 12 points, and pictures in
``images``; whoever has the original annotations converts them to that.
"""

import numpy as np

from lightning_kp.errors import DataError
from lightning_kp.people.coco import read_people
from lightning_kp.people.coco_checks import check_pictures
from lightning_kp.people.crowd_data import CrowdAugmentation, CrowdModule
from lightning_kp.people.crowds import Crowd, Scene

NAMES = (
    "head_top", "neck", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist",
    "right_wrist", "left_hand", "right_hand", "left_hip", "right_hip",
)  # fmt: skip


class Immediacy(CrowdModule):
    """Whole pictures with everybody in them; some of the training pictures validate.

    Args:
        train: Keypoint file of the training pictures, from ``root``.
        test: That of the test pictures.
        images: Folder of the pictures, from ``root``.
        val_images: Training pictures that validate, drawn by ``seed`` (3.6: 500).
        size: Side of the square that the network sees, in pixels (3.6: 512).
        augmentation: Random changes of the training views.
        seed: Fixes what validates and the augmentation.
        root: Folder that relative paths start from.
        batch_size: Pictures in a batch (3.6: 12).
        num_workers: Processes that read pictures.
    """

    def __init__(
        self,
        train: str = "train.json",
        test: str = "test.json",
        images: str = "images",
        val_images: int = 500,
        size: int = 512,
        augmentation: CrowdAugmentation | None = None,
        seed: int = 0,
        root: str = ".",
        batch_size: int = 12,
        num_workers: int = 0,
    ) -> None:
        super().__init__(size, augmentation, 0.0, seed, root, batch_size, num_workers)
        self.save_hyperparameters(ignore=["augmentation"], logger=False)
        self.files = {"train": train, "test": test}
        self.images = images
        self.val_images = val_images
        self.part_names = NAMES

    def setup(self, stage: str | None = None) -> None:
        """Read both files, once, and draw what validates."""
        if self.datasets:
            return
        crowds = {name: self._read(file) for name, file in self.files.items()}
        if not 0 <= self.val_images < len(crowds["train"]):
            raise DataError(
                f"{self.val_images} of {len(crowds['train'])} training pictures cannot validate.",
                remedy="Give a smaller --data.val_images; 0 for none.",
            )
        order = np.random.default_rng(self.seed).permutation(len(crowds["train"]))
        held_out = set(order[: self.val_images].tolist())
        crowds["val"] = [crowd for row, crowd in enumerate(crowds["train"]) if row in held_out]
        crowds["train"] = [crowd for row, crowd in enumerate(crowds["train"]) if row not in held_out]
        self.serve({name: each for name, each in crowds.items() if each})

    def _read(self, file: str) -> list[Crowd]:
        people = read_people(self.path(file), [self.path(self.images)])
        if people.names != NAMES:
            raise DataError(
                f"{file} names {', '.join(people.names)}.", remedy=f"Immediacy has {', '.join(NAMES)}."
            )
        self.mirror = people.scenes[0].mirror if people.scenes else ()
        crowds = [
            _everybody(scene) for scene in people.scenes if any(each.is_labelled for each in scene.people)
        ]
        check_pictures(crowds, [self.path(self.images)], self.path(file))
        return crowds


def _everybody(scene: Scene) -> Crowd:
    """The whole picture as one crowd."""
    height, width = scene.size
    people = tuple(each for each in scene.people if each.is_labelled)
    others = tuple(each for each in scene.people if not each.is_labelled)
    return Crowd(scene, (0.0, 0.0, float(width), float(height)), people, others)
