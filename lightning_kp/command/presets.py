"""Shipped presets and the experiments' folder."""

from pathlib import Path


def experiment_folder() -> Path | None:
    """Return ``experiments/`` of the repository for an editable installation, None for any other."""
    folder = Path(__file__).resolve().parents[2] / "experiments"
    return folder if folder.is_dir() else None


def shipped_presets() -> dict[str, Path]:
    """Return the presets that come with the package, by name."""
    folder = Path(__file__).resolve().parents[1] / "presets"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def preset_path(name: str) -> Path:
    """Return the file of a shipped preset, or the user's own YAML file.  Raises ConfigurationError."""
    from lightning_kp.errors import ConfigurationError

    shipped = shipped_presets()
    if name in shipped:
        return shipped[name]
    if Path(name).is_file():
        return Path(name)
    raise ConfigurationError(
        f"There is no preset '{name}'.", remedy=f"Use {', '.join(shipped)}, or the path of a YAML file."
    )
