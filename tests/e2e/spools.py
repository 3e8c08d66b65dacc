"""Runs too long or too many to log in a test: their spools, written by the wire's encoders."""

import http.client
import struct
import zlib
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from runlore.core.run import RunRef
from runlore.testing.serving import SPOOL_TYPE, spool_path
from runlore.testing.spools import SpoolBuilder
from runlore.wire import spool

_ROWS = 200_000
_HEAD = struct.Struct("<II")


def send(url: str, builder: SpoolBuilder, *, first: int = 0) -> None:
    """Send the frames of a spool from one on."""
    piece = builder.piece(first)
    _post(url, builder, piece.offset, piece.data)


def send_long(url: str, run: RunRef, key: str, steps: int, values: Mapping[int, float]) -> None:
    """Send a run of one key that is 0 and 1 by turns, but for the values that are given."""
    builder = SpoolBuilder(run)
    builder.log({key: 0.0}, step=0)
    send(url, builder)
    offset = len(builder.data)
    for piece in _pieces(builder.time_ns, steps, values):
        _post(url, builder, offset, piece)
        offset += len(piece)
    end = SpoolBuilder(run)
    end.end(time_ns=builder.time_ns + steps * 1000)
    _post(url, builder, offset, end.frames[-1])


def _pieces(time_ns: int, steps: int, values: Mapping[int, float]) -> Iterator[bytes]:
    pack, crc, head = spool.row_struct(1).pack, zlib.crc32, _HEAD.pack
    for first in range(1, steps, _ROWS):
        piece = bytearray()
        for step in range(first, min(first + _ROWS, steps)):
            value = values.get(step, step & 1)
            row = pack(spool.ROW, 0, step, time_ns + step * 1000, value)
            piece += head(len(row), crc(row))
            piece += row
        yield bytes(piece)


def _post(url: str, builder: SpoolBuilder, offset: int, data: bytes) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=60)
    try:
        connection.request("POST", spool_path(builder, offset), data, {"Content-Type": SPOOL_TYPE})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
    finally:
        connection.close()
