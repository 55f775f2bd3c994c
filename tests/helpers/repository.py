"""Where the repository lies, for tests that read its files while they are collected."""

from pathlib import Path

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
HELPERS = ROOT / "tests" / "helpers"
