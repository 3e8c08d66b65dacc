"""Binary series: each column once, and a large answer in pieces says what it would as a whole."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runlore.wire.series import VERSION, Pool

_COLUMNS = st.lists(st.lists(st.floats(width=64), max_size=4).map(tuple), max_size=12)


def _check(packed: list[bytes], places: list[int], content: bytes) -> None:
    magic, version, size = struct.unpack_from("<4sII4x", content)
    data = content[16 + size :]
    assert (magic, version, (16 + size) % 8) == (b"RLSR", VERSION, 0)
    assert json.loads(content[16 : 16 + size]) == {"at": places}
    for column, at in zip(packed, places, strict=True):
        assert data[8 * at : 8 * at + len(column)] == column
    assert len(data) == sum(map(len, set(packed)))


@given(_COLUMNS)
def test_each_column_is_found_at_its_place_and_equal_ones_are_there_once(
    columns: list[tuple[float, ...]],
) -> None:
    packed = [struct.pack(f"<{len(column)}d", *column) for column in columns]
    pool = Pool()
    places = [pool.place(column) for column in packed]
    _check(packed, places, b"".join(pool.encode({"at": [*places]})))


@pytest.mark.parametrize(("rows", "is_whole"), [(0, True), (3, True), (200_000, False)])
def test_a_large_answer_comes_in_pieces(rows: int, is_whole: bool) -> None:
    packed = [struct.pack("<d", place) * rows for place in (1, 2, 1)]
    pool = Pool()
    places = [pool.place(column) for column in packed]
    pieces = list(pool.encode({"at": [*places]}))
    assert (len(pieces) == 1) == is_whole
    _check(packed, places, b"".join(pieces))
