"""The embedded store opened with much that was not packed: nothing waits, all of it comes."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runlore.errors import DeletedError
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.metrics import Stored
from runlore.testing.metric_contract import a_curve, steps_and_values
from runlore.testing.processes import until
from runlore.testing.spools import SpoolBuilder, a_run

RUNS = 300


def an_unpacked_folder(folder: Path) -> list[SpoolBuilder]:
    """Leave a folder as a killed process does: nothing is packed, some runs have two writers."""
    builders = [
        a_curve([float(number), 0.5], run=a_run(f"run-{number}"), writer=writer)
        for number in range(RUNS)
        for writer in (("w-1", "w-2") if number % 10 == 0 else ("w-1",))
    ]
    store = EmbeddedMetricStore(folder)
    store.append([builder.piece(0, 3) for builder in builders])
    store.append([builder.piece(3) for builder in builders])
    store.close()
    return builders


def pieces_in_log(folder: Path) -> int:
    log = sqlite3.connect(folder / "log.db")
    (count,) = log.execute("SELECT count(*) FROM piece").fetchone()
    log.close()
    return int(count)


def test_what_a_start_finds_unpacked_is_packed_without_being_asked_for(tmp_path: Path) -> None:
    builders = an_unpacked_folder(tmp_path)
    before = pieces_in_log(tmp_path)
    store = EmbeddedMetricStore(tmp_path)
    assert before == 2 * len(builders)
    until(lambda: pieces_in_log(tmp_path) == 0, seconds=60, shown=lambda: pieces_in_log(tmp_path))
    for builder in builders:
        assert store.stored(builder.run, builder.writer).next == len(builder.data)
    assert steps_and_values(store, a_run("run-7"), "loss") == [(0, 7.0), (1, 0.5)]
    store.close()


def test_every_question_meets_a_run_that_was_not_packed_as_it_was(tmp_path: Path) -> None:
    builders = {(b.run.run_id, b.writer): b for b in an_unpacked_folder(tmp_path)}
    store = EmbeddedMetricStore(tmp_path)
    run = a_run("run-1")
    assert store.stored(run, "w-1") == Stored(next=len(builders["run-1", "w-1"].data), points=2)
    assert [key.count for key in store.keys(a_run("run-10"))] == [4]
    (series,) = store.series([a_run("run-2")], ["loss"], buckets=10)
    assert series.last.tolist() == [2.0, 0.5]
    assert [row.step for row in store.rows(a_run("run-20"))] == [0, 0, 1, 1]
    more = builders["run-3", "w-1"]
    done = len(more.frames)
    more.log({"loss": 9.0}, step=2)
    assert store.append([more.piece(done)]) == [Stored(next=len(more.data), points=3)]
    assert steps_and_values(store, more.run, "loss") == [(0, 3.0), (1, 0.5), (2, 9.0)]
    store.rewind(a_run("run-30"), 0)
    assert steps_and_values(store, a_run("run-30"), "loss") == [(0, 30.0), (0, 30.0)]
    assert store.delete(a_run("run-40")) > 0
    (deleted,) = store.append([builders["run-40", "w-2"].piece()])
    assert isinstance(deleted, DeletedError)
    store.settle()
    assert steps_and_values(store, a_run("run-30"), "loss") == [(0, 30.0), (0, 30.0)]
    assert store.keys(a_run("run-40")) == []
    store.close()
    assert pieces_in_log(tmp_path) == 0


def test_many_threads_may_ask_while_a_start_is_caught_up(tmp_path: Path) -> None:
    builders = an_unpacked_folder(tmp_path)
    store = EmbeddedMetricStore(tmp_path)
    wrong: list[object] = []

    def ask(first: int) -> None:
        for builder in builders[first::4]:
            found = store.stored(builder.run, builder.writer)
            rows = len(list(store.rows(builder.run)))
            if found.next != len(builder.data) or rows % 2 or not rows:
                wrong.append((builder.run, found, rows))

    run_all([lambda first=first: ask(first) for first in range(4)] + [store.settle])
    assert wrong == []
    store.close()


def test_a_store_closed_at_once_keeps_what_it_did_not_look_at(tmp_path: Path) -> None:
    an_unpacked_folder(tmp_path)
    for _ in range(3):
        store = EmbeddedMetricStore(tmp_path)
        assert steps_and_values(store, a_run("run-5"), "loss") == [(0, 5.0), (1, 0.5)]
        store.close()
    store = EmbeddedMetricStore(tmp_path)
    store.settle()
    assert steps_and_values(store, a_run("run-6"), "loss") == [(0, 6.0), (1, 0.5)]
    store.close()


def test_a_damaged_piece_keeps_no_store_from_opening_and_no_run_from_being_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    an_unpacked_folder(tmp_path)
    log = sqlite3.connect(tmp_path / "log.db")
    log.execute("UPDATE piece SET body = x'00' WHERE seq = 1")
    log.commit()
    log.close()
    store = EmbeddedMetricStore(tmp_path)
    assert steps_and_values(store, a_run("run-1"), "loss") == [(0, 1.0), (1, 0.5)]
    store.settle()
    assert store.stored(a_run("run-0"), "w-1") == Stored(next=0, points=0)
    assert len(caplog.records) == 1
    store.close()


def run_all(tasks: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
