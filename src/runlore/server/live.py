"""The live bus: tells open pages what has grown, without ever waiting for one of them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import msgspec

from runlore.server.problems import StatusError
from runlore.services.ingest import Change, What

GATHER_SECONDS = 0.25
COMMENT_SECONDS = 15.0
MAX_PAGES = 256
_MAX_BEHIND = 32
_MAX_CHANGES = 2000


class LiveBus:
    """Gathers changes over a quarter of a second and hands one event to every open page.

    `tell` may be called from any thread; everything else runs on the event loop.
    """

    def __init__(self) -> None:
        # Protects what is gathered, which the committer and the event loop share.
        self._lock = threading.Lock()
        self._gathered: dict[Change, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pages: set[asyncio.Queue[bytes | None]] = set()
        self._sent_at = 0.0
        self._closed = False

    def open(self) -> None:
        """Begin to tell, on the event loop that runs now."""
        self._loop = asyncio.get_running_loop()

    def tell(self, changes: Sequence[Change]) -> None:
        """Tell all open pages, a moment later."""
        loop = self._loop
        if loop is None or not self._pages:
            return
        with self._lock:
            is_first = not self._gathered
            self._gathered.update(dict.fromkeys(changes))
        if is_first:
            try:
                loop.call_soon_threadsafe(self._schedule)
            except RuntimeError:
                # The loop has closed: nobody listens any more.
                return

    def close(self) -> None:
        """End all streams, so that the server can end."""
        self._closed = True
        for page in self._pages:
            _put(page, None)

    def subscribe(self) -> AsyncIterator[bytes]:
        """Return the stream of events of one page.

        Raises:
            StatusError: too many pages listen already.
        """
        if len(self._pages) >= MAX_PAGES:
            raise StatusError(
                429, f"{MAX_PAGES} pages listen already, close one or share one stream by tabs"
            )
        return self._events()

    async def _events(self) -> AsyncIterator[bytes]:
        if len(self._pages) >= MAX_PAGES:
            # Many came at once, and were let in before the first of them counted.
            return
        page: asyncio.Queue[bytes | None] = asyncio.Queue(_MAX_BEHIND)
        self._pages.add(page)
        try:
            # Answers at once, so that the page knows that the stream stands.
            yield b": open\n\n"
            while not self._closed:
                try:
                    event = await asyncio.wait_for(page.get(), COMMENT_SECONDS)
                except TimeoutError:
                    event = b": still here\n\n"
                if event is None:
                    return
                yield event
        finally:
            self._pages.discard(page)

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_at(max(loop.time(), self._sent_at + GATHER_SECONDS), self._send)

    def _send(self) -> None:
        with self._lock:
            gathered, self._gathered = self._gathered, {}
        self._sent_at = asyncio.get_running_loop().time()
        by_run: dict[object, list[What]] = {}
        for run, what in gathered:
            by_run.setdefault(run, []).append(what)
        changes = [
            {
                "owner": run.owner,
                "project": run.project,
                "run": run.run_id,
                "what": by_run[run],
            }
            for run in dict.fromkeys(change.run for change in gathered)
        ]
        for first in range(0, len(changes), _MAX_CHANGES):
            text = msgspec.json.encode({"changes": changes[first : first + _MAX_CHANGES]})
            event = b"event: change\ndata: " + text + b"\n\n"
            for page in list(self._pages):
                if not _put(page, event):
                    # It does not read: end its stream; a page that lives asks again.
                    self._pages.discard(page)
                    while not page.empty():
                        page.get_nowait()
                    page.put_nowait(None)


def _put(page: asyncio.Queue[bytes | None], event: bytes | None) -> bool:
    try:
        page.put_nowait(event)
    except asyncio.QueueFull:
        return False
    return True
