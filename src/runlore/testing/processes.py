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
    seconds: float = 30.0,
    shown: Callable[[], object] = lambda: "",
) -> None:
    """Wait until a claim holds; say how things stand when it never does."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, f"not within {seconds} s: {shown()}"
        time.sleep(0.005)


_PATIENT = """
import sys
sys.path.insert(0, {!r})
import runlore.sdk.sender as sender
sender.LINGER_SECONDS = {}
raise SystemExit(sender.main())
"""


class Senders:
    """Starts senders as a program does."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def start(
        self, tree: Path, *, prefix: tuple[str, ...] = (), linger_seconds: float | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start a sender for a tree, perhaps under another command or with less patience."""
        what = [runlore.sdk.sender.__file__]
        if linger_seconds is not None:
            what = ["-c", _PATIENT.format(str(Path(runlore.__file__).parents[1]), linger_seconds)]
        command = [*prefix, sys.executable, "-E", "-S", *what, str(tree)]
        process = subprocess.Popen(command, start_new_session=True, cwd="/")
        self.started.append(process)
        return process

    def close(self) -> None:
        """Kill those that are left."""
        for process in self.started:
            process.kill()
            process.wait()
