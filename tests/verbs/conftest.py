"""One tiny discovery run, and one run with labels, for the tests of all verbs."""

from pathlib import Path

import lightning  # noqa: F401  (before a test captures the stream that it logs to)
import pytest
import tiny_runs


@pytest.fixture(autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KP_CACHE_DIR", str(tiny_runs.frame_cache(tmp_path_factory)))
    monkeypatch.delenv("KP_DEBUG", raising=False)


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two videos with awkward names."""
    return tiny_runs.two_videos(tmp_path_factory)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished discovery of one epoch on the two videos."""
    return tiny_runs.discovery_run(tmp_path_factory)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video, its labels and a run of two steps."""
    return tiny_runs.labelled_run(tmp_path_factory)


@pytest.fixture(scope="session")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run after `kp name`."""
    return tiny_runs.named_run(tmp_path_factory)
