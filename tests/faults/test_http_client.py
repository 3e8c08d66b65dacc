"""The small HTTP client against raw sockets: odd but right answers are read, wrong ones named."""

import socket
import threading
from collections.abc import Sequence

import pytest

from runlore.errors import UnavailableError, UsageError
from runlore.sdk.http import Connection, split_url

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class RawServer:
    """Answers each connection with given bytes, one text per request, and then closes it."""

    def __init__(self, connections: Sequence[Sequence[bytes]]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.seen: list[bytes] = []
        self._connections = connections
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for answers in self._connections:
            accepted, _ = self._listener.accept()
            with accepted:
                for answer in answers:
                    self.seen.append(accepted.recv(65536))
                    accepted.sendall(answer)
        self._listener.close()

    def close(self) -> None:
        self._thread.join(5)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
        (CHUNKED + b"1\r\nh\r\n1;x=y\r\ni\r\n0\r\n\r\n", b"hi"),
        (b"HTTP/1.0 200 OK\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nCONTENT-LENGTH:2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
def test_every_right_way_to_say_a_body_is_read(answer: bytes, body: bytes) -> None:
    server = RawServer([[answer]])
    connection = Connection(server.url)
    assert connection.request("GET", "/", headers={}).body == body
    connection.close()
    server.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"hello there, this is not what you want\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n",
        CHUNKED + b"zz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
    ],
)
def test_every_wrong_answer_is_an_error_that_names_the_server(answer: bytes) -> None:
    server = RawServer([[answer], [answer]])
    connection = Connection(server.url)
    with pytest.raises(UnavailableError, match=server.url):
        connection.request("GET", "/", headers={})


def test_a_kept_connection_that_was_closed_is_opened_again() -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    server = RawServer([[good, good], [good]])
    connection = Connection(server.url)
    for _ in range(3):
        assert connection.request("POST", "/x", headers={"A": "b"}, body=b"body").status == 200
    assert all(text.startswith(b"POST /x HTTP/1.1\r\nHost: 127.0.0.1:") for text in server.seen)
    connection.close()
    server.close()


def test_a_server_that_says_nothing_runs_into_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        connection = Connection(url, answer_seconds=0.2)
        with pytest.raises(UnavailableError, match="did not answer in time"):
            connection.request("GET", "/", headers={})


def test_addresses_are_taken_apart() -> None:
    assert split_url("http://lab")[1:] == ("lab", 80, "")
    assert split_url("https://lab/runlore/")[:] == (True, "lab", 443, "/runlore")
    assert split_url("http://[::1]:7333")[1:] == ("::1", 7333, "")


@pytest.mark.parametrize(
    "url", ["lab:7333", "ftp://lab", "http://", "http://a:99999", "http://u@h"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="url must be like"):
        split_url(url)
