"""What every metric store keeps, as tests: programs of several writers that restart."""

import itertools

import pytest

from runlore.store.metrics import MetricStore
from runlore.testing.metric_contract import StoreContract, steps_and_values
from runlore.testing.spools import SpoolBuilder, a_run
from runlore.wire import spool

_STEPS = 5


class ProgramContract(StoreContract):
    """A program begins and ends with its main writer; its writers spare each other."""

    @pytest.mark.parametrize("has_main", [True, False])
    def test_children_that_follow_one_another_supersede_nothing_of_each_other(
        self, store: MetricStore, has_main: bool
    ) -> None:
        main = _writer("main", began=0, ended=None)
        children = [
            _writer(f"child-{n}", "main", began=10 * n + 1, ended=10 * n + 9) for n in range(3)
        ]
        for writer in [main, *children] if has_main else children:
            store.append([writer.piece()])
        assert len(steps_and_values(store, a_run(), "loss")) == (3 + has_main) * _STEPS
        (loss,) = store.keys(a_run())
        (series,) = store.series([a_run()], ["loss"], buckets=100)
        assert loss.count == series.points == (3 + has_main) * _STEPS

    def test_a_later_program_supersedes_all_writers_of_the_earlier_from_its_least_step_on(
        self, store: MetricStore
    ) -> None:
        first = [
            _writer("main-1", began=0, ended=50),
            _writer("child-1", "main-1", began=10, ended=20),
        ]
        second = [
            _writer("main-2", "main-2", began=100, ended=None, first_step=4),
            _writer("child-2", "main-2", began=110, ended=120, first_step=2),
        ]
        store.append([writer.piece() for writer in (*first, *second)])
        assert [step for step, _ in steps_and_values(store, a_run(), "loss")] == sorted(
            [0, 0, 1, 1, *range(2, 2 + _STEPS), *range(4, 4 + _STEPS)]
        )

    def test_an_end_of_children_is_no_end_of_their_program(self, store: MetricStore) -> None:
        main = _writer("main-1", began=0, ended=None)
        child = _writer("child-1", "main-1", began=1, ended=9)
        later = _writer("main-2", began=100, ended=None)
        store.append([main.piece(), child.piece(), later.piece()])
        assert len(steps_and_values(store, a_run(), "loss")) == 3 * _STEPS
        done = len(main.frames)
        main.end(time_ns=50)
        store.append([main.piece(done)])
        assert len(steps_and_values(store, a_run(), "loss")) == _STEPS

    def test_a_program_ends_with_its_main_writer_even_if_a_child_ends_later(
        self, store: MetricStore
    ) -> None:
        first = [
            _writer("main-1", began=0, ended=50),
            _writer("child-1", "main-1", began=10, ended=200),
        ]
        second = [
            _writer("main-2", began=100, ended=None),
            _writer("child-2", "main-2", began=300, ended=400),
        ]
        store.append([writer.piece() for writer in (*second, *first)])
        assert len(steps_and_values(store, a_run(), "loss")) == 2 * _STEPS

    def test_a_program_without_an_end_is_superseded_by_a_resumed_one_behind_its_last_row(
        self, store: MetricStore
    ) -> None:
        first = [
            _writer("main-1", began=0, ended=None),
            _writer("child-1", "main-1", began=10, ended=20),
        ]
        second = _writer("main-2", began=100, ended=None, resumed=True)
        store.append([writer.piece() for writer in (*first, second)])
        assert len(steps_and_values(store, a_run(), "loss")) == _STEPS
        late = _writer("child-3", "main-1", began=90, ended=None)
        late.log({"other": 1.0}, step=0, time_ns=150)
        store.append([late.piece()])
        assert len(steps_and_values(store, a_run(), "loss")) == 4 * _STEPS

    def test_without_the_main_writer_a_program_has_ended_when_all_that_came_have(
        self, store: MetricStore
    ) -> None:
        for piece in (
            _writer("main-2", began=100, ended=None).piece(),
            _writer("child-1", "main-1", began=10, ended=20).piece(),
        ):
            store.append([piece])
        assert len(steps_and_values(store, a_run(), "loss")) == _STEPS
        store.append([_writer("child-2", "main-1", began=30, ended=None).piece()])
        assert len(steps_and_values(store, a_run(), "loss")) == 3 * _STEPS
        store.append([_writer("main-1", began=0, ended=50).piece()])
        assert len(steps_and_values(store, a_run(), "loss")) == _STEPS

    def test_the_order_in_which_writers_arrive_changes_nothing(self, store: MetricStore) -> None:
        found = set()
        for number, order in enumerate(itertools.permutations(range(4))):
            run = a_run(f"run-{number}")
            writers = [
                _writer("main-1", began=0, ended=50, run=run.run_id),
                _writer("child-1", "main-1", began=10, ended=200, run=run.run_id),
                _writer("main-2", began=100, ended=300, run=run.run_id, first_step=3),
                _writer("child-2", "main-2", began=110, ended=120, run=run.run_id, first_step=2),
            ]
            for place in order:
                store.append([writers[place].piece()])
            found.add(tuple(steps_and_values(store, run, "loss")))
        assert len(found) == 1


def _writer(
    name: str,
    program: str | None = None,
    *,
    began: int,
    ended: int | None,
    resumed: bool = False,
    first_step: int = 0,
    run: str = "run-1",
) -> SpoolBuilder:
    """Build a writer that logs some steps when it begins; a main one ends with `finish`."""
    builder = SpoolBuilder(
        a_run(run), name, started_ns=began, resumed=resumed, program=program or name
    )
    for step in range(first_step, first_step + _STEPS):
        builder.log({"loss": float(step)}, step=step, time_ns=began)
    if ended is not None:
        builder.end(spool.FINISH if program is None else spool.CLOSED, time_ns=ended)
    return builder
