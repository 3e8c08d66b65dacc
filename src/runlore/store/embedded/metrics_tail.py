"""What the embedded store holds in memory: runs, their writers, and what waits to be packed."""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from runlore.core.run import RunRef
from runlore.errors import ConflictError, DamageError, UnavailableError
from runlore.store.embedded.metrics_decode import Block, Columns, Decoded, StreamDecoder
from runlore.store.embedded.metrics_history import joined
from runlore.store.embedded.metrics_log import (
    ALIVE,
    TOMBSTONE,
    Changes,
    KnownFork,
    Piece,
    Rewind,
    decode_progress,
)
from runlore.store.embedded.metrics_programs import Progress
from runlore.store.embedded.metrics_sizes import Sizes

PACK_IDLE_S = 60.0
_PACK_BYTES = 4 * 1024 * 1024
_JOIN_PIECES = 32


@dataclass(slots=True, kw_only=True)
class TailPiece:
    """Committed pieces that are not packed yet; `rank` tells how often they were joined."""

    seqs: list[int]
    rank: int = 0
    frames: int
    size: int
    blocks: list[Block]
    after: Progress


class ProgressSource:
    """How far a stream was stored at one time, decoded when somebody asks for it."""

    __slots__ = ("_known",)

    def __init__(self, known: Progress | str | None) -> None:
        self._known = known

    @property
    def progress(self) -> Progress:
        """How far it was stored."""
        if not isinstance(self._known, Progress):
            self._known = decode_progress(self._known)
        return self._known


class Writer:
    """One writer: how far it came, and what of it waits to be packed.

    Attributes:
        packed: how far it is packed; None as long as that is only in `saved`.
        waiting: pieces in the log that a start has left there; they come before all others.
        source: what `progress` comes from, as it was saved until somebody asks.
        loose_frames: packed since it was last looked at whether they are worth raising.
        packing_seq: the last piece that a pack has taken; up to it the tail stays as it is.
        damage: why nothing can be added to this writer and its run cannot be read, if so.
    """

    __slots__ = (
        *("damage", "decoder", "id", "loose_frames", "name", "packed", "packing_seq", "run"),
        *("source", "tail", "tail_bytes", "tail_frames", "touched_s", "waiting"),
    )

    def __init__(self, number: int, name: str, run: "Run", saved: str | None = None) -> None:
        self.id = number
        self.name = name
        self.run = run
        # Decoded when it is asked for: most runs of a folder are never looked at again.
        self.source = ProgressSource(saved)
        self.packed: Progress | None = None
        self.waiting: deque[Piece] = deque()
        self.tail: Sequence[TailPiece] = ()
        self.tail_frames = 0
        self.tail_bytes = 0
        self.touched_s = 0.0
        self.packing_seq = 0
        self.loose_frames = 0
        self.decoder: StreamDecoder | None = None
        self.damage: str | None = None

    @property
    def progress(self) -> Progress:
        """How far its stream is stored."""
        return self.source.progress

    @progress.setter
    def progress(self, progress: Progress) -> None:
        self.source = ProgressSource(progress)

    @property
    def title(self) -> str:
        """What errors and warnings call it."""
        return f"writer {self.name!r} of run {self.run.ref}"

    def check_unpacked(self) -> None:
        """Raise UnavailableError if something of it is packed, for one that finds no history."""
        first = self.tail[0] if self.tail else None
        packed = self.progress.next if first is None else first.after.next - first.size
        if packed > 0 and not self.waiting:
            raise UnavailableError(
                f"{self.title} is packed up to byte {packed}, but 'history/{self.run.project}.db' "
                "is missing in the data folder; stop the server, put the file back from a backup, "
                "and start it again, or delete the run"
            )

    def check(self) -> None:
        """Raise DamageError if this writer cannot go on."""
        if self.damage is not None:
            raise DamageError(self.damage, offset=self.progress.next)


