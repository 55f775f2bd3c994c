"""Which settings a discovery run trains with: a preset, the suggestions of inspection, the user's own options."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning_kp.command.arguments import fit_options, settings_of, typed
from lightning_kp.command.presets import shipped_presets

DEFAULT_PRESET = "laptop"
FOLLOWING_PRESET = "follow"
"""The default where inspection suggests a square that follows the animal."""
MAX_SIZE_ON_CPU = 128
"""Image side in pixels (ours): above it training takes hours on two cores."""
SINGLE_ANIMAL = {
    "model.weights.coverage": 0.0,
    "model.weights.rotation": 100.0,
    "model.rotation_variance": 0.02,
}
"""Weights for one animal: without the term that distributes keypoints over several animals, and with more rotation.

On the open-field mouse half of the keypoints turned with the image, not with the animal, under the preset's weights.
"""
KEYPOINTS_IN_SQUARE = 8
"""Keypoints of the one animal that a square follows, where the number suggested is for the whole picture."""
FIXED_BY_PRESET = {
    "paper": {"data.size", *SINGLE_ANIMAL},
    "follow": {"data.size", *SINGLE_ANIMAL},
}
"""Settings of shipped presets that suggestions do not replace."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """Settings of a discovery run: a preset file, what inspection suggests, what the user set.

    Later ones win: a suggestion never replaces what the user set or wrote into a preset of their own.
    """

    preset: Path
    suggested: dict[str, Any]
    overrides: tuple[str, ...]

    def options(self) -> list[str]:
        """Return the options of ``kp fit``."""
        decided = self.chosen().keys() | (set() if self._is_shipped else SINGLE_ANIMAL.keys())
        kept = {name: value for name, value in self._fitting().items() if name not in decided}
        return [f"--config={self.preset}", *fit_options(kept), *self.overrides]

    def chosen(self) -> dict[str, Any]:
        """Return what the user or the preset decided, by option name."""
        own = settings_of(self.preset)
        if self._is_shipped:
            own = {name: own.get(name) for name in FIXED_BY_PRESET.get(self.preset.stem, ())}
        return own | typed(list(self.overrides))

    def _fitting(self) -> dict[str, Any]:
        """The suggestions; where they follow the animal but the preset does not, those that suit any view."""
        followed = _followed(self.suggested.get("data.boxes"))
        if self.preset == shipped_presets()[FOLLOWING_PRESET]:
            if followed:
                return self.suggested
            fitting = {name: value for name, value in self.suggested.items() if name != "data.boxes"}
            return fitting | {"model.keypoints": KEYPOINTS_IN_SQUARE}
        if not followed:
            return self.suggested
        whole = {n: value for n, value in self.suggested.items() if n not in ("data.boxes", "data.size")}
        # With several animals in one picture, a term has to distribute the keypoints over them.
        return whole | (SINGLE_ANIMAL if followed == 1 else {})

    @property
    def follows(self) -> bool:
        """Whether a square follows each animal: as the user set it, else as inspection suggests."""
        return _followed(typed(list(self.overrides)).get("data.boxes", self.suggested.get("data.boxes"))) > 0

    @property
    def _is_shipped(self) -> bool:
        return self.preset in shipped_presets().values()

    @property
    def max_epochs(self) -> int | None:
        """Epochs to train, None where they are not limited by number."""
        value = (settings_of(self.preset) | typed(list(self.overrides))).get("trainer.max_epochs")
        return int(str(value)) if str(value).isdigit() else None


def _followed(boxes: Any) -> int:
    from lightning_kp.motion.boxes import followed_animals

    return followed_animals(boxes)


def capped_without_gpu(plan: Plan) -> Plan:
    """Return the plan with an image size that a computer without a GPU can train on; logs a change."""
    import torch

    size = plan.suggested.get("data.size", 0)
    if size <= MAX_SIZE_ON_CPU or torch.cuda.is_available() or "data.size" in plan.chosen():
        return plan
    logger.info(
        "Images of %d px are too slow without a GPU; training uses %d px. --data.size=%d trains on them anyway.",
        size, MAX_SIZE_ON_CPU, size,
    )  # fmt: skip
    return replace(plan, suggested=plan.suggested | {"data.size": MAX_SIZE_ON_CPU})
