"""Immediacy (Chu et al. 2015; 000, 3.6): images of people in contact, with 12 points of each upper body.

According to the paper and its authors' page, there are 7,500 training and 2,500 test images with 20,499 people; the
points are head top, neck, and both shoulders, elbows, wrists, hands and hips.  The original files were not available.
Expected are COCO-style files, ``train.json`` and ``test.json`` below ``root``, whose category names those 12 points,
and images in ``images``; original annotations have to be converted to that.
"""

import numpy as np

from lightning_kp.errors import DataError
from lightning_kp.people.coco import read_people
from lightning_kp.people.coco_checks import check_images
from lightning_kp.people.crowd_data import CrowdAugmentation, CrowdModule
from lightning_kp.people.crowds import Crowd, Scene

NAMES = (
    "head_top", "neck", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist",
    "right_wrist", "left_hand", "right_hand", "left_hip", "right_hip",
)  # fmt: skip


class Immediacy(CrowdModule):
    """Whole images with all people in them; some of the training images validate.

    Args:
        train: Keypoint file of the training images; relative paths start from ``root``.
        test: Keypoint file of the test images.
        images: Folder of the images.
        val_images: Number of training images held out for validation, drawn by ``seed`` (3.6: 500).
        size: Side of the square image that the network sees, in pixels (3.6: 512).
        augmentation: Random changes of the training crops.
        seed: Decides which images validate, and the augmentation.
        root: Folder where relative paths start.
        batch_size: Images in a batch (3.6: 12).
        num_workers: Processes that load images.
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
        """Read both files, once, and draw the validation images."""
        if self.datasets:
            return
        crowds = {name: self._read(file) for name, file in self.files.items()}
        count = len(crowds["train"])
        if not 0 <= self.val_images < count:
            raise DataError(
                f"val_images is {self.val_images}, but 1 or more of the {count} training images must train.",
                remedy=f"Give --data.val_images from 0 (no validation) to {count - 1}.",
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
                f"The keypoints of {file} are {', '.join(people.names)}.",
                remedy=f"Its category must name the keypoints {', '.join(NAMES)}.",
            )
        self.mirror = people.scenes[0].mirror if people.scenes else ()
        crowds = [
            _everybody(scene) for scene in people.scenes if any(each.is_labelled for each in scene.people)
        ]
        check_images(crowds, [self.path(self.images)], self.path(file))
        return crowds


def _everybody(scene: Scene) -> Crowd:
    """The whole image as one crowd."""
    height, width = scene.size
    people = tuple(each for each in scene.people if each.is_labelled)
    others = tuple(each for each in scene.people if not each.is_labelled)
    return Crowd(scene, (0.0, 0.0, float(width), float(height)), people, others)
