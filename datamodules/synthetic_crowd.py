"""Rendered crowds as training data: 2 to 5 overlapping animals with the ground truth of every keypoint."""

from lightning_kp.arena.body import KEYPOINT_NAMES, MIRROR
from lightning_kp.errors import ConfigurationError
from lightning_kp.people.crowd_data import CrowdAugmentation, CrowdModule
from lightning_kp.people.rendered import CrowdSettings, RenderedCrowds, stored_crowds


class SyntheticCrowd(CrowdModule):
    """Crops of rendered crowds with all points of all animals, covered points too.

    Images are rendered once and kept below ``root``; training, validation and test crowds have different seeds.

    Args:
        train: Number of training crowds.
        val: Number of validation crowds; 0 for none.
        test: Number of test crowds.
        least: Smallest number of animals in a crowd.
        most: Largest number of animals in a crowd.
        look_alike: Give all animals of a crowd the same coat.
        frame_px: Side of the rendered images, from which the crowd's region is cropped, in pixels.
        crowd_seed: Seed of the rendered images.
        folder: Folder where the images are kept; relative paths start from ``root``.
        size: Side of the square image that the network sees, in pixels.
        augmentation: Random changes of the training crops.
        jitter_px: Shift each edge of the test crops at random by up to this many pixels (000, Table 3.3).
        seed: Seed of the augmentation and the jitter.
        root: Folder where relative paths start.
        batch_size: Crowds in a batch.
        num_workers: Processes that load data.
    """

    def __init__(
        self,
        train: int = 1000,
        val: int = 64,
        test: int = 200,
        least: int = 2,
        most: int = 5,
        look_alike: bool = False,
        frame_px: int = 128,
        crowd_seed: int = 0,
        folder: str = "crowds",
        size: int = 96,
        augmentation: CrowdAugmentation | None = None,
        jitter_px: float = 0.0,
        seed: int = 0,
        root: str = ".",
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> None:
        super().__init__(size, augmentation, jitter_px, seed, root, batch_size, num_workers)
        if train < 1 or test < 1 or val < 0:
            raise ConfigurationError(
                f"train is {train}, val is {val} and test is {test}.",
                remedy="Set --data.train and --data.test to at least 1, and --data.val to at least 0.",
            )
        self.save_hyperparameters(ignore=["augmentation"], logger=False)
        numbers = {"train": train, "val": val, "test": test}
        self.settings = {
            stage: CrowdSettings(number, frame_px, least, most, look_alike, seed=3 * crowd_seed + position)
            for position, (stage, number) in enumerate(numbers.items())
            if number
        }
        self.folder = self.path(folder)
        self.part_names = KEYPOINT_NAMES
        self.mirror = MIRROR

    def prepare_data(self) -> None:
        """Render the images that do not exist yet."""
        for stage in self.settings:
            self.rendered(stage)

    def setup(self, stage: str | None = None) -> None:
        """Read the images, once."""
        if not self.datasets:
            self.serve({name: self.rendered(name).crowds() for name in self.settings})

    def rendered(self, stage: str) -> RenderedCrowds:
        """Images and ground truth of ``train``, ``val`` or ``test``."""
        return stored_crowds(self.settings[stage], self.folder)
