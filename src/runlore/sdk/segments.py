"""A segment: the preallocated piece of a stream into which `log` copies its frames.

Two sides behind one door. Where the file can be preallocated it is mapped, so that a copy is no
system call; elsewhere each copy is one `pwrite`. Both take `segment[start:stop] = data`.
"""

import mmap
import os
from collections.abc import Callable
from errno import EDQUOT, ENOSPC
from typing import TypeAlias


class WrittenSegment:
    """A segment whose file is written with `os.pwrite`, where mapping one is not safe."""

    def __init__(self, fd: int) -> None:
        self._fd = os.dup(fd)

    def __setitem__(self, span: slice, data: bytes) -> None:
        at: int = span.start
        while data:
            written = os.pwrite(self._fd, data, at)
            at += written
            data = data[written:]

    def close(self) -> None:
        os.close(self._fd)


Segment: TypeAlias = mmap.mmap | WrittenSegment


class SegmentFile:
    """The file of a segment, held open: it can be read though somebody removed its name."""

    __slots__ = ("_fd",)

    def __init__(self, path: str) -> None:
        self._fd = -1
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def is_taken(self) -> bool:
        """Whether the sender has removed it: it empties it, or at the very end locks it."""
        found = os.fstat(self._fd)
        return found.st_size == 0 or not found.st_mode & 0o777

    def is_at(self, path: str) -> bool:
        """Tell whether it still bears a name."""
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            # Nobody can tell.
            return True
        return found.st_ino == os.fstat(self._fd).st_ino

    def read(self, size: int) -> bytes:
        """Read its first bytes."""
        parts: list[bytes] = []
        at = 0
        while at < size and (part := os.pread(self._fd, size - at, at)):
            parts.append(part)
            at += len(part)
        return b"".join(parts)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # Also in a forked child, which lets go of its parent's stream without a word.
        if self._fd >= 0:
            close(self._fd)


def make_segment(path: str, size: int) -> Segment:
    """Create the file of a segment, filled with zeros.

    Raises:
        OSError: there is no room, no file descriptor or no such folder; no file is left behind.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if _is_preallocated(fd, size):
            return mmap.mmap(fd, size)
        os.ftruncate(fd, size)
        return WrittenSegment(fd)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)


def make_written_segment(path: str, size: int) -> WrittenSegment:
    """Create the file of a segment on a disk, where a mapping would stop the whole program.

    Raises:
        OSError: as `make_segment` does.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if not _is_preallocated(fd, size):
            os.ftruncate(fd, size)
        return WrittenSegment(fd)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)


def is_of_handler(error: OSError) -> bool:
    """Whether no system call failed, but a signal handler raised this, such as a TimeoutError."""
    return error.errno is None


def _is_preallocated(fd: int, size: int) -> bool:
    # A store into a mapped page that has no room behind it kills the program with SIGBUS, so
    # every page must be there before.
    allocate = getattr(os, "posix_fallocate", None)
    if allocate is None:
        return False
    try:
        allocate(fd, 0, size)
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT) or is_of_handler(error):
            raise
        return False
    return True
