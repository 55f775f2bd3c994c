"""Writing the squares of a frame cache, preprocessed in batches."""

from typing import BinaryIO

import numpy as np

from lightning_kp.frames.preprocessing import Preprocessor
from lightning_kp.images.files import Image

PREPROCESSING_BATCH = 32
"""Squares that are preprocessed at once."""


class SquareWriter:
    """Writes squares to a file, preprocessed in batches if a preprocessor is given."""

    def __init__(self, file: BinaryIO, preprocessor: Preprocessor | None) -> None:
        self._file = file
        self._preprocessor = preprocessor
        self._waiting: list[Image] = []

    def add(self, square: Image) -> None:
        self._waiting.append(square)
        if self._preprocessor is None or len(self._waiting) == PREPROCESSING_BATCH:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            squares = np.stack(self._waiting)
            done = squares if self._preprocessor is None else self._preprocessor(squares).squares
            self._file.write(np.ascontiguousarray(done).data)
            self._waiting = []
