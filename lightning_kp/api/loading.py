"""A trained network, ready to predict keypoints: ``kp.load(run)``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from lightning_kp.api.paths import PathLike
from lightning_kp.api.poses import Poses
from lightning_kp.api.prediction import Images, is_images, predict_images, predict_videos
from lightning_kp.checkpoints import find_checkpoint
from lightning_kp.command.calibrating import calibration_of
from lightning_kp.command.trained import content_of, load_for_tracking
from lightning_kp.confidence.calibration import Calibration
from lightning_kp.frames.view import ViewSettings
from lightning_kp.method import KeypointMethod
from lightning_kp.motion.boxes import Boxes
from lightning_kp.tracks.engine import Engine, choose_engine
from lightning_kp.tracks.table import default_names
from lightning_kp.tracks.tracking import output_counts

if TYPE_CHECKING:
    import torch


def load(run: PathLike, *, device: str = "auto", engine: str = "torch") -> "Model":
    """Load a trained network.

    Args:
        run: A run folder or a checkpoint file.
        device: ``auto`` (the GPU if there is one), ``cpu``, ``cuda``, ``mps``.
        engine: What computes ``predict``: ``torch``, ``onnx`` or ``auto``, as in ``kp.track``.  By default torch, which
            follows changes of the model's ``method``; the graph of ONNX Runtime does not.

    Raises:
        CheckpointError: There is no checkpoint, it is damaged, or its method finds no keypoints.
        ConfigurationError: There is no such device or engine.

    Example:
        model = kp.load("runs/me")
        print(model)  # BKinD on cuda: predicts 10 discovered keypoints in images of 96 px [...]
    """
    checkpoint = find_checkpoint(Path(run))
    method, view = load_for_tracking(checkpoint, device)
    chosen = choose_engine(engine, method, content_of(checkpoint))
    return Model(checkpoint, method, view, chosen, calibration_of(checkpoint, method))


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A trained network with its device and the way in which frames become its images.

    Attributes:
        checkpoint: The file that was loaded.
        method: The network as a Lightning module in evaluation mode.
        view: Size, fit, boxes and preprocessing of its images, as in training.
        engine: What computes ``predict``; torch if None.
        calibration: Turns the peaks of heatmaps into probabilities; None where the confidence is the peak itself.
        instances: How many instances it finds in each image at most.
        keypoint_names: Names of the keypoints of an instance; kp01, kp02, ... where they were discovered.

    Example:
        model = kp.load("runs/me")
        poses = model.predict("new.mp4")           # one video: Poses
        several = model.predict(["new.mp4"])       # several videos, a folder or a glob: a list
        frames = np.zeros((2, 48, 64, 3), np.uint8)
        poses = model.predict(frames)              # images in memory: Poses
    """

    checkpoint: Path
    method: KeypointMethod
    view: ViewSettings
    engine: Engine | None = None
    calibration: Calibration | None = None
    instances: int = field(init=False)
    keypoint_names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        instances, keypoints = output_counts(self.method, self.view.size)
        object.__setattr__(self, "instances", instances)
        object.__setattr__(self, "keypoint_names", self.method.keypoint_names or default_names(keypoints))

    @property
    def device(self) -> "torch.device":
        """Where the network computes."""
        return self.method.device

    def __repr__(self) -> str:
        names = self.method.keypoint_names
        keypoints = f"{len(self.keypoint_names)} {'named' if names else 'discovered'} keypoints"
        several = f" on up to {self.instances} instances" if self.instances > 1 else ""
        listed = f" ({', '.join(names)})" if names else ""
        return (
            f"{type(self.method).__name__} on {self.device}: predicts {keypoints}{several}{listed} "
            f"in images of {self.view.size} px [{self.checkpoint}]"
        )

    # A path may name one video or several, which its type does not say; `Any` spares the usual case a check.
    @overload
    def predict(  # type: ignore[overload-overlap]  # a str is a sequence of str as well
        self,
        source: PathLike,
        *,
        boxes: Boxes = ...,
        threshold: float = ...,
        batch_size: int = ...,
    ) -> Poses | Any: ...
    @overload
    def predict(
        self,
        source: Sequence[PathLike],
        *,
        boxes: Boxes = ...,
        threshold: float = ...,
        batch_size: int = ...,
    ) -> list[Poses]: ...
    @overload
    def predict(
        self, source: Images, *, boxes: Boxes = ..., threshold: float = ..., batch_size: int = ...
    ) -> Poses: ...

    def predict(
        self,
        source: PathLike | Sequence[PathLike] | Images,
        *,
        boxes: Boxes = None,
        threshold: float = 0.0,
        batch_size: int = 32,
    ) -> Poses | list[Poses]:
        """Predict the keypoints of every frame of a video, or of every image.

        Frames are cropped, resized and preprocessed as in training.  They are decoded batch by batch, so that memory
        does not grow with their number.  Nothing is written; ``kp.track`` writes files and can be resumed.

        Args:
            source: A video file or a folder of images gives one :class:`Poses`.  A sequence of videos, a folder of
                videos, or a glob gives a list, one for each video.  Images (N, H, W, 3), uint8 RGB, as a NumPy array
                or a torch tensor give one :class:`Poses` in pixels of these images.
            boxes: Where to crop, in place of the boxes of training: (left, top, right, bottom) in pixels, a csv file
                with a box for each frame, or ``follow`` (a square that follows the one moving animal of a video).
                Images in memory cannot be followed: give a box, or None where training used none.
            threshold: Leaves out instances whose points' mean confidence is lower; only for methods that find whole
                animals.
            batch_size: Frames per network pass.

        Raises:
            VideoError: A path names no video, or a video that cannot be read.
            DataError: The images have another shape or type.
            ConfigurationError: A box, threshold or ``follow`` that cannot be applied.
        """
        if is_images(source):
            return predict_images(self, source, boxes=boxes, threshold=threshold, batch_size=batch_size)
        return predict_videos(self, source, boxes=boxes, threshold=threshold, batch_size=batch_size)  # type: ignore[arg-type]
