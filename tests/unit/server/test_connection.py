"""A connection may not keep the server waiting for ever, nor wait for the server needlessly."""

import asyncio
import socket

import pytest
import uvicorn
from litestar.types import Receive, Scope, Send
from uvicorn.server import ServerState

from runlore.cli.serve import listen
from runlore.server import connection
from runlore.server.connection import Connection


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer when the body is whole."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        assert message["type"] == "http.request"
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def serving(accepted: list[Connection]) -> tuple[asyncio.Server, int]:
    config = uvicorn.Config(echo, http=Connection, ws="none", log_config=None)
    state = ServerState()

    def accept() -> Connection:
        accepted.append(Connection(config, state, {}))
        return accepted[-1]

    listener = listen("127.0.0.1", 0)
    server = await asyncio.get_running_loop().create_server(accept, sock=listener)
    return server, listener.getsockname()[1]


async def left(port: int, text: bytes) -> bytes:
    """Send something and return what comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


@pytest.mark.parametrize(
    "text",
    [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"],
    ids=["nothing", "half a head", "half a body"],
)
def test_who_sends_no_whole_request_is_let_go(
    monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    monkeypatch.setattr(connection, "WAIT_SECONDS", 0.02)

    async def scene() -> None:
        server, port = await serving([])
        assert await left(port, text) == b""
        server.close()

    asyncio.run(scene())


def test_answers_go_out_at_once() -> None:
    """Nagle's algorithm would hold the second write of an answer back for 40 ms."""

    async def scene() -> None:
        accepted: list[Connection] = []
        server, port = await serving(accepted)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 204")
        accepted_socket = accepted[0].transport.get_extra_info("socket")
        assert accepted_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        writer.close()
        server.close()

    asyncio.run(scene())
