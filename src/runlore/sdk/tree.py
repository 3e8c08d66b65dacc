"""The tree: the folder in staging where a program, its children and their sender meet.

docs/design/spool.md draws the files.
"""

import json
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from errno import EACCES, EDQUOT, EEXIST, EMFILE, ENFILE, ENOSPC, ENOTEMPTY
from typing import NamedTuple

from runlore.core.json import JsonObject
from runlore.errors import UsageError
from runlore.sdk.places import ACK_BYTES, ACKS, OVERFLOW
from runlore.settings import Settings

MEMORY = "/dev/shm"
LEAST_BYTES = 256 * 1024
LEAST_FILES = 64
"""With less room than this a run does not begin in a staging."""
_LOCK_BYTES = 16
_FULL = (ENOSPC, EDQUOT)


class Ack(NamedTuple):
    """How far the sender has brought a stream.

    `is_away` says that no server takes it at present, `is_full` that the disk does not,
    `is_deleted` that the run was deleted on the server.
    """

    next: int
    points: int
    settled: int
    server: str | None
    error: str | None
    is_away: bool
    is_full: bool
    is_deleted: bool


def process_start(pid: int) -> int:
    """Return when a process started, in ticks since boot; 0 where the kernel does not tell."""
    return _parent_and_start(pid)[1]


def boot_ns() -> int:
    """Return the time since boot, which no change of the clock moves."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock)


def boot_id() -> str:
    """Return the kernel's id of this boot; empty where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def join(settings: Settings, writer: str, target: JsonObject) -> tuple[str, str]:
    """Make a writer's folder in this program's tree; return the tree and the folder.

    Staging lies in memory, and where that is full, on the disk.

    Raises:
        UsageError: there is nowhere to stage what is logged.
    """
    try:
        found = open_tree(settings)
        _check_room(found)
        return found, _add_writer(found, writer, target, settings.home)
    except OSError as error:
        if error.errno not in _FULL:
            raise _no_staging(settings.staging or MEMORY, error) from error
    root = os.path.join(settings.home, "staging")
    try:
        _make_private(root)
        found = _open_in(root)
        return found, _add_writer(found, writer, target, settings.home)
    except OSError as error:
        raise _no_staging(root, error) from error


def open_tree(settings: Settings) -> str:
    """Return the folder of this program's tree, made if no ancestor has one.

    Raises:
        OSError: there is no room in staging for it.
        UsageError: there is nowhere to stage what is logged.
    """
    root = _staging_root(settings)
    try:
        return _open_in(root)
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise _no_staging(root, error) from error


def _open_in(root: str) -> str:
    own = os.getpid()
    pid = own
    while pid > 0:
        parent, start = _parent_and_start(pid)
        path = os.path.join(root, f"{pid}-{start}")
        if os.path.isdir(path):
            return path
        pid = parent
    path = os.path.join(root, f"{own}-{process_start(own)}")
    fresh = os.path.join(root, f".{own}-{process_start(own)}")
    os.makedirs(fresh, mode=0o700, exist_ok=True)
    _furnish(fresh)
    _rename(fresh, path)
    return path


def restore(folder: str, target: JsonObject, home: str, fill: Callable[[str], None]) -> None:
    """Make a writer's folder again that somebody removed, and its tree with it.

    Args:
        folder: the writer's folder, where it was.
        target: what its target said.
        home: where it goes on when memory has no room.
        fill: puts the segments into the folder before anybody sees it.

    Raises:
        OSError: there is no room for it, or no way to make it.
    """
    tree, writer = os.path.split(folder)
    try:
        _make_private(os.path.dirname(tree))
    except (NotADirectoryError, PermissionError) as error:
        # Without a number it would look like what a signal handler raises.
        raise OSError(EACCES, error.strerror or str(error)) from error
    with suppress(FileExistsError):
        os.mkdir(tree, 0o700)
    _furnish(tree)
    if os.path.lexists(folder):
        # Of which only files were removed.
        gone = os.path.join(tree, f".{writer}.gone")
        _remove(gone)
        os.rename(folder, gone)
        _remove(gone)
    fresh = os.path.join(tree, f".{writer}")
    _remove(fresh)
    try:
        _add_writer(tree, writer, target, home, fill)
    except BaseException:
        _remove(fresh)
        raise


def _furnish(tree: str) -> None:
    """Put into a tree what a sender wants there."""
    with suppress(FileExistsError):
        os.mkfifo(os.path.join(tree, "wake"), 0o600)
    with suppress(FileExistsError):
        # The sender's number finds room there, however full staging is by then.
        content = b"0".ljust(_LOCK_BYTES)
        _write(os.path.join(tree, "lock"), content, os.O_CREAT | os.O_EXCL)


