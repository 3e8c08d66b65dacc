"""A small server that takes spools as docs/design/http-api.md says, and misbehaves when told.

It is real HTTP over a real socket, so that what speaks to servers can meet the bad ones too.
"""

import json
import socket
import ssl
import threading
import time
import uuid
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

import zstandard

from runlore.core.json import JsonObject
from runlore.core.metric import Value
from runlore.errors import DamageError
from runlore.wire import spool

Manner = Literal[
    "well",
    "busy",
    "unavailable",
    "refuses the key",
    "deleted",
    "not http",
    "not json",
    "beyond",
    "backwards",
    "endless",
    "hangs up",
    "silent",
    "takes half",
    "breaks after storing",
    "says",
    "forgets",
]


class Post(NamedTuple):
    """One piece that came."""

    writer: str
    offset: int
    encoding: str
    size: int
    at: float


class Point(NamedTuple):
    """One row of a stream, decoded."""

    step: int
    values: dict[str, Value]


class SpoolServer:
    """Takes spools into memory, over TLS if it has a certificate. Use it as a context manager.

    Attributes:
        manner: how it answers from now on.
        status: with which it answers when its manner is "says"; `body` and `extra` headers too.
        refused: writers that it answers with 422, whatever its manner.
        max_body: bytes of body beyond which it answers 413.
        streams: what it has, by "owner/project/run/writer".
        posts: what came, in order, also what was refused.
    """

    def __init__(self, port: int = 0, *, certificate: Path | None = None) -> None:
        self.manner: Manner = "well"
        self._certificate = certificate
        self.status = 200
        self.body = b""
        self.extra: dict[str, str] = {}
        self.refused: set[str] = set()
        self.retry_after = "1"
        self.max_body = 32 * 1024 * 1024
        self.delay_seconds = 0.0
        self.server_id = uuid.uuid4().hex
        self.streams: dict[str, bytes] = {}
        self.posts: list[Post] = []
        # Protects streams and posts: connections have a thread each.
        self.lock = threading.Lock()
        self.port = port
        self._http: _Http | None = None
        self.start()

    @property
    def url(self) -> str:
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}"

    def __enter__(self) -> "SpoolServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; again on the same port after `stop`."""
        self._http = _Http(("127.0.0.1", self.port), self)
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.port = int(self._http.server_address[1])
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening and cut every connection, as a killed server does."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http.cut()
            self._http = None

    def replace(self) -> None:
        """Become another server, which has nothing."""
        with self.lock:
            self.server_id = uuid.uuid4().hex
            self.streams.clear()

    def stream(self, writer: str) -> bytes:
        """Return the bytes of one writer's stream."""
        with self.lock:
            found = [data for path, data in self.streams.items() if path.endswith("/" + writer)]
        return found[0] if found else b""

    def rows(self, writer: str) -> list[Point]:
        """Return the rows of one writer's stream, decoded."""
        return rows_of(self.stream(writer))

    def kinds(self, writer: str) -> list[int]:
        """Return the kinds of the frames of one writer's stream."""
        return [frame.kind for frame in spool.whole_frames(self.stream(writer), offset=0)]


def rows_of(data: bytes) -> list[Point]:
    """Decode the rows of a stream."""
    table = spool.KeyTable()
    rows = []
    for frame in spool.whole_frames(data, offset=0):
        if frame.kind in spool.DECLARING:
            table.declare(frame.payload)
        elif frame.kind in spool.ROWS:
            row = table.row(frame.payload)
            rows.append(Point(row.step, dict(zip(row.keys, row.values, strict=True))))
    return rows


def _decompress(encoding: str, body: bytes) -> bytes:
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompress(body)
    return zlib.decompress(body) if encoding == "deflate" else body


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], owner: SpoolServer) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        super().__init__(address, _Request)

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: object) -> None:
        assert isinstance(request, socket.socket)
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away are the point of the tests."""

    def cut(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def _server(self) -> SpoolServer:
        assert isinstance(self.server, _Http)
        return self.server.owner

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        owner = self._server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = urlsplit(self.path)
        path = parts.path.split("/")
        offset = int(parse_qs(parts.query)["offset"][0])
        name = "/".join([path[4], path[5], path[7], path[9]])
        encoding = self.headers["Content-Encoding"]
        with owner.lock:
            owner.posts.append(Post(path[9], offset, encoding, len(body), time.monotonic()))
        if owner.delay_seconds:
            time.sleep(owner.delay_seconds)
        if path[9] in owner.refused:
            self._answer(422, {"detail": "this writer is not welcome"})
            return
        manner = owner.manner
        if self._misbehave(manner, offset):
            return
        if len(body) > owner.max_body:
            self._answer(413, {"detail": f"at most {owner.max_body} bytes, got {len(body)}"})
            return
        data = _decompress(encoding, body)
        if manner == "takes half":
            data = data[: max(1, len(data) // 2)]
        if manner == "forgets" and offset > 0:
            with owner.lock:
                owner.streams.pop(name, None)
        status, content = self._take(name, offset, data)
        if manner == "breaks after storing":
            self.close_connection = True
            return
        self._answer(status, content)

    def _take(self, name: str, offset: int, data: bytes) -> tuple[int, JsonObject]:
        owner = self._server
        with owner.lock:
            have = owner.streams.get(name, b"")
            about: JsonObject = {"server": owner.server_id}
            if offset > len(have):
                return 409, {"next": len(have), "detail": "a gap", **about}
            end = offset
            error: DamageError | None = None
            try:
                for frame in spool.whole_frames(data, offset=offset):
                    end = frame.end
            except DamageError as damage:
                error = damage
            if end > len(have):
                owner.streams[name] = have + data[len(have) - offset : end - offset]
            if error is not None:
                return 400, {"next": end, "where": error.offset, "detail": str(error)}
            have = owner.streams.get(name, b"")
            count = sum(len(row.values) for row in rows_of(have)) if len(have) < 100_000 else 0
            return 200, {"next": len(have), "points": count, **about}

    def _misbehave(self, manner: Manner, offset: int) -> bool:
        """Answer as told; tell whether that was all."""
        owner = self._server
        headers = {"Retry-After": owner.retry_after}
        if manner in ("busy", "unavailable"):
            self._answer(429 if manner == "busy" else 503, {"detail": "later"}, headers)
        elif manner == "refuses the key":
            self._answer(401, {"detail": "the key is not known"})
        elif manner == "deleted":
            self._answer(410, {"detail": "the run was deleted"})
        elif manner == "says":
            self._send(owner.status, owner.body, owner.extra)
        elif manner == "not http":
            self.wfile.write(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n" * 5)
            self.close_connection = True
        elif manner == "not json":
            self._send(200, b"<html>Welcome to the hotel's network</html>", {})
        elif manner == "beyond":
            self._answer(200, {"next": 10**15, "server": owner.server_id, "points": 0})
        elif manner == "backwards":
            self._answer(200, {"next": offset - 8, "server": owner.server_id, "points": 0})
        elif manner == "endless":
            self._trickle()
        elif manner == "hangs up":
            self.close_connection = True
        elif manner == "silent":
            while owner.manner == "silent":
                time.sleep(0.02)
            self.close_connection = True
        else:
            return False
        return True

    def _trickle(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(200):
            self.wfile.write(b"X-Padding: " + b"x" * 1000 + b"\r\n")
        self.close_connection = True

    def _answer(
        self, status: int, content: JsonObject, headers: dict[str, str] | None = None
    ) -> None:
        self._send(status, json.dumps(content).encode(), headers or {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
