"""Delivering: posting pieces of streams to servers, and what to do about each answer."""

import json
import os
import sys
import threading
import time
import zlib
from collections.abc import Callable
from typing import NamedTuple, Protocol

from runlore.errors import UnavailableError, UsageError
from runlore.sdk.http import Answer, Connection
from runlore.sdk.staging import Stream, Target
from runlore.version import __version__

PACE_SECONDS = 0.2
FIRST_DELAY_SECONDS = 0.1
MAX_DELAY_SECONDS = 2.0
REFUSED_SECONDS = 30.0
FETCH_SECONDS = 0.02
"""How long to leave a stream alone whose bytes are being read back from the disk."""
MAX_RETRY_AFTER_SECONDS = 60.0
LARGE_BYTES = 64 * 1024
"""A piece from which on zstandard is worth loading."""
SMALL_BYTES = 300
"""Below this, compressing costs more than it saves."""

MAX_ANSWER_BYTES = 64 * 1024
MAX_SAID = 300
"""Characters of a server's sentence that are passed on."""

SPOOL_TYPE = "application/vnd.runlore.spool"


class Verdict(NamedTuple):
    """What an answer means for the stream and for the server.

    `next` is where to go on, None to stay. `stop` ends the stream's delivery for good, with the
    reason in `error`. `wait_seconds` is how long the server wants to be left alone; None lets the
    caller back off. `is_busy` says that the server is there and will go on later, `is_too_large`
    asks for smaller pieces, `is_refusal` says that the trouble is this stream's alone.
    """

    next: int | None = None
    server: str | None = None
    points: int | None = None
    error: str | None = None
    stop: bool = False
    is_deleted: bool = False
    is_too_large: bool = False
    is_trouble: bool = False
    is_busy: bool = False
    is_refusal: bool = False
    wait_seconds: float | None = None


def judge(answer: Answer, *, url: str, offset: int, length: int, tail: int) -> Verdict:
    """Decide what the answer to a posted piece means.

    Args:
        answer: what came.
        url: the server's address, for sentences.
        offset: the first byte of the piece.
        length: its number of bytes.
        tail: the byte behind the last whole frame that exists.
    """
    body = _object(answer.body)
    said = _text(body.get("detail"))
    detail = said or f"{url} answered {answer.status}; is that a Runlore server?"
    reached = body.get("next")
    server = _text(body.get("server"))
    if answer.status in (200, 409):
        is_sane = (
            type(reached) is int
            and 0 <= reached <= tail
            and (reached >= offset if answer.status == 200 else reached != offset)
        )
        if not is_sane or server is None:
            return _garbage(answer, url, offset, length)
        points = body.get("points")
        assert isinstance(reached, int)
        if answer.status == 200 and reached == offset and length:
            return Verdict(
                server=server,
                is_trouble=True,
                is_refusal=True,
                error=f"{url} took none of the {length} bytes at byte {offset}",
            )
        return Verdict(next=reached, server=server, points=points if type(points) is int else None)
    if answer.status == 410:
        return Verdict(stop=True, is_deleted=True, error=f"the run was deleted on {url}")
    if answer.status == 400 and type(reached) is int:
        return Verdict(
            next=reached if offset <= reached <= tail else None,
            stop=True,
            error=f"{detail}; delivery of this writer ends at byte {reached}, "
            "the spool file keeps everything",
        )
    if answer.status in (401, 403):
        return Verdict(
            error=f"{url} refuses the key: {detail}" + _key_hint(detail),
            is_trouble=True,
            wait_seconds=REFUSED_SECONDS,
        )
    if answer.status == 413:
        return Verdict(error=detail, is_too_large=True)
    if answer.status in (400, 404, 415, 422):
        return Verdict(
            error=detail, is_trouble=True, is_refusal=True, wait_seconds=REFUSED_SECONDS
        )
    if answer.status == 429 or answer.status >= 500:
        word = "is busy" if answer.status in (429, 503) else "fails"
        return Verdict(
            error=f"{url} {word} ({answer.status})" + (f": {said}" if said else ""),
            is_trouble=True,
            is_busy=True,
            wait_seconds=_retry_after(answer.headers.get("retry-after", "")),
        )
    if answer.status in (301, 302, 303, 307, 308):
        # Not followed: it would take the key to wherever somebody says.
        return Verdict(
            error=f"{url} sends us on to {_text(answer.headers.get('location'))}; "
            "set RUNLORE_URL to the address of the server itself",
            is_trouble=True,
            wait_seconds=REFUSED_SECONDS,
        )
    return _garbage(answer, url, offset, length)


