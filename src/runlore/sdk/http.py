"""A small HTTP/1.1 client over one kept socket: what the sender needs, in few modules."""

import re
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from runlore.errors import UnavailableError, UsageError
from runlore.settings import URL

if TYPE_CHECKING:
    from ssl import SSLContext

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 20.0
MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 16 * 1024 * 1024
SLOWEST_BYTES = 1024 * 1024
"""How much of an answer buys a second more for the rest: a trickle must not last for ever."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: |\Z)")


class Answer(NamedTuple):
    """What a server said. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Address(NamedTuple):
    """The parts of a server's address."""

    is_secure: bool
    host: str
    port: int
    prefix: str


def split_url(url: str) -> Address:
    """Take the address of a server apart.

    Raises:
        UsageError: this is not an http or https address.
    """
    match = URL.match(url)
    if match is None or int(match[3] or 1) not in range(1, 65536):
        raise UsageError(
            f"url must be like http://host:7333 or https://host/prefix, got {url!r}; "
            "a key goes into RUNLORE_API_KEY"
        )
    is_secure = match[1] == "https"
    port = int(match[3] or (443 if is_secure else 80))
    return Address(is_secure, match[2].strip("[]"), port, (match[4] or "").rstrip("/"))


class Connection:
    """A connection to one server, kept between requests. For one thread at a time.

    A request on a kept connection that the server has closed meanwhile is sent once more on a
    new one, so requests must be such that twice is like once.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_seconds: float = CONNECT_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self.url = url
        self.address = split_url(url)
        self._connect_seconds = connect_seconds
        self._answer_seconds = answer_seconds
        self._max_body_bytes = max_body_bytes
        self._socket: socket.socket | None = None
        self._tls: SSLContext | None = None

    def request(
        self, method: str, path: str, *, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            UnavailableError: no connection, no answer in time, or one that is not HTTP. The
                sentence names the server.
        """
        is_kept = self._socket is not None
        try:
            try:
                return self._exchange(method, path, headers, body)
            except (ConnectionResetError, BrokenPipeError, EOFError):
                self.close()
                if not is_kept:
                    raise
                return self._exchange(method, path, headers, body)
        except UnavailableError:
            self.close()
            raise
        except TimeoutError as error:
            self.close()
            raise UnavailableError(f"{self.url} did not answer in time") from error
        except EOFError as error:
            self.close()
            raise UnavailableError(
                f"{self.url} closed the connection without an answer"
            ) from error
        except (OSError, UnicodeError) as error:
            self.close()
            distrust = getattr(error, "verify_message", None)
            if distrust is not None:
                raise UnavailableError(
                    f"{self.url} shows a certificate that is not trusted ({distrust}); name the "
                    "file of the CA that vouches for it in SSL_CERT_FILE"
                ) from error
            text = getattr(error, "strerror", None) or str(error)
            raise UnavailableError(f"cannot reach {self.url}: {text}") from error

    def close(self) -> None:
        """Close the socket; the next request opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        deadline = time.monotonic() + self._answer_seconds
        if self._socket is None:
            self._socket = self._open()
        host = self.address.host
        shown = f"[{host}]" if ":" in host else host
        lines = [
            f"{method} {self.address.prefix}{path} HTTP/1.1",
            f"Host: {shown}:{self.address.port}",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        self._socket.settimeout(self._answer_seconds)
        refused: OSError | None = None
        try:
            if len(body) <= 65536:
                self._socket.sendall(head + body)
            else:
                self._socket.sendall(head)
                self._socket.sendall(body)
        except (ConnectionResetError, BrokenPipeError) as error:
            # A server may refuse a body before it has read it; its answer is then waiting here.
            refused = error
        try:
            reader = _Reader(self._socket, self.url, deadline, self._max_body_bytes)
            answer = reader.answer()
        except (ConnectionResetError, BrokenPipeError, EOFError):
            raise refused or EOFError() from None
        if refused or answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    def _open(self) -> socket.socket:
        address = self.address
        plain = self._connect()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not address.is_secure:
            return plain
        try:
            if self._tls is None:
                import ssl

                # Kept: reading all the CAs takes 20 ms.
                self._tls = ssl.create_default_context()
            return self._tls.wrap_socket(plain, server_hostname=address.host)
        except OSError:
            plain.close()
            raise

    def _connect(self) -> socket.socket:
        host = self.address.host
        # A str would load the codec for international names, half a megabyte, for nothing.
        found = socket.getaddrinfo(
            host.encode() if host.isascii() else host, self.address.port, 0, socket.SOCK_STREAM
        )
        for at, (family, kind, protocol, _, address) in enumerate(found, 1):
            fresh = socket.socket(family, kind, protocol)
            fresh.settimeout(self._connect_seconds)
            try:
                fresh.connect(address)
            except OSError:
                fresh.close()
                if at == len(found):
                    raise
            else:
                return fresh
        raise OSError(f"no address for {host!r}")


class _Reader:
    """Reads one answer from a socket until a deadline, which moves with what comes."""

    def __init__(
        self, source: socket.socket, url: str, deadline: float, max_body_bytes: int
    ) -> None:
        self._socket = source
        self._url = url
        self._deadline = deadline
        self._max_body_bytes = max_body_bytes
        self._buffer = bytearray()

    def answer(self) -> Answer:
        status, headers = self._head()
        while status < 200:
            status, headers = self._head()
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunks()
        elif "content-length" in headers:
            length = headers["content-length"]
            if not length.isdecimal() or len(length) > 12 or int(length) > self._max_body_bytes:
                raise self._garbage(f"a content-length of {length!r}")
            body = self._exactly(int(length))
        elif status in (204, 304):
            body = b""
        else:
            body = self._rest()
            headers["connection"] = "close"
        return Answer(status, headers, body)

    def _head(self) -> tuple[int, dict[str, str]]:
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > MAX_HEAD_BYTES or (
                len(self._buffer) >= 5 and not self._buffer.startswith(b"HTTP/")
            ):
                raise self._garbage(repr(bytes(self._buffer[:40])))
            self._more()
        head = self._until(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        match = _STATUS_LINE.match(first)
        if match is None:
            raise self._garbage(repr(first[:40]))
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return int(match[1]), headers

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        total = 0
        while True:
            line = self._line().partition(b";")[0].strip()
            try:
                size = int(line, 16)
            except ValueError:
                raise self._garbage(f"a chunk of size {line[:20]!r}") from None
            total += size
            if size < 0 or total > self._max_body_bytes:
                raise self._garbage(f"a chunk of size {line[:20]!r}")
            if size == 0:
                break
            parts.append(self._exactly(size))
            self._line()
        while self._line():
            pass
        return b"".join(parts)

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise self._garbage("an endless line")
            self._more()
        return self._until(b"\r\n")

    def _until(self, mark: bytes) -> bytes:
        """Take what stands before a mark that is there."""
        at = self._buffer.index(mark)
        found = bytes(self._buffer[:at])
        del self._buffer[: at + len(mark)]
        return found

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        found = bytes(self._buffer[:count])
        del self._buffer[:count]
        return found

    def _rest(self) -> bytes:
        while len(self._buffer) <= self._max_body_bytes:
            try:
                self._more()
            except EOFError:
                return bytes(self._buffer)
        raise self._garbage(f"more than {self._max_body_bytes:,} bytes")

    def _more(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        fresh = self._socket.recv(65536)
        if not fresh:
            raise EOFError
        self._buffer += fresh
        self._deadline += len(fresh) / SLOWEST_BYTES

    def _garbage(self, what: str) -> UnavailableError:
        return UnavailableError(
            f"expected an HTTP answer from {self._url}, got {what}; is that a Runlore server?"
        )
