"""What every metric store keeps, as tests: appending, rows, kinds, series."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from runlore.core.metric import MAX_STEP, Value
from runlore.core.run import RunRef
from runlore.errors import ConflictError, DamageError, UsageError
from runlore.store.metrics import (
    KeySummary,
    MetricStore,
    Series,
    SpoolPiece,
    Stored,
)
from runlore.store.search import picker, searcher
from runlore.testing.spools import (
    SECOND_NS,
    SpoolBuilder,
    a_run,
)
from runlore.wire import spool


def steps_and_values(store: MetricStore, run: RunRef, key: str) -> list[tuple[int, Value]]:
    """Read one key of a run as pairs."""
    return [(row.step, row.values[key]) for row in store.rows(run, keys=[key])]


def a_curve(
    values: Sequence[Value], *, run: RunRef | None = None, writer: str = "w-1", key: str = "loss"
) -> SpoolBuilder:
    """Build a writer that logs values at the steps from 0 on."""
    builder = SpoolBuilder(run or a_run(), writer)
    for step, value in enumerate(values):
        builder.log({key: value}, step=step)
    return builder


def one_series(store: MetricStore, builder: SpoolBuilder, *, buckets: int) -> Series:
    """Store a builder's stream and return the only series of its key `loss`."""
    store.append([builder.piece()])
    (found,) = store.series([builder.run], ["loss"], buckets=buckets)
    return found


class StoreContract:
    """Where the store of a contract comes from."""

    @pytest.fixture
    def open_store(self) -> Iterator[Callable[[], MetricStore]]:
        """Open the same store: again after `close`, unless it is one that forgets."""
        raise NotImplementedError("a backend's test class supplies its store")

    @pytest.fixture
    def store(self, open_store: Callable[[], MetricStore]) -> Iterator[MetricStore]:
        """Open one store and close it at the end."""
        store = open_store()
        yield store
        store.close()


