"""One connection of a client: how long it may keep the server waiting, and with how much."""

import asyncio
import errno
import logging
import resource
from collections.abc import Mapping

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

WAIT_SECONDS = 60.0
MAX_HEAD = 64 * 1024
_MAX_FILES = 65_536
_MINUTE = 60.0
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)

_log = logging.getLogger(__name__)


class Connection(HttpToolsProtocol):
    """Lets go of who sends no request, half of one, or one without end.

    Otherwise such connections would use up the files and the memory of the server, before
    anybody could be asked for a key.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._is_heading = True
        self._head_bytes = 0
        self._heard_at = self.loop.time()
        self._watch = self.loop.call_later(WAIT_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, as long as a head does not grow beyond its limit."""
        was_heading = self._is_heading
        super().data_received(data)
        if not self._is_heading:
            self._heard_at = self.loop.time()
        elif was_heading:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self.send_400_response(f"the head of a request may have {MAX_HEAD} bytes")

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._is_heading = True
        self._head_bytes = 0
        self._heard_at = self.loop.time()

    def on_headers_complete(self) -> None:
        """Take the head of a request, which is whole."""
        self._is_heading = False
        super().on_headers_complete()

    def _look(self) -> None:
        """Close where the client has been waited for too long."""
        if self.flow.read_paused:
            self._heard_at = self.loop.time()
        left = self._heard_at + WAIT_SECONDS - self.loop.time()
        is_awaited = self._is_heading or self.cycle.more_body
        if is_awaited and left <= 0:
            self.transport.abort()
            return
        self._watch = self.loop.call_later(left if left > 0 else WAIT_SECONDS, self._look)


def allow_many() -> None:
    """Let this process have as many connections as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Complaints:
    """Tells what goes wrong on the event loop, each thing once a minute.

    Where files run out, the loop tells the same thousands of times a second, with tracebacks.
    """

    def __init__(self) -> None:
        self._told: dict[tuple[object, object], float] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, object]) -> None:
        """Tell of an error, as the event loop hands it over."""
        now = loop.time()
        self._told = {what: at for what, at in self._told.items() if at > now - _MINUTE}
        error = context.get("exception")
        what = (type(error), context.get("message"))
        if what in self._told:
            return
        self._told[what] = now
        if isinstance(error, OSError) and error.errno in _OUT_OF_FILES:
            _log.warning(
                "no file descriptors left, connections wait; close some or raise 'ulimit -n'"
            )
        else:
            loop.default_exception_handler(dict(context))
