"""Takes pieces of spools: one thread commits what has come, and answers when it is durable."""

import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

from runlore.core.run import RunRef
from runlore.errors import (
    ConflictError,
    DeletedError,
    NotFoundError,
    RunloreError,
    UnavailableError,
)
from runlore.services.frames import CheckedPiece, fold, fork_of, settle
from runlore.services.noting import Noting
from runlore.store.metrics import MetricStore, SpoolPiece, Stored, check_no_forks
from runlore.store.runs import RunRecord, RunStore, WriterRecord
from runlore.wire import spool

_log = logging.getLogger(__name__)

What: TypeAlias = Literal["points", "run", "deleted"]
RunChange: TypeAlias = Callable[[RunRecord | None], RunRecord]

MAX_WAITING_BYTES = 256 * 1024 * 1024
MAX_WAITING = 4096
_BATCH_BYTES = 64 * 1024 * 1024
_SAY_SECONDS = 600.0
_FLUSH_SECONDS = 2.0
_START_SECONDS = 1.0
_RECOUNT_SECONDS = 0.1
_RECOUNTED_AT_ONCE = 25
_SETTLED_AFTER_NS = 60 * 1_000_000_000
_REMEMBERED = 100_000


class Change(NamedTuple):
    """Something of a run that has grown, changed or gone."""

    run: RunRef
    what: What


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The answer to a piece: what is stored of its writer, and why the rest is not."""

    next: int
    points: int
    error: RunloreError | None = None


class _Job(NamedTuple):
    piece: CheckedPiece
    future: Future[Receipt]


class _Touch(NamedTuple):
    """What has come from a writer since its run was last written to the catalog."""

    heard_ns: int
    last_ns: int
    points: int


class _Warnings:
    """Logs why nothing can be stored, each reason once in ten minutes: senders try on and on."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def say(self, error: UnavailableError) -> None:
        now = time.monotonic()
        self._said = {text: at for text, at in self._said.items() if now - at < _SAY_SECONDS}
        if str(error) not in self._said:
            self._said[str(error)] = now
            _log.warning("nothing is stored: %s", error)


