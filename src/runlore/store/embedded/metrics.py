"""Metric history in SQLite files of one folder; docs/design/store.md explains how it works."""

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from runlore.core.axis import STEP, Axis
from runlore.core.metric import Kind
from runlore.core.run import Fork, RunRef
from runlore.errors import (
    ConflictError,
    DamageError,
    DeletedError,
    UnavailableError,
    UsageError,
)
from runlore.store.embedded.metrics_decode import StreamDecoder
from runlore.store.embedded.metrics_findings import agreeing
from runlore.store.embedded.metrics_histories import Histories
from runlore.store.embedded.metrics_history import History
from runlore.store.embedded.metrics_keys import FirstKeys, count_keys
from runlore.store.embedded.metrics_load import Waker, load
from runlore.store.embedded.metrics_log import (
    ALIVE,
    PURGED,
    TOMBSTONE,
    FolderLock,
    KnownFork,
    Log,
    Rewind,
    sealed,
    translated,
)
from runlore.store.embedded.metrics_pack import Packer
from runlore.store.embedded.metrics_programs import Progress
from runlore.store.embedded.metrics_read import RunAnswers
from runlore.store.embedded.metrics_reader import HistoryReader
from runlore.store.embedded.metrics_scan import scan_of
from runlore.store.embedded.metrics_series import answered
from runlore.store.embedded.metrics_sizes import Sizes
from runlore.store.embedded.metrics_tail import (
    Batch,
    Memory,
    Run,
    Writer,
    is_due,
    tail_piece,
)
from runlore.store.embedded.metrics_view import ParentView, RunView, Snapshot, WriterView
from runlore.store.metrics import (
    HistoryRow,
    KeySummary,
    Scan,
    Series,
    SpoolPiece,
    Stored,
    check_no_forks,
)
from runlore.store.search import Pick

_MOST_TAIL_BYTES = 512 * 1024 * 1024

_logger = logging.getLogger(__name__)


