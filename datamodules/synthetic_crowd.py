"""Rendered crowds as training data: 2 to 5 animals that overlap, every keypoint known."""

from lightning_kp.arena.body import KEYPOINT_NAMES, MIRROR
from lightning_kp.errors import ConfigurationError
from lightning_kp.people.crowd_data import CrowdAugmentation, CrowdModule
from lightning_kp.people.rendered import CrowdSettings, DrawnCrowds, stored_crowds


class SyntheticCrowd(CrowdModule):
    """Crops of rendered crowds with all points of all animals, covered ones too.

    Drawn once and kept below ``root``; training, validation and test crowds differ by their seeds.

    Args:
        train: Crowds that train.
        val: Crowds that validate; 0 for none.
        test: Crowds that test.
        least: Fewest animals in a crowd.
        most: Most animals in a crowd.
        look_alike: Give all animals of a crowd the same coat.
        frame_px: Side of the drawn pictures, of which the crowd's region is cut.
        crowd_seed: Fixes the pictures.
        folder: Where they are kept, from ``root``.
        size: Side of the square that the network sees, in pixels.
        augmentation: Random changes of the training crops.
        jitter_px: Move the edges of the test crops by up to so many pixels of the pictures (000, Table 3.3).
        seed: Fixes the augmentation.
        root: Folder that relative paths start from.
        batch_size: Crowds in a batch.
        num_workers: Processes that load.
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
                f"{train} crowds train, {val} validate and {test} test.",
                remedy="Give at least one to train and one to test.",
            )
        self.save_hyperparameters(ignore=["augmentation"], logger=False)
        numbers = {"train": train, "val": val, "test": test}
        self.settings = {
            stage: CrowdSettings(number, frame_px, least, most, look_alike, seed=3 * crowd_seed + place)
            for place, (stage, number) in enumerate(numbers.items())
            if number
        }
        self.folder = self.path(folder)
        self.part_names = KEYPOINT_NAMES
        self.mirror = MIRROR

    def prepare_data(self) -> None:
        """Draw what is not there yet."""
        for stage in self.settings:
            self.drawn(stage)

    def setup(self, stage: str | None = None) -> None:
        """Read the pictures, once."""
        if not self.datasets:
            self.serve({name: self.drawn(name).crowds() for name in self.settings})

    def drawn(self, stage: str) -> DrawnCrowds:
        """Pictures and truth of ``train``, ``val`` or ``test``."""
        return stored_crowds(self.settings[stage], self.folder)
