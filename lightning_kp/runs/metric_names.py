"""Former names of metrics, so that ``metrics.json`` and results of older versions stay readable."""

from collections.abc import Mapping
from typing import Any

WHOLE_ANIMALS = "animals_"
RENAMED = {
    "said": "placed_share",
    "surplus": "false_positives_per_frame",
    "least": "best_threshold",
    "least_found": "recall_at_best",
    "least_surplus": "false_positives_at_best",
}
"""Former and present names of the metrics of whole animals, without their prefix ``animals_``."""


def current_name(name: str) -> str:
    """The present name of a metric, whatever prefix it was written with.

    Example:
        >>> current_name("seed0_animals_least_found"), current_name("linear")
        ('seed0_animals_recall_at_best', 'linear')
    """
    prefix, marker, last = name.rpartition(WHOLE_ANIMALS)
    return f"{prefix}{marker}{RENAMED.get(last, last)}" if marker else name


def current_names(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics under their present names; a former name gives way to a present one beside it.

    Example:
        >>> current_names({"animals_surplus": 0.5, "animals_found": 1.0})
        {'animals_false_positives_per_frame': 0.5, 'animals_found': 1.0}
    """
    present = {current_name(name): value for name, value in metrics.items()}
    return present | {name: value for name, value in metrics.items() if name in present}
