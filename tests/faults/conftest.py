"""Real senders, servers and folders for the fault tests."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlore.testing.processes import Senders
from runlore.testing.spool_server import SpoolServer


@pytest.fixture
def staging() -> Iterator[Path]:
    """A folder in memory for staging trees."""
    root = Path(f"/dev/shm/runlore-test-{os.getpid()}-{time.monotonic_ns()}")
    root.mkdir(mode=0o700)
    yield root
    subprocess.run(["rm", "-rf", str(root)], check=True)


@pytest.fixture
def server() -> Iterator[SpoolServer]:
    with SpoolServer() as server:
        yield server


@pytest.fixture
def senders() -> Iterator[Senders]:
    senders = Senders()
    yield senders
    senders.close()
