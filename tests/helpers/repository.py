"""Folder of the repository, for tests that read its files during collection."""

from pathlib import Path

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
HELPERS = ROOT / "tests" / "helpers"
