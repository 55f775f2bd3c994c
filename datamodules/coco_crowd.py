"""COCO-crowd (000, 3.4): the regions of COCO, or of any file in its format, where people overlap."""

from pathlib import Path

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.loading import drawn_parts
from lightning_kp.people.coco import CocoPeople, chosen_crowds, missing_images, read_people
from lightning_kp.people.coco_checks import MAX_NAMED, check_images
from lightning_kp.people.crowd_data import CrowdAugmentation, CrowdModule
from lightning_kp.people.crowds import OVERLAP, Crowd


class COCOCrowd(CrowdModule):
    """Crowd regions cropped from images, with annotations from COCO keypoint files or files of ``kp crowds``.

    Without ``test``, the crowds of ``val`` are divided at random into halves that validate and test, like the paper's
    6,672 crowds of COCO's 2014 validation images.

    Args:
        train: Keypoint file of the training crowds; relative paths start from ``root``.
        val: Keypoint file of the validation crowds.
        test: Keypoint file of the test crowds.
        images: Folders of the images; images are looked for beside the keypoint files, too.
        overlap: Lower limit on the intersection over union of boxes that are linked to a crowd (3.4: 0.1); files of
            ``kp crowds`` have their own.
        most: Leave out crowds of more than this many people (at least 2); by default none.
        mirror: For each keypoint, the number (from 0) of its counterpart in a mirrored image; by default found from
            left and right in the names.
        size: Side of the square image that the network sees, in pixels (3.6: 512).
        augmentation: Random changes of the training crops.
        jitter_px: Shift each edge of the test regions at random by up to this many pixels (Table 3.3: 5, 10, 15).
        seed: Decides the augmentation, the jitter and the halves.
        root: Folder where relative paths start.
        batch_size: Crowds in a batch (3.6: 32 on 8 GPUs).
        num_workers: Processes that load images.
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
        if train is val is test is None:
            raise ConfigurationError(
                "No keypoint file was given.",
                remedy="Add --data.train=FILE, --data.val=FILE or --data.test=FILE.",
            )
        if not 0 < overlap <= 1:
            raise ConfigurationError(
                f"overlap is {overlap}.", remedy="Give an --data.overlap above 0 and at most 1, such as 0.1."
            )
        if most is not None and most < 2:
            raise ConfigurationError(
                f"most is {most}, but a crowd has at least 2 people.", remedy="Set --data.most=2 or more."
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
            count = len(crowds["val"])
            halves = drawn_parts(count, (count // 2,), self.seed)
            crowds["test"], crowds["val"] = ([crowds["val"][row] for row in half] for half in halves)
        self.serve({name: each for name, each in crowds.items() if each})

    def _read(self, file: Path) -> CocoPeople:
        people = read_people(file, self._folders(file))
        if self.part_names not in ((), people.names):
            raise DataError(
                f"The keypoints of {file} are {', '.join(people.names)}, but those of another file are "
                f"{', '.join(self.part_names)}.",
                remedy="Give train, val and test files with the same keypoints.",
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
                f"{len(missing)} image(s) of {file.name} are missing: {', '.join(missing[:MAX_NAMED])}"
                + (" and others." if len(missing) > MAX_NAMED else "."),
                remedy="Give their folder: --data.images=[FOLDER].",
            )
        check_images(found, self._folders(file), file)
        return found

    def _folders(self, file: Path) -> list[Path]:
        return [*map(self.path, self.images), self.root, file.parent, file.parent / "images"]
