"""A server that answers every request with the same given bytes, whatever they are."""

import socket
import threading
from contextlib import suppress
from typing import Self


def answer(
    body: bytes, *, status: str = "200 OK", kind: str = "application/json", extra: str = ""
) -> bytes:
    """Put a head before a body."""
    lines = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}"
    return lines.encode() + b"\r\n" + body


class HttpServer:
    """Answers each connection once. Use it as a context manager.

    Attributes:
        answer: the bytes.
        drips: whether spaces follow them, now and then, until the client leaves.
        asked: the first line of each request.
    """

    def __init__(self) -> None:
        self.answer = b""
        self.drips = False
        self.asked: list[str] = []
        self._is_over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while not self._is_over.is_set():
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            with accepted, suppress(OSError):
                self._answer(accepted)

    def _answer(self, accepted: socket.socket) -> None:
        accepted.settimeout(30)
        request = accepted.recv(65536)
        self.asked.append(request.split(b"\r\n")[0].decode())
        accepted.sendall(self.answer)
        while self.drips and not self._is_over.wait(0.05):
            accepted.sendall(b" ")
        accepted.shutdown(socket.SHUT_WR)
        # What the client still has to say must not cut off what it has not read yet.
        while accepted.recv(65536):
            pass
