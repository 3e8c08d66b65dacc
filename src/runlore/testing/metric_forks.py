"""What every metric store keeps, as tests: forks with inherited history."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from runlore.core.axis import Axis
from runlore.core.metric import Value
from runlore.core.run import Fork, RunRef
from runlore.errors import ConflictError, DeletedError
from runlore.store.metrics import KeySummary, MetricStore
from runlore.testing.metric_contract import StoreContract, a_curve, steps_and_values
from runlore.testing.metric_scans import scanned
from runlore.testing.spools import SECOND_NS, SpoolBuilder, a_run

PARENT, CHILD, GRANDCHILD = a_run("parent"), a_run("child"), a_run("grandchild")


def a_writer(
    run: RunRef,
    rows: Sequence[tuple[int, float]],
    *,
    began: int = 0,
    ended: int | None = None,
    writer: str = "w-1",
    key: str = "loss",
) -> SpoolBuilder:
    """Build a writer of one key; `began` and `ended` are seconds."""
    builder = SpoolBuilder(run, writer, started_ns=began * SECOND_NS)
    for step, value in rows:
        builder.log({key: value}, step=step)
    if ended is not None:
        builder.end(time_ns=ended * SECOND_NS)
    return builder


def parent_and_child(store: MetricStore, *, step: int = 3) -> None:
    """Store a parent of steps 0 to 9 and a child of 4 to 6 that was forked off at a step."""
    store.append([a_writer(PARENT, [(n, float(n)) for n in range(10)], ended=50).piece()])
    store.fork(CHILD, Fork(run="parent", step=step))
    rows = [(n, -float(n)) for n in range(step + 1, step + 4)]
    store.append([a_writer(CHILD, rows, began=100).piece()])


def steps(store: MetricStore, run: RunRef, key: str = "loss") -> list[int]:
    """Return the steps of a key."""
    return [step for step, _ in steps_and_values(store, run, key)]


class ForkContract(StoreContract):
    """Forks: inherited history, and nothing of it copied."""

    def test_a_fork_shows_its_parent_up_to_the_step_and_then_itself(
        self, store: MetricStore
    ) -> None:
        parent_and_child(store)
        expected: list[tuple[int, Value]] = [(n, float(n)) for n in range(4)]
        expected += [(n, -float(n)) for n in range(4, 7)]
        assert steps_and_values(store, CHILD, "loss") == expected
        assert steps(store, PARENT) == list(range(10))
        assert store.keys(CHILD) == [
            KeySummary(
                key="loss",
                kind="number",
                count=7,
                last_step=6,
                last=-6.0,
                minimum=-6.0,
                maximum=3.0,
            )
        ]
        (found,) = store.series([CHILD], ["loss"], buckets=10)
        assert found.last.tolist() == [value for _, value in expected]
        assert found.run == CHILD
        _, rows = scanned(store, CHILD)
        assert [(row.step, row.superseded) for row in rows] == [(n, False) for n in range(7)]
        assert store.stored(CHILD, "w-1").points == 3

    def test_a_fork_that_logged_nothing_shows_what_it_inherits(self, store: MetricStore) -> None:
        store.append([a_curve([1.0, 2.0, 3.0], run=PARENT).piece()])
        store.fork(CHILD, Fork(run="parent", step=1))
        assert steps_and_values(store, CHILD, "loss") == [(0, 1.0), (1, 2.0)]
        (found,) = store.keys(CHILD)
        assert (found.count, found.last_step, found.last) == (2, 1, 2.0)

    def test_parent_and_fork_may_come_in_any_order(self, store: MetricStore) -> None:
        store.fork(GRANDCHILD, Fork(run="child", step=5))
        store.append([a_writer(GRANDCHILD, [(6, 60.0)], began=200).piece()])
        store.fork(CHILD, Fork(run="parent", step=3))
        assert steps(store, GRANDCHILD) == [6]
        assert steps(store, CHILD) == []
        store.append([a_writer(CHILD, [(4, 40.0), (8, 80.0)], began=100).piece()])
        assert steps(store, GRANDCHILD) == [4, 6]
        store.append([a_writer(PARENT, [(n, float(n)) for n in range(10)]).piece()])
        assert steps(store, GRANDCHILD) == [0, 1, 2, 3, 4, 6]
        assert steps(store, CHILD) == [0, 1, 2, 3, 4, 8]

    def test_a_fork_of_a_fork_inherits_no_more_than_the_run_between(
        self, store: MetricStore
    ) -> None:
        parent_and_child(store, step=3)
        store.fork(GRANDCHILD, Fork(run="child", step=100))
        assert steps(store, GRANDCHILD) == steps(store, CHILD)
        other = a_run("other")
        store.fork(other, Fork(run="child", step=1))
        assert steps(store, other) == [0, 1]

    def test_what_a_fork_logs_at_or_before_its_step_supersedes_what_it_inherits(
        self, store: MetricStore
    ) -> None:
        parent = SpoolBuilder(PARENT, started_ns=0)
        for step in range(6):
            parent.log({"loss": float(step), "acc": 0.5}, step=step)
        store.append([parent.piece()])
        store.fork(CHILD, Fork(run="parent", step=4))
        store.append([a_writer(CHILD, [(2, 20.0), (5, 50.0)], began=100).piece()])
        assert steps_and_values(store, CHILD, "loss") == [(0, 0.0), (1, 1.0), (2, 20.0), (5, 50.0)]
        assert steps(store, CHILD, "acc") == [0, 1, 2, 3, 4]
        _, rows = scanned(store, CHILD, ["loss"])
        shown = [(row.step, row.superseded) for row in rows]
        gone = [(2, True), (3, True), (4, True)]
        assert shown == [(0, False), (1, False), gone[0], (2, False), *gone[1:], (5, False)]
        loss = store.keys(CHILD)[1]
        assert (loss.count, loss.last, loss.maximum) == (4, 50.0, 50.0)

    def test_a_restart_of_the_parent_after_the_fork_changes_no_fork(
        self, store: MetricStore
    ) -> None:
        parent_and_child(store)
        before = steps_and_values(store, CHILD, "loss")
        again = a_writer(PARENT, [(n, 100.0) for n in range(2, 5)], began=150, writer="w-2")
        store.append([again.piece()])
        assert dict(steps_and_values(store, PARENT, "loss"))[3] == 100.0
        assert steps_and_values(store, CHILD, "loss") == before
        _, rows = scanned(store, CHILD)
        assert [row.step for row in rows] == [step for step, _ in before]

    def test_a_restart_of_the_parent_before_the_fork_counts(self, store: MetricStore) -> None:
        again = a_writer(PARENT, [(2, 100.0)], began=60, writer="w-2")
        store.append([again.piece()])
        parent_and_child(store)
        expected: list[tuple[int, Value]] = [(0, 0.0), (1, 1.0), (2, 100.0)]
        assert steps_and_values(store, CHILD, "loss")[:3] == expected
        assert steps(store, CHILD) == [0, 1, 2, 4, 5, 6]
        _, rows = scanned(store, CHILD)
        assert [row.step for row in rows if row.superseded] == [2, 3]

    def test_a_parent_whose_clock_is_ahead_is_inherited_all_the_same(
        self, store: MetricStore
    ) -> None:
        store.append([a_writer(PARENT, [(0, 1.0), (1, 2.0)], began=500).piece()])
        store.fork(CHILD, Fork(run="parent", step=1))
        store.append([a_writer(CHILD, [(2, 3.0)], began=100).piece()])
        assert steps(store, CHILD) == [0, 1, 2]

    def test_a_rewind_of_the_parent_counts_only_for_later_forks(self, store: MetricStore) -> None:
        parent_and_child(store)
        store.rewind(PARENT, 1)
        assert steps(store, PARENT) == [0, 1]
        assert steps(store, CHILD) == [0, 1, 2, 3, 4, 5, 6]
        store.fork(GRANDCHILD, Fork(run="parent", step=3))
        assert steps(store, GRANDCHILD) == [0, 1]

    def test_a_rewind_of_a_fork_leaves_nothing_inherited_behind_it(
        self, store: MetricStore
    ) -> None:
        parent_and_child(store)
        store.rewind(CHILD, 1)
        assert steps(store, CHILD) == [0, 1]
        more = a_writer(CHILD, [(2, 20.0)], began=110, writer="w-2")
        store.append([more.piece()])
        assert steps_and_values(store, CHILD, "loss") == [(0, 0.0), (1, 1.0), (2, 20.0)]
        assert steps(store, PARENT) == list(range(10))

    def test_inherited_rows_stand_before_those_of_the_fork(self, store: MetricStore) -> None:
        store.append([a_writer(PARENT, [(0, 1.0), (1, 2.0)], began=500, writer="w-9").piece()])
        store.fork(CHILD, Fork(run="parent", step=1))
        own = a_writer(CHILD, [(1, 3.0)], began=100, writer="w-1", key="acc")
        store.append([own.piece()])
        found = [(row.step, row.writer, dict(row.values)) for row in store.rows(CHILD)]
        assert found == [
            (0, "w-9", {"loss": 1.0}),
            (1, "w-9", {"loss": 2.0}),
            (1, "w-1", {"acc": 3.0}),
        ]

    def test_a_key_of_another_axis_is_inherited_too(self, store: MetricStore) -> None:
        parent = SpoolBuilder(PARENT, started_ns=0)
        for step in range(8):
            parent.log({"loss": float(step), "epoch": step / 2}, step=step)
        store.append([parent.piece()])
        store.fork(CHILD, Fork(run="parent", step=3))
        store.append([a_writer(CHILD, [(4, 4.0)], began=100).piece()])
        (found,) = store.series([CHILD], ["loss"], buckets=9, axis=Axis(kind="key", key="epoch"))
        assert found.x is not None
        assert found.x.last.tolist() == [0.0, 0.5, 1.0, 1.5, 1.5]

    def test_keys_that_are_inherited_are_counted(self, store: MetricStore) -> None:
        parent = SpoolBuilder(PARENT, started_ns=0)
        parent.log({"loss": 1.0}, step=0)
        parent.log({"late": 1.0, "loss": "text"}, step=5)
        store.append([parent.piece()])
        store.fork(CHILD, Fork(run="parent", step=3))
        store.append([a_writer(CHILD, [(4, 4.0)], began=100, key="own").piece()])
        assert store.key_counts([CHILD]) == {("loss", "number"): 1, ("own", "number"): 1}
        assert store.key_counts([PARENT, CHILD])["loss", "number"] == 2

    def test_becoming_a_fork_twice_is_quiet_and_another_parent_is_refused(
        self, store: MetricStore
    ) -> None:
        parent_and_child(store)
        store.fork(CHILD, Fork(run="parent", step=3))
        for fork in (Fork(run="parent", step=4), Fork(run="other", step=3)):
            with pytest.raises(ConflictError, match="parent"):
                store.fork(CHILD, fork)
        assert steps(store, CHILD) == [0, 1, 2, 3, 4, 5, 6]

    def test_no_run_inherits_from_itself(self, store: MetricStore) -> None:
        with pytest.raises(ConflictError, match="itself"):
            store.fork(PARENT, Fork(run="parent", step=3))
        store.fork(CHILD, Fork(run="parent", step=3))
        store.fork(GRANDCHILD, Fork(run="child", step=3))
        with pytest.raises(ConflictError, match="itself"):
            store.fork(PARENT, Fork(run="grandchild", step=3))
        assert store.forks(PARENT) == [CHILD, GRANDCHILD]

    def test_a_run_with_forks_is_not_deleted_before_them(self, store: MetricStore) -> None:
        parent_and_child(store)
        store.fork(GRANDCHILD, Fork(run="child", step=2))
        with pytest.raises(ConflictError, match="'grandchild', 'child'"):
            store.delete(PARENT)
        assert steps(store, CHILD) == [0, 1, 2, 3, 4, 5, 6]
        store.delete(GRANDCHILD)
        store.delete(CHILD)
        assert store.forks(PARENT) == []
        assert steps(store, PARENT) == list(range(10))
        assert store.delete(PARENT) > 0
        with pytest.raises(DeletedError):
            store.fork(CHILD, Fork(run="parent", step=3))

    def test_a_fork_of_a_run_that_was_deleted_before_inherits_nothing(
        self, store: MetricStore
    ) -> None:
        store.append([a_curve([1.0, 2.0], run=PARENT).piece()])
        store.delete(PARENT)
        store.fork(CHILD, Fork(run="parent", step=1))
        store.append([a_curve([5.0], run=CHILD).piece()])
        assert steps_and_values(store, CHILD, "loss") == [(0, 5.0)]

    def test_runs_of_one_name_in_another_project_are_not_inherited(
        self, store: MetricStore
    ) -> None:
        store.append([a_curve([1.0, 2.0], run=a_run("parent", project="other")).piece()])
        store.fork(CHILD, Fork(run="parent", step=1))
        assert store.keys(CHILD) == []
        assert store.forks(a_run("parent", project="other")) == []

    def test_a_snapshot_of_a_fork_does_not_move_with_its_parent(self, store: MetricStore) -> None:
        parent = a_writer(PARENT, [(0, 0.0), (1, 1.0)])
        store.append([parent.piece()])
        store.fork(CHILD, Fork(run="parent", step=9))
        rows = store.rows(CHILD)
        done = len(parent.frames)
        parent.log({"loss": 2.0}, step=2)
        store.append([parent.piece(done)])
        assert [row.step for row in rows] == [0, 1]
        assert steps(store, CHILD) == [0, 1, 2]

    def test_long_histories_are_inherited_exactly(self, store: MetricStore) -> None:
        noise = np.random.default_rng(0).normal(size=(400, 2))
        parent = SpoolBuilder(PARENT, started_ns=0)
        for step, (loss, acc) in enumerate(noise.tolist()):
            parent.log({"loss": loss, "acc": acc, "ok": loss > 0}, step=step)
        parent.end()
        store.append([parent.piece()])
        for at in (0, 1, 31, 32, 33, 250, 399, 1000):
            child = a_run(f"child-{at}")
            store.fork(child, Fork(run="parent", step=at))
            kept = noise[: at + 1, 0]
            acc, loss, ok = store.keys(child)
            assert (loss.count, loss.last, loss.last_step) == (len(kept), kept[-1], len(kept) - 1)
            assert (loss.minimum, loss.maximum) == (kept.min(), kept.max())
            assert (ok.kind, ok.last) == ("bool", bool(kept[-1] > 0))
            assert acc.count == len(kept)
            (series,) = store.series([child], ["loss"], buckets=7)
            assert series.points == len(kept)
            assert series.max.max() == kept.max()


class ForkDurability(StoreContract):
    """What a store that has files keeps of forks."""

    def test_forks_are_there_after_reopening(self, open_store: Callable[[], MetricStore]) -> None:
        store = open_store()
        parent_and_child(store)
        store.rewind(PARENT, 1)
        store.fork(GRANDCHILD, Fork(run="unknown", step=3))
        before = steps_and_values(store, CHILD, "loss")
        store.close()
        again = open_store()
        assert steps_and_values(again, CHILD, "loss") == before
        assert again.forks(PARENT) == [CHILD]
        again.append([a_curve([1.0], run=a_run("unknown")).piece()])
        assert steps(again, GRANDCHILD) == [0]
        with pytest.raises(ConflictError, match="'child'"):
            again.delete(PARENT)
        again.delete(CHILD)
        again.close()
        again = open_store()
        assert again.forks(PARENT) == []
        assert again.delete(PARENT) > 0
        again.close()
