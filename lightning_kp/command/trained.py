"""A trained network: its device, how it sees frames, its score threshold."""

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from lightning_kp.frames.view import ViewSettings
    from lightning_kp.method import KeypointMethod

logger = logging.getLogger(__name__)


def warn_unfiltered(method: "KeypointMethod", threshold: float) -> None:
    """Warn that all animals are kept, whatever their score, where a threshold of 0 does that."""
    if method.finds_whole_animals and not threshold:
        logger.warning(
            "All animals are kept, whatever their score. `kp score RUN --labels FILE` prints the best threshold; "
            "--threshold SCORE leaves out animals below it."
        )


def origin_with_threshold(origin: str, method: "KeypointMethod", threshold: float) -> str:
    """Return the origin of tracks without the animals whose score is below ``threshold``.

    Raises ConfigurationError for a method that finds the same points in every frame, whether an animal is there or
    not.
    """
    from lightning_kp.errors import ConfigurationError

    if not threshold:
        return origin
    if not method.finds_whole_animals:
        raise ConfigurationError(
            f"{type(method).__name__} finds the same points in every frame; a threshold is for methods that find whole "
            "animals (DirectPose, SemiMultiPose, PersonParser).",
            remedy="Leave --threshold out; the files hold the confidence of every point.",
        )
    return f"{origin}:least {threshold:g}"


def warn_whole_frames(method: "KeypointMethod", checkpoint: Path, remedy: str) -> None:
    """Warn that a network trained on crops is applied to whole frames."""
    from lightning_kp.checkpoints import data_class

    if getattr(data_class(checkpoint), "cropped", False):
        logger.warning(
            "%s was trained on crops around each instance but is applied to whole frames now. %s",
            type(method).__name__,
            remedy,
        )


def warn_trained_on(labels: str, checkpoint: Path) -> None:
    """Warn if the label file that is scored may have trained the network."""
    from lightning_kp.checkpoints import data_settings
    from lightning_kp.labels.archives import split_part

    settings = data_settings(checkpoint)
    given, root = settings.get("labels") or [], Path(settings.get("root", "."))
    path, part = split_part(labels)
    for name in [given] if isinstance(given, str) else given:
        known, known_part = split_part(root / name)
        if path.resolve() == known.resolve() and (part == known_part or not (part and known_part)):
            logger.warning(
                "%s holds frames that may have trained this network; errors on them do not show how it does on new "
                "frames. `kp test` scores the held-out frames, if there are any.",
                labels,
            )
            return


def load_for_tracking(checkpoint: Path, device: str = "auto") -> "tuple[KeypointMethod, ViewSettings]":
    """Return the trained method on its device, and how frames become its images.

    Raises CheckpointError for a method that finds no keypoints, or a checkpoint that lacks its data settings.
    """
    import torch

    from lightning_kp.checkpoints import data_settings, load_method
    from lightning_kp.errors import CheckpointError
    from lightning_kp.frames.preprocessing import Preprocessing
    from lightning_kp.frames.view import ViewSettings
    from lightning_kp.method import KeypointMethod
    from lightning_kp.motion.boxes import followed_animals

    chosen = pick_device(device)
    method = load_method(checkpoint)
    if not isinstance(method, KeypointMethod):
        raise CheckpointError(
            f"{checkpoint} holds a {type(method).__name__}, which finds no keypoints.",
            remedy="Give the checkpoint of a keypoint method, such as BKinD.",
        )
    settings = data_settings(checkpoint)
    if "size" not in settings:
        raise CheckpointError(
            f"{checkpoint} does not say how its images were made.",
            remedy="Train with a datamodule that has a `size`, such as VideoFramePairs.",
        )
    boxes = settings.get("boxes")
    if isinstance(boxes, str) and not followed_animals(boxes):
        boxes = Path(settings.get("root", ".")) / boxes
    view = ViewSettings(
        size=int(settings["size"]), fit=settings.get("fit", "pad"), boxes=boxes,
        preprocessing=Preprocessing.from_settings(settings.get("preprocessing")),
    )  # fmt: skip
    return method.to(chosen, memory_format=torch.channels_last).eval(), view


def pick_device(name: str) -> "torch.device":
    """Return the device of that name; ``auto`` is the GPU if there is one.  Raises ConfigurationError."""
    import torch

    from lightning_kp.errors import ConfigurationError

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigurationError(
            f"There is no device '{name}' on this computer.", remedy="Use --device auto, or cpu."
        ) from error
    return device


def origin_of(checkpoint: Path) -> str:
    """Return a text that identifies a checkpoint's content; tracks of another content are replaced."""
    return f"{checkpoint.name}:{content_of(checkpoint)}"


def content_of(checkpoint: Path) -> str:
    """Return a digest of a checkpoint's content, whatever its name."""
    with checkpoint.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
