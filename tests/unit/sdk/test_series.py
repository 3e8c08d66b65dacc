"""Series as they come from the server: columns by name, by run and key."""

import struct

import pytest

from runlore.core.json import JsonValue
from runlore.errors import UnavailableError
from runlore.sdk.series import SeriesTable, decode_series
from runlore.wire.series import Pool


def an_answer() -> bytes:
    pool = Pool()
    heads: list[JsonValue] = []
    for run, values in (("a", (1, 2)), ("b", (3, 5))):
        at: list[JsonValue] = [pool.place(struct.pack("<2d", *each)) for each in ((0, 4), values)]
        heads.append({"run": run, "key": "loss", "width": 4, "points": 8, "rows": 2, "at": at})
    return b"".join(pool.encode({"columns": ["step", "min"], "series": heads}))


def test_columns_are_found_by_run_key_and_name() -> None:
    series, names = decode_series(an_answer(), "http://here")
    table = SeriesTable(series, names)
    assert {place: list(one["min"]) for place, one in table.items()} == {
        ("a", "loss"): [1, 2],
        ("b", "loss"): [3, 5],
    }


def test_what_is_not_there_is_told_with_what_is() -> None:
    table = SeriesTable(*decode_series(an_answer(), "http://here"))
    with pytest.raises(KeyError, match=r"found by \(run, key\).*2 series.*\('a', 'loss'\)"):
        table["loss"]  # type: ignore[index]
    with pytest.raises(KeyError, match="no column 'max'; there are step, min"):
        table["a", "loss"]["max"]


def test_an_answer_cut_at_any_byte_is_refused() -> None:
    content = an_answer()
    for end in range(len(content)):
        with pytest.raises(UnavailableError):
            decode_series(content[:end], "http://here")
