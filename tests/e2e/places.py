"""Places for whole programs: a folder and a port of their own, and a server there."""

import os
import socket
import subprocess
import sysconfig
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

RUNLORE = Path(sysconfig.get_path("scripts")) / "runlore"


def surroundings(folder: Path) -> dict[str, str]:
    """Return the variables that keep a program in a folder, at a port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {
        **kept,
        "RUNLORE_HOME": str(folder / "home"),
        "RUNLORE_STAGING": str(folder / "staging"),
        "RUNLORE_URL": f"http://127.0.0.1:{port}",
    }


@contextmanager
def serving(variables: Mapping[str, str]) -> Iterator[str]:
    """Run `runlore serve` in its surroundings, and give its address once it is ready."""
    url = variables["RUNLORE_URL"]
    command = [str(RUNLORE), "serve", "--port", url.rpartition(":")[2]]
    with subprocess.Popen(command, env=dict(variables), stdout=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + 30
            while not _answers(url):
                assert server.poll() is None, f"the server ended with {server.returncode}"
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield url
        finally:
            server.terminate()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=2):
            return True
    except OSError:
        return False