@dataclass(slots=True, kw_only=True)
class Run:
    id: int
    ref: RunRef
    project: int
    state: int = ALIVE
    writers: dict[str, Writer] = field(default_factory=dict)
    rewinds: list[Rewind] = field(default_factory=list)
    fork: KnownFork | None = None

    @property
    def parent(self) -> RunRef | None:
        """The run that it inherits from, which need not be there."""
        return None if self.fork is None else self.ref._replace(run_id=self.fork.point.run)


class Batch:
    """What one call of `append` is about to commit."""

    def __init__(self, numbers: int) -> None:
        self.numbers = numbers
        self.changes = Changes()
        self.projects: dict[tuple[str, str], int] = {}
        self.runs: dict[RunRef, Run] = {}
        self.names: dict[tuple[RunRef, str], Writer] = {}
        self.writers: dict[int, Writer] = {}
        self.tails: list[tuple[Writer, TailPiece]] = []
        self.spoiled: list[Writer] = []
        self.is_committed = False

    def progress(self, writer: Writer | None) -> Progress:
        """Return how far a writer came, with what this batch holds of it."""
        if writer is None:
            return Progress()
        if writer.id in self.writers and writer.decoder is not None:
            return writer.decoder.progress
        return writer.progress


class Memory:
    """Everything that readers see and that waits to be packed; hold `changed` to touch it."""

    def __init__(self, sizes: Sizes) -> None:
        self.changed = threading.Condition(threading.Lock())
        self.sizes = sizes
        self.runs: dict[RunRef, Run] = {}
        self.forks: dict[RunRef, dict[RunRef, None]] = {}
        """The runs that inherit from each, by themselves and not over others."""
        self.asleep: dict[int, Writer] = {}
        """Writers of which pieces wait to be brought back; `metrics_load` does that."""
        self.due: dict[int, Writer] = {}
        self.risers: dict[int, Writer] = {}
        """Writers that have packed blocks which may be worth raising into towers."""
        self.tail_bytes = 0
        self.packed_seqs: list[tuple[int, Writer]] = []
        """Pieces that are packed and can be removed from the log."""
        self.is_closed = False

    def check_open(self) -> None:
        """Raise ConflictError if the store was closed."""
        if self.is_closed:
            raise ConflictError("this store is closed; open it again")

    def set_fork(self, run: Run, fork: KnownFork) -> None:
        """Let a run inherit from another."""
        run.fork = fork
        parent = run.parent
        assert parent is not None
        self.forks.setdefault(parent, {})[run.ref] = None

    def ancestors(self, ref: RunRef) -> list[RunRef]:
        """Return the runs from which one inherits, its parent first, as far as they are known."""
        found: list[RunRef] = []
        run = self.runs.get(ref)
        # What fsck calls damage, a fork of itself, must not keep a reader for ever.
        while run is not None and run.parent is not None and run.parent not in (ref, *found):
            found.append(run.parent)
            run = self.runs.get(run.parent)
        return found

    def descendants(self, ref: RunRef) -> list[RunRef]:
        """Return the runs that inherit from one, its own forks first."""
        found: dict[RunRef, None] = {}
        newest = [ref]
        while newest:
            forks = [fork for one in newest for fork in self.forks.get(one, ())]
            newest = [fork for fork in forks if fork not in found and fork != ref]
            found.update(dict.fromkeys(newest))
        return list(found)

    def add_tail(self, writer: Writer, piece: TailPiece) -> None:
        """Show a committed piece to readers, and note that it waits to be packed."""
        _add_to_tail(writer, piece, self.sizes.pack_frames)
        writer.progress = piece.after
        self.tail_bytes += piece.size
        self.due[writer.id] = writer

    def take_tail(self, writer: Writer, most_bytes: int) -> list[TailPiece]:
        """Return pieces from the front of a tail, which stay as they are until `drop_tail`."""
        pieces: list[TailPiece] = []
        size = 0
        for piece in writer.tail:
            if size > most_bytes:
                break
            pieces.append(piece)
            size += piece.size
        if pieces:
            writer.packing_seq = pieces[-1].seqs[-1]
        return pieces

    def drop_tail(self, writer: Writer, pieces: Sequence[TailPiece]) -> None:
        """Take packed pieces from the front of a tail."""
        size = sum(piece.size for piece in pieces)
        writer.tail = writer.tail[len(pieces) :]
        writer.tail_frames -= sum(piece.frames for piece in pieces)
        writer.tail_bytes -= size
        writer.packed = pieces[-1].after
        self.tail_bytes -= size
        writer.loose_frames += sum(piece.frames for piece in pieces)
        if writer.loose_frames >= self.sizes.raise_frames or writer.progress.ended_ns is not None:
            writer.loose_frames = 0
            self.risers[writer.id] = writer
        self.packed_seqs += [(seq, writer) for piece in pieces for seq in piece.seqs]
        if not writer.tail:
            self.due.pop(writer.id, None)

    def give_up(self, writer: Writer, damage: DamageError) -> None:
        """Never pack a writer again while this store is open; its tail stays in the log."""
        writer.damage = str(damage)
        self.due.pop(writer.id, None)

    def bury(self, run: Run) -> None:
        """Let nothing of a run be seen any more."""
        run.state = TOMBSTONE
        for writer in run.writers.values():
            self.tail_bytes -= writer.tail_bytes
            self.due.pop(writer.id, None)
            self.asleep.pop(writer.id, None)
            self.risers.pop(writer.id, None)
            writer.waiting.clear()
            writer.tail = ()
        if run.parent is not None:
            self.forks[run.parent].pop(run.ref, None)
        run.writers, run.rewinds, run.fork = {}, [], None


