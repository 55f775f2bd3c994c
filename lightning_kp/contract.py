"""The contract between a method and a datamodule, checked before training: batch type, names and order of points.

A datamodule has ``part_names``, the labelled points of one animal; ``animals``, the largest number of animals in an
image; and ``point_names``, the points of all animals one after another
(:class:`lightning_kp.datamodule.KeypointDataModule`).
"""

import warnings
from typing import TYPE_CHECKING, Any

from lightning_kp.errors import ConfigurationError

if TYPE_CHECKING:
    from lightning_kp.method import KeypointMethod


def datamodule_of(method: "KeypointMethod") -> Any:
    """Return the datamodule of the method's trainer, or None."""
    return getattr(method.trainer, "datamodule", None) if method._trainer is not None else None


def require_part_names(method: "KeypointMethod") -> None:
    """Raise ConfigurationError unless the labels have the method's points of one animal, in its order.

    For methods that find whole animals.  Warns if an image has more labelled animals than the method looks for.
    """
    data = datamodule_of(method)
    _require_names(method, tuple(getattr(data, "part_names", ()) or method.keypoint_names))
    animals, instances = getattr(data, "animals", 0), int(getattr(method, "instances", 0))
    if 0 < instances < animals:
        warnings.warn(
            f"The labels have up to {animals} animals in an image, but {type(method).__name__} looks for {instances}. "
            f"Add --model.instances={animals} to find all of them.",
            stacklevel=2,
        )


def require_point_names(method: "KeypointMethod") -> None:
    """Raise ConfigurationError unless the labelled points of all animals are the method's, in its order."""
    require_animal_order(method)
    _require_names(method, tuple(getattr(datamodule_of(method), "point_names", ()) or method.keypoint_names))


def require_animal_order(method: "KeypointMethod") -> None:
    """Raise ConfigurationError if the labels have several animals in no fixed order.

    A method of named points distinguishes animals by name only.
    """
    data = datamodule_of(method)
    if getattr(data, "in_order", True) or data.animals < 2:
        return
    raise ConfigurationError(
        f"{type(data).__name__} yields up to {data.animals} animals in no fixed order, but {type(method).__name__} "
        "finds each point by its name.",
        remedy="Choose --model=DirectPose, which finds whole animals; or --data=LabelledFrames if each animal keeps "
        "its own row in the labels of all frames (such as the black mouse and the white one).",
    )


def _require_names(method: "KeypointMethod", offered: tuple[str, ...]) -> None:
    if offered != method.keypoint_names:
        raise ConfigurationError(
            f"The labels have the points {', '.join(offered)}; the model has {', '.join(method.keypoint_names)}.",
            remedy=f"Set --model.names=[{','.join(offered)}], or choose and order the labelled points with "
            f"--data.names=[{','.join(method.keypoint_names)}] if the datamodule has that option.",
        )


def require_batch_type(method: type, datamodule: type) -> None:
    """Raise ConfigurationError if both classes declare a ``batch_type`` and the two differ."""
    read, offered = getattr(method, "batch_type", None), getattr(datamodule, "batch_type", None)
    if read is not None and offered is not None and offered is not read:
        raise ConfigurationError(
            f"{method.__name__} reads {read.__name__}; {datamodule.__name__} yields {offered.__name__}.",
            remedy=f"Choose a datamodule that yields {read.__name__}, or a method that reads {offered.__name__} "
            "(`kp methods` lists them).",
        )
