"""The columns of a table in DeepLabCut's layout: individual, body part and coordinate of each, found by name."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVELS = ("scorer", "individuals", "bodyparts", "coords")
X, Y, LIKELIHOOD = "x", "y", "likelihood"


class Columns(NamedTuple):
    """What each of C columns holds, and the names in the order of their first columns.

    Attributes:
        places: Position of a column by (individual, body part, coordinate); the individual is "" without individuals.
        individuals: Names of the I individuals; a part that no animal has, such as a door, belongs to one of its own.
        parts: Names of the K body parts.
        ignored: Coordinates other than x, y and likelihood, such as z or ``x_ens_var``.
    """

    places: dict[tuple[str, str, str], int]
    individuals: tuple[str, ...]
    parts: tuple[str, ...]
    ignored: tuple[str, ...]

    def of(self, coord: str) -> NDArray[np.int64]:
        """Position (I, K) of each column of a coordinate; -1 where there is none."""
        return np.array(
            [[self.places.get((each, part, coord), -1) for part in self.parts] for each in self.individuals],
            np.int64,
        )

    def values(self, coord: str, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values (N, I, K) of a coordinate from a table (N, C); NaN where there is no column."""
        place = self.of(coord)
        return np.where(place >= 0, table[:, place], np.nan)


def columns_of(levels: Mapping[str, Sequence[str]]) -> Columns:
    """Find out what each column holds from the rows of a header, by name.

    Columns without a body part and a coordinate are left out.  Raises ValueError, which names the body part, if two
    columns hold the same, or if x or y is missing.
    """
    missing = [name for name in LEVELS[2:] if name not in levels]
    if missing:
        raise ValueError(f"its header has no row {' and no row '.join(missing)}")
    parts, coords = levels["bodyparts"], [coord.strip().lower() for coord in levels["coords"]]
    animals = levels.get("individuals") or [""] * len(parts)
    if not len(parts) == len(coords) == len(animals):
        raise ValueError(f"the rows of its header name {len(parts)} bodyparts and {len(coords)} coords")
    keys = list(zip(animals, parts, coords, strict=True))
    wanted = [key for key in keys if key[1].strip() or key[2]]
    for (animal, part, coord), count in Counter(wanted).items():
        if count > 1:
            raise ValueError(f"{_named(animal, part)} has {count} columns called {coord or '(no name)'}")
    places = {key: place for place, key in enumerate(keys) if key in set(wanted)}
    _check_points(places)
    return Columns(
        places,
        tuple(dict.fromkeys(animal for animal, _, _ in wanted)),
        tuple(dict.fromkeys(part for _, part, _ in wanted)),
        tuple(dict.fromkeys(coord for _, _, coord in wanted if coord not in (X, Y, LIKELIHOOD))),
    )


def _check_points(places: Mapping[tuple[str, str, str], int]) -> None:
    if not places:
        raise ValueError("it has no columns of points")
    for animal, part in dict.fromkeys(key[:2] for key in places):
        absent = [coord for coord in (X, Y) if (animal, part, coord) not in places]
        if absent:
            raise ValueError(f"{_named(animal, part)} has no column {' and no column '.join(absent)}")


def _named(animal: str, part: str) -> str:
    return f"{part} of {animal}" if animal else part or "a part without a name"


def looks_like_coordinate(name: str) -> bool:
    """Whether a column that is not used may be a coordinate that somebody expects to be.

    >>> [looks_like_coordinate(name) for name in ("z", "x_ens_var", "y2", "likelihood", "visible")]
    [True, True, True, False, False]
    """
    return name[:1] in ("x", "y", "z") and not name[1:2].isalpha()


def frame_numbers(index: Sequence[object] | NDArray[np.generic]) -> NDArray[np.int64]:
    """Frame numbers (N) from the index of a table of tracks, whose numbers may be written as 0, "0" or 0.0.

    Raises ValueError, which names the row, for other indices, for numbers below 0 and for repeated ones.
    """
    numbers = []
    for entry in index:
        try:
            value = float(str(entry))
        except ValueError:
            raise ValueError(f"its rows are not named by frame numbers, but by {str(entry)!r}") from None
        if not value.is_integer() or not 0 <= value < 2**53:
            raise ValueError(f"{str(entry)!r} is not the number of a frame")
        numbers.append(int(value))
    repeated = [number for number, count in Counter(numbers).items() if count > 1]
    if repeated:
        raise ValueError(f"it has {len(repeated)} frames more than once, the first is {repeated[0]}")
    return np.array(numbers, np.int64)