class AppendContract(StoreContract):
    """Identity, gaps, damage, limits."""

    def test_an_answer_counts_bytes_and_points(self, store: MetricStore) -> None:
        builder = SpoolBuilder(a_run())
        builder.log({"loss": 1.0, "acc": 0.5}, step=0)
        builder.log({"loss": 0.5, "note": "é"}, step=1)
        expected = Stored(next=len(builder.data), points=4)
        assert store.append([builder.piece()]) == [expected]
        assert store.stored(builder.run, builder.writer) == expected
        assert store.stored(builder.run, "unknown") == Stored(next=0, points=0)

    def test_a_piece_that_comes_twice_is_kept_once(self, store: MetricStore) -> None:
        builder = a_curve([1.0, 2.0, 3.0])
        expected = Stored(next=len(builder.data), points=3)
        assert store.append([builder.piece(), builder.piece()]) == [expected, expected]
        assert store.append([builder.piece()]) == [expected]
        assert steps_and_values(store, builder.run, "loss") == [(0, 1.0), (1, 2.0), (2, 3.0)]

    def test_pieces_that_overlap_are_kept_once(self, store: MetricStore) -> None:
        builder = a_curve([1.0, 2.0, 3.0, 4.0])
        store.append([builder.piece(0, 4)])
        store.append([builder.piece(2, 6), builder.piece(1, 3)])
        store.append([builder.piece(5)])
        assert store.stored(builder.run, builder.writer).points == 4
        assert [v for _, v in steps_and_values(store, builder.run, "loss")] == [1.0, 2.0, 3.0, 4.0]

    def test_a_gap_is_refused_and_the_other_pieces_are_kept(self, store: MetricStore) -> None:
        holed, whole = a_curve([1.0, 2.0], writer="w-1"), a_curve([3.0], writer="w-2")
        gap, stored = store.append([holed.piece(2), whole.piece()])
        assert isinstance(gap, ConflictError)
        assert "0" in str(gap)
        assert stored == Stored(next=len(whole.data), points=1)
        assert store.stored(holed.run, "w-1") == Stored(next=0, points=0)
        assert steps_and_values(store, whole.run, "loss") == [(0, 3.0)]

    def test_a_frame_that_cannot_be_decoded_is_named_and_those_before_it_are_kept(
        self, store: MetricStore
    ) -> None:
        builder = a_curve([1.0, 2.0])
        good = len(builder.data)
        builder.add(spool.frame(spool.encode_loose_row(2, 0, [99], [1.0])))
        builder.log({"loss": 3.0}, step=3)
        (damage,) = store.append([builder.piece()])
        assert isinstance(damage, DamageError)
        assert damage.offset == good
        assert store.stored(builder.run, builder.writer) == Stored(next=good, points=2)
        assert len(steps_and_values(store, builder.run, "loss")) == 2

    @pytest.mark.parametrize(
        "payload",
        [
            spool.encode_json(spool.HEADER, {"started_ns": 1}),
            spool.encode_json(spool.FINISH, {"exit_code": 0}),
            bytes([spool.FINISH]) + b"{",
            spool.encode_key_set(7, [99]),
            spool.encode_keys(0, ["other"]),
            spool.encode_keys(9, ["a"])[:-1],
            spool.encode_keys(9, ["a"])[:3],
            spool.encode_loose_row(0, 0, [0, 0], [1.0, 2.0]),
            spool.encode_loose_row(0, 0, [0], [1.0])[:-1],
            spool.encode_loose_row(MAX_STEP + 1, 0, [0], [1.0]),
            spool.encode_loose_row(-MAX_STEP - 1, 0, [0], [1.0]),
            spool.row_struct(1).pack(spool.ROW, 9, 0, 0, 1.0),
            spool.row_struct(2).pack(spool.ROW, 0, 0, 0, 1.0, 1.0),
            spool.row_struct(1).pack(spool.ROW, 0, MAX_STEP + 1, 0, 1.0),
            spool.encode_mixed_row(0, 0, [0], ["text"])[:-1],
            spool.encode_mixed_row(0, 0, [0], ["é"])[:-1] + b"\xff",
            bytes([spool.ROW]),
            bytes([spool.MIXED_ROW]),
        ],
        ids=lambda payload: f"kind {payload[0]}, {len(payload)} bytes",
    )
    def test_what_no_writer_writes_is_refused(self, store: MetricStore, payload: bytes) -> None:
        builder = a_curve([1.0])
        good = builder.piece()
        builder.add(spool.frame(payload))
        store.append([good])
        for piece in (builder.piece(4), builder.piece()):
            (damage,) = store.append([piece])
            assert isinstance(damage, DamageError)
            assert damage.offset == len(good.data)
        assert store.stored(builder.run, builder.writer).next == len(good.data)

    @pytest.mark.parametrize(
        "payload",
        [
            spool.encode_keys(0, ["loss"]),
            spool.encode_loose_row(0, 0, [], []),
            spool.encode_json(spool.FINISH, {"time_ns": 1}),
        ],
        ids=["keys", "row", "end"],
    )
    def test_a_stream_without_a_header_is_refused(
        self, store: MetricStore, payload: bytes
    ) -> None:
        data = spool.PREAMBLE + spool.frame(payload)
        piece = SpoolPiece(run=a_run(), writer="w", offset=0, data=data)
        (damage,) = store.append([piece])
        assert isinstance(damage, DamageError)
        assert store.stored(a_run(), "w") == Stored(next=0, points=0)

    def test_the_preamble_alone_is_left_to_the_next_piece(self, store: MetricStore) -> None:
        builder = a_curve([1.0])
        bare = SpoolPiece(run=builder.run, writer="w-1", offset=0, data=spool.PREAMBLE)
        assert store.append([bare]) == [Stored(next=0, points=0)]
        assert store.append([builder.piece()]) == [Stored(next=len(builder.data), points=1)]

    def test_frames_of_unknown_kinds_are_passed_over(self, store: MetricStore) -> None:
        builder = a_curve([1.0])
        builder.add(spool.frame(b"\xc8whatever"))
        builder.add(spool.frame(spool.encode_json(spool.CONFIG, {"lr": 0.1})))
        builder.log({"loss": 2.0}, step=1)
        assert store.append([builder.piece()]) == [Stored(next=len(builder.data), points=2)]

    def test_an_unfinished_last_frame_is_left_to_the_next_piece(self, store: MetricStore) -> None:
        builder = a_curve([1.0, 2.0])
        cut = builder.piece().data[:-5]
        piece = SpoolPiece(run=builder.run, writer=builder.writer, offset=0, data=cut)
        (stored,) = store.append([piece])
        assert stored == Stored(next=builder.edges[-2], points=1)
        assert store.append([builder.piece()]) == [Stored(next=len(builder.data), points=2)]

    @pytest.mark.parametrize("key", ["é", "a/b.c", "\0", "\x1b[31m", "\U0001f4a5", "' \";--", " "])
    def test_keys_of_any_characters_come_back(self, store: MetricStore, key: str) -> None:
        builder = a_curve([0.5, "text"], key=key)
        store.append([builder.piece()])
        assert [(found.key, found.kind) for found in store.keys(builder.run)] == [
            (key, "number"),
            (key, "string"),
        ]
        assert steps_and_values(store, builder.run, key) == [(0, 0.5), (1, "text")]
        assert [found.key for found in store.series([builder.run], [key], buckets=9)] == [key]

    def test_ten_thousand_keys_in_a_row_come_back(self, store: MetricStore) -> None:
        builder = SpoolBuilder(a_run())
        keys = [f"layer/{n}" for n in range(10_000)]
        for step in range(3):
            builder.log({key: n + step / 4 for n, key in enumerate(keys)}, step=step)
        (stored,) = store.append([builder.piece()])
        assert isinstance(stored, Stored)
        assert stored.points == 30_000
        assert [found.key for found in store.keys(builder.run)] == sorted(keys)
        assert steps_and_values(store, builder.run, "layer/77") == [(0, 77), (1, 77.25), (2, 77.5)]
        (row,) = store.rows(builder.run, start=2)
        assert len(row.values) == 10_000

    def test_a_long_string_comes_back(self, store: MetricStore) -> None:
        text = "é" * 500_000
        builder = a_curve([text])
        store.append([builder.piece()])
        assert steps_and_values(store, builder.run, "loss") == [(0, text)]

    def test_many_threads_append_and_read_at_once(self, store: MetricStore) -> None:
        builders = [a_curve([0.5] * 40, writer=f"w-{n}") for n in range(4)]
        errors: list[Exception] = []
        # Pieces have five frames; the first holds the header, the keys, the set and two rows.
        whole = {0, *range(2, 40, 5), 40}

        def deliver(builder: SpoolBuilder) -> None:
            for first in range(0, len(builder.frames), 5):
                answers = store.append([builder.piece(first, first + 5)])
                errors.extend(answer for answer in answers if isinstance(answer, Exception))

        def look() -> None:
            for _ in range(10):
                rows = list(store.rows(a_run()))
                seen = [sum(row.writer == one.writer for row in rows) for one in builders]
                if not whole.issuperset(seen):
                    errors.append(AssertionError("half a piece was seen"))

        threads = [threading.Thread(target=deliver, args=(builder,)) for builder in builders]
        threads += [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert [found.count for found in store.keys(a_run())] == [160]


class ReadContract(StoreContract):
    """Rows, kinds, summaries, series."""

    def test_consecutive_frames_of_a_step_are_one_row_until_a_key_repeats(
        self, store: MetricStore
    ) -> None:
        builder = SpoolBuilder(a_run())
        builder.log({"loss": 1.0}, step=0, time_ns=10)
        builder.log({"acc": 0.5, "note": "x"}, step=0, time_ns=20)
        builder.log({"loss": 2.0}, step=0, time_ns=30)
        builder.log({"loss": 3.0}, step=1, time_ns=40)
        builder.log({"acc": 0.75}, step=0, time_ns=50)
        for number in range(len(builder.frames)):
            store.append([builder.piece(number, number + 1)])
        rows = [(row.step, row.time_ns, dict(row.values)) for row in store.rows(builder.run)]
        assert rows == [
            (0, 10, {"loss": 1.0, "acc": 0.5, "note": "x"}),
            (0, 30, {"loss": 2.0}),
            (0, 50, {"acc": 0.75}),
            (1, 40, {"loss": 3.0}),
        ]

    def test_rows_of_several_writers_stand_by_step_then_by_begin(self, store: MetricStore) -> None:
        late = SpoolBuilder(a_run(), "a", started_ns=2 * SECOND_NS)
        early = SpoolBuilder(a_run(), "b", started_ns=SECOND_NS)
        for builder in (late, early):
            builder.log({"loss": 1.0}, step=0)
            builder.log({"loss": 1.0}, step=1)
        store.append([late.piece(), early.piece()])
        found = [(row.step, row.writer) for row in store.rows(a_run())]
        assert found == [(0, "b"), (0, "a"), (1, "b"), (1, "a")]

    def test_rows_of_some_keys_leave_out_the_others(self, store: MetricStore) -> None:
        builder = SpoolBuilder(a_run())
        builder.log({"loss": 1.0, "acc": 0.5}, step=0)
        builder.log({"acc": 0.75}, step=1)
        builder.log({"loss": 2.0}, step=2)
        store.append([builder.piece()])
        rows = list(store.rows(a_run(), keys=["loss", "unknown"]))
        assert [(row.step, dict(row.values)) for row in rows] == [
            (0, {"loss": 1}),
            (2, {"loss": 2}),
        ]

    def test_rows_of_a_range_begin_at_start_and_end_before_stop(self, store: MetricStore) -> None:
        builder = a_curve([1.0, 2.0, 3.0, 4.0])
        store.append([builder.piece()])
        assert [row.step for row in store.rows(a_run(), start=1, stop=3)] == [1, 2]
        assert [row.step for row in store.rows(a_run(), start=3)] == [3]
        assert list(store.rows(a_run(), start=3, stop=3)) == []

    def test_each_kind_of_a_key_has_a_history_of_its_own(self, store: MetricStore) -> None:
        builder = a_curve([1.5, True, "text", False, 0.5, "last"])
        store.append([builder.piece()])
        assert store.keys(a_run()) == [
            KeySummary(
                key="loss", kind="bool", count=2, last_step=3, last=False, minimum=0, maximum=1
            ),
            KeySummary(
                key="loss", kind="number", count=2, last_step=4, last=0.5, minimum=0.5, maximum=1.5
            ),
            KeySummary(
                key="loss",
                kind="string",
                count=2,
                last_step=5,
                last="last",
                minimum=None,
                maximum=None,
            ),
        ]
        values = [value for _, value in steps_and_values(store, a_run(), "loss")]
        assert [type(value) for value in values] == [float, bool, str, bool, float, str]

    def test_keys_are_counted_by_the_runs_that_have_them(self, store: MetricStore) -> None:
        both, one, other = (
            SpoolBuilder(RunRef("local", project, name))
            for project, name in (("digits", "both"), ("digits", "one"), ("cats", "other"))
        )
        both.log({"loss": 1.0}, step=0)
        both.log({"loss": "diverged", "acc": 0.5}, step=1)
        one.log({"loss": 2.0}, step=0)
        other.log({"loss": 3.0, "a b": True}, step=0)
        store.append([builder.piece() for builder in (both, one, other)])
        asked = [both.run, one.run, other.run, one.run, RunRef("local", "digits", "none")]
        assert store.key_counts(asked) == {
            ("loss", "number"): 3,
            ("loss", "string"): 1,
            ("acc", "number"): 1,
            ("a b", "bool"): 1,
        }
        store.delete(one.run)
        assert store.key_counts([one.run, both.run]) == {
            ("loss", "number"): 1,
            ("loss", "string"): 1,
            ("acc", "number"): 1,
        }

    def test_the_first_keys_by_name_are_told_alone(self, store: MetricStore) -> None:
        one, other = SpoolBuilder(a_run("one")), SpoolBuilder(a_run("other"))
        one.log({"b": 1.0, "d": True, "": 5.0}, step=3)
        one.log({"b": "text", "a": 2.0}, step=7)
        one.log({"c": 1.0}, step=12)
        other.log({"c": 3.0, "a": 4.0}, step=0)
        store.append([builder.piece() for builder in (one, other)])
        all_keys = store.keys(one.run)
        for limit in range(8):
            first = sorted({key.key for key in all_keys})[:limit]
            assert store.keys(one.run, limit=limit) == [k for k in all_keys if k.key in first]
        assert store.last_step(one.run) == 12
        assert store.last_step(a_run("none")) is None
        store.rewind(one.run, 7)
        assert store.last_step(one.run) == 7
        both = [one.run, other.run]
        assert store.key_counts(both, limit=2) == {("", "number"): 1, ("a", "number"): 2}
        assert store.key_counts(both, after="a", limit=2) == {
            ("b", "number"): 1,
            ("b", "string"): 1,
            ("c", "number"): 2,
        }
        assert store.key_counts(both, after="c") == {("d", "bool"): 1}
        assert store.key_counts(both, after="d", limit=1) == {}

    def test_keys_are_picked_before_they_are_counted(self, store: MetricStore) -> None:
        one, other = SpoolBuilder(a_run("one")), SpoolBuilder(a_run("other"))
        one.log({"a1": 1.0, "b1": 2.0, "a2": "text", "é": 0.0}, step=0)
        one.log({"a3": True, "b1": 3.0}, step=1)
        other.log({"a3": 1.0, "a1": 4.0, "b2": 5.0}, step=0)
        store.append([builder.piece() for builder in (one, other)])
        both = [one.run, other.run]
        assert store.key_counts(both, pick=searcher("A")) == {
            ("a1", "number"): 2,
            ("a2", "string"): 1,
            ("a3", "bool"): 1,
            ("a3", "number"): 1,
        }
        found = store.key_counts(both, pick=searcher("/^[AB][13]/"), after="a1", limit=1)
        assert found == {("a3", "bool"): 1, ("a3", "number"): 1}
        assert store.key_counts(both, pick=searcher("c")) == {}
        all_keys = store.keys(one.run)
        for search in ("A", "/1$/", "b", "É", "c"):
            names = searcher(search)([key.key for key in all_keys])
            picked = [key for key in all_keys if key.key in names]
            assert store.keys(one.run, pick=searcher(search)) == picked
            assert store.keys(one.run, pick=searcher(search), limit=1) == picked[:1]

    def test_a_search_for_keys_that_takes_long_is_given_up(self, store: MetricStore) -> None:
        store.append([a_curve([1.0], key="a" * 200 + "1").piece()])
        for ask in (store.key_counts, lambda runs, pick: store.keys(runs[0], pick=pick)):
            with pytest.raises(UsageError, match="longer than 1 s"):
                ask([a_run()], pick=picker("(a|aa)+$|x", is_search=True))
        assert len(store.keys(a_run())) == 1

    def test_a_summary_speaks_of_finite_numbers_and_of_the_greatest_step(
        self, store: MetricStore
    ) -> None:
        builder = SpoolBuilder(a_run())
        for step, value in ((5, math.inf), (9, math.nan), (2, 3.0), (1, -math.inf), (3, -1.0)):
            builder.log({"loss": value, "broken": math.nan}, step=step)
        store.append([builder.piece()])
        broken, loss = store.keys(a_run())
        assert (loss.count, loss.last_step, loss.minimum, loss.maximum) == (5, 9, -1.0, 3.0)
        assert isinstance(loss.last, float)
        assert math.isnan(loss.last)
        assert (broken.count, broken.minimum, broken.maximum) == (5, None, None)

    def test_of_several_points_at_the_greatest_step_the_last_one_logged_is_the_last(
        self, store: MetricStore
    ) -> None:
        builder = SpoolBuilder(a_run())
        for value in (1.0, 3.0, 2.0):
            builder.log({"loss": value}, step=7)
        store.append([builder.piece()])
        assert store.keys(a_run())[0].last == 2.0

    def test_a_short_series_comes_as_it_is(self, store: MetricStore) -> None:
        found = one_series(store, a_curve([1.0, math.nan, math.inf, -2.0]), buckets=4)
        assert (found.width, found.points) == (0, 4)
        assert found.step.tolist() == found.step_last.tolist() == [0, 1, 2, 3]
        assert found.count.tolist() == [1, 1, 1, 1]
        np.testing.assert_array_equal(found.last, [1.0, math.nan, math.inf, -2.0])
        for column in (found.min, found.max, found.mean):
            np.testing.assert_array_equal(column, [1.0, math.nan, math.nan, -2.0])
        assert (found.nan.tolist(), found.posinf.tolist()) == ([0, 1, 0, 0], [0, 0, 1, 0])

    def test_a_bucket_counts_what_is_not_finite_and_averages_the_rest(
        self, store: MetricStore
    ) -> None:
        values: list[Value] = [
            1.0,
            math.nan,
            math.inf,
            5.0,
            math.nan,
            -math.inf,
            math.inf,
            math.nan,
        ]
        found = one_series(store, a_curve(values), buckets=2)
        assert (found.width, found.points) == (4, 8)
        assert (found.step.tolist(), found.step_last.tolist()) == ([0, 4], [3, 7])
        assert found.count.tolist() == [4, 4]
        np.testing.assert_array_equal(found.min, [1.0, math.nan])
        np.testing.assert_array_equal(found.max, [5.0, math.nan])
        np.testing.assert_array_equal(found.mean, [3.0, math.nan])
        np.testing.assert_array_equal(found.last, [5.0, math.nan])
        columns = (found.nan.tolist(), found.posinf.tolist(), found.neginf.tolist())
        assert columns == ([1, 2], [1, 1], [0, 1])

    def test_a_mean_of_huge_numbers_does_not_overflow(self, store: MetricStore) -> None:
        found = one_series(store, a_curve([1.5e308] * 8), buckets=2)
        np.testing.assert_allclose(found.mean, [1.5e308, 1.5e308])

    def test_buckets_of_all_runs_share_their_edges(self, store: MetricStore) -> None:
        for name, first in (("run-1", 0), ("run-2", 37)):
            builder = SpoolBuilder(a_run(name))
            for step in range(first, first + 1000):
                builder.log({"loss": float(step)}, step=step)
            store.append([builder.piece()])
        one, two = store.series([a_run("run-1"), a_run("run-2")], ["loss"], buckets=100)
        assert (one.width, two.width) == (16, 16)
        assert (one.step[1:] % 16 == 0).all()
        assert two.step[:3].tolist() == [37, 48, 64]
        assert len(one.step) <= 100

    def test_sparse_steps_such_as_milliseconds_fill_the_buckets(self, store: MetricStore) -> None:
        builder = SpoolBuilder(a_run())
        for n in range(300):
            builder.log({"loss": float(n)}, step=1_700_000_000_000 + n * 60_000)
        builder.log({"loss": 0.0}, step=-5)
        found = one_series(store, builder, buckets=100)
        assert 50 < len(found.step) <= 100
        assert found.count.sum() == found.points == 301

    def test_negative_steps_fall_into_buckets_below_zero(self, store: MetricStore) -> None:
        builder = SpoolBuilder(a_run())
        for step in range(-6, 6):
            builder.log({"loss": float(step)}, step=step)
        found = one_series(store, builder, buckets=4)
        assert (found.width, found.step.tolist()) == (4, [-6, -4, 0, 4])
        assert found.step_last.tolist() == [-5, -1, 3, 5]
        (coarse,) = store.series([a_run()], ["loss"], buckets=2)
        assert (coarse.width, coarse.step.tolist()) == (8, [-6, 0])

    def test_fewer_than_two_buckets_are_refused(self, store: MetricStore) -> None:
        with pytest.raises(UsageError, match="at least 2, got 1"):
            store.series([a_run()], ["loss"], buckets=1)

    def test_points_of_one_step_share_a_bucket(self, store: MetricStore) -> None:
        builder = SpoolBuilder(a_run())
        for value in range(10):
            builder.log({"loss": float(value)}, step=3)
        found = one_series(store, builder, buckets=4)
        assert (found.width, found.count.tolist(), found.last.tolist()) == (1, [10], [9.0])

    def test_a_series_of_a_range_holds_only_its_steps(self, store: MetricStore) -> None:
        store.append([a_curve([float(n) for n in range(100)]).piece()])
        (found,) = store.series([a_run()], ["loss"], buckets=50, start=10, stop=20)
        assert (found.width, found.points) == (0, 10)
        assert found.step.tolist() == list(range(10, 20))
        assert store.series([a_run()], ["loss"], buckets=50, start=100) == []

    def test_bools_are_drawn_as_0_and_1_and_strings_not_at_all(self, store: MetricStore) -> None:
        builder = SpoolBuilder(a_run())
        builder.log({"ok": True, "note": "x"}, step=0)
        builder.log({"ok": False, "note": "y"}, step=1)
        store.append([builder.piece()])
        (found,) = store.series([a_run(), a_run("unknown")], ["note", "ok", "none"], buckets=10)
        assert (found.key, found.last.tolist()) == ("ok", [1.0, 0.0])

    def test_series_come_by_run_then_by_key_as_asked(self, store: MetricStore) -> None:
        for name in ("run-1", "run-2"):
            builder = SpoolBuilder(a_run(name))
            builder.log({"a": 1.0, "b": 2.0}, step=0)
            store.append([builder.piece()])
        found = store.series([a_run("run-2"), a_run("run-1")], ["b", "a"], buckets=10)
        assert [(one.run.run_id, one.key) for one in found] == [
            ("run-2", "b"),
            ("run-2", "a"),
            ("run-1", "b"),
            ("run-1", "a"),
        ]

    def test_an_unknown_run_is_empty(self, store: MetricStore) -> None:
        assert store.keys(a_run()) == []
        assert list(store.rows(a_run())) == []
        assert store.series([a_run()], ["loss"], buckets=10) == []

    def test_what_is_read_does_not_change_under_the_reader(self, store: MetricStore) -> None:
        builder = a_curve([1.0, 2.0, 3.0])
        store.append([builder.piece(0, 5)])
        rows = store.rows(a_run())
        first = next(rows)
        store.append([builder.piece(5)])
        store.delete(a_run())
        assert [first.step, *(row.step for row in rows)] == [0, 1]
