"""Keypoints in images and behaviour videos with no, weak or few labels.

    import lightning_kp as kp

    run = kp.discover("videos/", out="runs/me")   # find keypoints without labels
    model = kp.load(run)                          # a trained network
    poses = model.predict("new.mp4")              # points in pixels; to_pandas, to_xarray, to_sleap, save

The names in ``__all__`` are imported when they are first used, so that ``import lightning_kp`` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_kp.api.discovery import discover
    from lightning_kp.api.exporting import ExportedNetwork, export
    from lightning_kp.api.inspection import VideoReport, inspect
    from lightning_kp.api.loading import Model, load
    from lightning_kp.api.naming import NamedRun, name
    from lightning_kp.api.poses import Poses
    from lightning_kp.api.reporting import report
    from lightning_kp.api.run import Run
    from lightning_kp.api.scoring import score
    from lightning_kp.api.suggested_frames import SuggestedFrames
    from lightning_kp.api.suggestions import suggest
    from lightning_kp.api.tracking import TrackedVideos, track

__version__ = "0.2.0"

__all__ = [
    "ExportedNetwork",
    "Model",
    "NamedRun",
    "Poses",
    "Run",
    "Score",
    "SuggestedFrames",
    "TrackedVideos",
    "VideoReport",
    "discover",
    "export",
    "inspect",
    "load",
    "name",
    "report",
    "score",
    "suggest",
    "track",
]

_HOMES = {
    "ExportedNetwork": "lightning_kp.api.exporting",
    "Model": "lightning_kp.api.loading",
    "NamedRun": "lightning_kp.api.naming",
    "Poses": "lightning_kp.api.poses",
    "Run": "lightning_kp.api.run",
    "Score": "lightning_kp.scoring.results",
    "SuggestedFrames": "lightning_kp.api.suggested_frames",
    "TrackedVideos": "lightning_kp.api.tracking",
    "VideoReport": "lightning_kp.api.inspection",
    "discover": "lightning_kp.api.discovery",
    "export": "lightning_kp.api.exporting",
    "inspect": "lightning_kp.api.inspection",
    "load": "lightning_kp.api.loading",
    "name": "lightning_kp.api.naming",
    "report": "lightning_kp.api.reporting",
    "score": "lightning_kp.api.scoring",
    "suggest": "lightning_kp.api.suggestions",
    "track": "lightning_kp.api.tracking",
}

# Modules whose names are stable, too (CONTRIBUTING.md): reachable as attributes, as in kp.methods.BKinD.
_MODULES = (
    "batches", "callbacks", "checkpoints", "datamodule", "datamodules", "errors", "geometry", "keypoints", "method",
    "methods", "schedules",
)  # fmt: skip


if not TYPE_CHECKING:  # a type checker would accept any name

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used (PEP 562)."""
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, *(name for name in globals() if name.startswith("__"))})
