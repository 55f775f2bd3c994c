"""Values of the reference implementations, by the name of their file."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Goldens = Callable[[str], dict[str, npt.NDArray[np.generic]]]
