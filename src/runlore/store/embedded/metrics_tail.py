"""What the embedded store holds in memory of each run: its writers and their unpacked tails."""

from dataclasses import dataclass, field

from runlore.core.run import RunRef
from runlore.store.embedded.metrics_decode import Block, Columns, Decoded, Progress, StreamDecoder
from runlore.store.embedded.metrics_history import joined
from runlore.store.embedded.metrics_log import ALIVE, Changes, Rewind

PACK_IDLE_S = 60.0
_PACK_FRAMES = 4096
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


@dataclass(slots=True, kw_only=True)
class Writer:
    id: int
    name: str
    run: "Run"
    progress: Progress = Progress()
    tail: list[TailPiece] = field(default_factory=list)
    touched_s: float = 0.0
    decoder: StreamDecoder | None = None
    tail_frames: int = 0
    tail_bytes: int = 0
    packing_seq: int = 0
    """The last piece that a pack has taken; up to it the tail stays as it is."""


@dataclass(slots=True, kw_only=True)
class Run:
    id: int
    ref: RunRef
    project: int
    state: int = ALIVE
    writers: dict[str, Writer] = field(default_factory=dict)
    rewinds: list[Rewind] = field(default_factory=list)


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


def tail_piece(seq: int, decoded: Decoded, decoder: StreamDecoder, data: bytes) -> TailPiece:
    return TailPiece(
        seqs=[seq],
        frames=sum(map(len, decoded.blocks)),
        size=len(data),
        blocks=decoded.blocks,
        after=decoder.progress,
    )


def is_due(writer: Writer, now_s: float) -> bool:
    """Tell whether a writer's tail is worth a pack: long, at its end, or left alone."""
    return bool(writer.tail) and (
        writer.tail_frames >= _PACK_FRAMES
        or writer.tail_bytes >= _PACK_BYTES
        or writer.progress.ended_ns is not None
        or now_s - writer.touched_s > PACK_IDLE_S
    )


def add_to_tail(writer: Writer, piece: TailPiece) -> None:
    """Add a piece, and join small ones, so that no reader meets thousands of them."""
    tail = [*writer.tail, piece]
    writer.tail_frames += piece.frames
    writer.tail_bytes += piece.size
    while len(tail) >= _JOIN_PIECES:
        last = tail[-_JOIN_PIECES:]
        alike = all(one.rank == last[-1].rank for one in last)
        frames = sum(one.frames for one in last)
        if not alike or frames > _PACK_FRAMES or last[0].seqs[0] <= writer.packing_seq:
            break
        tail[-_JOIN_PIECES:] = [_joined_pieces(last)]
    writer.tail = tail


def drop_from_tail(writer: Writer, pieces: list[TailPiece]) -> int:
    """Take packed pieces from the front of a tail; return their bytes."""
    size = sum(piece.size for piece in pieces)
    writer.tail = writer.tail[len(pieces) :]
    writer.tail_frames -= sum(piece.frames for piece in pieces)
    writer.tail_bytes -= size
    return size


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
