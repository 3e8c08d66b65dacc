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


def load(log: Log, histories: Histories, memory: Memory) -> Loaded:
    """Fill an empty memory from the log."""
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
    _Replay(log, histories, memory, writers).run()
    projects = {owner_and_name: number for number, owner_and_name in names.items()}
    return Loaded(projects, max([0, *names, *runs, *writers]))


class _Replay:
    """Decodes the pieces that were not packed, as they were when they came.

    A piece that is damaged, and those of its writer behind it, are left where they are: the
    writer counts as stored up to the damage, so that whoever still has its spool is asked for
    the rest again. What comes then stands behind them in the log and takes their place, and
    they are removed once it is packed.
    """

    def __init__(
        self, log: Log, histories: Histories, memory: Memory, writers: dict[int, Writer]
    ) -> None:
        self._log = log
        self._histories = histories
        self._memory = memory
        self._writers = writers
        self._told: set[int] = set()

    def run(self) -> None:
        """Decode all pieces."""
        for piece in self._log.pieces():
            writer = self._writers[piece.writer]
            if writer.damage is not None:
                continue
            try:
                if writer.packed is None:
                    writer.progress = writer.packed = self._packed(writer)
            except DamageError as error:
                self._tell(writer, f"{error}; nothing can be added to it")
                self._memory.give_up(writer, error)
                continue
            if piece.stop <= writer.packed.next:
                self._memory.packed_seqs.append((piece.seq, writer))
            else:
                self._take(piece, writer)

    def _packed(self, writer: Writer) -> Progress:
        """Return how far a writer is packed."""
        history = self._histories.find(writer.run.project)
        if history is None:
            return Progress()
        with translated(history.path):
            return history.applied(writer.id)

    def _take(self, piece: Piece, writer: Writer) -> None:
        """Add a piece to its writer's tail."""
        try:
            if writer.decoder is None:
                declared = self._log.declared(writer.id, writer.title)
                writer.decoder = StreamDecoder(writer.progress, declared)
        except DamageError as error:
            self._tell(writer, str(error))
            self._memory.give_up(writer, error)
            return
        name = f"piece {piece.seq}, up to byte {piece.stop}, in {str(self._log.path)!r}"
        try:
            data = unseal(piece.body, name)
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
        self._memory.add_tail(writer, tail_piece(piece.seq, decoded, writer.decoder, data))

    def _tell(self, writer: Writer, trouble: str) -> None:
        """Name the first trouble of a writer; what stands behind it is no news."""
        if writer.id not in self._told:
            self._told.add(writer.id)
            _logger.warning("%s: %s", writer.title, trouble)