class Encoder:
    """Compresses pieces: zlib at first, zstandard once `load_zstandard` has found it.

    zstandard is three times as fast, but takes longer to import than a short program runs and a
    megabyte of memory: it pays for itself where large pieces come.
    """

    def __init__(self) -> None:
        self._zstandard: Callable[[bytes], bytes] | None = None
        self._has_looked = False

    def encode(self, data: bytes) -> tuple[bytes, str]:
        """Return the body and its Content-Encoding."""
        if len(data) < SMALL_BYTES:
            return data, "identity"
        if self._zstandard is not None:
            return self._zstandard(data), "zstd"
        return zlib.compress(data, 1), "deflate"

    def load_zstandard(self) -> None:
        """Use zstandard from now on, if it is installed and can be read."""
        if self._has_looked:
            return
        self._has_looked = True
        # The sender starts without site-packages (-S), so that it starts fast.
        prefix = os.path.dirname(os.path.dirname(sys.executable))
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        for folder in (prefix, sys.prefix):
            path = os.path.join(folder, "lib", version, "site-packages")
            if path not in sys.path and os.path.isdir(path):
                sys.path.append(path)
        try:
            import zstandard
        except (ImportError, OSError):
            # Also where no descriptor is left to read it with.
            return
        # A new one each time: one that is kept holds on to tables for the largest piece.
        self._zstandard = lambda data: zstandard.ZstdCompressor(level=1).compress(data)


class Server:
    """One server with one key: its connection and how long to leave it alone.

    Attributes:
        error: why nothing could be delivered the last time, or None.
        is_busy: whether it answered then that it will go on later.
        ready_at: the monotonic time before which it is left alone.
        reached_at: the monotonic time at which it last took something new.
    """

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url
        self.error: str | None = None
        self.is_busy = False
        self.ready_at = 0.0
        self.reached_at = 0.0
        self._is_told_to_wait = False
        self._delay = FIRST_DELAY_SECONDS
        self._connection = Connection(url)
        self._headers = {
            "Content-Type": SPOOL_TYPE,
            "Accept": "application/json",
            "User-Agent": f"runlore/{__version__}",
        }
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def post(
        self, target: Target, body: bytes, encoding: str, *, offset: int, is_gone: bool = False
    ) -> Answer:
        """Post a piece of a stream, perhaps the last of a writer whose process is gone.

        Raises:
            UnavailableError: there was no answer.
        """
        path = (
            f"/api/v1/projects/{target.owner}/{target.project}/runs/{target.run}"
            f"/spool/{target.writer}?offset={offset}{'&gone=true' if is_gone else ''}"
        )
        headers = {**self._headers, "Content-Encoding": encoding}
        return self._connection.request("POST", path, headers=headers, body=body)

    def ask_identity(self) -> str | None:
        """Return the id of the server, which stays when its address changes."""
        try:
            answer = self._connection.request("GET", "/healthz", headers=self._headers)
        except UnavailableError:
            return None
        return _text(_object(answer.body).get("server"))

    def works(self) -> None:
        """Note that it answered sensibly."""
        self.error = None
        self.is_busy = False
        self.ready_at = 0.0
        self._delay = FIRST_DELAY_SECONDS
        self._is_told_to_wait = False

    def fails(
        self, error: str, wait_seconds: float | None = None, *, is_busy: bool = False
    ) -> None:
        """Note trouble; leave the server alone for a while."""
        self.error = error
        self.is_busy = is_busy
        self._is_told_to_wait = wait_seconds is not None
        if wait_seconds is None:
            # Jitter keeps the senders of many programs from knocking at one moment.
            wait_seconds = self._delay * (0.75 + os.urandom(1)[0] / 1024)
            self._delay = min(2 * self._delay, MAX_DELAY_SECONDS)
        self.ready_at = time.monotonic() + max(wait_seconds, FIRST_DELAY_SECONDS / 2)

    def hurry(self) -> None:
        """Try again now, unless it asked to be left alone."""
        if not self._is_told_to_wait:
            self.ready_at = 0.0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Disk(Protocol):
    """What delivering wants of the disk, without waiting for it."""

    def ask(self, stream: Stream, offset: int) -> None:
        """Ask for the bytes at `offset`; they will stand in `stream.fetched`."""

    def nudge(self) -> None:
        """Say that there is progress, which should be noted on the disk some time soon."""


