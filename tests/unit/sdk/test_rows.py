"""The hot path: any sequence of calls is read back exactly; a refused call leaves no trace."""

import errno
import math
import threading
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runlore.core.metric import Value
from runlore.errors import UsageError
from runlore.sdk import spool as sdk_spool
from runlore.sdk.rows import Rows
from runlore.sdk.segments import WrittenSegment
from runlore.sdk.spool import Stream
from runlore.wire import spool
from tests.unit.sdk.streams import read, read_back, some_rows, staged

keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
numbers = st.floats() | st.integers(-(2**70), 2**70) | st.floats(width=32).map(np.float32)
values = numbers | st.booleans() | st.text(st.characters(codec="utf-8"), max_size=5)
flat = st.dictionaries(keys, numbers, max_size=4) | st.dictionaries(keys, values, max_size=4)
steps = st.none() | st.integers(-(2**53) + 1, 2**53 - 30)
calls = st.tuples(flat, steps, st.sampled_from([None, True, False]))


def plain(value: object) -> Value:
    return value if isinstance(value, bool | str) else float(value)  # type: ignore[arg-type]


def same(left: Mapping[str, Value], right: Mapping[str, Value]) -> bool:
    return list(left) == list(right) and all(
        type(left[key]) is type(right[key])
        and (left[key] == right[key] or (left[key] != left[key] and right[key] != right[key]))
        for key in left
    )


@settings(max_examples=150, deadline=None)
@given(
    pool=st.lists(calls, min_size=1, max_size=5), order=st.lists(st.integers(0, 4), max_size=20)
)
def test_any_sequence_of_calls_is_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    pool: list[tuple[dict[str, object], int | None, bool | None]],
    order: list[int],
) -> None:
    rows = some_rows(tmp_path_factory.mktemp("rows"))
    expected: list[tuple[int, dict[str, Value]]] = []
    counter = 0
    for index in order:
        data, step, commit = pool[index % len(pool)]
        rows.log(data, step, commit)
        number = counter if step is None else step
        counter = number if commit is False else number + 1
        if data:
            expected.append((number, {key: plain(value) for key, value in data.items()}))

    found = read_back(rows)

    assert rows.step == counter
    assert rows.points == sum(len(data) for _, data in expected)
    assert [step for step, _ in found.rows] == [step for step, _ in expected]
    assert all(same(a, b) for (_, a), (_, b) in zip(expected, found.rows, strict=True))


@settings(deadline=None)
@given(
    order=st.lists(st.tuples(st.sampled_from("ab"), st.integers(-3, 6) | st.none()), max_size=30)
)
def test_the_summary_is_at_the_greatest_step_whatever_the_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[tuple[str, int | None]]
) -> None:
    rows = some_rows(tmp_path_factory.mktemp("rows"))
    expected: dict[str, tuple[int, float]] = {}
    for number, (key, step) in enumerate(order):
        at = rows.step if step is None else step
        rows.log({key: float(number)}, step, None)
        if key not in expected or at >= expected[key][0]:
            expected[key] = (at, float(number))
    assert rows.last_values() == {key: value for key, (_, value) in expected.items()}
    rows.close(None)
    rows.release()


def test_the_first_row_of_a_set_of_keys_is_loose_and_the_second_declares_the_set(
    tmp_path: Path,
) -> None:
    rows = some_rows(tmp_path)
    for number in range(4):
        rows.log({"loss": 0.5 * number, "acc": np.float64(1)}, None, None)
    assert read_back(rows).kinds[1:] == [
        spool.KEYS,
        spool.LOOSE_ROW,
        spool.KEY_SET,
        spool.ROW,
        spool.ROW,
        spool.ROW,
    ]


def test_segments_grow_and_follow_one_another_without_a_hole(tmp_path: Path) -> None:
    rows = some_rows(tmp_path)
    data = {f"k{i}": float(i) for i in range(500)}
    for _ in range(2000):
        rows.log(data, None, None)
    sizes = [path.stat().st_size for path in sorted(Path(rows.stream.folder).iterdir())]
    found = read_back(rows)
    assert sizes[:5] == [65536, 262144, 1048576, 4194304, 4194304]
    assert [step for step, _ in found.rows] == list(range(2000))


def test_a_hundred_thousand_keys_in_one_call_are_kept(tmp_path: Path) -> None:
    rows = some_rows(tmp_path)
    data = {f"layer/{i}/weight": float(i) for i in range(100_000)}
    rows.log(data, None, None)
    rows.log(data, None, None)
    found = read_back(rows)
    assert [values for _, values in found.rows] == [data, data]


