"""Reads NumPy object arrays, which some published data sets use, without running code from the file.

``numpy.load(..., allow_pickle=True)`` executes any function that a file names.  Here only plain values and
arrays of numbers can be created; a file that names anything else is refused.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("_codecs", "encode"),  # byte strings of Python 2
}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which could run code from the file")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_object_npy(path: Path) -> Any:
    """Read the object, such as a dictionary, of an .npy file with one object.

    Raises ValueError if the file is of another kind or names anything but plain values and arrays.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
        if dtype != np.dtype(object) or shape != ():
            raise ValueError(f"it has an array {shape} of {dtype}, not one object")
        try:
            content = _Plain(file, encoding="latin1").load()
        except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, TypeError) as error:
            raise ValueError(str(error)) from error
    return content.item() if isinstance(content, np.ndarray) else content