def _remove(folder: str) -> None:
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)


def _check_room(tree: str) -> None:
    found = os.statvfs(tree)
    # A filesystem without a limit on files says that there are none.
    is_full = found.f_files and found.f_favail < LEAST_FILES
    if is_full or found.f_bavail * found.f_frsize < LEAST_BYTES:
        raise OSError(ENOSPC, os.strerror(ENOSPC))


def _add_writer(
    tree: str,
    writer: str,
    target: JsonObject,
    home: str,
    fill: Callable[[str], None] = lambda folder: None,
) -> str:
    """Make a writer's folder with its target, whole at once; return the folder."""
    path = os.path.join(tree, writer)
    fresh = os.path.join(tree, f".{writer}")
    os.mkdir(fresh, 0o700)
    _write(os.path.join(fresh, "target"), json.dumps(target).encode(), os.O_CREAT | os.O_EXCL)
    for name in ACKS[:2]:
        _write(os.path.join(fresh, name), b" " * ACK_BYTES, os.O_CREAT | os.O_EXCL)
    os.symlink(os.path.join(home, "staging", OVERFLOW, writer), os.path.join(fresh, OVERFLOW))
    fill(fresh)
    _rename(fresh, path)
    return path


def _write(path: str, content: bytes, flags: int) -> None:
    fd = os.open(path, os.O_WRONLY | flags, 0o600)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)


def read_target(tree: str, writer: str) -> JsonObject:
    """Read what a writer's target says; empty if there is none any more."""
    return _read_object(os.path.join(tree, writer, "target"))


def read_ack(folder: str) -> Ack | None:
    """Read how far a stream has come; None before the sender's first word."""
    found = _read_object(os.path.join(folder, "ack"))
    if not found:
        return None
    server, error = found.get("server"), found.get("error")
    return Ack(
        next=_count(found, "next"),
        points=_count(found, "points"),
        settled=_count(found, "settled"),
        server=server if isinstance(server, str) else None,
        error=error if isinstance(error, str) else None,
        is_away=found.get("is_away") is True,
        is_full=found.get("is_full") is True,
        is_deleted=found.get("is_deleted") is True,
    )


def is_out_of_files() -> bool:
    """Tell whether this process, or the machine, may open no more files."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in (EMFILE, ENFILE)
    return False


def wake(tree: str) -> bool:
    """Ask the sender to settle and deliver now; False if none listens yet."""
    try:
        fd = os.open(os.path.join(tree, "wake"), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(fd, b".")
    except OSError:
        # A full pipe has woken the sender many times over.
        return False
    finally:
        os.close(fd)
    return True


def _staging_root(settings: Settings) -> str:
    """Return a folder for trees that only this user may enter: in memory, else on the disk."""
    name = f"runlore-{os.getuid()}"
    if settings.staging:
        path = os.path.join(os.path.abspath(os.path.expanduser(settings.staging)), name)
        try:
            _make_private(path)
        except OSError as error:
            raise _no_staging(path, error) from error
        return path
    try:
        path = os.path.join(MEMORY, name)
        if os.path.isdir(MEMORY):
            _make_private(path)
            return path
    except OSError:
        # Somebody else's folder, or one that may not be written: the disk it is.
        pass
    path = os.path.join(settings.home, "staging")
    try:
        _make_private(path)
    except OSError as error:
        raise _no_staging(path, error) from error
    return path


def _make_private(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(f"{path!r} is not a folder")
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{path!r} must belong to you alone, with mode 0700")
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(f"{path!r} cannot be written")


def _parent_and_start(pid: int) -> tuple[int, int]:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name may hold blanks and brackets, so count from the last bracket.
            fields = file.read().rpartition(b")")[2].split()
        return int(fields[1]), int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0, 0


def _rename(fresh: str, path: str) -> None:
    try:
        os.rename(fresh, path)
    except OSError as error:
        if error.errno not in (EEXIST, ENOTEMPTY):
            raise


def _no_staging(path: str, error: OSError) -> UsageError:
    way_out = "set RUNLORE_STAGING or RUNLORE_HOME to a folder that you can write"
    if error.errno in (EMFILE, ENFILE):
        way_out = "close files that the program no longer needs, or allow more with 'ulimit -n'"
    return UsageError(
        f"cannot stage what is logged in {path!r}: {error.strerror or error}; {way_out}"
    )


def _read_object(path: str) -> JsonObject:
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _count(found: JsonObject, name: str) -> int:
    value = found.get(name)
    return value if isinstance(value, int) else 0