def tail_piece(seq: int, decoded: Decoded, decoder: StreamDecoder, data: bytes) -> TailPiece:
    return TailPiece(
        seqs=[seq],
        frames=sum(map(len, decoded.blocks)),
        size=len(data),
        blocks=decoded.blocks,
        after=decoder.progress,
    )


def is_due(writer: Writer, now_s: float, sizes: Sizes) -> bool:
    """Tell whether a writer's tail is worth a pack: long, at its end, or left alone."""
    return bool(writer.tail) and (
        writer.tail_frames >= sizes.pack_frames
        or writer.tail_bytes >= _PACK_BYTES
        or writer.progress.ended_ns is not None
        or now_s - writer.touched_s > PACK_IDLE_S
    )


def _add_to_tail(writer: Writer, piece: TailPiece, most_frames: int) -> None:
    """Add a piece, and join small ones, so that no reader meets thousands of them."""
    tail = [*writer.tail, piece]
    writer.tail_frames += piece.frames
    writer.tail_bytes += piece.size
    while len(tail) >= _JOIN_PIECES:
        last = tail[-_JOIN_PIECES:]
        alike = all(one.rank == last[-1].rank for one in last)
        frames = sum(one.frames for one in last)
        if not alike or frames > most_frames or last[0].seqs[0] <= writer.packing_seq:
            break
        tail[-_JOIN_PIECES:] = [_joined_pieces(last)]
    writer.tail = tail


def _joined_pieces(pieces: list[TailPiece]) -> TailPiece:
    by_columns: dict[Columns, list[Block]] = {}
    for piece in pieces:
        for block in piece.blocks:
            by_columns.setdefault(block.columns, []).append(block)
    return TailPiece(
        seqs=[seq for piece in pieces for seq in piece.seqs],
        rank=pieces[0].rank + 1,
        frames=sum(piece.frames for piece in pieces),
        size=sum(piece.size for piece in pieces),
        blocks=[joined(columns, blocks) for columns, blocks in by_columns.items()],
        after=pieces[-1].after,
    )
