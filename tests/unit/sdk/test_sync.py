"""A spool file that was cut or damaged anywhere: what is good goes out, nothing is removed."""

import os
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from runlore.core.json import JsonObject
from runlore.sdk import settle, sync
from runlore.sdk.settle import read_piece
from runlore.sdk.staging import PIECE_BYTES as STEP_BYTES
from runlore.sdk.staging import cut, read_object
from runlore.sdk.tree import boot_id
from runlore.testing.spool_server import SpoolServer
from runlore.wire import spool

PIECE_BYTES = 200
HEADER: JsonObject = {"owner": "local", "project": "digits", "run": "r1", "writer": "w1"}


def a_stream(rows: int, *, pid: int = 0, key: str = "loss") -> bytes:
    """Encode a stream without an end, of a process on this machine."""
    head: JsonObject = {**HEADER, "host": os.uname().nodename, "boot": "another", "pid": pid}
    payloads = [spool.encode_json(spool.HEADER, head), spool.encode_keys(0, [key])]
    payloads += [
        spool.encode_mixed_row(step, step, [0], ["x" * (step % 60)]) for step in range(rows)
    ]
    return spool.PREAMBLE + b"".join(map(spool.frame, payloads))


def edges_of(data: bytes) -> list[int]:
    return [frame.end for frame in spool.whole_frames(data, offset=0)]


def edge_before(data: bytes, size: int) -> int:
    return max((edge for edge in edges_of(data) if edge <= size), default=0)


STREAM = a_stream(40)
"""Larger than several pieces; some of its frames are about half a piece."""


@pytest.fixture
def server() -> Iterator[SpoolServer]:
    with SpoolServer() as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder / "w1.rlspool"


def deliver(server: SpoolServer, path: Path) -> sync.Delivery:
    syncer = sync.Syncer(server.url, "", [])
    try:
        return syncer.deliver(str(path))
    finally:
        syncer.close()


def test_a_file_cut_at_any_byte_is_measured_and_read_up_to_its_last_whole_frame(
    path: Path,
) -> None:
    edges = edges_of(STREAM)
    assert len(STREAM) > 8 * PIECE_BYTES
    for size in range(len(STREAM) + 1):
        path.write_bytes(STREAM[:size])
        wanted = max((edge for edge in edges if edge <= size), default=0)
        with path.open("rb") as file:
            found = sync.measure(file.fileno(), 0, piece_bytes=PIECE_BYTES)
            at = 0
            while piece := settle._good(read_piece(file.fileno(), at, PIECE_BYTES), at):
                at += len(piece)
        assert (found.end, at) == (wanted, wanted), size
        assert (found.notice is None) == (size == wanted), size


def test_a_file_cut_at_any_byte_is_delivered_whole_and_loses_nothing(
    path: Path, server: SpoolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "PIECE_BYTES", PIECE_BYTES)
    monkeypatch.setattr(sync, "measure", partial(sync.measure, piece_bytes=PIECE_BYTES))
    edges = edges_of(STREAM)
    near = {edge + by for edge in edges for by in (-1, 0, 1, 7, 8, 9, 30)}
    sizes = [size for size in sorted(near) if edges[0] <= size <= len(STREAM)]
    assert len(sizes) > 150
    for size in sizes:
        server.replace()
        path.write_bytes(STREAM[:size])
        wanted = edge_before(STREAM, size)
        found = deliver(server, path)
        assert server.stream("w1") == STREAM[:wanted], size
        assert (found.trouble, found.is_whole) == (None, size == wanted)
        assert path.read_bytes() == STREAM[:size]
        # The rest comes, as in a file that was still copied.
        path.write_bytes(STREAM)
        found = deliver(server, path)
        assert server.stream("w1") == STREAM, size
        assert (found.trouble, found.notice) == (None, None)
        for file in path.parent.iterdir():
            file.unlink()


def test_a_file_of_several_mib_that_is_cut_in_its_last_frame_is_delivered_up_to_it(
    path: Path, server: SpoolServer
) -> None:
    payload = spool.encode_mixed_row
    rows = b"".join(spool.frame(payload(s, s, [0], ["y" * 150])) for s in range(40, 20_000))
    data = (STREAM + rows)[:-60]
    wanted = edge_before(data, len(data))
    assert len(data) > 3 * STEP_BYTES
    path.write_bytes(data)
    found = deliver(server, path)
    assert server.stream("w1")[:wanted] == data[:wanted]
    assert f"cut off at byte {wanted:,}: {len(data) - wanted:,} bytes" in str(found.notice)