class EmbeddedMetricStore:
    """A `MetricStore` in one folder, which belongs to this process as long as it is open.

    Args:
        folder: where its files are; made if there is none.
        sizes: how much is gathered before it is moved on.

    Raises:
        ConflictError: another process has the folder open, or a newer Runlore wrote it.
        UnavailableError: the folder cannot be written now.
        DamageError: the commit log is not what was written.
    """

    def __init__(self, folder: Path, sizes: Sizes | None = None) -> None:
        sizes = sizes or Sizes()
        with ExitStack() as undo:
            lock = FolderLock(folder)
            undo.callback(lock.release)
            # Order of locks: _packer.busy, _log.lock, _memory.changed.
            self._log = Log(folder)
            undo.callback(self._log.close)
            self._histories = Histories(folder / "history", sizes)
            undo.callback(self._histories.close)
            self._memory = Memory(sizes)
            # The log's lock protects these two, the decoders and `_log_seq` as well.
            self._projects, self._numbers = load(self._log, self._memory)
            self._waker = Waker(self._log, self._histories, self._memory)
            self._log_seq = self._log.last_seq
            self._purge_the_buried()
            self._packer = Packer(self._log, self._histories, self._memory, self._waker)
            self._files = undo.pop_all()

    def append(self, pieces: Sequence[SpoolPiece]) -> list[Stored | Exception]:
        """Store pieces in one durable commit; see `MetricStore`."""
        with self._log.lock:
            self._memory.check_open()
            waiting = self._memory.tail_bytes
            if waiting > _MOST_TAIL_BYTES:
                full = UnavailableError(f"{waiting} bytes wait to be packed; send again later")
                return [full for _ in pieces]
            batch = Batch(self._numbers)
            answers = [self._take(piece, batch) for piece in pieces]
            if not batch.tails:
                return answers
            try:
                self._commit(batch)
            except UnavailableError as error:
                return [error for _ in pieces]
            finally:
                if not batch.is_committed:
                    for writer in batch.writers.values():
                        writer.decoder = None
            return answers

    def stored(self, run: RunRef, writer: str) -> Stored:
        """Tell how far a writer is stored."""
        self._waker.wake(run)
        with self._memory.changed:
            known = self._memory.runs.get(run)
            found = known.writers.get(writer) if known is not None else None
            progress = found.progress if found is not None else Progress()
            return Stored(next=progress.next, points=progress.points)

    def keys(
        self, run: RunRef, *, limit: int | None = None, pick: Pick | None = None
    ) -> list[KeySummary]:
        """Summarise every key and kind of a run, or of its first keys by name."""
        with self._views([run]) as views:
            answers = [RunAnswers(Snapshot(view)) for view in views]
            keys = (kinds for answer in answers for _, kinds in answer.summaries(pick) if kinds)
            return [one for kinds in islice(keys, limit) for one in kinds]

    def last_step(self, run: RunRef) -> int | None:
        """Return the greatest step of a run."""
        with self._views([run]) as views:
            steps = (RunAnswers(Snapshot(view)).last_step() for view in views)
            return next(steps, None)

    def key_counts(
        self,
        runs: Collection[RunRef],
        *,
        after: str | None = None,
        limit: int | None = None,
        pick: Pick | None = None,
    ) -> Mapping[tuple[str, Kind], int]:
        """Count the runs, of some, that have each key and kind."""
        first = FirstKeys(after, limit, pick)
        for ref in runs:
            self._waker.wake(ref)
        found: list[Sequence[tuple[str, Kind]]] = []
        alone = set(runs)
        for fork in [run for run in alone if self._memory.ancestors(run)]:
            try:
                with self._views([fork]) as views:
                    found += [first.of(Snapshot(view).cells()) for view in views]
                alone.remove(fork)
            except DamageError as error:
                _logger.warning("the inherited keys of run %s are not counted: %s", fork, error)
        counts = Counter(count_keys(self._memory, self._histories, alone, first))
        for cells in found:
            counts.update(cells)
        return first.only(counts)

    def series(
        self,
        runs: Sequence[RunRef],
        keys: Sequence[str],
        *,
        buckets: int,
        start: int | None = None,
        stop: int | None = None,
        axis: Axis = STEP,
    ) -> list[Series]:
        """Bucket the numbers of each run and key."""
        if buckets < 2:
            raise UsageError(f"buckets must be at least 2, got {buckets}")
        with self._views(runs) as views:
            return answered(views, keys, buckets, start, stop, axis)

    def rows(
        self,
        run: RunRef,
        *,
        keys: Sequence[str] | None = None,
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[HistoryRow]:
        """Yield merged rows of one snapshot, which is taken now and held while they are read."""
        rows = self._rows(run, keys, start, stop)
        next(rows)
        return (row for row in rows if row is not None)

    def scan(self, run: RunRef, *, keys: Sequence[str] | None = None) -> Scan:
        """Return all points as columns of one snapshot, which is taken now."""
        return scan_of(self._views([run]), keys)

    def rewind(self, run: RunRef, step: int) -> None:
        """Supersede what is stored behind a step."""
        with self._log.lock:
            self._memory.check_open()
            known = self._memory.runs.get(run)
            if known is None:
                return
            if known.state != ALIVE:
                raise DeletedError(f"run {run} was deleted; log to a new run")
            self._waker.wake_locked(known)
            rewind = Rewind(step, {w.id: w.progress.next for w in known.writers.values()})
            self._log.add_rewind(known.id, rewind)
            with self._memory.changed:
                known.rewinds = [*known.rewinds, rewind]

    def fork(self, run: RunRef, fork: Fork) -> None:
        """Let a run inherit from another one of its project."""
        with self._log.lock:
            self._memory.check_open()
            known = self._memory.runs.get(run)
            if known is not None and known.state != ALIVE:
                raise DeletedError(f"run {run} was deleted; log to a new run")
            parent = run._replace(run_id=fork.run)
            if run in (parent, *self._memory.ancestors(parent)):
                raise ConflictError(f"run {run} would inherit from itself; fork another run")
            if known is not None and known.fork is not None:
                if known.fork.point == fork:
                    return
                raise ConflictError(
                    f"run {run} is a fork of {known.fork.point.run!r} at step "
                    f"{known.fork.point.step}, not of {fork.run!r} at step {fork.step}; fork to a "
                    "new run"
                )
            batch = Batch(self._numbers)
            known = known or self._new_run(run, batch)
            runs = self._memory.runs
            for ancestor in (parent, *self._memory.ancestors(parent)):
                if ancestor in runs:
                    # A reader may see the fork after it has woken what it knew of.
                    self._waker.wake_locked(runs[ancestor])
            found = KnownFork(fork, len(runs[parent].rewinds) if parent in runs else 0)
            self._log.add_fork(batch.changes, known.id, found)
            with self._memory.changed:
                self._publish_names(batch)
                self._memory.set_fork(known, found)

    def forks(self, run: RunRef) -> list[RunRef]:
        """Return the runs that inherit from a run."""
        if not self._memory.forks:
            return []
        with self._memory.changed:
            return self._memory.descendants(run)

    def delete(self, run: RunRef) -> int:
        """Delete a run for good and leave a tombstone; return the bytes freed."""
        with self._packer.busy:
            with self._log.lock:
                self._memory.check_open()
                check_no_forks(run, self._memory.descendants(run))
                known = self._memory.runs.get(run)
                if known is not None and known.state != ALIVE:
                    return 0
                batch = Batch(self._numbers)
                if known is None:
                    known = self._new_run(run, batch)
                freed = self._log.bury(batch.changes, known.id)
                with self._memory.changed:
                    self._publish_names(batch)
                    self._memory.bury(known)
            freed += self._purge(known)
            with self._memory.changed:
                self._memory.changed.notify()
            return freed

    def settle(self) -> None:
        """Pack everything that is stored now, and clean the log."""
        self._packer.settle()

    def limit_pages(self, pages: int) -> None:
        """Let the commit log grow to this many pages of 4 KiB at most; 0 is no limit."""
        with self._log.lock:
            self._log.limit_pages(pages)

    def close(self) -> None:
        """Finish the pack that runs now and let go of the files; the log keeps the rest."""
        with self._memory.changed:
            if self._memory.is_closed:
                return
            self._memory.is_closed = True
            self._memory.changed.notify()
        self._packer.join()
        with self._packer.busy, self._log.lock:
            self._files.close()

    def _take(self, piece: SpoolPiece, batch: Batch) -> Stored | Exception:
        """Decode what is new of a piece into the batch that is to be committed."""
        run = self._memory.runs.get(piece.run) or batch.runs.get(piece.run)
        if run is not None and run.state != ALIVE:
            return DeletedError(f"run {piece.run} was deleted; log to a new run")
        writer = run.writers.get(piece.writer) if run is not None else None
        if writer is not None and writer.waiting:
            try:
                self._waker.wake_writer(writer)
            except UnavailableError as error:
                return error
        writer = writer or batch.names.get((piece.run, piece.writer))
        progress = batch.progress(writer)
        if piece.offset > progress.next:
            return ConflictError(
                f"writer {piece.writer} of {piece.run} is stored up to byte {progress.next}, the "
                f"piece begins at {piece.offset}; send again from {progress.next}"
            )
        data = piece.data[progress.next - piece.offset :]
        if not data:
            return Stored(next=progress.next, points=progress.points)
        if writer is None:
            if run is None:
                run = self._new_run(piece.run, batch)
            batch.numbers += 1
            writer = Writer(batch.numbers, piece.writer, run)
            batch.names[piece.run, piece.writer] = writer
        try:
            decoder = self._decoder(writer, progress)
        except DamageError as error:
            return error
        decoded = decoder.decode(data)
        kept = decoder.progress.next - progress.next
        if kept:
            self._log_seq += 1
            seen = data[:kept]
            batch.writers[writer.id] = writer
            batch.tails.append((writer, tail_piece(self._log_seq, decoded, decoder, seen)))
            batch.changes.pieces.append(
                (self._log_seq, writer.id, decoder.progress.next, sealed(seen))
            )
            if decoded.declared:
                batch.changes.declared.append((writer.id, sealed(bytes(decoded.declared))))
        if decoded.damage is not None:
            # The decoder may have taken in half of the damaged frame.
            batch.spoiled.append(writer)
            return decoded.damage
        return Stored(next=decoder.progress.next, points=decoder.progress.points)

    def _decoder(self, writer: Writer, progress: Progress) -> StreamDecoder:
        """Return a writer's decoder, which knows the keys that its stream has declared."""
        writer.check()
        if writer.decoder is None:
            declared = self._log.declared(writer.id, writer.title)
            writer.decoder = StreamDecoder(progress, declared)
        return writer.decoder

    def _new_run(self, ref: RunRef, batch: Batch) -> Run:
        names = (ref.owner, ref.project)
        project = self._projects.get(names) or batch.projects.get(names)
        if project is None:
            batch.numbers += 1
            project = batch.projects[names] = batch.numbers
            batch.changes.projects.append((project, *names))
        batch.numbers += 1
        run = batch.runs[ref] = Run(id=batch.numbers, ref=ref, project=project)
        batch.changes.runs.append((run.id, project, ref.run_id, ALIVE))
        return run

    def _commit(self, batch: Batch) -> None:
        """Make a batch durable, then show it to readers."""
        fresh = (writer for writer in batch.names.values() if writer.id in batch.writers)
        batch.changes.writers += [(writer.id, writer.run.id, writer.name) for writer in fresh]
        self._log.commit(batch.changes)
        batch.is_committed = True
        now_s = time.monotonic()
        with self._memory.changed:
            self._publish_names(batch)
            for writer, piece in batch.tails:
                writer.run.writers[writer.name] = writer
                writer.touched_s = now_s
                self._memory.add_tail(writer, piece)
            if any(is_due(writer, now_s, self._memory.sizes) for writer in batch.writers.values()):
                self._memory.changed.notify()
        for writer in batch.spoiled:
            writer.decoder = None
        for writer in batch.writers.values():
            if writer.progress.ended_ns is not None:
                writer.decoder = None

    def _publish_names(self, batch: Batch) -> None:
        self._projects.update(batch.projects)
        self._memory.runs.update(batch.runs)
        self._numbers = batch.numbers

    @contextmanager
    def _views(self, refs: Sequence[RunRef]) -> Iterator[list[RunView]]:
        """Take one snapshot of some runs; those that are unknown or deleted are left out."""
        if self._memory.asleep:
            for ref in refs:
                for one in (ref, *self._memory.ancestors(ref)):
                    self._waker.wake(one)
        views: list[RunView] = []
        with ExitStack() as back:
            with self._memory.changed:
                self._memory.check_open()
                taken = _Taken(self._memory, self._histories, back)
                for ref in refs:
                    view = taken.view(ref)
                    if view is not None:
                        views.append(view)
            taken.expect(views)
            yield views

    def _rows(
        self, run: RunRef, keys: Sequence[str] | None, start: int | None, stop: int | None
    ) -> Iterator[HistoryRow | None]:
        """Yield None once the snapshot is taken, then rows."""
        with self._views([run]) as views:
            yield None
            for view in views:
                yield from RunAnswers(Snapshot(view)).rows(keys, start, stop)

    def _purge_the_buried(self) -> None:
        """Finish the deletions that a crash interrupted."""
        for run in self._memory.runs.values():
            if run.state == TOMBSTONE:
                try:
                    self._purge(run)
                except DamageError as error:
                    _logger.warning("run %s is deleted but takes space: %s", run.ref, error)

    def _purge(self, run: Run) -> int:
        """Remove a buried run's history from the disk."""
        history = self._histories.find(run.project)
        freed = history.delete(run.id) if history is not None else 0
        with self._log.lock:
            self._log.purged(run.id)
            run.state = PURGED
        return freed


class _Taken:
    """What one snapshot takes: views of runs, and the readers of their history files.

    Hold `Memory.changed` while it takes.
    """

    def __init__(self, memory: Memory, histories: Histories, back: ExitStack) -> None:
        self._memory = memory
        self._histories = histories
        self._back = back
        self._lent: dict[int, tuple[History, HistoryReader]] = {}
        self._own: dict[int, RunView] = {}

    def view(self, ref: RunRef) -> RunView | None:
        """Return a run with those that it inherits from; None without it."""
        run = self._memory.runs.get(ref)
        own = None if run is None else self._alone(run)
        if run is None or own is None or run.fork is None:
            return own
        parents: list[ParentView] = []
        for ancestor in self._memory.ancestors(ref):
            fork, run = run.fork, self._memory.runs.get(ancestor)
            view = None if run is None else self._alone(run)
            if run is None or view is None or fork is None:
                break
            parents.append(ParentView(view=view, step=fork.point.step, rewinds=fork.rewinds))
        return replace(own, parents=parents)

    def expect(self, views: Sequence[RunView]) -> None:
        """Tell the readers of which runs they will be asked."""
        for project, (_, reader) in self._lent.items():
            of_project = [view for view in views if view.project == project]
            runs = dict.fromkeys(view.id for view in of_project)
            runs.update((p.view.id, None) for view in of_project for p in view.parents)
            reader.expect(list(runs))

    def _alone(self, run: Run) -> RunView | None:
        """Return a run without those that it inherits from, None if it was deleted."""
        if run.state != ALIVE:
            return None
        if run.id not in self._own:
            self._own[run.id] = self._take(run)
        return self._own[run.id]

    def _take(self, run: Run) -> RunView:
        for writer in run.writers.values():
            writer.check()
        if run.project not in self._lent:
            history = self._histories.find(run.project)
            if history is not None:
                self._lent[run.project] = history, history.borrow()
                self._back.callback(history.give_back, self._lent[run.project][1])
                self._back.enter_context(translated(history.path))
                self._back.enter_context(agreeing(history.path))
            else:
                for writer in run.writers.values():
                    writer.check_unpacked()
        lent = self._lent.get(run.project)
        return RunView(
            id=run.id,
            ref=run.ref,
            project=run.project,
            writers=[
                WriterView(
                    id=writer.id,
                    name=writer.name,
                    source=writer.source,
                    tail=[block for piece in writer.tail for block in piece.blocks],
                )
                for writer in run.writers.values()
            ],
            rewinds=run.rewinds,
            published=lent[0].published if lent is not None else 0,
            reader=lent[1] if lent is not None else None,
            summaries=self._histories.summaries,
        )
