"""A relay between browser and server: counts requests, and can be cut."""

import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_PIECE = 65_536


class Relay:
    """Passes bytes on to a server, from an address of its own."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._is_cut = threading.Event()
        # Protects the two lists below, which all relaying threads share.
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._requests: list[bytes] = []
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=10)
        for connection in self._open:
            connection.close()

    def count(self, beginning: str) -> int:
        """Count the requests that began so."""
        with self._lock:
            return sum(request.startswith(beginning.encode()) for request in self._requests)

    def cut(self) -> None:
        """End all connections and take no new one."""
        self._is_cut.set()
        with self._lock:
            for connection in self._open:
                _end(connection)

    def mend(self) -> None:
        """Take connections again."""
        self._is_cut.clear()

    def _begin(self, target: object, *arguments: socket.socket) -> None:
        assert callable(target)
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                browser, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut.is_set():
                browser.close()
                continue
            server = socket.create_connection(self._server)
            with self._lock:
                self._open += [browser, server]
            self._begin(self._pass, browser, server)
            self._begin(self._pass, server, browser)

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while piece := source.recv(_PIECE):
                with self._lock:
                    self._requests.append(piece[:64])
                target.sendall(piece)
        except OSError:
            # The other side has ended, or the relay was cut.
            pass
        _end(source)
        _end(target)


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It has ended already.
        return
