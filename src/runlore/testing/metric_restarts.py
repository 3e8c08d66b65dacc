"""What every metric store keeps, as tests: restarts, rewinds, deletion, reopening.

A backend's test class inherits `MetricStoreContract`, one with files also
`MetricStoreDurability`, and `MetricStoreAgainstReference`.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runlore.core.axis import STEP, Axis
from runlore.core.run import RunRef
from runlore.errors import DeletedError
from runlore.store.metrics import (
    HistoryRow,
    KeySummary,
    MetricStore,
    Series,
    SpoolPiece,
    Stored,
)
from runlore.testing.metric_contract import (
    AppendContract,
    ReadContract,
    StoreContract,
    a_curve,
    steps_and_values,
)
from runlore.testing.metric_forks import ForkContract, ForkDurability
from runlore.testing.metric_programs import ProgramContract
from runlore.testing.metric_scans import ScanContract, scanned
from runlore.testing.metrics import ReferenceMetricStore
from runlore.testing.spools import (
    KEYS,
    Delivery,
    SpoolBuilder,
    a_run,
    any_steps,
    deliveries,
)
from runlore.wire import spool

COLUMNS = ("step", "step_last", "count", "min", "max", "last", "nan", "posinf", "neginf")


class SupersedingContract(StoreContract):
    """Restarts, rewinds, deletion, reopening."""

    @pytest.mark.parametrize("kind", [spool.FINISH, spool.CLOSED, spool.LOST])
    def test_a_later_writer_supersedes_from_its_first_step_of_a_key_on(
        self, store: MetricStore, kind: int
    ) -> None:
        first, second = _first_and_second(ends=kind)
        for piece in (second.piece(), first.piece()):
            store.append([piece])
        assert steps_and_values(store, a_run(), "loss") == [(0, 0.0), (1, 1.0), (2, 20.0)]
        assert [step for step, _ in steps_and_values(store, a_run(), "acc")] == [0, 1, 2, 3]
        loss = store.keys(a_run())[1]
        assert (loss.count, loss.last, loss.maximum) == (3, 20.0, 20.0)
        (found,) = store.series([a_run()], ["loss"], buckets=10)
        assert found.last.tolist() == [0.0, 1.0, 20.0]

    def test_superseding_covers_all_kinds_of_a_key(self, store: MetricStore) -> None:
        first = SpoolBuilder(a_run(), "w-1", started_ns=0)
        first.log({"loss": "text"}, step=5)
        first.end(time_ns=10)
        second = SpoolBuilder(a_run(), "w-2", started_ns=20)
        second.log({"loss": 1.0}, step=5)
        store.append([first.piece(), second.piece()])
        assert [(found.kind, found.count) for found in store.keys(a_run())] == [("number", 1)]

    def test_writers_that_overlap_in_time_never_supersede(self, store: MetricStore) -> None:
        first, second = _first_and_second(ends=spool.FINISH, second_begins_ns=100)
        store.append([first.piece(), second.piece()])
        assert len(steps_and_values(store, a_run(), "loss")) == 5

    def test_a_writer_without_an_end_is_superseded_only_by_a_resumed_one(
        self, store: MetricStore
    ) -> None:
        for name, resumed in (("run-1", False), ("run-2", True)):
            first, second = _first_and_second(run=a_run(name), ends=None, resumed=resumed)
            store.append([first.piece(), second.piece()])
        assert len(steps_and_values(store, a_run("run-1"), "loss")) == 5
        assert len(steps_and_values(store, a_run("run-2"), "loss")) == 3

    def test_a_writer_that_goes_on_after_a_resumed_one_began_is_not_superseded(
        self, store: MetricStore
    ) -> None:
        first, second = _first_and_second(ends=None, resumed=True)
        store.append([first.piece(), second.piece()])
        assert len(steps_and_values(store, a_run(), "loss")) == 3
        done = len(first.frames)
        first.log({"other": 1.0}, step=9, time_ns=10**9)
        store.append([first.piece(done)])
        assert len(steps_and_values(store, a_run(), "loss")) == 5

    @pytest.mark.parametrize(
        ("boot", "ended_boot_ns", "began_boot_ns", "kept"),
        [
            ("boot-1", 5, 6, 3),
            ("boot-1", 6, 6, 5),
            ("boot-1", 7, 6, 5),
            ("boot-1", 7, None, 3),
            ("boot-1", None, 6, 3),
            ("boot-2", 7, 6, 3),
        ],
    )
    def test_writers_of_one_boot_are_compared_by_its_clock(
        self,
        store: MetricStore,
        boot: str,
        ended_boot_ns: int | None,
        began_boot_ns: int | None,
        kept: int,
    ) -> None:
        first, second = _first_and_second(
            ends=spool.FINISH, boot=boot, ended_boot_ns=ended_boot_ns, began_boot_ns=began_boot_ns
        )
        store.append([first.piece(), second.piece()])
        assert len(steps_and_values(store, a_run(), "loss")) == kept

    def test_the_clock_of_the_boot_beats_a_wall_clock_that_was_set_back(
        self, store: MetricStore
    ) -> None:
        first, second = _first_and_second(
            ends=spool.FINISH, second_begins_ns=5, ended_boot_ns=5, began_boot_ns=6
        )
        store.append([first.piece(), second.piece()])
        assert len(steps_and_values(store, a_run(), "loss")) == 3

    def test_a_rewind_supersedes_what_is_stored_behind_the_step_and_nothing_later(
        self, store: MetricStore
    ) -> None:
        builder = a_curve([1.0, 2.0, 3.0, "text"])
        store.append([builder.piece()])
        store.rewind(a_run(), 1)
        assert steps_and_values(store, a_run(), "loss") == [(0, 1.0), (1, 2.0)]
        done = len(builder.frames)
        builder.log({"loss": 9.0}, step=2)
        store.append([builder.piece(done)])
        assert steps_and_values(store, a_run(), "loss") == [(0, 1.0), (1, 2.0), (2, 9.0)]
        assert [(found.count, found.last) for found in store.keys(a_run())] == [(3, 9.0)]
        assert store.stored(a_run(), "w-1").points == 5
        store.rewind(a_run(), -1)
        assert store.keys(a_run()) == []

    def test_rewinding_an_unknown_run_is_quiet(self, store: MetricStore) -> None:
        store.rewind(a_run(), 3)
        store.append([a_curve([1.0] * 6).piece()])
        assert len(steps_and_values(store, a_run(), "loss")) == 6

    def test_a_deleted_run_is_empty_and_takes_nothing_more(self, store: MetricStore) -> None:
        builder, other = a_curve([1.0, 2.0]), a_curve([5.0], run=a_run("run-2"))
        store.append([builder.piece(), other.piece()])
        assert store.delete(a_run()) > 0
        assert (store.keys(a_run()), list(store.rows(a_run()))) == ([], [])
        assert store.stored(a_run(), "w-1") == Stored(next=0, points=0)
        gone, kept = store.append([builder.piece(), other.piece()])
        assert isinstance(gone, DeletedError)
        assert kept == Stored(next=len(other.data), points=1)
        assert steps_and_values(store, a_run("run-2"), "loss") == [(0, 5.0)]
        with pytest.raises(DeletedError):
            store.rewind(a_run(), 0)

    def test_deleting_twice_or_what_never_was_is_quiet_and_leaves_a_tombstone(
        self, store: MetricStore
    ) -> None:
        assert store.delete(a_run()) == 0
        assert store.delete(a_run()) == 0
        (gone,) = store.append([a_curve([1.0]).piece()])
        assert isinstance(gone, DeletedError)

    def test_runs_of_one_name_in_two_projects_are_two(self, store: MetricStore) -> None:
        one = a_curve([1.0], run=a_run(project="digits"))
        two = a_curve([2.0], run=a_run(project="Digits"))
        store.append([one.piece(), two.piece()])
        store.delete(one.run)
        assert steps_and_values(store, two.run, "loss") == [(0, 2.0)]

    def test_closing_twice_is_quiet(self, open_store: Callable[[], MetricStore]) -> None:
        store = open_store()
        store.close()
        store.close()


def _first_and_second(
    *,
    run: RunRef | None = None,
    ends: int | None,
    resumed: bool = False,
    second_begins_ns: int = 200,
    boot: str = "boot-1",
    ended_boot_ns: int | None = None,
    began_boot_ns: int | None = None,
) -> tuple[SpoolBuilder, SpoolBuilder]:
    """Build a writer of steps 0 to 3 that ends at 100 ns, and one that logs loss at step 2."""
    first = SpoolBuilder(run or a_run(), "w-2", started_ns=0, boot_ns=0)
    for step in range(4):
        first.log({"loss": float(step), "acc": 0.5}, step=step, time_ns=step)
    if ends is not None:
        first.end(ends, time_ns=100, boot_ns=ended_boot_ns)
    second = SpoolBuilder(
        run or a_run(),
        "w-1",
        started_ns=second_begins_ns,
        boot=boot,
        boot_ns=began_boot_ns,
        resumed=resumed,
    )
    second.log({"loss": 20.0}, step=2)
    return first, second


class MetricStoreContract(
    AppendContract,
    ReadContract,
    SupersedingContract,
    ProgramContract,
    ForkContract,
    ScanContract,
):
    """All of what a metric store keeps."""


class MetricStoreDurability(ForkDurability):
    """What a store that has files keeps beside: everything, when it is opened again."""

    def test_everything_is_there_after_reopening(
        self, open_store: Callable[[], MetricStore]
    ) -> None:
        store = open_store()
        first, second = _first_and_second(ends=spool.FINISH)
        store.append([first.piece(), second.piece()])
        rewound = a_curve([1.0, 2.0, "text", True], run=a_run("run-2"))
        store.append([rewound.piece()])
        store.rewind(rewound.run, 2)
        store.delete(a_run("run-3"))
        before = (list(store.rows(a_run())), list(store.rows(rewound.run)), store.keys(a_run()))
        store.close()
        again = open_store()
        assert (
            list(again.rows(a_run())),
            list(again.rows(rewound.run)),
            again.keys(a_run()),
        ) == before
        assert again.stored(a_run(), first.writer).next == len(first.data)
        (gone,) = again.append([a_curve([1.0], run=a_run("run-3")).piece()])
        assert isinstance(gone, DeletedError)
        again.close()

    def test_a_stream_goes_on_where_it_stopped_after_reopening(
        self, open_store: Callable[[], MetricStore]
    ) -> None:
        builder = SpoolBuilder(a_run())
        builder.log({"loss": 1.0}, step=0, time_ns=10)
        store = open_store()
        store.append([builder.piece()])
        store.close()
        done = len(builder.frames)
        builder.log({"acc": 0.5, "loss2": 1.0}, step=0, time_ns=20)
        builder.log({"loss": 2.0}, step=0, time_ns=30)
        again = open_store()
        assert again.append([builder.piece(done)]) == [Stored(next=len(builder.data), points=4)]
        rows = [(row.time_ns, dict(row.values)) for row in again.rows(a_run())]
        assert rows == [(10, {"loss": 1.0, "acc": 0.5, "loss2": 1.0}), (30, {"loss": 2.0})]
        again.close()


def assert_same_answers(store: MetricStore, reference: MetricStore, run: RunRef) -> None:
    """Compare stored, rows and keys of a run."""
    assert comparable_rows(store.rows(run)) == comparable_rows(reference.rows(run))
    assert list(map(_comparable, store.keys(run))) == list(map(_comparable, reference.keys(run)))


def comparable_rows(rows: Iterator[HistoryRow]) -> list[tuple[object, ...]]:
    """Turn rows into what `==` compares as one expects, NaN and the kinds of values included."""
    return [
        (row.writer, row.step, row.time_ns, sorted((k, repr(v)) for k, v in row.values.items()))
        for row in rows
    ]


def _comparable(summary: KeySummary) -> tuple[object, ...]:
    low, high = summary.minimum, summary.maximum
    return (
        *(summary.key, summary.kind, summary.count, summary.last_step, repr(summary.last)),
        *(None if low is None else float(low), None if high is None else float(high)),
    )


def assert_same_series(found: Sequence[Series], expected: Sequence[Series]) -> None:
    """Compare series; means may differ by the order in which numbers were added."""
    assert [(s.run, s.key, s.width, s.points) for s in found] == [
        (s.run, s.key, s.width, s.points) for s in expected
    ]
    for one, other in zip(found, expected, strict=True):
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
        scale = np.fmax(np.abs(other.min), np.abs(other.max))
        # The least floats are so far apart that rounding once is more than a share of them.
        close = np.abs(one.mean - other.mean) <= 1e-9 * scale + 1e-320
        assert (close | (np.isnan(one.mean) & np.isnan(other.mean))).all()
        assert (one.x is None) == (other.x is None)
        if one.x is not None and other.x is not None:
            for name in ("min", "max", "last"):
                np.testing.assert_array_equal(getattr(one.x, name), getattr(other.x, name), name)


class MetricStoreAgainstReference(StoreContract):
    """Random streams, cut, repeated, reordered: a store answers as the naive one does."""

    examples = 60
    after_calls: tuple[Callable[[MetricStore], None], ...] = ()
    """What a backend may do at any time without changing an answer, such as packing."""

    @pytest.fixture
    def reopen(
        self, open_store: Callable[[], MetricStore]
    ) -> Callable[[MetricStore], MetricStore]:
        """Close a store and open it again; for one that forgets, return it as it is."""

        def closed_and_opened(store: MetricStore) -> MetricStore:
            store.close()
            return open_store()

        return closed_and_opened

    def test_a_store_answers_as_the_reference_does(
        self,
        open_store: Callable[[], MetricStore],
        reopen: Callable[[MetricStore], MetricStore],
    ) -> None:
        opened = [open_store()]
        runs = iter(range(10**9))

        @settings(
            max_examples=self.examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
        )
        @given(st.data())
        def compare(data: st.DataObject) -> None:
            run = a_run(f"run-{next(runs)}")
            delivery = data.draw(deliveries(run))
            reference = ReferenceMetricStore()
            for number, call in enumerate(delivery.calls):
                self._maybe_rewind(delivery, number, run, opened[0], reference)
                assert _answers(opened[0], call) == _answers(reference, call)
                for act in self.after_calls:
                    if data.draw(st.integers(0, 3)) == 0:
                        act(opened[0])
                if data.draw(st.integers(0, 9)) == 0:
                    opened[0] = reopen(opened[0])
                if data.draw(st.booleans()):
                    self._compare_series(data, run, opened[0], reference)
            self._maybe_rewind(delivery, len(delivery.calls), run, opened[0], reference)
            if data.draw(st.integers(0, 9)) == 0:
                points = sum(found.count for found in reference.keys(run))
                assert opened[0].delete(run) >= (points > 0)
                reference.delete(run)
            assert_same_answers(opened[0], reference, run)
            self._compare_series(data, run, opened[0], reference)

        try:
            compare()
        finally:
            opened[0].close()

    def _maybe_rewind(
        self, delivery: Delivery, number: int, run: RunRef, *stores: MetricStore
    ) -> None:
        if number in delivery.rewinds:
            for store in stores:
                store.rewind(run, delivery.rewinds[number])

    def _compare_series(
        self, data: st.DataObject, run: RunRef, store: MetricStore, reference: MetricStore
    ) -> None:
        buckets = data.draw(st.integers(2, 12))
        start, stop = data.draw(st.none() | any_steps), data.draw(st.none() | any_steps)
        keys = data.draw(st.lists(st.sampled_from(KEYS), max_size=4, unique=True))
        axis = data.draw(st.sampled_from([STEP, Axis(kind="time"), Axis(kind="key", key="acc")]))
        assert_same_series(
            store.series([run], KEYS, buckets=buckets, start=start, stop=stop, axis=axis),
            reference.series([run], KEYS, buckets=buckets, start=start, stop=stop, axis=axis),
        )
        assert comparable_rows(
            store.rows(run, keys=keys, start=start, stop=stop)
        ) == comparable_rows(reference.rows(run, keys=keys, start=start, stop=stop))
        assert scanned(store, run, keys) == scanned(reference, run, keys)


def _answers(store: MetricStore, call: Sequence[SpoolPiece]) -> list[object]:
    return [
        answer if isinstance(answer, Stored) else type(answer) for answer in store.append(call)
    ]
