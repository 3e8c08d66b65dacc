"""Metric history in SQLite files of one folder; docs/design/store.md explains how it works."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runlore.core.run import RunRef
from runlore.errors import (
    ConflictError,
    DeletedError,
    RunloreError,
    UnavailableError,
    UsageError,
)
from runlore.store.embedded.metrics_decode import Progress, StreamDecoder
from runlore.store.embedded.metrics_history import History, HistoryReader, Packing
from runlore.store.embedded.metrics_log import (
    ALIVE,
    PURGED,
    TOMBSTONE,
    FolderLock,
    Log,
    Rewind,
    encode_progress,
    sealed,
)
from runlore.store.embedded.metrics_read import RunAnswers, RunView, WriterView
from runlore.store.embedded.metrics_summary import Summary
from runlore.store.embedded.metrics_tail import (
    PACK_IDLE_S,
    Batch,
    Run,
    TailPiece,
    Writer,
    add_to_tail,
    drop_from_tail,
    is_due,
    tail_piece,
)
from runlore.store.metrics import HistoryRow, KeySummary, Series, SpoolPiece, Stored

_PACK_AT_ONCE_BYTES = 8 * 1024 * 1024
_RETRY_S = 1.0
_MOST_TAIL_BYTES = 512 * 1024 * 1024
_FORGET_PIECES = 256
_KNOWN_SUMMARIES = 4096

_logger = logging.getLogger(__name__)


class EmbeddedMetricStore:
    """A `MetricStore` in one folder, which belongs to this process as long as it is open.

    Raises:
        ConflictError: another process has the folder open, or a newer Runlore wrote it.
        UnavailableError: the folder cannot be written now.
        DamageError: the commit log is not what was written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FolderLock(folder)
        # Order of locks: _packing, _committing, _state; each is taken before those behind it.
        self._packing = threading.Lock()  # one writer of history files at a time
        self._committing = threading.Lock()  # the log's connection, decoders and numbers
        self._state = threading.Lock()  # what readers see: runs, tails, published packs
        self._wake = threading.Condition(self._state)
        self._runs: dict[RunRef, Run] = {}
        self._projects: dict[tuple[str, str], int] = {}
        self._histories: dict[int, History] = {}
        self._summaries: OrderedDict[tuple[int, int], Summary | None] = OrderedDict()
        self._packed_seqs: list[int] = []
        self._due: dict[int, Writer] = {}
        self._tail_bytes = 0
        self._numbers = 0
        self._log_seq = 0
        self._closed = False
        self._log: Log | None = None
        try:
            self._log = Log(folder)
            self._log_seq = self._log.last_seq
            self._load(self._log)
        except BaseException:
            self._close_files()
            raise
        self._packer = threading.Thread(
            target=self._pack_forever, name="runlore-pack", daemon=True
        )
        self._packer.start()

    def append(self, pieces: Sequence[SpoolPiece]) -> list[Stored | Exception]:
        """Store pieces in one durable commit; see `MetricStore`."""
        with self._committing:
            if self._closed:
                raise ConflictError("this store is closed; open it again")
            if self._tail_bytes > _MOST_TAIL_BYTES:
                full = UnavailableError(
                    f"{self._tail_bytes} bytes wait to be packed; send again later"
                )
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
        with self._state:
            known = self._runs.get(run)
            found = known.writers.get(writer) if known is not None else None
            progress = found.progress if found is not None else Progress()
            return Stored(next=progress.next, points=progress.points)

    def keys(self, run: RunRef) -> list[KeySummary]:
        """Summarise every key and kind of a run."""
        with self._view(run) as view:
            return [] if view is None else RunAnswers(view).keys()

    def series(
        self,
        runs: Sequence[RunRef],
        keys: Sequence[str],
        *,
        buckets: int,
        start: int | None = None,
        stop: int | None = None,
    ) -> list[Series]:
        """Bucket the numbers of each run and key."""
        if buckets < 2:
            raise UsageError(f"buckets must be at least 2, got {buckets}")
        found = []
        for run in runs:
            with self._view(run) as view:
                if view is not None:
                    answers = RunAnswers(view)
                    found += [answers.series(key, buckets, start, stop) for key in keys]
        return [series for series in found if series is not None]

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

    def rewind(self, run: RunRef, step: int) -> None:
        """Supersede what is stored behind a step."""
        with self._committing:
            known = self._runs.get(run)
            if known is None or self._log is None:
                return
            if known.state != ALIVE:
                raise DeletedError(f"run {run} was deleted; log to a new run")
            rewind = Rewind(step, {w.id: w.progress.next for w in known.writers.values()})
            self._log.add_rewind(known.id, rewind)
            with self._state:
                known.rewinds = [*known.rewinds, rewind]

    def delete(self, run: RunRef) -> int:
        """Delete a run for good and leave a tombstone; return the bytes freed."""
        with self._packing:
            with self._committing:
                known = self._runs.get(run)
                if known is not None and known.state != ALIVE:
                    return 0
                if self._log is None:
                    raise ConflictError("this store is closed; open it again")
                batch = Batch(self._numbers)
                if known is None:
                    known = self._new_run(run, batch)
                freed = self._log.bury(batch.changes, known.id)
                with self._state:
                    self._publish_names(batch)
                    known.state = TOMBSTONE
                    for writer in known.writers.values():
                        self._tail_bytes -= writer.tail_bytes
                        self._due.pop(writer.id, None)
                        writer.tail = []
                    known.writers, known.rewinds = {}, []
            return freed + self._purge(known)

    def settle(self) -> None:
        """Pack everything that is stored now, and clean the log."""
        with self._state:
            writers = [w for run in self._runs.values() for w in run.writers.values() if w.tail]
        for writer in writers:
            while writer.tail:
                self._pack([writer])
        self._forget(at_least=1)

    def limit_pages(self, pages: int) -> None:
        """Let the commit log grow to this many pages of 4 KiB at most; 0 is no limit."""
        with self._committing:
            if self._log is not None:
                self._log.limit_pages(pages)

    def close(self) -> None:
        """Finish the pack that runs now and let go of the files; the log keeps the rest."""
        with self._wake:
            if self._closed:
                return
            self._closed = True
            self._wake.notify()
        self._packer.join()
        with self._packing, self._committing:
            self._close_files()

    def _load(self, log: Log) -> None:
        self._projects = {names: number for number, names in log.projects().items()}
        by_number = {number: names for names, number in self._projects.items()}
        runs: dict[int, Run] = {}
        for number, project, name, state in log.runs():
            ref = RunRef(*by_number[project], name)
            self._runs[ref] = runs[number] = Run(id=number, ref=ref, project=project, state=state)
        writers: dict[int, Writer] = {}
        for number, run_number, name, progress in log.writers():
            run = runs[run_number]
            writers[number] = Writer(id=number, name=name, run=run, progress=progress)
            run.writers[name] = writers[number]
        for run_number, rewind in log.rewinds():
            runs[run_number].rewinds.append(rewind)
        self._numbers = max([0, *by_number, *runs, *writers])
        self._replay(log, writers)
        for run in runs.values():
            if run.state == TOMBSTONE:
                self._purge(run)

    def _replay(self, log: Log, writers: dict[int, Writer]) -> None:
        """Decode the pieces that were not packed, as they were when they came."""
        applied: dict[int, dict[int, Progress]] = {}
        for piece in log.pieces():
            writer = writers[piece.writer]
            project = writer.run.project
            if project not in applied:
                history = self._history(project, make=False)
                applied[project] = history.applied() if history is not None else {}
            packed = applied[project].get(writer.id, Progress())
            if piece.stop <= packed.next:
                self._packed_seqs.append(piece.seq)
                continue
            if writer.decoder is None:
                writer.decoder = StreamDecoder(packed, log.declared(writer.id))
            decoded = writer.decoder.decode(piece.data)
            if decoded.damage is not None:
                raise decoded.damage
            self._add_tail(writer, tail_piece(piece.seq, decoded, writer.decoder, piece.data))

    def _take(self, piece: SpoolPiece, batch: "Batch") -> Stored | Exception:
        """Decode what is new of a piece into the batch that is to be committed."""
        run = self._runs.get(piece.run) or batch.runs.get(piece.run)
        if run is not None and run.state != ALIVE:
            return DeletedError(f"run {piece.run} was deleted; log to a new run")
        writer = run.writers.get(piece.writer) if run is not None else None
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
            writer = Writer(id=batch.numbers, name=piece.writer, run=run)
            batch.names[piece.run, piece.writer] = writer
        if writer.decoder is None:
            assert self._log is not None
            writer.decoder = StreamDecoder(progress, self._log.declared(writer.id))
        decoder = writer.decoder
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

    def _new_run(self, ref: RunRef, batch: "Batch") -> Run:
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

    def _commit(self, batch: "Batch") -> None:
        """Make a batch durable, then show it to readers."""
        assert self._log is not None
        for writer in batch.writers.values():
            assert writer.decoder is not None
            row = (writer.id, writer.run.id, writer.name)
            batch.changes.writers.append((*row, encode_progress(writer.decoder.progress)))
        self._log.commit(batch.changes)
        batch.is_committed = True
        now_s = time.monotonic()
        with self._wake:
            self._publish_names(batch)
            for writer, piece in batch.tails:
                writer.run.writers[writer.name] = writer
                writer.progress = piece.after
                writer.touched_s = now_s
                self._add_tail(writer, piece)
            if any(is_due(writer, now_s) for writer in batch.writers.values()):
                self._wake.notify()
        for writer in batch.spoiled:
            writer.decoder = None
        for writer in batch.writers.values():
            if writer.progress.ended_ns is not None:
                writer.decoder = None

    def _publish_names(self, batch: "Batch") -> None:
        self._projects.update(batch.projects)
        self._runs.update(batch.runs)
        self._numbers = batch.numbers

    def _add_tail(self, writer: Writer, piece: TailPiece) -> None:
        add_to_tail(writer, piece)
        self._tail_bytes += piece.size
        self._due[writer.id] = writer

    @contextmanager
    def _view(self, ref: RunRef) -> Iterator[RunView | None]:
        """Take a snapshot of a run; None of one that is unknown or deleted."""
        with self._state:
            if self._closed:
                raise ConflictError("this store is closed; open it again")
            run = self._runs.get(ref)
            if run is None or run.state != ALIVE:
                history = view = None
            else:
                history = self._history(run.project, make=False)
                view = RunView(
                    id=run.id,
                    ref=ref,
                    writers=[
                        WriterView(
                            id=writer.id,
                            name=writer.name,
                            progress=writer.progress,
                            tail=[block for piece in writer.tail for block in piece.blocks],
                        )
                        for writer in run.writers.values()
                    ],
                    rewinds=run.rewinds,
                    published=history.published if history is not None else 0,
                    reader=history.borrow() if history is not None else None,
                    summaries=self._summary,
                )
        try:
            yield view
        finally:
            if history is not None and view is not None and view.reader is not None:
                history.give_back(view.reader)

    def _rows(
        self, run: RunRef, keys: Sequence[str] | None, start: int | None, stop: int | None
    ) -> Iterator[HistoryRow | None]:
        """Yield None once the snapshot is taken, then rows."""
        with self._view(run) as view:
            yield None
            if view is not None:
                yield from RunAnswers(view).rows(keys, start, stop)

    def _summary(
        self, reader: HistoryReader, writer: int, run_name: str, published: int
    ) -> Summary | None:
        """Return the summary of what is packed of a writer, read once per pack."""
        key = (writer, published)
        with self._state:
            if key in self._summaries:
                self._summaries.move_to_end(key)
                return self._summaries[key]
        summary = reader.summary(writer, run_name, published)
        with self._state:
            self._summaries[key] = summary
            if len(self._summaries) > _KNOWN_SUMMARIES:
                self._summaries.popitem(last=False)
        return summary

    def _history(self, project: int, *, make: bool) -> History | None:
        """Return a project's history file; without `make`, only if there is one."""
        if project not in self._histories:
            path = self._folder / "history" / f"{project}.db"
            if not make and not path.exists():
                return None
            self._histories[project] = History(path)
        return self._histories[project]

    def _purge(self, run: Run) -> int:
        """Remove a buried run's history from the disk."""
        with self._state:
            history = self._history(run.project, make=False)
        freed = history.delete(run.id) if history is not None else 0
        with self._committing:
            if self._log is not None:
                self._log.purged(run.id)
            run.state = PURGED
        return freed

    def _pack_forever(self) -> None:
        while True:
            with self._wake:
                now_s = time.monotonic()
                due = [writer for writer in self._due.values() if is_due(writer, now_s)]
                if self._closed:
                    return
                if not due:
                    self._wake.wait(_RETRY_S if self._packed_seqs else PACK_IDLE_S / 4)
            try:
                if due:
                    self._pack(due)
                self._forget(at_least=_FORGET_PIECES if due else 1)
            except RunloreError as error:
                _logger.warning("packing history waits: %s", error)
                with self._wake:
                    if not self._closed:
                        self._wake.wait(_RETRY_S)

    def _pack(self, writers: Sequence[Writer]) -> None:
        """Pack one step's worth of writers of one project, and show it to readers."""
        with self._packing:
            taken: list[tuple[Writer, list[TailPiece]]] = []
            with self._state:
                size = 0
                for writer in writers:
                    same_project = not taken or writer.run.project == taken[0][0].run.project
                    if not same_project or size > _PACK_AT_ONCE_BYTES:
                        continue
                    pieces = []
                    for piece in writer.tail:
                        if size > _PACK_AT_ONCE_BYTES:
                            break
                        pieces.append(piece)
                        size += piece.size
                    if pieces and writer.run.state == ALIVE:
                        writer.packing_seq = pieces[-1].seqs[-1]
                        taken.append((writer, pieces))
                if not taken:
                    return
                history = self._history(taken[0][0].run.project, make=True)
            assert history is not None
            before = history.published
            number = history.pack(
                [
                    Packing(
                        run=writer.run.id,
                        run_name=str(writer.run.ref),
                        writer=writer.id,
                        progress=pieces[-1].after,
                        blocks=[block for piece in pieces for block in piece.blocks],
                    )
                    for writer, pieces in taken
                ]
            )
            with self._state:
                history.published = number
                for writer, pieces in taken:
                    self._tail_bytes -= drop_from_tail(writer, pieces)
                    self._packed_seqs += [seq for piece in pieces for seq in piece.seqs]
                    if not writer.tail:
                        self._due.pop(writer.id, None)
            assert number == before + 1

    def _forget(self, *, at_least: int) -> None:
        """Remove from the log what is packed, a batch at a time."""
        while True:
            with self._state:
                seqs = self._packed_seqs[:_FORGET_PIECES]
            if len(seqs) < at_least:
                return
            with self._committing:
                if self._log is not None:
                    self._log.forget(seqs)
            with self._state:
                del self._packed_seqs[: len(seqs)]

    def _close_files(self) -> None:
        for history in self._histories.values():
            history.close()
        self._histories = {}
        if self._log is not None:
            self._log.close()
        self._lock.release()
