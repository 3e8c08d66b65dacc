"""Real processes and patience for the fault tests."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import runlore.sdk.sender


def until(
    claim: Callable[[], bool],
    *,
    seconds: float = 10.0,
    shown: Callable[[], object] = lambda: "",
) -> None:
    """Wait until a claim holds; say how things stand when it never does."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, f"not within {seconds} s: {shown()}"
        time.sleep(0.005)


class Senders:
    """Starts senders as a program does."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, tree: Path, *, prefix: tuple[str, ...] = ()) -> "subprocess.Popen[bytes]":
        """Start a sender for a tree, perhaps under another command."""
        command = [*prefix, sys.executable, "-E", "-S", runlore.sdk.sender.__file__, str(tree)]
        process = subprocess.Popen(command, start_new_session=True, cwd="/")
        self.started.append(process)
        return process

    def close(self) -> None:
        """Kill those that are left."""
        for process in self.started:
            process.kill()
            process.wait()