def test_long_strings_are_spread_over_frames_of_one_step(tmp_path: Path) -> None:
    rows = some_rows(tmp_path)
    data: dict[str, object] = {f"s{i}": chr(97 + i) * 8_000_000 for i in range(4)}
    rows.log(data, 7, None)
    found = read_back(rows)
    assert {step for step, _ in found.rows} == {7}
    merged = {key: value for _, values in found.rows for key, value in values.items()}
    assert merged == data


def test_threads_share_the_counter_of_steps_and_no_row_is_lost_or_torn(tmp_path: Path) -> None:
    rows = some_rows(tmp_path)

    def work(thread: int) -> None:
        for number in range(2000):
            rows.log({"thread": thread, "number": number}, None, None)
            if number % 50 == 0:
                rows.log({f"own{thread}-{number}": True}, None, None)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = read_back(rows).rows
    assert [step for step, _ in found] == list(range(4 * 2040))
    for thread_id in range(4):
        mine = [v["number"] for _, v in found if v.get("thread") == thread_id]
        assert mine == [float(n) for n in range(2000)]


def test_caches_stay_small_when_keys_never_repeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runlore.sdk.rows._MAX_PLANS", 10)
    monkeypatch.setattr("runlore.sdk.rows._MAX_PLANNED_KEYS", 30)
    monkeypatch.setattr("runlore.sdk.rows._MAX_FIRST_SIGHTS", 20)
    monkeypatch.setattr("runlore.sdk.rows._MAX_KEY_IDS", 25)
    rows = some_rows(tmp_path)
    expected: list[dict[str, float]] = []
    for number in range(300):
        data = {f"k{number // 3}": 1.0 * number, "loss": 0.5}
        expected.append(data)
        rows.log(data, None, None)
        assert len(rows._plans) <= 10
        assert len(rows._ids) <= 25
        assert len(rows._first_sights) <= 20
        assert len(rows._sets) <= 30
    assert rows.last_values()["k99"] == 299.0
    assert [values for _, values in read_back(rows).rows] == expected


class Thing:
    def __init__(self) -> None:
        self.name = "thing"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([1.0], r"log\(\) takes a dict of keys and values, got a list of 1"),
        ({"loss": [1.0, 2.0]}, "value of 'loss' must be a number.*got a list of 2; log its mean"),
        ({"loss": np.zeros(3)}, "value of 'loss' must be one number, got ndarray of 3 elements"),
        ({"loss": np.zeros(0)}, "got ndarray of 0 elements"),
        ({"loss": Thing()}, "got an object of type .*Thing; log a number"),
        ({"loss": b"abc"}, "got bytes b'abc'; decode it"),
        ({"loss": 1j}, "got complex 1j; log its abs"),
        ({"loss": np.complex128(1j)}, "complex.*log its abs"),
        ({"loss": 10**400}, "must fit in a float64, got an integer of 1,329 bits"),
        ({"loss": Decimal("1e999")}, "must fit in a float64, got Decimal"),
        ({"loss": np.datetime64("2026-01-01")}, "value of 'loss' must be a number"),
        ({1: 1.0}, "a key must be a string, got int 1; use str"),
        ({"a": {2: 1.0}}, "a key must be a string, got int 2 below 'a'"),
        ({"": 1.0}, "a key must have at least one character"),
        ({"a": {"": 1.0}}, "at least one character, got '' below 'a/'"),
        ({"k" * 1025: 1.0}, "at most 1,024 bytes of UTF-8, got 1,025"),
        ({"é" * 513: 1.0}, "at most 1,024 bytes of UTF-8, got 1,026"),
        ({"\ud800": 1.0}, "a key must be text that UTF-8 can hold"),
        ({"s": "a\udfff"}, "value of 's' must be text that UTF-8 can hold.*at character 1"),
        ({"s": "x" * (8 * 2**20 + 1)}, "a string has at most 8 MiB"),
        ({f"k{i}": 1.0 for i in range(262_144)}, "at most 262,144 keys, got 262,145"),
        ({"a": {"b": 1}, "a/b": 2}, "key 'a/b' stands twice in one log"),
    ],
)
def test_what_cannot_be_logged_is_refused_with_key_type_and_way_out_and_leaves_no_trace(
    tmp_path: Path, data: dict[str, object] | list[float], said: str
) -> None:
    rows = some_rows(tmp_path, step=5)
    mixed = {"good": 1.0, **data} if isinstance(data, dict) else data
    with pytest.raises(UsageError, match=said):
        rows.log(mixed, None, None)  # type: ignore[arg-type]
    assert rows.step == 5
    assert read_back(rows).kinds == [spool.HEADER]


