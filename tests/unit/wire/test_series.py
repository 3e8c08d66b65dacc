"""Binary series: a large answer in pieces says what it would as a whole."""

import json
import struct

import numpy as np
import pytest

from runlore.wire.series import encode_series


@pytest.mark.parametrize(("rows", "is_whole"), [(0, True), (3, True), (200_000, False)])
def test_pieces_put_together_are_the_header_and_the_columns(rows: int, is_whole: bool) -> None:
    columns = [np.arange(rows) + place / 2 for place in range(3)]
    pieces = list(encode_series({"rows": rows}, [column.data for column in columns]))
    assert (len(pieces) == 1) == is_whole
    whole = b"".join(pieces)
    magic, version, size = struct.unpack_from("<4sII4x", whole)
    assert (magic, version) == (b"RLSR", 1)
    assert json.loads(whole[16 : 16 + size]) == {"rows": rows}
    assert (16 + size) % 8 == 0
    found = np.frombuffer(whole, dtype="<f8", offset=16 + size)
    np.testing.assert_array_equal(found, np.concatenate(columns))
