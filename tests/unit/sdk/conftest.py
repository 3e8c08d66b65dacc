"""A home of its own for each test; one staging, and so one sender, for all of them."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("staging")


@pytest.fixture
def home(tmp_path: Path, staging: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a program that is offline: finish() returns when all of it is on the disk."""
    monkeypatch.setenv("RUNLORE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNLORE_STAGING", str(staging))
    monkeypatch.setenv("RUNLORE_MODE", "offline")
    monkeypatch.setenv("RUNLORE_FINISH_TIMEOUT", "20")
    return tmp_path / "home"
