"""Taking pieces: what is acknowledged is in both stores, once, whatever happens between them."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for

import pytest

from runlore.core.run import Fork, RunRef
from runlore.errors import (
    ConflictError,
    DamageError,
    DeletedError,
    NotFoundError,
    UnavailableError,
)
from runlore.services import ingest as ingest_module
from runlore.services.frames import check_piece
from runlore.services.ingest import Change, Ingest, Receipt
from runlore.store.metrics import SpoolPiece, Stored
from runlore.store.runs import RunRecord
from runlore.testing.metrics import ReferenceMetricStore
from runlore.testing.processes import until
from runlore.testing.runs import ReferenceRunStore
from runlore.testing.spools import SECOND_NS, SpoolBuilder, a_run
from runlore.wire import spool

RUN = a_run()


class Stores:
    """The stores of one server, over which an ingest can be opened again."""

    def __init__(self) -> None:
        self.metrics = ReferenceMetricStore()
        self.runs = ReferenceRunStore()
        self.told: list[Change] = []
        self.ingest = self.open()

    def open(self) -> Ingest:
        self.ingest = Ingest(self.metrics, self.runs, tell=self.told.extend)
        return self.ingest


@pytest.fixture
def stores() -> Iterator[Stores]:
    stores = Stores()
    yield stores
    stores.ingest.close()


def send(
    stores: Stores, builder: SpoolBuilder, first: int = 0, last: int | None = None
) -> Receipt:
    return submit(stores.ingest, builder, first, last).result(10)


def submit(
    ingest: Ingest, builder: SpoolBuilder, first: int = 0, last: int | None = None
) -> Future[Receipt]:
    piece = builder.piece(first, last)
    future = ingest.submit(check_piece(piece.run, piece.writer, piece.offset, piece.data))
    assert future is not None
    return future


def a_spool(steps: int = 3, *, writer: str = "w-1", run: RunRef = RUN) -> SpoolBuilder:
    builder = SpoolBuilder(run, writer)
    builder.add(spool.frame(spool.encode_json(spool.CONFIG, {"lr": 0.1})))
    for step in range(steps):
        builder.log({"loss": float(step)}, step=step)
    return builder


def test_a_piece_is_acknowledged_when_both_stores_have_it(stores: Stores) -> None:
    builder = a_spool()
    receipt = send(stores, builder)
    assert receipt == Receipt(next=len(builder.data), points=3)
    assert stores.metrics.stored(RUN, "w-1") == Stored(next=len(builder.data), points=3)
    assert stores.runs.get(RUN).config == {"lr": 0.1}
    assert set(stores.told) == {Change(RUN, "run"), Change(RUN, "points")}


def test_a_piece_that_comes_twice_is_kept_once(stores: Stores) -> None:
    builder = a_spool()
    first = send(stores, builder)
    assert send(stores, builder) == first
    assert send(stores, builder, 2) == first
    assert len(list(stores.metrics.rows(RUN))) == 3


def test_a_piece_behind_a_hole_is_answered_with_where_to_go_on(stores: Stores) -> None:
    builder = a_spool()
    receipt = send(stores, builder, 2)
    assert isinstance(receipt.error, ConflictError)
    assert receipt.next == 0
    with pytest.raises(NotFoundError):
        stores.runs.get(RUN)
    send(stores, builder, 0, 2)
    receipt = send(stores, builder, 4)
    assert receipt.next == builder.edges[2]
    assert isinstance(receipt.error, ConflictError)


def test_what_stands_before_damage_is_kept(stores: Stores) -> None:
    builder = a_spool()
    whole = len(builder.data)
    builder.add(b"\x05\x00\x00\x00garbage..")
    receipt = send(stores, builder)
    assert isinstance(receipt.error, DamageError)
    assert receipt.error.offset == receipt.next == whole
    assert receipt.points == 3


def test_a_row_that_cannot_be_decoded_is_damage_too(stores: Stores) -> None:
    builder = a_spool()
    whole = len(builder.data)
    builder.add(spool.frame(spool.row_struct(1).pack(spool.ROW, 77, 0, 0, 1.0)))
    receipt = send(stores, builder)
    assert isinstance(receipt.error, DamageError)
    assert receipt.error.offset == receipt.next == whole


def test_a_deleted_run_takes_no_more(stores: Stores) -> None:
    builder = a_spool()
    send(stores, builder)
    assert stores.ingest.delete(RUN) > 0
    builder.log({"loss": 1.0}, step=9)
    assert isinstance(send(stores, builder, len(builder.frames) - 1).error, DeletedError)
    assert isinstance(send(stores, builder).error, DeletedError)
    assert stores.told[-1] == Change(RUN, "deleted")
    with pytest.raises(DeletedError):
        stores.ingest.delete(RUN)


def test_many_writers_at_once_each_with_its_piece_twice(stores: Stores) -> None:
    builders = [a_spool(5, writer=f"w-{n}") for n in range(32)]
    futures: list[Future[Receipt]] = []
    lock = threading.Lock()

    def sender(builder: SpoolBuilder) -> None:
        for _ in range(2):
            for frame in range(len(builder.frames)):
                future = submit(stores.ingest, builder, frame, frame + 1)
                with lock:
                    futures.append(future)

    threads = [threading.Thread(target=sender, args=(builder,)) for builder in builders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(futures, 30)
    assert all(future.result().error is None for future in futures)
    for builder in builders:
        stored = stores.metrics.stored(RUN, builder.writer)
        assert stored == Stored(next=len(builder.data), points=5)
    stores.ingest.close()
    record = stores.runs.get(RUN)
    assert (record.points, len(record.writers), record.number) == (160, 32, 1)


class _Crash(Exception):
    """What ends the process in these tests."""


@pytest.mark.parametrize("where", ["before the catalog", "between", "after"])
def test_a_crash_around_the_commits_loses_and_doubles_nothing(
    stores: Stores, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = a_spool()
    builder.add(spool.frame(spool.encode_json(spool.GAP, {"points": 7})))
    change, append = stores.runs.change, stores.metrics.append

    def crash_change(
        changes: Mapping[RunRef, Callable[[RunRecord | None], RunRecord]],
    ) -> dict[RunRef, RunRecord]:
        if where == "before the catalog":
            raise _Crash
        return change(changes)

    def crash_append(pieces: Sequence[SpoolPiece]) -> list[Stored | Exception]:
        if where == "after":
            append(pieces)
        raise _Crash

    with monkeypatch.context() as patched:
        patched.setattr(stores.runs, "change", crash_change)
        patched.setattr(stores.metrics, "append", crash_append)
        with pytest.raises(_Crash):
            send(stores, builder)
    # The process is gone: nothing of it is closed.
    stores.open()
    assert send(stores, builder) == Receipt(next=len(builder.data), points=3)
    stores.ingest.close()
    record = stores.runs.get(RUN)
    assert (record.points, record.gaps, record.config) == (3, 7, {"lr": 0.1})
    assert len(list(stores.metrics.rows(RUN))) == 3


def test_counts_that_a_crash_left_behind_are_counted_again(stores: Stores) -> None:
    send(stores, a_spool(4))
    assert stores.runs.get(RUN).points == 0
    stores.open()
    assert stores.ingest.overlay(stores.runs.get(RUN)).points == 4
    until(lambda: stores.runs.get(RUN).points == 4)


def test_what_comes_before_the_counts_are_brought_up_is_counted_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Of the process that is gone nothing writes later.
    monkeypatch.setattr(ingest_module, "_FLUSH_SECONDS", 3600.0)
    stores = Stores()
    send(stores, a_spool(4))
    other = a_spool(5, writer="w-2")
    send(stores, other)
    stores.open()
    done = len(other.frames)
    other.log({"loss": 1.0}, step=99)
    assert send(stores, other, first=done).points == 6
    assert stores.ingest.overlay(stores.runs.get(RUN)).points == 10
    stores.ingest.close()
    assert stores.runs.get(RUN).points == 10
    assert stores.runs.unsettled() == []


def test_a_run_deleted_before_its_counts_are_brought_up_stays_deleted(stores: Stores) -> None:
    send(stores, a_spool(4))
    stores.open()
    stores.ingest.delete(RUN)
    stores.ingest.close()
    with pytest.raises(DeletedError):
        stores.runs.get(RUN)


def test_readers_see_counts_before_they_are_written(stores: Stores) -> None:
    send(stores, a_spool(4))
    assert stores.ingest.overlay(stores.runs.get(RUN)).points == 4


def test_a_full_disk_is_told_and_the_piece_may_come_again(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = a_spool()

    def full(pieces: Sequence[SpoolPiece]) -> list[Stored | Exception]:
        raise UnavailableError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(stores.metrics, "append", full)
        with pytest.raises(UnavailableError, match="no space"):
            send(stores, builder)
    assert send(stores, builder).points == 3


def test_a_piece_that_the_store_chokes_on_fails_alone(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = stores.metrics.append
    entered, go = threading.Event(), threading.Event()

    def choke(pieces: Sequence[SpoolPiece]) -> list[Stored | Exception]:
        entered.set()
        go.wait(10)
        if any(piece.writer == "bad" for piece in pieces):
            raise RuntimeError("choked")
        return append(pieces)

    monkeypatch.setattr(stores.metrics, "append", choke)
    first = submit(stores.ingest, a_spool(writer="first"))
    assert entered.wait(10)
    # These two wait while the first is being stored, so that they share a batch.
    good = submit(stores.ingest, a_spool(writer="good"))
    bad = submit(stores.ingest, a_spool(writer="bad"))
    go.set()
    assert first.result(10).points == good.result(10).points == 3
    with pytest.raises(RuntimeError, match="choked"):
        bad.result(10)


def test_too_much_at_once_is_not_queued(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    append = stores.metrics.append
    entered, go = threading.Event(), threading.Event()

    def slow(pieces: Sequence[SpoolPiece]) -> list[Stored | Exception]:
        entered.set()
        go.wait(10)
        return append(pieces)

    monkeypatch.setattr(stores.metrics, "append", slow)
    monkeypatch.setattr(ingest_module, "MAX_WAITING", 2)
    futures = [submit(stores.ingest, a_spool(writer="w-0"))]
    assert entered.wait(10)
    futures += [submit(stores.ingest, a_spool(writer=f"w-{n}")) for n in (1, 2)]
    piece = a_spool(writer="w-3").piece()
    assert stores.ingest.submit(check_piece(RUN, "w-3", 0, piece.data)) is None
    go.set()
    assert [future.result(10).points for future in futures] == [3, 3, 3]


def test_closing_commits_what_waits_and_takes_nothing_more(stores: Stores) -> None:
    futures = [submit(stores.ingest, a_spool(writer=f"w-{n}")) for n in range(8)]
    stores.ingest.close()
    assert all(future.result(0).points == 3 for future in futures)
    assert not stores.runs.get(RUN).unsettled
    with pytest.raises(UnavailableError):
        submit(stores.ingest, a_spool(writer="late"))


def test_a_catalog_that_lost_a_writer_asks_for_its_stream_from_the_start(stores: Stores) -> None:
    builder = a_spool()
    send(stores, builder)
    stores.ingest.close()
    stores.runs = ReferenceRunStore()
    stores.open()
    builder.log({"loss": 3.0}, step=3)
    assert send(stores, builder, len(builder.frames) - 1).next == 0
    assert send(stores, builder) == Receipt(next=len(builder.data), points=4)
    assert stores.runs.get(RUN).config == {"lr": 0.1}


def test_a_later_row_of_a_settled_run_is_told_to_the_catalog(stores: Stores) -> None:
    builder = a_spool()
    builder.add(spool.frame(spool.encode_json(spool.FINISH, {"time_ns": 5 * SECOND_NS})))
    send(stores, builder)
    stores.ingest.close()
    stores.open()
    child = SpoolBuilder(RUN, "child")
    child.log({"loss": 1.0}, step=1)
    send(stores, child)
    assert stores.runs.get(RUN).unsettled


def test_the_frame_that_ends_a_run_is_json_that_the_catalog_tells(stores: Stores) -> None:
    builder = a_spool()
    text = json.dumps({"exit_code": 2, "time_ns": 9 * SECOND_NS})
    builder.add(spool.frame(bytes([spool.FINISH]) + text.encode()))
    send(stores, builder)
    record = stores.runs.get(RUN)
    assert (record.end_state, record.exit_code, record.end_ns) == ("failed", 2, 9 * SECOND_NS)


def a_fork(run: RunRef, fork: object, *, writer: str = "w-1") -> SpoolBuilder:
    builder = SpoolBuilder(run, writer, fork=fork)
    builder.log({"loss": 50.0}, step=5)
    return builder


def test_a_fork_is_known_to_both_stores_before_its_piece_is_acknowledged(stores: Stores) -> None:
    child = a_run("child")
    send(stores, a_spool(3))
    send(stores, a_fork(child, {"run": RUN.run_id, "step": 1}))
    assert stores.runs.get(child).fork == Fork(run=RUN.run_id, step=1)
    assert [row.step for row in stores.metrics.rows(child)] == [0, 1, 5]


def test_what_a_parent_logs_later_is_told_of_its_forks_too(stores: Stores) -> None:
    child, deeper = a_run("child"), a_run("deeper")
    send(stores, a_fork(deeper, {"run": "child", "step": 3}))
    send(stores, a_fork(child, {"run": RUN.run_id, "step": 3}))
    before = stores.ingest.inherited(deeper), stores.ingest.inherited(child)
    stores.told.clear()
    send(stores, a_spool(3))
    assert {change.run for change in stores.told if change.what == "points"} == {
        RUN,
        child,
        deeper,
    }
    assert (stores.ingest.inherited(deeper), stores.ingest.inherited(child)) == (
        before[0] + 1,
        before[1] + 1,
    )
    assert stores.ingest.inherited(RUN) == 0


@pytest.mark.parametrize(
    "fork",
    [
        *(None, "run-0?_step=1", 7, [], {}, {"run": "run-0"}, {"step": 1}),
        *({"run": "a b", "step": 1}, {"run": 3, "step": 1}, {"run": "run-0", "step": True}),
        *({"run": "run-0", "step": 1.5}, {"run": "run-0", "step": 2**53}),
        {"run": "run-1", "step": 1},
    ],
)
def test_what_is_no_fork_is_left_out_and_its_points_are_kept(
    stores: Stores, fork: object, caplog: pytest.LogCaptureFixture
) -> None:
    receipt = send(stores, a_fork(RUN, fork))
    assert (receipt.error, receipt.points) == (None, 1)
    assert stores.runs.get(RUN).fork is None
    assert [row.step for row in stores.metrics.rows(RUN)] == [5]
    assert "its points are kept" in caplog.text


def test_a_run_stays_the_fork_that_it_was_first(
    stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    child = a_run("child")
    send(stores, a_spool(3))
    send(stores, a_fork(child, {"run": RUN.run_id, "step": 1}))
    send(stores, a_fork(child, {"run": "other", "step": 1}, writer="w-2"))
    assert "is a fork of" in caplog.text
    assert stores.runs.get(child).fork == Fork(run=RUN.run_id, step=1)
    assert [row.step for row in stores.metrics.rows(child)] == [0, 1, 5, 5]


def test_runs_that_would_inherit_from_each_other_keep_their_points(
    stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = a_run("one"), a_run("other")
    send(stores, a_fork(one, {"run": "other", "step": 9}))
    receipt = send(stores, a_fork(other, {"run": "one", "step": 9}))
    assert receipt.error is None
    assert "would inherit from itself" in caplog.text
    assert stores.runs.get(other).fork is None
    assert stores.runs.get(one).fork == Fork(run="other", step=9)
    assert [row.step for row in stores.metrics.rows(other)] == [5]


def test_a_run_with_forks_is_deleted_after_them_and_stays_whole_until_then(
    stores: Stores,
) -> None:
    child = a_run("child")
    send(stores, a_spool(3))
    send(stores, a_fork(child, {"run": RUN.run_id, "step": 1}))
    with pytest.raises(ConflictError, match="delete these first, in this order: 'child'"):
        stores.ingest.delete(RUN)
    assert len(list(stores.metrics.rows(RUN))) == 3
    assert RUN in {change.run for change in stores.told if change.what != "deleted"}
    stores.ingest.delete(child)
    assert stores.ingest.delete(RUN) > 0
