"""The spool stream: what is encoded comes back, wherever the stream is cut or damaged."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runlore.core.metric import Value
from runlore.errors import DamageError
from runlore.wire import spool

numbers = st.floats(allow_nan=True, allow_infinity=True)
steps = st.integers(-(2**53) + 1, 2**53 - 1)
keys = st.lists(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), min_size=1, unique=True
)


def a_stream(rows: Sequence[tuple[int, dict[str, Value]]]) -> list[bytes]:
    """Encode rows as the simplest writer would: declare keys, then one frame per row."""
    ids: dict[str, int] = {}
    parts = [spool.PREAMBLE, spool.frame(spool.encode_json(spool.HEADER, {"run": "r"}))]
    for step, values in rows:
        fresh = [key for key in values if key not in ids]
        if fresh:
            parts.append(spool.frame(spool.encode_keys(len(ids), fresh)))
            ids.update({key: len(ids) + i for i, key in enumerate(fresh)})
        payload = spool.encode_mixed_row(
            step, step * 3, [ids[key] for key in values], list(values.values())
        )
        parts.append(spool.frame(payload))
    return parts


def read_rows(data: bytes) -> list[tuple[int, dict[str, Value]]]:
    table = spool.KeyTable()
    rows = []
    for frame in spool.whole_frames(data, offset=0):
        if frame.kind in spool.DECLARING:
            table.declare(frame.payload)
        elif frame.kind in spool.ROWS:
            row = table.row(frame.payload)
            rows.append((row.step, dict(zip(row.keys, row.values, strict=True))))
    return rows


def same(left: Value, right: Value) -> bool:
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return type(left) is type(right) and left == right


@given(
    st.lists(
        st.tuples(
            steps,
            st.dictionaries(
                st.text(st.characters(codec="utf-8"), min_size=1, max_size=9),
                numbers | st.booleans() | st.text(st.characters(codec="utf-8")),
                max_size=5,
            ),
        ),
        max_size=8,
    )
)
def test_rows_of_every_kind_come_back_as_they_were(
    rows: list[tuple[int, dict[str, Value]]],
) -> None:
    found = read_rows(b"".join(a_stream(rows)))
    assert [step for step, _ in found] == [step for step, _ in rows]
    for (_, expected), (_, got) in zip(rows, found, strict=True):
        assert list(got) == list(expected)
        assert all(same(expected[key], got[key]) for key in expected)


@given(keys, st.data())
def test_a_row_and_a_loose_row_say_the_same(names: list[str], data: st.DataObject) -> None:
    values = data.draw(st.lists(numbers, min_size=len(names), max_size=len(names)))
    table = spool.KeyTable()
    table.declare(memoryview(spool.encode_keys(7, names)))
    ids = list(range(7, 7 + len(names)))
    table.declare(memoryview(spool.encode_key_set(3, ids)))
    packed = spool.row_struct(len(names)).pack(spool.ROW, 3, 5, 9, *values)
    row = table.row(memoryview(packed))
    loose = table.row(memoryview(spool.encode_loose_row(5, 9, ids, values)))
    assert (row.step, row.time_ns, list(row.keys)) == (5, 9, names)
    assert list(loose.keys) == names
    assert all(same(a, b) for a, b in zip(row.values, values, strict=True))
    assert all(same(a, b) for a, b in zip(loose.values, values, strict=True))


def test_a_stream_cut_at_any_byte_is_readable_up_to_its_last_whole_frame() -> None:
    parts = a_stream([(0, {"loss": 0.5}), (1, {"loss": math.nan, "ok": True}), (2, {"s": "é"})])
    whole = b"".join(parts)
    edges = [sum(len(part) for part in parts[: i + 1]) for i in range(len(parts))]
    assert len(whole) > 100
    for cut in range(len(whole) + 1):
        frames = list(spool.whole_frames(whole[:cut], offset=0))
        assert len(frames) == max(0, sum(edge <= cut for edge in edges) - 1)
        assert not frames or frames[-1].end <= cut


def test_preallocated_zeros_behind_the_last_frame_are_its_end() -> None:
    whole = b"".join(a_stream([(0, {"loss": 0.5})]))
    assert read_rows(whole + bytes(100)) == read_rows(whole)


def damage_in(data: bytes, good: list[spool.Frame]) -> int | None:
    """Collect the good frames; return the offset of the damaged one."""
    try:
        for frame in spool.whole_frames(data, offset=0):
            good.append(frame)
    except DamageError as error:
        return error.offset
    return None


def test_any_changed_byte_of_a_frame_is_found_and_named_with_the_frames_offset() -> None:
    parts = a_stream([(0, {"loss": 0.5}), (1, {"loss": 0.25})])
    first = len(b"".join(parts[:-1]))
    whole = b"".join(parts)
    found = 0
    for at in range(first, len(whole)):
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        good: list[spool.Frame] = []
        damage = damage_in(bytes(broken), good)
        assert damage in (None, first)
        assert len(good) <= len(parts) - 1
        found += damage is not None
    assert found >= len(whole) - first - 4


def test_a_piece_from_the_middle_is_read_with_its_own_offset() -> None:
    parts = a_stream([(0, {"loss": 0.5}), (1, {"loss": 0.25})])
    start = len(b"".join(parts[:-1]))
    (frame,) = spool.whole_frames(parts[-1], offset=start)
    assert (frame.offset, frame.end, frame.kind) == (
        start,
        start + len(parts[-1]),
        spool.MIXED_ROW,
    )


@pytest.mark.parametrize(
    ("head", "said"),
    [(b"GIF89a\0\0", "expected a spool"), (b"RLSP\x09\0\0\0", "version 9")],
)
def test_what_is_no_spool_or_a_newer_one_is_refused(head: bytes, said: str) -> None:
    with pytest.raises(DamageError, match=said):
        list(spool.whole_frames(head, offset=0))


def test_a_row_that_names_an_undeclared_key_or_set_is_refused() -> None:
    table = spool.KeyTable()
    with pytest.raises(ValueError, match="key id 4 was not declared"):
        table.row(memoryview(spool.encode_loose_row(0, 0, [4], [1.0])))
    with pytest.raises(ValueError, match="key set 9 was not declared"):
        table.row(memoryview(spool.row_struct(1).pack(spool.ROW, 9, 0, 0, 1.0)))


def test_a_row_that_no_writer_makes_is_refused() -> None:
    table = spool.KeyTable()
    table.declare(memoryview(spool.encode_keys(0, ["loss", "acc"])))
    with pytest.raises(ValueError, match="declared before as another key"):
        table.declare(memoryview(spool.encode_keys(1, ["loss"])))
    with pytest.raises(ValueError, match="a key stands twice"):
        table.row(memoryview(spool.encode_loose_row(0, 0, [0, 0], [1.0, 2.0])))
    with pytest.raises(ValueError, match="is beyond"):
        table.row(memoryview(spool.encode_loose_row(2**53, 0, [0], [1.0])))
    table.declare(memoryview(spool.encode_key_set(0, [0])))
    with pytest.raises(ValueError, match="declared before as other keys"):
        table.declare(memoryview(spool.encode_key_set(0, [1])))
    mixed = bytearray(spool.encode_mixed_row(0, 0, [0], [True]))
    mixed[-2] = 9
    with pytest.raises(ValueError, match="no kind of value"):
        table.row(memoryview(mixed))