def test_a_number_too_large_is_refused_on_the_short_way_too(tmp_path: Path) -> None:
    rows = some_rows(tmp_path)
    for _ in range(3):
        rows.log({"loss": 1}, None, None)
    with pytest.raises(UsageError, match="must fit in a float64"):
        rows.log({"loss": 10**400}, None, None)
    rows.log({"loss": 2}, None, None)
    assert read_back(rows).rows[-1] == (3, {"loss": 2.0})


def test_a_dict_that_holds_itself_is_refused(tmp_path: Path) -> None:
    data: dict[str, object] = {}
    data["a"] = data
    with pytest.raises(UsageError, match="nested dicts may be 64 deep"):
        some_rows(tmp_path).log(data, None, None)


@pytest.mark.parametrize("step", [1.5, True, "3", None, math.nan, 2**53, -(2**53), [1], 1e300])
def test_a_step_that_is_none_is_refused(tmp_path: Path, step: object) -> None:
    rows = some_rows(tmp_path)
    for _ in range(3):
        rows.log({"loss": 0.5}, None, None)
    if step is None:
        return
    with pytest.raises(UsageError, match="^step must be"):
        rows.log({"loss": 0.5}, step, None)  # type: ignore[arg-type]
    assert rows.step == 3


@pytest.mark.parametrize(
    ("step", "number"),
    [
        (np.int64(4), 4),
        (3.0, 3),
        (np.float32(8), 8),
        (np.array(6), 6),
        (-5, -5),
        (2**53 - 1, 2**53 - 1),
        (-(2**53) + 1, -(2**53) + 1),
    ],
)
def test_integers_of_every_kind_are_steps(tmp_path: Path, step: int, number: int) -> None:
    rows = some_rows(tmp_path)
    for _ in range(3):
        rows.log({"loss": 0.5}, step, None)
    assert {found for found, _ in read_back(rows).rows} == {number}


def test_behind_the_last_step_there_is_none(tmp_path: Path) -> None:
    rows = some_rows(tmp_path)
    for _ in range(3):
        rows.log({"loss": 0.5}, 2**53 - 1, None)
    with pytest.raises(UsageError, match=r"the next step would be 9007199254740992"):
        rows.log({"loss": 0.5}, None, None)
    rows.log({"loss": 0.5}, 0, None)
    rows.log({"loss": 0.5}, None, None)
    assert [step for step, _ in read_back(rows).rows][-2:] == [0, 1]


class Half(np.float32):
    """A scalar of another library that is built on NumPy and cannot be made from nothing."""

    def __new__(cls, value: float) -> "Half":
        return super().__new__(cls, value)


class Tensor:
    """What a tensor of one element looks like: dtype, shape and item()."""

    dtype = "bfloat16"
    shape = (1, 1)

    def __init__(self, value: float | bool) -> None:
        self.value = value

    def item(self) -> float | bool:
        return self.value


class EagerTensor:
    """What a scalar of TensorFlow looks like: numpy() and no item()."""

    dtype = "float32"
    shape = ()

    def numpy(self) -> np.float32:
        return np.float32(0.5)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Half(0.5), 0.5),
        (Tensor(0.5), 0.5),
        (Tensor(True), True),
        (EagerTensor(), 0.5),
        (np.float16(0.5), 0.5),
        (np.int8(-3), -3.0),
        (np.uint64(2**63), 2.0**63),
        (np.longdouble(0.25), 0.25),
        (np.bool_(True), True),
        (np.array(1.5), 1.5),
        (np.array([[2.5]]), 2.5),
        (np.array(False), False),
        (np.str_("text"), "text"),
        (Decimal("0.5"), 0.5),
        (Fraction(1, 4), 0.25),
        (Decimal("NaN"), math.nan),
        (np.ma.masked, math.nan),
        (np.ma.array([1.0], mask=[True]), math.nan),
        (np.ma.array(2.0, mask=False), 2.0),
        (-0.0, -0.0),
        ("", ""),
        ("\x00\n", "\x00\n"),
    ],
)
def test_scalars_of_every_library_become_numbers_bools_or_strings(
    tmp_path: Path, value: object, expected: Value
) -> None:
    rows = some_rows(tmp_path)
    for _ in range(3):
        rows.log({"x": value}, None, None)
    found = read_back(rows).rows
    assert len(found) == 3
    assert all(same(values, {"x": expected}) for _, values in found)


