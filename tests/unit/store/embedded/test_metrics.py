"""The embedded store, where it does more than the contract asks."""

from pathlib import Path

from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.metrics import Stored
from runlore.testing.metric_contract import steps_and_values
from runlore.testing.metric_restarts import assert_same_answers
from runlore.testing.metrics import ReferenceMetricStore
from runlore.testing.spools import SpoolBuilder, a_run
from runlore.wire import spool


def a_mixed_run(rows: int) -> SpoolBuilder:
    """Build a run whose key sets alternate and whose steps repeat and go back."""
    builder = SpoolBuilder(a_run())
    for n in range(rows):
        step = n // 2 if n % 50 else n // 4
        if n % 10 == 9:
            builder.log({"loss": n / 8, "val/loss": n / 4}, step=step)
        elif n % 7 == 0:
            builder.log({"lr": 0.1, "note": f"row {n}"}, step=step)
        else:
            builder.log({"loss": n / 8}, step=step, form="loose" if n % 11 == 0 else None)
    builder.end(spool.CLOSED)
    return builder


def test_a_run_that_comes_frame_by_frame_is_read_as_one_that_came_whole(tmp_path: Path) -> None:
    store, reference = EmbeddedMetricStore(tmp_path), ReferenceMetricStore()
    builder = a_mixed_run(300)
    reference.append([builder.piece()])
    for number in range(len(builder.frames)):
        store.append([builder.piece(number, number + 1)])
        if number in (150, 151, 170):
            store.settle()
    assert_same_answers(store, reference, builder.run)
    store.close()
    again = EmbeddedMetricStore(tmp_path)
    assert_same_answers(again, reference, builder.run)
    again.close()


def test_thousands_of_small_pieces_become_few_that_a_reader_meets(tmp_path: Path) -> None:
    store = EmbeddedMetricStore(tmp_path)
    builder = SpoolBuilder(a_run())
    for step in range(2000):
        builder.log({"loss": float(step)}, step=step)
    batches = [builder.piece(n, n + 1) for n in range(len(builder.frames))]
    answers = store.append(batches)
    assert answers[-1] == Stored(next=len(builder.data), points=2000)
    with store._views([builder.run]) as (view,):
        (writer,) = view.writers
        assert 0 < len(writer.tail) < 100
    assert len(steps_and_values(store, builder.run, "loss")) == 2000
    store.close()


def test_packing_empties_the_log_and_small_blocks_grow_together(tmp_path: Path) -> None:
    store = EmbeddedMetricStore(tmp_path)
    builder = SpoolBuilder(a_run())
    for step in range(100):
        builder.log({"loss": float(step)}, step=step)
    for number in range(len(builder.frames)):
        store.append([builder.piece(number, number + 1)])
        store.settle()
    with store._views([builder.run]) as (view,):
        assert view.reader is not None
        assert [block.n for block in view.reader.blocks(view.id, view.published)] == [100]
        assert list(view.writers[0].tail) == []
    assert steps_and_values(store, builder.run, "loss") == [(n, float(n)) for n in range(100)]
    store.close()
