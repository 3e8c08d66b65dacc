"""Stamps: a step whose inputs have not changed since it last succeeded is skipped."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.paths import CACHE, ROOT


def digest(paths: Iterable[Path], *, extra: str = "") -> str:
    """Return a hash of the names and bytes of files, and of a text beside them."""
    total = hashlib.sha256(extra.encode())
    for path in sorted(paths):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"\0{os.path.relpath(path, ROOT)}\0{content}".encode())
    return total.hexdigest()


def is_fresh(name: str, state: str) -> bool:
    """Tell whether the step of that name last succeeded with this state."""
    path = _path(name)
    return path.exists() and path.read_text() == state


def mark(name: str, state: str) -> None:
    """Note that the step succeeded. By rename: an interruption leaves the old stamp or the new."""
    path = _path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(state)
    draft.replace(path)


def clear(name: str) -> None:
    """Forget that the step succeeded, before its results are touched."""
    _path(name).unlink(missing_ok=True)


@contextmanager
def alone(*, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of this clone's setup; call `waiting` if another process has it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "setup.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _path(name: str) -> Path:
    return CACHE / "stamps" / name