def test_a_length_that_reaches_beyond_the_file_is_damage_when_good_frames_follow(
    path: Path, server: SpoolServer
) -> None:
    at = cut(STREAM, offset=0, limit=len(STREAM) // 2)
    data = bytearray(STREAM)
    data[at + 2] ^= 0x20
    path.write_bytes(data)
    found = deliver(server, path)
    assert f"damaged at byte {at:,}: {len(data) - at:,} bytes from there stay here" in str(
        found.notice
    )
    assert not found.is_whole
    assert server.stream("w1") == STREAM[:at]
    assert path.read_bytes() == bytes(data)


@pytest.mark.parametrize("length", [spool.MAX_PAYLOAD + 1, 2**32 - 1])
def test_a_length_that_no_frame_has_is_damage_and_is_not_read(path: Path, length: int) -> None:
    path.write_bytes(STREAM + length.to_bytes(4, "little") + b"\1\2\3\4 and more")
    with path.open("rb") as file:
        found = sync.measure(file.fileno(), 0)
    assert (found.end, found.is_cut) == (len(STREAM), False)
    assert f"damaged at byte {len(STREAM):,}" in str(found.notice)


@pytest.mark.parametrize("zeros", [1, 8, 9, 10_000, 3_000_000])
def test_zeros_at_the_end_are_called_that_and_the_stream_is_delivered_up_to_them(
    path: Path, server: SpoolServer, zeros: int
) -> None:
    path.write_bytes(STREAM + bytes(zeros))
    found = deliver(server, path)
    assert found.notice == (
        f"{zeros:,} zeros at the end, from byte {len(STREAM):,} on: nothing was written there"
    )
    assert (found.is_whole, found.trouble) == (True, None)
    assert server.stream("w1") == STREAM
    assert path.read_bytes() == STREAM + bytes(zeros)


def test_a_hole_is_named_with_its_size_and_what_lies_behind_it_stays(
    path: Path, server: SpoolServer
) -> None:
    at = cut(STREAM, offset=0, limit=len(STREAM) // 2)
    end = cut(STREAM, offset=0, limit=len(STREAM) * 3 // 4)
    data = STREAM[:at] + bytes(end - at) + STREAM[end:]
    path.write_bytes(data)
    found = deliver(server, path)
    assert f"a hole of {end - at:,} bytes at byte {at:,}" in str(found.notice)
    assert f"{len(data) - end:,} bytes behind it stay here" in str(found.notice)
    assert not found.is_whole
    assert server.stream("w1") == STREAM[:at]
    assert path.read_bytes() == data


def test_what_stands_behind_the_end_of_a_stream_keeps_its_file_from_being_tidied_away(
    path: Path, server: SpoolServer
) -> None:
    end = spool.frame(spool.encode_json(spool.FINISH, {"exit_code": 0}))
    data = STREAM + end + b"Z" * 100
    path.write_bytes(data)
    assert not deliver(server, path).is_whole
    assert path.read_bytes() == data
    assert read_object(settle.ack_path(str(path)))["finished"] is False


def test_a_file_whose_process_lives_is_not_called_damaged(path: Path, server: SpoolServer) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        data = a_stream(40, pid=process.pid).replace(b'"another"', b'"' + _boot() + b'"')
        path.write_bytes(_framed_anew(data)[:-5])
        before = path.read_bytes()
        found = deliver(server, path)
        process.kill()
    assert (found.notice, found.is_whole, found.trouble) == (None, True, None)
    assert path.read_bytes() == before
    assert server.stream("w1") == before[: edge_before(before, len(before))]


@pytest.mark.parametrize(("days", "size", "is_finished"), [(0, 0, 0), (2, 0, 1), (2, -5, 0)])
def test_a_spool_without_an_end_counts_as_finished_when_it_is_whole_and_old(
    path: Path, server: SpoolServer, days: int, size: int, is_finished: int
) -> None:
    path.write_bytes(STREAM[: len(STREAM) + size])
    then = time.time() - days * 24 * 3600
    os.utime(path, (then, then))
    deliver(server, path)
    assert read_object(settle.ack_path(str(path)))["finished"] is bool(is_finished)


def test_a_server_that_sends_us_to_and_fro_is_left_in_the_end(
    path: Path, server: SpoolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(sync, "PIECE_BYTES", PIECE_BYTES)
    server.manner = "forgets"
    path.write_bytes(STREAM)
    began = time.monotonic()
    found = deliver(server, path)
    assert "again and again" in str(found.trouble)
    assert time.monotonic() - began < 30


def _boot() -> bytes:
    return boot_id().encode()


def _framed_anew(data: bytes) -> bytes:
    """Mend the length and checksum of the header frame, whose text was changed."""
    start = data.index(b'{"owner"') - 1
    end = data.index(b"}", start) + 1
    return data[:8] + spool.frame(data[start:end]) + data[end:]
