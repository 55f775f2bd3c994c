"""Whether the labels of a datamodule are those that a method was built for, told before it trains.

A datamodule says ``part_names``, the labelled points of one animal; ``animals``, how many one image has at most; and
``point_names``, the points of all of them one after another (:class:`lightning_kp.datamodule.KeypointDataModule`).
"""

import warnings
from typing import TYPE_CHECKING, Any

from lightning_kp.errors import ConfigurationError

if TYPE_CHECKING:
    from lightning_kp.method import KeypointMethod


def datamodule_of(method: "KeypointMethod") -> Any:
    """The datamodule of the method's trainer, or None."""
    return getattr(method.trainer, "datamodule", None) if method._trainer is not None else None


def refuse_other_parts(method: "KeypointMethod") -> None:
    """Raise ConfigurationError unless the labels name the method's points of one animal, in their order.

    For methods that find whole animals.  Warns where the labels have more of them than the method looks for.
    """
    data = datamodule_of(method)
    _refuse(method, tuple(getattr(data, "part_names", ()) or method.keypoint_names))
    animals, most = getattr(data, "animals", 0), int(getattr(method, "instances", 0))
    if 0 < most < animals:
        warnings.warn(
            f"The labels have up to {animals} animals in an image; {type(method).__name__} looks for {most}. "
            f"--model.instances={animals} finds them all.",
            stacklevel=2,
        )


def refuse_other_names(method: "KeypointMethod") -> None:
    """Raise ConfigurationError unless the labelled points of all animals are the method's, in their order."""
    refuse_animals_without_order(method)
    _refuse(method, tuple(getattr(datamodule_of(method), "point_names", ()) or method.keypoint_names))


def refuse_animals_without_order(method: "KeypointMethod") -> None:
    """Raise ConfigurationError where names cannot tell animals apart, which a method of named points needs."""
    data = datamodule_of(method)
    if getattr(data, "in_order", True) or data.animals < 2:
        return
    raise ConfigurationError(
        f"{type(data).__name__} yields up to {data.animals} animals in no fixed order; {type(method).__name__} finds "
        "every point by its name.",
        remedy="Choose --model=DirectPose, which finds whole animals; or, where an animal has its own row in the "
        "labels of all frames (the black mouse, the white one), --data=LabelledFrames.",
    )


def _refuse(method: "KeypointMethod", offered: tuple[str, ...]) -> None:
    if offered != method.keypoint_names:
        raise ConfigurationError(
            f"The labels name {', '.join(offered)}; the model has {', '.join(method.keypoint_names)}.",
            remedy=f"Set --model.names=[{','.join(offered)}], or choose and order the labels' points with "
            f"--data.names=[{','.join(method.keypoint_names)}], where the data have that option.",
        )


def refuse_unfit_pair(method: type, datamodule: type) -> None:
    """Raise ConfigurationError if the datamodule says of its batches that they are not those the method reads."""
    read, offered = getattr(method, "batch_type", None), getattr(datamodule, "batch_type", None)
    if read is not None and offered is not None and offered is not read:
        raise ConfigurationError(
            f"{method.__name__} reads {read.__name__}; {datamodule.__name__} yields {offered.__name__}.",
            remedy=f"Choose a datamodule that yields {read.__name__}, or a method that reads {offered.__name__} "
            "(`kp methods` lists them).",
        )
