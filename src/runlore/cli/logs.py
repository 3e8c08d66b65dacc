"""The server's log: lines for stderr that nobody waits for."""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Full, Queue

from runlore.core.text import printable_lines

_MOST_WAITING = 1000
_END_SECONDS = 1.0


@contextmanager
def logging_beside() -> Iterator[None]:
    """Write the log's lines in a thread of their own, until the end of the block.

    A terminal that was stopped, or a pipe that nobody reads, takes no more lines at some time.
    Whoever logs then, be it the event loop, must not wait for it: what is too much is left out
    and counted, and the count is a line as soon as there is room.
    """
    if sys.stderr is None:
        # Number 2 may belong to a database by now.
        handler: logging.Handler = logging.NullHandler()
    else:
        handler = _BesideHandler(sys.stderr.fileno())
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


class _BesideHandler(logging.Handler):
    def __init__(self, fd: int) -> None:
        super().__init__(logging.WARNING)
        self._fd = fd
        self._lines: Queue[str | None] = Queue(_MOST_WAITING)
        self._left_out = 0
        self._counting = threading.Lock()  # protects _left_out
        # A daemon: at the end it may hang in a write for ever.
        self._thread = threading.Thread(target=self._run, name="runlore-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line, or count it as left out."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - the rim of logging, as in every handler
            line = f"a line of the log cannot be formatted: {error!r}"
        try:
            self._lines.put_nowait(line)
        except Full:
            with self._counting:
                self._left_out += 1

    def close(self) -> None:
        """Write what waits, for as long as a second."""
        try:
            self._lines.put(None, timeout=_END_SECONDS)
            self._thread.join(_END_SECONDS)
        except Full:
            pass
        super().close()

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(line)
            self._tell_left_out()
        self._tell_left_out()

    def _tell_left_out(self) -> None:
        with self._counting:
            left_out, self._left_out = self._left_out, 0
        if left_out:
            self._write(f"{left_out} lines of the log were left out: nobody took them in time")

    def _write(self, line: str) -> None:
        data = printable_lines(line).encode("utf-8", "backslashreplace") + b"\n"
        try:
            # Not by sys.stderr, whose lock would be held at the interpreter's end.
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            # Whoever read it is gone.
            return
