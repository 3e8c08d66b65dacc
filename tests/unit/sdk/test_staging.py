"""Reading staging: whatever the segments and the moment, whole frames come out, in order."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runlore.sdk.lost import append_lost
from runlore.sdk.places import segment_name
from runlore.sdk.staging import Staged, cut
from runlore.wire import spool

payloads = st.lists(st.binary(min_size=1, max_size=60).map(lambda b: b"\4" + b), max_size=30)


def a_stream(parts: list[bytes]) -> list[bytes]:
    framed = [spool.frame(part) for part in parts]
    return [spool.PREAMBLE + framed[0], *framed[1:]] if framed else []


def stage(folder: Path, frames: list[bytes], room: int) -> bytes:
    """Write frames into segments of `room` bytes with zeros behind; return the stream."""
    segments: list[tuple[int, bytearray]] = []
    tail = 0
    for framed in frames:
        if not segments or len(segments[-1][1]) + len(framed) > room:
            segments.append((tail, bytearray()))
        segments[-1][1].extend(framed)
        tail += len(framed)
    for start, data in segments:
        (folder / segment_name(start)).write_bytes(bytes(data).ljust(room + 16, b"\0"))
    return b"".join(frames)


@settings(deadline=None)
@given(payloads, st.integers(20, 200), st.integers(1, 300))
def test_a_staged_stream_is_read_back_in_pieces_of_whole_frames(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], room: int, limit: int
) -> None:
    folder = tmp_path_factory.mktemp("staged")
    whole = stage(folder, a_stream(parts), room)
    staged = Staged(str(folder))
    staged.scan()
    assert staged.tail == len(whole)
    pieces = []
    at = 0
    while at < staged.tail:
        piece = staged.read(at, limit)
        frames = list(spool.whole_frames(piece, offset=at))
        assert frames[-1].end == at + len(piece)
        assert len(piece) <= limit or len(frames) == 1
        pieces.append(piece)
        at += len(piece)
    assert b"".join(pieces) == whole


def test_a_stream_cut_at_any_byte_is_seen_up_to_its_last_whole_frame(tmp_path: Path) -> None:
    frames = a_stream([b"\1header", b"\4row", b"\5loose row", b"\4" + bytes(40)])
    whole = b"".join(frames)
    edges = [sum(map(len, frames[: n + 1])) for n in range(len(frames))]
    for at in range(len(whole) + 1):
        (tmp_path / segment_name(0)).write_bytes(whole[:at].ljust(len(whole) + 64, b"\0"))
        staged = Staged(str(tmp_path))
        staged.scan()
        good = [edge for edge in edges if edge <= at]
        # A last frame that ends in zeros is whole before its last zeros are written.
        assert staged.tail in {max(good, default=0), edges[-1] if at > len(whole) - 41 else 0}


def test_segments_are_freed_as_they_are_settled_but_for_the_last(tmp_path: Path) -> None:
    whole = stage(tmp_path, a_stream([bytes([4, n]) * 8 for n in range(1, 20)]), 64)
    staged = Staged(str(tmp_path))
    staged.scan()
    count = len(os.listdir(tmp_path))
    assert count > 5
    staged.free(staged.first + 1)
    assert len(os.listdir(tmp_path)) == count
    staged.free(len(whole))
    assert len(os.listdir(tmp_path)) == 1
    with pytest.raises(LookupError):
        staged.read(0, 100)
    again = Staged(str(tmp_path))
    again.scan()
    assert again.tail == len(whole)


def test_lost_stands_behind_the_last_whole_frame_in_place_of_an_unfinished_one(
    tmp_path: Path,
) -> None:
    frames = a_stream([b"\1header", b"\4row"])
    whole = b"".join(frames)
    (tmp_path / segment_name(0)).write_bytes((whole + frames[1][:4] + b"\1\1\1\1").ljust(200))
    staged = Staged(str(tmp_path))
    staged.scan()
    append_lost(staged, signal=9, is_witnessed=True)
    for found in (staged, Staged(str(tmp_path))):
        found.scan()
        assert found.is_ended
        data = found.read(0, 10_000)
        assert [f.kind for f in spool.whole_frames(data, offset=0)] == [1, 4, spool.LOST]


@given(payloads, st.integers(1, 400))
def test_cut_takes_whole_frames_up_to_the_limit_but_one_at_least(
    parts: list[bytes], limit: int
) -> None:
    frames = a_stream(parts)
    whole = b"".join(frames)
    edges = {sum(map(len, frames[: n + 1])) for n in range(len(frames))}
    taken = cut(whole, offset=0, limit=limit)
    assert taken in edges | {0}
    assert taken <= max(limit, len(frames[0]) if frames else 0)
