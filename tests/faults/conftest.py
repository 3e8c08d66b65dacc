"""Real senders, servers and folders for the fault tests."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlore.testing.processes import Senders
from runlore.testing.programs import World
from runlore.testing.serving import ServerProcess
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


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def world(real_server: ServerProcess, tmp_path: Path) -> Iterator[World]:
    world = World(real_server.url, tmp_path)
    yield world
    world.close()
