"""User programs in processes of their own, with a home and staging of their own."""

import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

from runlore.sdk.api import Api
from runlore.testing.processes import until


class Counter:
    """A number in memory that a program counts up and that outlives it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)

    @property
    def value(self) -> int:
        """The number."""
        return int(struct.unpack("<q", self._map[:])[0])

    def wait_for(self, number: int) -> None:
        """Wait until the program has counted so far."""
        until(lambda: self.value >= number, seconds=30, shown=lambda: self.value)


COUNTING = """
import mmap, os, struct
with open(os.environ["COUNTER"], "r+b") as file:
    counter = mmap.mmap(file.fileno(), 8)
def count(n):
    counter[:] = struct.pack("<q", n)
"""
"""What a program needs in order to count with `count(n)`."""


class World:
    """A home and a staging folder for programs that log to one server."""

    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self.home = home
        self.staging = Path(f"/dev/shm/runlore-test-{os.getpid()}-{time.monotonic_ns()}")
        self.staging.mkdir(mode=0o700)
        self.started: list[subprocess.Popen[str]] = []

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment in which programs run."""
        return {
            **os.environ,
            "RUNLORE_HOME": str(self.home),
            "RUNLORE_STAGING": str(self.staging),
            "RUNLORE_URL": self.url,
            "RUNLORE_PROJECT": "faults",
            **more,
        }

    def start(
        self, code: str, *, counter: Counter | None = None, prefix: tuple[str, ...] = ()
    ) -> "subprocess.Popen[str]":
        """Start a program, given as text."""
        more = {} if counter is None else {"COUNTER": str(counter.path)}
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", code],
            env=self.environment(**more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, code: str) -> str:
        """Run a program to its end; return what it printed on stdout and stderr."""
        process = self.start(code)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out + err

    def history(self, run: str, *keys: str) -> list[dict[str, object]]:
        """Return the rows of a run as the server tells them."""
        found = Api(self.url).run(f"faults/{run}")
        return [dict(row) for row in found.scan_history(keys or None)]

    def sync(self, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run `runlore sync`, perhaps with more environment variables."""
        return subprocess.run(
            [sys.executable, "-m", "runlore", "sync", *arguments],
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start_sync(self) -> "subprocess.Popen[str]":
        """Start `runlore sync` and do not wait for it."""
        process = subprocess.Popen(
            [sys.executable, "-m", "runlore", "sync"],
            env=self.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def trees(self) -> list[Path]:
        """Return the trees in staging."""
        return [
            path
            for path in self.staging.glob("runlore-*/*")
            if path.is_dir() and not path.name.startswith(".")
        ]

    def sender(self) -> int:
        """Return the process number of the only sender, once it is there."""
        found: list[int] = []

        def is_there() -> bool:
            locks = [tree / "lock" for tree in self.trees()]
            texts = [lock.read_text() for lock in locks if lock.exists()]
            found[:] = [int(text) for text in texts if text.strip("0 ")]
            return bool(found)

        until(is_there, shown=self.trees)
        return found[0]

    def settle(self, seconds: float = 50.0) -> None:
        """Wait until every sender is done."""
        until(lambda: not self.trees(), seconds=seconds, shown=self.shown)

    def close(self) -> None:
        """Kill what still runs; remove staging."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for tree in self.trees():
            lock = tree / "lock"
            text = lock.read_text() if lock.exists() else ""
            if text and f"sender.py\0{tree}" in command_of(int(text)):
                os.kill(int(text), signal.SIGKILL)
        shutil.rmtree(self.staging, ignore_errors=True)

    def shown(self) -> list[str]:
        """Say how the trees stand that are left."""
        return [
            f"{path}: {path.read_text()}"
            for tree in self.trees()
            for path in (*tree.glob("*/ack"), *tree.glob("log"))
        ]


def command_of(pid: int) -> str:
    """Return the command line of a process; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
