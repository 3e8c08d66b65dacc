"""The start of the sender: a process that is not ours, and the look whether it still lives."""

import os
import signal
import sys
import time
from contextlib import suppress

RESTART_SECONDS = 2.0
_SENDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sender.py")
# The shell starts the sender in the background and ends: the sender is nobody's child here,
# leaves no zombie and is not seen by the program's own os.wait(). It keeps no folder busy.
_SCRIPT = 'cd / && "$@" &'


class Launcher:
    """Keeps a sender alive for one tree.

    Attributes:
        command: what is started; the tree is its last argument.
    """

    def __init__(self, tree: str) -> None:
        self.tree = tree
        self.command = [_python(), "-E", "-S", _SENDER, tree]
        self._started = -RESTART_SECONDS

    def ensure(self) -> bool:
        """Start a sender unless one lives or was started a moment ago; tell whether one lives."""
        if self.is_alive():
            return True
        now = time.monotonic()
        if now - self._started >= RESTART_SECONDS:
            self._started = now
            try:
                _spawn(self.command, os.path.join(self.tree, "log"))
            except OSError:
                # No process or descriptor to be had: what is logged waits, the next look tries.
                return False
        return False

    def is_alive(self) -> bool:
        """Whether the process that wrote its number into `lock` is still this tree's sender."""
        try:
            with open(os.path.join(self.tree, "lock"), "rb") as file:
                pid = int(file.read().strip() or b"0")
        except (OSError, ValueError):
            return False
        if pid <= 0:
            return False
        try:
            # The number may be another process's by now; the command line tells.
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return os.fsencode(self.tree) in file.read().split(b"\0")
        except OSError:
            if os.path.isdir("/proc/self"):
                return False
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True


def _python() -> str:
    # Inside another program sys.executable may be that program, or nothing.
    name = os.path.basename(sys.executable or "")
    if name.startswith(("python", "pypy")):
        return sys.executable
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return os.path.join(sys.base_exec_prefix, "bin", version)


def _spawn(command: list[str], log: str) -> None:
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
    ]
    actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable()]
    pid = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", _SCRIPT, "sh", *command],
        os.environ,
        file_actions=actions,
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP],
    )
    # The program may ignore SIGCHLD, or its own handler may be quicker.
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _inheritable() -> list[int]:
    """Return the descriptors of the program that a child would get; the sender wants none."""
    try:
        fds = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        fds = list(range(3, 256))
    # Naming one at or above the limit, opened before that was lowered, would fail the spawn.
    limit = os.sysconf("SC_OPEN_MAX")
    found = []
    for fd in fds:
        try:
            if 2 < fd < limit and os.get_inheritable(fd):
                found.append(fd)
        except OSError:
            continue
    return found