class Deliverer:
    """Delivers streams, from a thread of its own, since a server may be slow.

    Attributes:
        streams: what to deliver; replaced as a whole by the thread that looks for streams.
    """

    def __init__(self, disk: Disk) -> None:
        self.streams: tuple[Stream, ...] = ()
        self._disk = disk
        self._encoder = Encoder()
        self._turn = 0
        self._servers: dict[tuple[str, str], Server] = {}
        # Wakes this thread; guards nothing else.
        self._news = threading.Condition()
        self._has_news = False
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def trouble_of(self, target: Target) -> str | None:
        """Return why a target's server takes nothing; None where it refuses one stream alone."""
        server = self._servers.get((target.url, target.api_key))
        return None if server is None else server.error

    def disconnect(self) -> None:
        """Close the connections, where no thread was started."""
        for server in self._servers.values():
            server.close()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def wake(self, *, hurry: bool = False) -> None:
        """Say that there is something new to deliver."""
        if hurry:
            for server in list(self._servers.values()):
                server.hurry()
        with self._news:
            self._has_news = True
            self._news.notify()

    def close(self) -> None:
        """End the thread after the post that it is in."""
        self._is_closing = True
        self.wake()

    def last_reached(self) -> float:
        """Return the monotonic time at which a server last took something."""
        return max((server.reached_at for server in list(self._servers.values())), default=0.0)

    def _run(self) -> None:
        while not self._is_closing:
            wait = self.deliver_due()
            with self._news:
                if not self._has_news:
                    self._news.wait(wait)
                self._has_news = False

    def deliver_due(self) -> float | None:
        """Post what is due; return after how many seconds something will be, None for never."""
        soonest: float | None = None
        # Each begins once: one whose posts always fail must not use up every good moment.
        self._turn += 1
        first = self._turn % max(1, len(self.streams))
        for stream in self.streams[first:] + self.streams[:first]:
            if stream.is_delivered or self._is_closing:
                continue
            try:
                server = self._server(stream.target)
            except UsageError as error:
                stream.stopped = str(error)
                stream.write_ack()
                continue
            due_at = max(server.ready_at, self._due_at(stream))
            if due_at <= time.monotonic():
                self._deliver_one(stream, server)
                stream.write_ack()
                self._disk.nudge()
                if stream.is_delivered:
                    continue
                due_at = max(server.ready_at, self._due_at(stream))
            elif server.error is not None and server.error != stream.server_error:
                _blame(stream, server)
                stream.write_ack()
            wait = max(0.0, due_at - time.monotonic())
            soonest = wait if soonest is None else min(soonest, wait)
        return soonest

    def _due_at(self, stream: Stream) -> float:
        if stream.next < stream.urgent or stream.staged.tail - stream.next >= stream.limit:
            return stream.wait_until
        return max(stream.wait_until, stream.posted_at + PACE_SECONDS)

    def _server(self, target: Target) -> Server:
        key = (target.url, target.api_key)
        if key not in self._servers:
            self._servers[key] = Server(*key)
        return self._servers[key]

    def _deliver_one(self, stream: Stream, server: Server) -> None:
        tail = stream.staged.tail
        offset = stream.next if stream.knock_at is None else stream.knock_at
        data = self._bytes_at(stream, offset)
        if not data:
            return
        stream.posted_at = time.monotonic()
        body, encoding = self._encoder.encode(data)
        try:
            answer = server.post(stream.target, body, encoding, offset=offset)
        except UnavailableError as error:
            server.fails(str(error))
            _blame(stream, server)
            return
        verdict = judge(answer, url=server.url, offset=offset, length=len(data), tail=tail)
        self._obey(stream, server, verdict, len(data))
        if verdict.next is not None and len(data) >= LARGE_BYTES:
            self._encoder.load_zstandard()

    def _bytes_at(self, stream: Stream, offset: int) -> bytes:
        """Return whole frames from staging, or from what was read back; empty to wait."""
        try:
            data = stream.staged.read(offset, stream.limit)
        except LookupError:
            pass
        except OSError as error:
            stream.is_server_busy = False
            stream.server_error = f"cannot read staging: {error.strerror}"
            stream.wait_until = time.monotonic() + MAX_DELAY_SECONDS
            return b""
        else:
            stream.wait_until = time.monotonic() + FETCH_SECONDS if not data else 0.0
            return data
        fetched = stream.fetched
        if fetched is None or fetched.offset != offset:
            self._disk.ask(stream, offset)
            stream.wait_until = time.monotonic() + FETCH_SECONDS
            return b""
        stream.fetched = None
        if fetched.error is not None:
            # Knock with what there is: perhaps the server that has the rest comes back.
            stream.is_server_busy, stream.server_error = False, fetched.error
            stream.knock_at = stream.staged.first
            stream.knocked = max(time.monotonic(), stream.knocked + REFUSED_SECONDS)
            stream.wait_until = stream.knocked
        return fetched.data

    def _obey(self, stream: Stream, server: Server, verdict: Verdict, length: int) -> None:
        if verdict.is_refusal:
            # Others may be welcome.
            server.works()
            stream.is_server_busy, stream.server_error = False, verdict.error
            stream.wait_until = time.monotonic() + (verdict.wait_seconds or MAX_DELAY_SECONDS)
            return
        if verdict.is_trouble:
            server.fails(verdict.error or "", verdict.wait_seconds, is_busy=verdict.is_busy)
            _blame(stream, server)
            return
        server.works()
        stream.knock_at = None
        stream.is_server_busy, stream.server_error = False, verdict.error
        if verdict.is_too_large:
            if length > stream.limit:
                stream.stopped = f"{verdict.error}; one frame has {length} bytes"
            stream.limit = max(1, length // 2)
        if verdict.next is not None:
            if verdict.next > stream.reached:
                # Not what a server forgets and takes again: that could go on for ever.
                stream.reached = verdict.next
                server.reached_at = time.monotonic()
            if verdict.next <= stream.next:
                # A server that sends us back again and again gets no busy loop.
                stream.wait_until = time.monotonic() + FIRST_DELAY_SECONDS
            stream.next = verdict.next
        if verdict.server is not None:
            stream.server = verdict.server
        if verdict.points is not None:
            stream.points = verdict.points
        if verdict.stop:
            stream.is_deleted = verdict.is_deleted
            stream.stopped = verdict.error


def _blame(stream: Stream, server: Server) -> None:
    stream.is_server_busy, stream.server_error = server.is_busy, server.error


def _garbage(answer: Answer, url: str, offset: int, length: int) -> Verdict:
    shown = repr(answer.body[:60])
    return Verdict(
        error=f"expected how far the {length} bytes at byte {offset} are stored, got "
        f"{answer.status} with {shown} from {url}; is that a Runlore server?",
        is_trouble=True,
    )


def _object(body: bytes) -> dict[str, object]:
    if len(body) > MAX_ANSWER_BYTES:
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    # It ends up in a terminal, which obeys control characters.
    return "".join(c if c.isprintable() else " " for c in value[:MAX_SAID])


def _key_hint(detail: str) -> str:
    """Say where a key belongs, unless the server has said so."""
    return "" if "RUNLORE_API_KEY" in detail else "; set RUNLORE_API_KEY"


def _retry_after(text: str) -> float | None:
    if not text.isdecimal() or len(text) > 9:
        return None
    return min(float(text), MAX_RETRY_AFTER_SECONDS)
