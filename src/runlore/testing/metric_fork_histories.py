"""Random histories of runs that fork each other: a store answers as the naive one does."""

from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runlore.core.axis import STEP, Axis
from runlore.core.run import Fork, RunRef
from runlore.errors import ConflictError
from runlore.store.metrics import MetricStore
from runlore.testing.metric_contract import StoreContract
from runlore.testing.metric_restarts import (
    assert_same_answers,
    assert_same_series,
    comparable_rows,
)
from runlore.testing.metric_scans import scanned
from runlore.testing.metrics import ReferenceMetricStore
from runlore.testing.spools import KEYS, a_run, any_steps, deliveries, near_steps

_AXES = (STEP, Axis(kind="time"), Axis(kind="key", key="acc"))


class ForksAgainstReference(StoreContract):
    """Forks of forks, restarts, rewinds, sparse keys, deletions, in any order of arrival."""

    fork_examples = 60
    fork_calls: tuple[Callable[[MetricStore], None], ...] = ()
    """What a backend may do at any time without changing an answer, such as packing."""

    def test_forks_answer_as_those_of_the_reference(
        self, open_store: Callable[[], MetricStore]
    ) -> None:
        store = open_store()
        names = iter(range(10**9))

        @settings(
            max_examples=self.fork_examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
        )
        @given(st.data())
        def compare(data: st.DataObject) -> None:
            number = next(names)
            count = data.draw(st.integers(2, 4))
            runs = [a_run(f"run-{number}-{place}") for place in range(count)]
            reference = ReferenceMetricStore()
            self._deliver(data, runs, store, reference)
            for run in runs:
                assert_same_answers(store, reference, run)
                assert scanned(store, run) == scanned(reference, run)
                assert sorted(store.forks(run)) == sorted(reference.forks(run))
            self._compare_parts(data, runs, store, reference)
            self._delete_one(data, runs, store, reference)

        try:
            compare()
        finally:
            store.close()

    def _deliver(self, data: st.DataObject, runs: list[RunRef], *stores: MetricStore) -> None:
        """Give stores pieces of all runs, forks and rewinds in an order that is drawn."""
        calls = [data.draw(deliveries(run)).calls for run in runs]
        forks = [
            (runs[place], runs[data.draw(st.integers(0, place - 1))])
            for place in range(1, len(runs))
        ]
        while any(calls) or forks:
            move = data.draw(st.integers(0, 7))
            if forks and (move < 2 or not any(calls)):
                run, parent = forks.pop(data.draw(st.integers(0, len(forks) - 1)))
                fork = Fork(run=parent.run_id, step=data.draw(near_steps | any_steps))
                for store in stores:
                    store.fork(run, fork)
            elif move == 2:
                run, step = data.draw(st.sampled_from(runs)), data.draw(near_steps)
                for store in stores:
                    store.rewind(run, step)
            elif move == 3 and self.fork_calls:
                data.draw(st.sampled_from(self.fork_calls))(stores[0])
            elif any(calls):
                queue = data.draw(st.sampled_from([queue for queue in calls if queue]))
                pieces = queue.pop(0)
                for store in stores:
                    store.append(pieces)

    def _compare_parts(
        self,
        data: st.DataObject,
        runs: list[RunRef],
        store: MetricStore,
        reference: MetricStore,
    ) -> None:
        for axis in _AXES:
            buckets = data.draw(st.integers(2, 12))
            start, stop = data.draw(st.none() | any_steps), data.draw(st.none() | any_steps)
            assert_same_series(
                store.series(runs, KEYS, buckets=buckets, start=start, stop=stop, axis=axis),
                reference.series(runs, KEYS, buckets=buckets, start=start, stop=stop, axis=axis),
            )
        assert store.key_counts(runs) == reference.key_counts(runs)
        run = data.draw(st.sampled_from(runs))
        keys = data.draw(st.lists(st.sampled_from(KEYS), max_size=4, unique=True))
        start, stop = data.draw(st.none() | any_steps), data.draw(st.none() | any_steps)
        assert comparable_rows(
            store.rows(run, keys=keys, start=start, stop=stop)
        ) == comparable_rows(reference.rows(run, keys=keys, start=start, stop=stop))
        assert scanned(store, run, keys) == scanned(reference, run, keys)

    def _delete_one(
        self,
        data: st.DataObject,
        runs: list[RunRef],
        store: MetricStore,
        reference: MetricStore,
    ) -> None:
        gone = data.draw(st.sampled_from(runs))
        refused = []
        for one in (store, reference):
            try:
                one.delete(gone)
                refused.append(False)
            except ConflictError:
                refused.append(True)
        assert refused[0] == refused[1]
        for run in runs:
            assert_same_answers(store, reference, run)
