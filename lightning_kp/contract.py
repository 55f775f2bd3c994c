"""The contract between a method and a datamodule, checked before training: batch type, names and order of points.

A datamodule has ``part_names``, the labelled points of one animal; ``animals``, the largest number of animals in an
image; and ``point_names``, the points of all animals one after another
(:class:`lightning_kp.datamodule.KeypointDataModule`).
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lightning_kp.errors import ConfigurationError

if TYPE_CHECKING:
    from lightning_kp.method import KeypointMethod, Method

CLASSES_SHOWN = 5


def datamodule_of(method: "Method") -> Any:
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


def agreed_classes(method: "Method", own: Sequence[str], *, fewest: int = 2) -> tuple[str, ...]:
    """The classes of a classifier: its ``own``, or those of its datamodule.

    Raises ConfigurationError if both name classes and they differ, or if there are fewer than ``fewest``.
    """
    data, name = datamodule_of(method), type(method).__name__
    classes, offered = tuple(own), tuple(getattr(data, "class_names", ()))
    if classes and offered and offered != classes:
        raise ConfigurationError(
            f"{name} has the classes {_listed(classes)}; {type(data).__name__} yields {_listed(offered)}.",
            remedy="Leave --model.classes out, or use data with the classes that it was trained on.",
        )
    classes = classes or offered
    if len(classes) < fewest:
        raise ConfigurationError(
            f"{name} needs at least {fewest} classes, got {len(classes)}.",
            remedy="Use a datamodule that names its classes, or give --model.classes=[cat,dog].",
        )
    return classes


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - CLASSES_SHOWN
    return ", ".join(names[:CLASSES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


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


def offered_batch_types(datamodule: type) -> tuple[type, ...]:
    """Batch types that a class of datamodules can yield: its ``batch_types``, else its one ``batch_type``; or none."""
    single = getattr(datamodule, "batch_type", None)
    return tuple(getattr(datamodule, "batch_types", ())) or (() if single is None else (single,))


def require_batch_type(method: type, datamodule: type) -> None:
    """Raise ConfigurationError if both classes declare batch types and the datamodule does not offer the method's."""
    read, offered = getattr(method, "batch_type", None), offered_batch_types(datamodule)
    if read is not None and offered and read not in offered:
        names = " or ".join(kind.__name__ for kind in offered)
        raise ConfigurationError(
            f"{method.__name__} reads {read.__name__}; {datamodule.__name__} yields {names}.",
            remedy=f"Choose a datamodule that yields {read.__name__}, or a method that reads {names} "
            "(`kp methods` lists them).",
        )
