"""What a start brings back into memory: runs, writers, and what was not packed yet."""

import logging
from typing import NamedTuple

from runlore.core.run import RunRef
from runlore.errors import DamageError
from runlore.store.embedded.metrics_blob import unseal
from runlore.store.embedded.metrics_decode import StreamDecoder
from runlore.store.embedded.metrics_histories import Histories
from runlore.store.embedded.metrics_log import Log, Piece, translated
from runlore.store.embedded.metrics_programs import Progress
from runlore.store.embedded.metrics_tail import Memory, Run, Writer, tail_piece

_logger = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """The numbers of projects, and the greatest number that anything has."""

    projects: dict[tuple[str, str], int]
    numbers: int


def load(log: Log, memory: Memory) -> Loaded:
    """Fill an empty memory with names; the pieces that were not packed stay asleep.

    Raises:
        DamageError: what it reads is not what was written.
    """
    try:
        with translated(log.path):
            return _load(log, memory)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, DamageError):
            raise
        raise DamageError(
            f"{str(log.path)!r} is damaged: a row in it belongs to none, or holds what was not "
            f"written ({error!r}); 'runlore fsck' names it, restore the file from a backup",
            offset=0,
        ) from error


def _load(log: Log, memory: Memory) -> Loaded:
    names = log.projects()
    runs: dict[int, Run] = {}
    for number, project, name, state in log.runs():
        ref = RunRef(*names[project], name)
        run = Run(id=number, ref=ref, project=project, state=state)
        memory.runs[ref] = runs[number] = run
    writers: dict[int, Writer] = {}
    for number, run_number, name, saved in log.writers():
        run = runs[run_number]
        run.writers[name] = writers[number] = Writer(number, name, run, saved)
    for run_number, rewind in log.rewinds():
        runs[run_number].rewinds.append(rewind)
    for run_number, fork in log.forks():
        memory.set_fork(runs[run_number], fork)
    for piece in log.pieces():
        writer = writers[piece.writer]
        writer.waiting.append(piece)
        memory.asleep[writer.id] = writer
    projects = {owner_and_name: number for number, owner_and_name in names.items()}
    return Loaded(projects, max([0, *names, *runs, *writers]))


class Waker:
    """Decodes the pieces that were not packed, as they were when they came.

    That is done writer by writer, when somebody asks for one and in the background, so that a
    start takes as long for many as for none.

    A piece that is damaged, and those of its writer behind it, are left where they are: the
    writer counts as stored up to the damage, so that whoever still has its spool is asked for
    the rest again. What comes then stands behind them in the log and takes their place, and
    they are removed once it is packed.
    """

    def __init__(self, log: Log, histories: Histories, memory: Memory) -> None:
        self._log = log
        self._histories = histories
        self._memory = memory
        self._told: set[int] = set()

    def wake(self, ref: RunRef) -> None:
        """Bring back all of a run; takes the log's lock if something of it is asleep.

        Raises:
            ConflictError: the store was closed.
            UnavailableError: the disk does not give it now; what is missing stays asleep.
        """
        memory = self._memory
        if not memory.asleep:
            return
        with memory.changed:
            run = memory.runs.get(ref)
            is_awake = run is None or not self._sleepers(run)
        if not is_awake and run is not None:
            with self._log.lock:
                memory.check_open()
                self.wake_locked(run)

    def wake_locked(self, run: Run) -> None:
        """Do as `wake`, for one who holds the log's lock."""
        if self._memory.asleep:
            for writer in self._sleepers(run):
                self.wake_writer(writer)

    def wake_writer(self, writer: Writer, *, most_pieces: int | None = None) -> None:
        """Bring back a writer, or its next pieces, for one who holds the log's lock."""
        memory = self._memory
        left = len(writer.waiting) if most_pieces is None else most_pieces
        while writer.waiting and left > 0 and writer.damage is None:
            left -= 1
            piece = writer.waiting[0]
            try:
                packed = writer.packed if writer.packed is not None else self._packed(writer)
            except DamageError as error:
                self._give_up(writer, error, f"{error}; nothing can be added to it")
                break
            if piece.stop <= packed.next:
                with memory.changed:
                    memory.packed_seqs.append((piece.seq, writer))
            else:
                self._take(piece, writer)
            writer.waiting.popleft()
        if not writer.waiting or writer.damage is not None:
            if writer.progress.ended_ns is not None:
                writer.decoder = None
            with memory.changed:
                writer.waiting.clear()
                memory.asleep.pop(writer.id, None)

    def _sleepers(self, run: Run) -> list[Writer]:
        return [w for w in run.writers.values() if w.id in self._memory.asleep]

    def _packed(self, writer: Writer) -> Progress:
        """Find how far a writer is packed."""
        history = self._histories.find(writer.run.project)
        packed = Progress()
        if history is not None:
            with translated(history.path):
                packed = history.applied(writer.id)
        with self._memory.changed:
            writer.progress = writer.packed = packed
        return packed

    def _take(self, piece: Piece, writer: Writer) -> None:
        """Add a piece to its writer's tail."""
        try:
            if writer.decoder is None:
                declared = self._log.declared(writer.id, writer.title)
                writer.decoder = StreamDecoder(writer.progress, declared)
        except DamageError as error:
            self._give_up(writer, error, str(error))
            return
        name = f"piece {piece.seq}, up to byte {piece.stop}, in {str(self._log.path)!r}"
        try:
            data = unseal(self._log.body(piece.seq), name)
            begin = piece.stop - len(data)
            if begin != writer.progress.next:
                raise DamageError(f"{name} begins at byte {begin}, behind a hole", offset=begin)
            decoded = writer.decoder.decode(data)
            if decoded.damage is not None:
                raise decoded.damage
        except DamageError as error:
            # The decoder may have taken in half of the piece.
            writer.decoder = None
            self._tell(
                writer,
                f"{error}; it counts as stored up to byte {writer.progress.next} and is asked "
                "for the rest again",
            )
            return
        with self._memory.changed:
            self._memory.add_tail(writer, tail_piece(piece.seq, decoded, writer.decoder, data))

    def _give_up(self, writer: Writer, damage: DamageError, trouble: str) -> None:
        self._tell(writer, trouble)
        with self._memory.changed:
            self._memory.give_up(writer, damage)

    def _tell(self, writer: Writer, trouble: str) -> None:
        """Name the first trouble of a writer; what stands behind it is no news."""
        if writer.id not in self._told:
            self._told.add(writer.id)
            _logger.warning("%s: %s", writer.title, trouble)