class Ingest:
    """The only way into the stores for what programs log.

    The catalog takes in a piece before the metric store does, each in a commit of its own, so
    that no stored point is ever without its run, config or end, wherever a crash falls between
    the two. Both skip what they have, so the sender's next try completes the rest. A piece of
    rows alone, which is nearly every piece, costs only the second commit.
    """

    def __init__(
        self,
        metrics: MetricStore,
        runs: RunStore,
        *,
        tell: Callable[[Sequence[Change]], None],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin to take pieces.

        `tell` is told what has changed. `check` is asked before every acknowledgement, and
        raises UnavailableError where what is stored would not last.
        """
        self._metrics = metrics
        self._runs = runs
        self._tell = tell
        self._check = check
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # Protects the two counts of what waits.
        self._waiting_lock = threading.Lock()
        self._waiting = 0
        self._waiting_bytes = 0
        # Held while the stores change, so that deleting a run falls between two batches.
        self._stores_lock = threading.Lock()
        # What the stores have of each writer that the catalog knows, least recently used first.
        self._stored: OrderedDict[tuple[RunRef, str], Stored] = OrderedDict()
        # Protects the touches, which the committer writes and readers of runs overlay.
        self._touch_lock = threading.Lock()
        self._touched: dict[RunRef, dict[str, _Touch]] = {}
        self._unsettled: dict[RunRef, int] = {}
        # How often the history that a fork inherits has grown.
        self._inherited: dict[RunRef, int] = {}
        # Runs that a crash left unsettled: the catalog's counts may be behind the metric store's.
        # Counted a few at a time, so that a start takes as long for many as for none.
        self._uncounted = dict.fromkeys(runs.unsettled())
        self._noting = Noting(runs, metrics)
        self._noting.touch(self._with_forks(self._uncounted))
        self._warnings = _Warnings()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="runlore-commit", daemon=True)
        self._thread.start()

    def submit(self, piece: CheckedPiece) -> Future[Receipt] | None:
        """Queue a piece; None when too much is waiting already.

        Raises:
            UnavailableError: the server is ending.
        """
        size = len(piece.data)
        with self._waiting_lock:
            if self._closed:
                raise UnavailableError("the server is ending; send it again in a moment")
            is_full = self._waiting_bytes + size > MAX_WAITING_BYTES and self._waiting > 0
            if is_full or self._waiting >= MAX_WAITING:
                return None
            self._waiting += 1
            self._waiting_bytes += size
            future: Future[Receipt] = Future()
            self._jobs.put(_Job(piece, future))
        return future

    def overlay(self, record: RunRecord) -> RunRecord:
        """Return a run with what came since it was last written to the catalog."""
        if record.ref in self._uncounted:
            record = _recounted(self._counts(record), record)
        with self._touch_lock:
            touches = dict(self._touched.get(record.ref, ()))
        return _touch(record, touches) if touches else record

    def inherited(self, run: RunRef) -> int:
        """Count how often what a run inherits has grown."""
        return self._inherited.get(run, 0)

    def delete(self, run: RunRef) -> int:
        """Delete a run for good, and return the bytes freed.

        Raises:
            ConflictError: forks inherit its history.
            NotFoundError: there is no such run.
            DeletedError: there was.
        """
        with self._stores_lock:
            record = self._runs.get(run)
            check_no_forks(run, self._metrics.forks(run))
            self._runs.delete(run)
            freed = self._metrics.delete(run)
            for writer in record.writers:
                self._stored.pop((run, writer), None)
            with self._touch_lock:
                self._touched.pop(run, None)
                self._unsettled.pop(run, None)
            self._uncounted.pop(run, None)
            self._inherited.pop(run, None)
            self._noting.forget(run)
        self._tell([Change(run, "deleted")])
        return freed

    def close(self) -> None:
        """Commit what waits, then write the counts to the catalog."""
        with self._waiting_lock:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        flush_at = time.monotonic() + _FLUSH_SECONDS
        # The rest of the server's start comes first.
        recount_at = time.monotonic() + _START_SECONDS
        is_ending = False
        while not is_ending:
            next_at = min(flush_at, recount_at) if self._uncounted else flush_at
            jobs, is_ending = self._next_batch(next_at)
            if jobs:
                self._commit(jobs)
            if is_ending or time.monotonic() >= recount_at:
                recount_at = time.monotonic() + self._recount_some()
            if is_ending:
                self._noting.close()
            if is_ending or time.monotonic() >= flush_at:
                self._flush(is_ending=is_ending)
                flush_at = time.monotonic() + _FLUSH_SECONDS

    def _next_batch(self, next_at: float) -> tuple[list[_Job], bool]:
        """Take what is queued now, waiting for the first job alone."""
        jobs: list[_Job] = []
        size = 0
        has_work = bool(self._touched) or bool(self._unsettled) or bool(self._uncounted)
        try:
            job = self._jobs.get(
                timeout=max(0.0, next_at - time.monotonic()) if has_work else None
            )
            while job is not None:
                jobs.append(job)
                size += len(job.piece.data)
                if size >= _BATCH_BYTES:
                    return jobs, False
                job = self._jobs.get_nowait()
        except queue.Empty:
            return jobs, False
        return jobs, True

    def _commit(self, jobs: Sequence[_Job]) -> None:
        with self._waiting_lock:
            self._waiting -= len(jobs)
            self._waiting_bytes -= sum(len(job.piece.data) for job in jobs)
        try:
            with self._stores_lock:
                receipts, changes = self._store([job.piece for job in jobs])
                self._check()
        except UnavailableError as error:
            self._warnings.say(error)
            for job in jobs:
                job.future.set_exception(error)
            return
        except Exception as error:  # noqa: BLE001 - the rim of the committer: it must live on
            if len(jobs) > 1:
                # One piece that the stores choke on must not take the others with it.
                for job in jobs:
                    with self._waiting_lock:
                        self._waiting += 1
                        self._waiting_bytes += len(job.piece.data)
                    self._commit([job])
                return
            _log.exception("cannot store a piece of run %s", jobs[0].piece.run)
            jobs[0].future.set_exception(error)
            return
        for job, receipt in zip(jobs, receipts, strict=True):
            job.future.set_result(receipt)
        if changes:
            self._noting.touch({change.run for change in changes})
            self._tell(changes)

    def _store(self, pieces: Sequence[CheckedPiece]) -> tuple[list[Receipt], list[Change]]:
        now_ns = time.time_ns()
        receipts: dict[int, Receipt] = {}
        expected: dict[tuple[RunRef, str], int] = {}
        accepted: dict[int, CheckedPiece] = {}
        left: list[CheckedPiece] = []
        for index, piece in enumerate(pieces):
            writer = (piece.run, piece.writer)
            try:
                if writer not in expected:
                    expected[writer] = self._known(*writer).next
            except DeletedError as error:
                receipts[index] = Receipt(next=0, points=0, error=error)
                continue
            if piece.offset > expected[writer]:
                receipts[index] = self._gap(piece, expected[writer])
            elif piece.end > expected[writer]:
                expected[writer] = piece.end
                accepted[index] = piece
            elif piece.is_gone and self._is_expected(piece):
                left.append(piece)
        told = self._tell_catalog([*accepted.values(), *left], now_ns)
        self._fork(accepted.values())
        answers = self._metrics.append(
            [
                SpoolPiece(run=p.run, writer=p.writer, offset=p.offset, data=p.data)
                for p in accepted.values()
            ]
        )
        for (index, piece), answer in zip(accepted.items(), answers, strict=True):
            receipts[index] = self._taken(piece, answer, now_ns)
        for index, piece in enumerate(pieces):
            if index not in receipts:
                stored = self._known(piece.run, piece.writer)
                receipts[index] = Receipt(
                    next=stored.next, points=stored.points, error=piece.damage
                )
        changes = [Change(run, "run") for run in told]
        grown = dict.fromkeys(piece.run for piece in accepted.values())
        forks = self._with_forks(grown) - grown.keys() if grown else set()
        for fork in forks:
            self._inherited[fork] = self.inherited(fork) + 1
        changes += [Change(run, "points") for run in (*grown, *forks)]
        return [receipts[index] for index in range(len(pieces))], changes

    def _known(self, run: RunRef, writer: str) -> Stored:
        """Tell what the stores have of a writer, or raise DeletedError.

        A writer that the catalog does not know counts from 0, whatever the metric store has:
        if the catalog is that of an older backup, what it lacks comes again.
        """
        stored = self._stored.get((run, writer))
        if stored is not None:
            self._stored.move_to_end((run, writer))
            return stored
        try:
            record = self._runs.get(run)
        except NotFoundError:
            return Stored(next=0, points=0)
        if writer not in record.writers:
            return Stored(next=0, points=0)
        stored = self._metrics.stored(run, writer)
        self._remember(run, writer, stored)
        return stored

    def _is_expected(self, piece: CheckedPiece) -> bool:
        """Tell whether the run of a piece goes on for want of its writer's end."""
        try:
            record = self.overlay(self._runs.get(piece.run))
        except NotFoundError:
            return False
        writer = record.writers.get(piece.writer)
        return writer is not None and writer.end is None and writer.heard_ns > 0

    def _remember(self, run: RunRef, writer: str, stored: Stored) -> None:
        self._stored[(run, writer)] = stored
        self._stored.move_to_end((run, writer))
        if len(self._stored) > _REMEMBERED:
            self._stored.popitem(last=False)

    def _gap(self, piece: CheckedPiece, expected: int) -> Receipt:
        stored = self._known(piece.run, piece.writer)
        error = ConflictError(
            f"this piece begins at byte {piece.offset}, the server has the first {expected} of "
            f"writer {piece.writer}; send it again from there"
        )
        return Receipt(next=stored.next, points=stored.points, error=error)

    def _tell_catalog(self, pieces: Sequence[CheckedPiece], now_ns: int) -> list[RunRef]:
        """Let the catalog take in what pieces say; return the runs of which something was said.

        A piece of rows alone is told only when its run is settled, so that a crash before the
        next flush leaves a mark to count again.
        """
        by_run: dict[RunRef, list[CheckedPiece]] = {}
        for piece in pieces:
            if piece.told or piece.is_gone or piece.run not in self._unsettled:
                by_run.setdefault(piece.run, []).append(piece)
        if by_run:
            self._change({run: partial(_fold_all, run, by_run[run], now_ns) for run in by_run})
            self._unsettled.update(dict.fromkeys(by_run, now_ns))
        return list(by_run)

    def _fork(self, pieces: Iterable[CheckedPiece]) -> None:
        """Let the metric store know the forks of which the headers of pieces tell.

        What is told after a run became the fork of another, or of itself, does not count, but
        the points are kept: the program that logged them cannot do so again.
        """
        for piece in pieces:
            header = piece.told[0] if piece.told else None
            if header is None or header.kind != spool.HEADER or "fork" not in header.content:
                continue
            record, named = self._runs.get(piece.run), fork_of(piece.run, header.content)
            if named is None or record.fork is None or record.fork != named:
                _log.warning(
                    "writer %s of run %s says that it is a fork of %.200r, the run is a fork of "
                    "%s; its points are kept",
                    *(piece.writer, piece.run, header.content["fork"], record.fork or "none"),
                )
            if record.fork is None:
                continue
            try:
                self._metrics.fork(piece.run, record.fork)
            except ConflictError as error:
                _log.warning("%s; its points are kept", error)
                self._runs.change({piece.run: partial(_without_fork, piece.run)})

    def _with_forks(self, runs: Iterable[RunRef]) -> set[RunRef]:
        """Return runs and those that inherit from them."""
        known = set(runs)
        return known.union(*(self._metrics.forks(run) for run in known))

    def _taken(self, piece: CheckedPiece, answer: Stored | Exception, now_ns: int) -> Receipt:
        """Note what the metric store answered to a piece."""
        if isinstance(answer, Stored):
            self._remember(piece.run, piece.writer, answer)
            self._unsettled[piece.run] = now_ns
            with self._touch_lock:
                touches = self._touched.setdefault(piece.run, {})
                before = touches.get(piece.writer)
                last_ns = max(piece.last_ns, before.last_ns if before else 0)
                heard_ns = 0 if piece.is_gone else now_ns
                touches[piece.writer] = _Touch(heard_ns, last_ns, answer.points)
            return Receipt(next=answer.next, points=answer.points, error=piece.damage)
        if not isinstance(answer, RunloreError):
            raise answer
        self._stored.pop((piece.run, piece.writer), None)
        if isinstance(answer, DeletedError):
            return Receipt(next=0, points=0, error=answer)
        stored = self._known(piece.run, piece.writer)
        return Receipt(next=stored.next, points=stored.points, error=answer)

    def _change(self, changes: dict[RunRef, RunChange]) -> None:
        """Change runs in the catalog, and bring in what was not yet written of them."""
        with self._touch_lock:
            touches = {run: dict(self._touched.get(run, ())) for run in changes}
        self._runs.change(
            {run: partial(_touch_then, touches[run], change) for run, change in changes.items()}
        )
        with self._touch_lock:
            for run in changes:
                self._touched.pop(run, None)

    def _flush(self, *, is_ending: bool) -> None:
        """Write the counts to the catalog, and settle runs of which nothing comes any more."""
        before_ns = time.time_ns() - _SETTLED_AFTER_NS
        silent = {
            run
            for run, at in self._unsettled.items()
            if (is_ending or at < before_ns)
            # Its forks are noted again at the next start only with it.
            and not any(map(self._noting.is_behind, self._with_forks([run])))
        }
        changes: dict[RunRef, RunChange] = {
            run: partial(_settled, run, run not in silent or run in self._uncounted)
            for run in {*self._touched, *silent}
        }
        try:
            with self._stores_lock:
                self._change({run: changes[run] for run in changes if run in self._unsettled})
        except UnavailableError as error:
            # The runs stay unsettled, so the next flush, or the next start, counts them.
            self._warnings.say(error)
            return
        for run in silent:
            del self._unsettled[run]

    def _recount_some(self) -> float:
        """Bring the counts of a few runs that a crash left unsettled up to the metric store's.

        Returns:
            The seconds until the next few.
        """
        try:
            with self._stores_lock:
                some = list(islice(self._uncounted, _RECOUNTED_AT_ONCE))
                if some:
                    self._change(dict.fromkeys(some, self._recount))
                for run in some:
                    del self._uncounted[run]
        except RunloreError as error:
            _log.warning("runs wait for their points to be counted: %s", error)
            return _FLUSH_SECONDS
        return _RECOUNT_SECONDS

    def _recount(self, found: RunRecord | None) -> RunRecord:
        if found is None:
            raise AssertionError("the catalog named a run that it does not have")
        counted = _recounted(self._counts(found), found)
        # It is settled by a flush, once its summary is noted too.
        self._unsettled.setdefault(found.ref, 0)
        return replace(counted, unsettled=True)

    def _counts(self, record: RunRecord) -> dict[str, int]:
        """Return the points of each writer, as the metric store has them."""
        return {w: self._metrics.stored(record.ref, w).points for w in record.writers}


def _touch_then(
    touches: dict[str, _Touch], change: RunChange, found: RunRecord | None
) -> RunRecord:
    return change(_touch(found, touches) if found is not None else None)


def _touch(record: RunRecord, touches: dict[str, _Touch]) -> RunRecord:
    writers = dict(record.writers)
    active_ns = record.active_ns
    for name, touch in touches.items():
        known = writers.get(name, WriterRecord())
        writers[name] = replace(
            known,
            heard_ns=max(known.heard_ns, touch.heard_ns),
            last_ns=max(known.last_ns, touch.last_ns),
            points=touch.points,
        )
        active_ns = max(active_ns, touch.heard_ns)
    return settle(replace(record, writers=writers, active_ns=active_ns))


def _fold_all(
    run: RunRef, pieces: Sequence[CheckedPiece], now_ns: int, found: RunRecord | None
) -> RunRecord:
    record = found
    for piece in pieces:
        heard_ns = 0 if piece.is_gone else now_ns
        record = fold(
            record, run, piece.writer, piece.told, heard_ns=heard_ns, last_ns=piece.last_ns
        )
    if record is None:
        raise AssertionError("a run is folded from at least one piece")
    return record


def _settled(run: RunRef, is_unsettled: bool, found: RunRecord | None) -> RunRecord:
    return replace(_present(run, found), unsettled=is_unsettled)


def _without_fork(run: RunRef, found: RunRecord | None) -> RunRecord:
    return replace(_present(run, found), fork=None)


def _recounted(points: dict[str, int], record: RunRecord) -> RunRecord:
    writers = {
        name: replace(writer, points=points.get(name, writer.points))
        for name, writer in record.writers.items()
    }
    return replace(record, writers=writers)


def _present(run: RunRef, found: RunRecord | None) -> RunRecord:
    if found is None:
        raise NotFoundError(f"no run {run} in the catalog")
    return found
