"""A trained network for the verbs: its device, its score threshold, what it sees."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from lightning_kp.frames.view import ViewSettings
    from lightning_kp.method import KeypointMethod


def tell_unsure(method: "KeypointMethod", least: float) -> None:
    """Say on stderr that animals of any score are kept, where they are."""
    if method.finds_whole_animals and not least:
        print(
            "kp: animals of any score are kept. `kp score RUN --labels FILE` names the score from which on they are "
            "there; --least SCORE leaves out the others.",
            file=sys.stderr,
        )


def surer_origin(origin: str, method: "KeypointMethod", least: float) -> str:
    """The origin of tracks without the animals of a lower score.

    Raises ConfigurationError for a method that does not say which animals there are.
    """
    from lightning_kp.errors import ConfigurationError

    if not least:
        return origin
    if not method.finds_whole_animals:
        raise ConfigurationError(
            f"{type(method).__name__} finds the same points in every frame; --least is for methods that find whole "
            "animals (DirectPose, SemiMultiPose, PersonParser).",
            remedy="Leave --least out; every point's confidence is in the files.",
        )
    return f"{origin}:least {least:g}"


def tell_crops(method: "KeypointMethod", checkpoint: Path, remedy: str) -> None:
    """Say on stderr that a network of crops sees whole frames."""
    from lightning_kp.checkpoints import data_class

    if getattr(data_class(checkpoint), "cropped", False):
        print(
            f"kp: {type(method).__name__} was trained on crops around what it finds, and sees whole frames now. "
            f"{remedy}",
            file=sys.stderr,
        )


def load_for_tracking(checkpoint: Path, device: str = "auto") -> "tuple[KeypointMethod, ViewSettings]":
    """The trained method on its device, and how its images are made.  Raises CheckpointError."""
    import torch

    from lightning_kp.checkpoints import data_settings, load_method
    from lightning_kp.errors import CheckpointError
    from lightning_kp.frames.preprocessing import Preprocessing
    from lightning_kp.frames.view import ViewSettings
    from lightning_kp.method import KeypointMethod
    from lightning_kp.motion.boxes import FOLLOW

    place = pick_device(device)
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
    if isinstance(boxes, str) and boxes != FOLLOW:
        boxes = Path(settings.get("root", ".")) / boxes
    view = ViewSettings(
        size=int(settings["size"]), fit=settings.get("fit", "pad"), boxes=boxes,
        preprocessing=Preprocessing.of(settings.get("preprocessing")),
    )  # fmt: skip
    return method.to(place, memory_format=torch.channels_last).eval(), view


def pick_device(name: str) -> "torch.device":
    """The device of that name; ``auto``: the GPU if there is one.  Raises ConfigurationError."""
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
    """Text that names a checkpoint's content: results of another one are replaced."""
    import hashlib

    with checkpoint.open("rb") as file:
        return f"{checkpoint.name}:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
