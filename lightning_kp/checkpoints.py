"""Checkpoints: written whole or not at all, read without running code, and refused with a reason.

A checkpoint of :class:`lightning_kp.method.Method` carries, under ``lightning_kp``, the class path, the
version and the settings of the data, so that it can be applied to new videos without a configuration.
"""

import io
import pickle
import zipfile
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor

from lightning_kp import plugins
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import CheckpointError, KeypointError
from lightning_kp.files import writing
from lightning_kp.method import Method, class_path
from lightning_kp.runs.saved_settings import (
    MIN_SIZE,
    impossible,
    refuse_other_shapes,
    refuse_size,
    refuse_unfit,
    shown,
)

CHECKPOINT_KEY = "lightning_kp"
T = TypeVar("T")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames, so that a killed run leaves the old checkpoint or the new one.

    Lightning's own writer uses the system's folder for temporary files and copies if that is on another disk.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with writing(Path(path), flush_to_disk=True) as file:
            file.write(buffer.getbuffer())


def find_checkpoint(run_or_file: str | Path) -> Path:
    """Return the checkpoint of a run folder (``checkpoints/last.ckpt``, else the newest), or the file itself.

    Raises CheckpointError where there is none.
    """
    path = Path(run_or_file).expanduser()
    if path.is_file():
        return path
    if not path.exists():
        raise CheckpointError(
            f"There is no checkpoint {path}.", remedy="Give a .ckpt file or the folder of a run."
        )
    for folder in (path / "checkpoints", path):
        if (last := folder / "last.ckpt").is_file():
            return last
        if found := sorted(folder.glob("*.ckpt"), key=lambda file: file.stat().st_mtime):
            return found[-1]
    raise CheckpointError(
        f"The folder {path} holds no checkpoint.",
        remedy="Give a .ckpt file or the folder of a run that completed an epoch.",
    )


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read the content of a checkpoint file: tensors and plain values only, so that no code runs.

    Raises CheckpointError for a file that is damaged, holds anything else, or is not a checkpoint.
    """
    file = find_checkpoint(path)
    with file.open("rb") as stream:
        start = stream.read(4)
    if start[:2] == b"PK" and not zipfile.is_zipfile(file):
        raise CheckpointError(
            f"The checkpoint {file} is cut short.", remedy="Copy it again, or use an earlier one."
        )
    if start[:2] != b"PK":
        raise CheckpointError(
            f"{file} is not a checkpoint.", remedy="Give a .ckpt file that `kp fit` or `kp discover` wrote."
        )
    try:
        content = torch.load(file, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"The checkpoint {file} was refused: it holds more than numbers, which could run foreign code when loaded.",
            remedy="Use only checkpoints that `kp` wrote.",
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"The checkpoint {file} is damaged.", remedy="Copy it again, or use an earlier one."
        ) from error
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(each, Tensor) for each in weights.values()):
        raise CheckpointError(f"{file} holds no trained method.", remedy="Give a .ckpt file that `kp` wrote.")
    return dict(content)


def load_method(
    path: str | Path, map_location: Any = "cpu", method: str | type[Method] | None = None
) -> Method:
    """Load the trained method of a checkpoint file or run folder, in evaluation mode.

    The class is looked up among known ones (of lightning_kp, of plug-ins, or already imported), since a name in a
    file must not cause an import.  ``method``, a class or its path as the user typed it, may be any.
    Raises CheckpointError where the method is unknown or differs from the checkpoint's.
    """
    file = find_checkpoint(path)
    content = read_checkpoint(file, map_location)
    kind = _given_class(method) if method is not None else _known_class(file, content)
    _refuse_other_class(file, content, kind)
    given = content.get("hyper_parameters") or {}
    if not isinstance(given, Mapping):
        raise impossible(file, f"its options are {shown(given)}, and a mapping is needed.")
    options = dict(given)
    options |= {name: False for name in kind.weight_sources if name in options}
    refuse_unfit(file, kind, options)
    _refuse_larger(file, content, kind, options)
    built = _built(file, content, kind, options)
    refuse_other_shapes(file, content, built, dict(built.hparams))
    built.load_state_dict(content["state_dict"])
    return built.to(map_location).eval() if isinstance(map_location, (str, torch.device)) else built.eval()


def _built(file: Path, content: dict[str, Any], kind: type[Method], options: dict[str, Any]) -> Method:
    try:
        return kind(**options)
    except KeypointError as error:  # what an option out of its range raises; it was not typed here
        raise impossible(file, error.problem) from error
    except TypeError as error:
        raise CheckpointError(
            f"The checkpoint {file} does not match {kind.__name__} of this version: {error}.",
            remedy=f"It was written by version {_note(content).get('version', 'unknown')}.",
        ) from error


def _refuse_larger(file: Path, content: dict[str, Any], kind: type[Method], options: dict[str, Any]) -> None:
    """Compare shapes with those of a network without memory: settings could ask for any size.

    A method whose initialisation computes with its weights cannot be built so, and is compared afterwards alone.
    """
    try:
        with torch.device("meta"):
            planned = kind(**options)
    except KeypointError as error:
        raise impossible(file, error.problem) from error
    except (TypeError, ValueError, RuntimeError, NotImplementedError):
        return
    refuse_other_shapes(file, content, planned, dict(planned.hparams))


def data_settings(path: str | Path) -> dict[str, Any]:
    """Return the plain settings of the datamodule that a checkpoint was trained with; empty if there was none.

    Raises CheckpointError for settings that the datamodule's options could not have, such as a size of -1.
    """
    file = find_checkpoint(path)
    note = _note(read_checkpoint(file))
    settings = note.get("data") or {}
    if not isinstance(settings, dict):
        raise impossible(file, f"its data are {shown(settings)}, and a mapping is needed.")
    kind = known_class(str(note.get("data_class_path", "")), KeypointDataModule)
    if kind is not None:
        refuse_unfit(file, kind, settings)
    refuse_size(file, settings.get("size", MIN_SIZE))
    return dict(settings)


def data_class(path: str | Path) -> type[KeypointDataModule] | None:
    """Return the class of the datamodule that a checkpoint was trained with, or None if it is unknown here."""
    return known_class(str(_note(read_checkpoint(path)).get("data_class_path", "")), KeypointDataModule)


def trained_on(path: str | Path) -> frozenset[str] | None:
    """Return the marks (:func:`lightning_kp.labels.animals.frame_marks`) of the labelled frames that trained a network.

    None if the checkpoint does not say: it is of an older version, or its datamodule keeps no marks.
    """
    marks = _note(read_checkpoint(path)).get("trained_on")
    return frozenset(map(str, marks)) if isinstance(marks, list) else None


def write_method(
    path: Path, method: Method, data: dict[str, Any], trained_on: Collection[str] | None = None
) -> None:
    """Write a method as a checkpoint without a Trainer.

    ``data`` holds the settings of its images, ``trained_on`` the marks of the labelled frames that made it.
    """
    content: dict[str, Any] = {
        "state_dict": method.state_dict(),
        "hyper_parameters": dict(method.hparams),
        "pytorch-lightning_version": L.__version__,
    }
    method.on_save_checkpoint(content)
    content[CHECKPOINT_KEY]["data"] = data
    content[CHECKPOINT_KEY]["trained_on"] = None if trained_on is None else sorted(trained_on)
    AtomicCheckpointIO().save_checkpoint(content, path)


def require_same_method(path: Path, method: Method) -> None:
    """Raise CheckpointError unless the checkpoint belongs to this method and its weights have these shapes."""
    content = read_checkpoint(path)
    _refuse_other_class(path, content, type(method))
    refuse_other_shapes(path, content, method, dict(method.hparams))


def _note(content: dict[str, Any]) -> dict[str, Any]:
    note = content.get(CHECKPOINT_KEY)
    return note if isinstance(note, dict) else {}


def _given_class(method: str | type[Method]) -> type[Method]:
    if isinstance(method, type):
        return method
    if method in plugins.registered("methods"):
        return plugins.registered("methods")[method]
    module, _, name = method.rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"There is no method {method} ({error}).",
            remedy="`kp methods` lists all; write your own as FILE.CLASS.",
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise CheckpointError(f"{method} is not a method of lightning_kp.")
    return kind


def _known_class(file: Path, content: dict[str, Any]) -> type[Method]:
    wanted = _note(content).get("class_path")
    if not isinstance(wanted, str):
        raise CheckpointError(
            f"The checkpoint {file} does not hold the name of its method.",
            remedy="Add it: --model CLASS.",
        )
    if (kind := known_class(wanted, Method)) is not None:  # type: ignore[type-abstract]
        return kind
    raise CheckpointError(
        f"The checkpoint {file} belongs to {wanted}, which is not installed here.",
        remedy=f"If you trust that code, add --model {wanted}",
    )


def known_class(path: str, base: type[T]) -> type[T] | None:
    """Return the class of that path among those of lightning_kp, plug-ins and imported modules; None if unknown.

    The path itself imports nothing.
    """
    plugins.load_all()
    return next((kind for kind in _subclasses(base) if class_path(kind) == path), None)


def _typed(path: str) -> str:
    """Return the class path as users write it: the short name for classes of lightning_kp."""
    return path.rsplit(".", 1)[-1] if path.startswith("lightning_kp.") else path


def _subclasses(kind: type[T]) -> Iterator[type[T]]:
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)


def _refuse_other_class(file: Path, content: dict[str, Any], kind: type[Method]) -> None:
    wanted = _note(content).get("class_path", class_path(kind))
    if wanted != class_path(kind):
        raise CheckpointError(
            f"The checkpoint {file} belongs to {wanted}, not to {class_path(kind)}.",
            remedy=f"Use --model {_typed(wanted)}, another checkpoint, or another run folder.",
        )
