"""Columns of series in one pool."""

import json
import struct

from hypothesis import given
from hypothesis import strategies as st

from runlore.wire.series import VERSION, Pool

_COLUMNS = st.lists(st.lists(st.floats(width=64), max_size=4).map(tuple), max_size=12)


@given(_COLUMNS)
def test_each_column_is_found_at_its_place_and_equal_ones_are_there_once(
    columns: list[tuple[float, ...]],
) -> None:
    packed = [struct.pack(f"<{len(column)}d", *column) for column in columns]
    pool = Pool()
    places = [pool.place(column) for column in packed]
    content = pool.encode({"at": [*places]})

    magic, version, size = struct.unpack_from("<4sII4x", content)
    data = content[16 + size :]
    assert (magic, version, (16 + size) % 8) == (b"RLSR", VERSION, 0)
    assert json.loads(content[16 : 16 + size]) == {"at": places}
    for column, at in zip(packed, places, strict=True):
        assert data[8 * at : 8 * at + len(column)] == column
    assert len(data) == sum(map(len, set(packed)))
