"""Shipped presets and the experiments' folder."""

from pathlib import Path


def experiment_folder() -> Path | None:
    """``experiments/`` of the repository that this package is installed from in place, or None."""
    folder = Path(__file__).resolve().parents[2] / "experiments"
    return folder if folder.is_dir() else None


def shipped_presets() -> dict[str, Path]:
    """The presets that come with the package, by name."""
    folder = Path(__file__).resolve().parents[1] / "presets"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def preset_path(name: str) -> Path:
    """A shipped preset by name, or a YAML file of the user's."""
    from lightning_kp.errors import ConfigurationError

    shipped = shipped_presets()
    if name in shipped:
        return shipped[name]
    if Path(name).is_file():
        return Path(name)
    raise ConfigurationError(
        f"There is no preset '{name}'.", remedy=f"Use {', '.join(shipped)}, or the path of a YAML file."
    )
