"""Room on the disk for what memory has no room for: files that a thread makes beforehand.

Only the thread waits for the disk. A disk that does not answer it is left alone by `log`.
"""

import os
import threading
import time
from contextlib import suppress
from errno import EAGAIN, ENOSPC
from typing import TYPE_CHECKING, NamedTuple

from runlore.sdk.places import OVERFLOW
from runlore.sdk.segments import WrittenSegment, make_written_segment

if TYPE_CHECKING:
    from queue import SimpleQueue

WAIT_SECONDS = 0.002
"""How long one call waits for the disk at most."""
HANG_SECONDS = 1.0
"""A disk that has not answered for so long hangs: nobody waits for it any more."""
FRESH_SECONDS = 0.1
"""How long an answer says that the disk does not hang."""
LEAVE_BYTES = 64 * 1024 * 1024
"""What is left to others on the disk."""


class Spare(NamedTuple):
    """A file on the disk that is all there, and when the disk last took a write to it."""

    name: str
    segment: WrittenSegment
    size: int
    seen: float


class _Place(NamedTuple):
    """Where in the stream a file begins that was taken."""

    name: str
    offset: str


class Overflow:
    """One writer's files on the disk. Not safe for threads; the caller serialises them."""

    def __init__(self, folder: str) -> None:
        self._folder = os.path.join(folder, OVERFLOW)
        self._thread: threading.Thread | None = None
        self._asked: SimpleQueue[tuple[Spare | None, int] | _Place | None]
        self._answers: SimpleQueue[Spare | OSError]
        self._asked_at = 0.0
        # Counted on both sides: an exception out of a signal handler may swallow an answer.
        self._asked_count = 0
        self._answered_count = 0

    def take(self, size: int) -> Spare | None:
        """Return a file of at least so many bytes; None while the disk does not answer.

        Raises:
            OSError: the disk has no room, or there is none.
        """
        if self._thread is None:
            self._start()
        until = time.monotonic() + WAIT_SECONDS
        if self._asked_count == self._answered_count and self._answers.empty():
            self._ask(None, size)
        while True:
            asked = self._asked_at
            try:
                spare = self._answer(until)
            except OSError:
                if time.monotonic() - asked < FRESH_SECONDS:
                    raise
                # That was then.
                self._ask(None, size)
                continue
            if spare is None:
                return None
            if spare.size >= size and time.monotonic() - spare.seen < FRESH_SECONDS:
                # A burst wants the next one soon.
                self._ask(None, size)
                return spare
            self._ask(spare, size)

    def place(self, name: str, offset: str) -> None:
        """Note beside a file where it begins: a restart of the machine takes the link to it."""
        self._asked.put(_Place(name, offset))

    @property
    def is_promising(self) -> bool:
        """Whether the disk was asked for a file and may answer soon."""
        is_asked = self._asked_count > self._answered_count
        return is_asked and time.monotonic() - self._asked_at < HANG_SECONDS

    def close(self) -> None:
        """Let go of the thread and of the file that nobody took."""
        if self._thread is not None:
            self._asked.put(None)

    def _start(self) -> None:
        from queue import SimpleQueue

        self._asked = SimpleQueue()
        self._answers = SimpleQueue()
        thread = threading.Thread(target=self._work, name="runlore-overflow", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise OSError(EAGAIN, f"no thread for the disk: {error}") from error
        self._thread = thread

    def _ask(self, spare: Spare | None, size: int) -> None:
        self._asked_at = time.monotonic()
        self._asked_count += 1
        self._asked.put((spare, size))

    def _answer(self, until: float) -> Spare | None:
        """Return the thread's answer, or None if there is none in time."""
        from queue import Empty

        now = time.monotonic()
        is_hanging = now - self._asked_at > HANG_SECONDS
        try:
            answer = self._answers.get(timeout=0.0 if is_hanging else max(until - now, 0.0))
        except Empty:
            return None
        if isinstance(answer, OSError):
            raise answer
        return answer

    def _work(self) -> None:
        """Make files, or see whether one that was made can still be written."""
        count = 0
        while (asked := self._asked.get()) is not None:
            if isinstance(asked, _Place):
                with suppress(OSError):
                    os.symlink(asked.name, os.path.join(self._folder, asked.offset))
                continue
            spare, size = asked
            try:
                if spare is None or spare.size < size:
                    if spare is not None:
                        spare.segment.close()
                    count += 1
                    spare = self._make(str(count), size)
                else:
                    spare.segment[0:1] = b"\0"
                answer: Spare | OSError = spare._replace(seen=time.monotonic())
            except OSError as error:
                answer = error
            self._answers.put(answer)
            self._answered_count += 1
        while not self._answers.empty():
            left = self._answers.get()
            if isinstance(left, Spare):
                left.segment.close()

    def _make(self, name: str, size: int) -> Spare:
        folder = os.readlink(self._folder)
        _make_private(folder)
        found = os.statvfs(folder)
        if found.f_bavail * found.f_frsize < size + LEAVE_BYTES:
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        segment = make_written_segment(os.path.join(folder, name), size)
        return Spare(name, segment, size, 0.0)


def _make_private(folder: str) -> None:
    """Make a writer's folder and the two above it for this user alone: staging may lie there."""
    shared = os.path.dirname(folder)
    staging = os.path.dirname(shared)
    os.makedirs(os.path.dirname(staging), exist_ok=True)
    for path in (staging, shared, folder):
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