@pytest.mark.parametrize("key", ["a/b", "a.b", "ключ", "🦦", "\x00", "a\nb", " ", "k" * 1024])
def test_keys_of_any_characters_come_back_unchanged(tmp_path: Path, key: str) -> None:
    rows = some_rows(tmp_path)
    rows.log({key: 1.0}, None, None)
    assert read_back(rows).rows == [(0, {key: 1.0})]


def test_beyond_the_limit_rows_are_counted_and_a_gap_says_so_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdk_spool, "LIMIT", 400_000)
    monkeypatch.setattr(sdk_spool, "LAST_SEGMENT", 131_072)
    monkeypatch.setattr(sdk_spool, "_RETRY_NS", 0)
    told: list[str] = []
    folder = tmp_path / "w"
    folder.mkdir()
    rows = Rows(
        Stream(str(folder), {"run": "r"}),
        step=0,
        on_tick=lambda: None,
        on_skipped=told.append,
        on_trouble=told.append,
    )
    data = {f"k{i}": float(i) for i in range(100)}
    for _ in range(1000):
        rows.log(data, None, None)
    lost = rows.gap_points // 100
    assert lost > 0
    assert rows.points == (1000 - lost) * 100
    assert set(told) == {"0 MiB wait to be taken over"}

    before = staged(folder)
    for path in sorted(folder.iterdir())[:-1]:
        path.unlink()
    rows.log(data, None, None)
    found = read(before[: rows.stream.base] + staged(folder)[-(1 << 20) :])
    rows.close(None)
    rows.release()
    first, last = 1000 - lost, 999
    gap = {"rows": lost, "points": lost * 100, "first_step": first, "last_step": last}
    assert [{k: g[k] for k in gap} for g in found.of(spool.GAP)] == [gap]
    assert found.rows[-1][0] == 1000


def test_without_room_in_memory_rows_wait_and_follow_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdk_spool, "_RETRY_NS", 0)
    rows = some_rows(tmp_path)
    folder = Path(rows.stream.folder)
    away = folder.with_name("away")
    data = {f"k{i}": float(i) for i in range(100)}
    for number in range(500):
        if number == 20:
            folder.rename(away)
        if number == 450:
            away.rename(folder)
        rows.log(data, None, None)
        rows.log({"late": True}, None, None)
    assert rows.stream.held_bytes == 0
    found = read_back(rows)
    assert [step for step, _ in found.rows] == list(range(1000))


def test_where_no_file_can_be_preallocated_rows_are_written_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported here")

    monkeypatch.setattr("os.posix_fallocate", refuse)
    rows = some_rows(tmp_path)
    assert isinstance(rows.stream.buffer, WrittenSegment)
    for number in range(5000):
        rows.log({"loss": 0.5 * number, "acc": 1}, None, None)
    found = read_back(rows).rows
    assert found == [(n, {"loss": 0.5 * n, "acc": 1.0}) for n in range(5000)]


def test_rows_that_found_no_room_before_the_end_are_counted_as_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdk_spool, "_RETRY_NS", 0)
    rows = some_rows(tmp_path)
    rows.log({"first": 1.0}, None, None)
    Path(rows.stream.folder).rename(tmp_path / "away")
    for number in range(5000):
        rows.log({f"k{i}": float(i + number) for i in range(10)}, None, None)
    rows.close(None)
    assert not rows.retry()
    rows.release()
    kept = read(staged(tmp_path / "away")).rows
    assert rows.gap_points > 0
    assert rows.points == sum(len(values) for _, values in kept)
    assert rows.points + rows.gap_points == 50_001


def test_a_clock_that_is_set_back_stops_neither_the_watch_over_the_sender_nor_speeds_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, hour = 10**9, 3600 * 10**9
    clock = [10 * hour]
    monkeypatch.setattr("runlore.sdk.rows._time_ns", lambda: clock[0])
    looks: list[int] = []
    rows = Rows(
        Stream(str(tmp_path), {"run": "r"}),
        step=0,
        on_tick=lambda: looks.append(clock[0]),
        on_skipped=lambda key: None,
        on_trouble=lambda trouble: None,
    )

    def log_for(seconds: int) -> tuple[int, int]:
        looks.clear()
        samples = len(rows.samples)
        for _ in range(seconds * 10):
            rows.log({"loss": 1.0}, None, None)
            clock[0] += second // 10
        return len(looks), len(rows.samples) - samples

    log_for(40)
    clock[0] -= 2 * hour
    watched, sampled = log_for(40)
    rows.close(None)
    rows.release()
    assert 35 <= watched <= 42
    assert sampled <= 42
