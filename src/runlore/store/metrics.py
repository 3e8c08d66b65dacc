"""The seam of metric history: what every store of points keeps."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runlore.core.axis import STEP, Axis
from runlore.core.metric import Kind, Value
from runlore.core.run import Fork, RunRef
from runlore.errors import ConflictError
from runlore.store.search import Pick

_NAMED_FORKS = 10

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolPiece:
    """Whole frames of one writer's spool: `data` begins at byte `offset` of the stream.

    The frames have been checked by `wire.spool`; `offset` is 0 or the edge of a frame.
    """

    run: RunRef
    writer: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a store has of one writer: bytes up to `next`, holding `points` points."""

    next: int
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySummary:
    """One key of one run, superseded points left out.

    `minimum` and `maximum` speak of finite numbers, bools counting as 0 and 1, and are None
    without one. `last` is the value at the greatest step; of several at that step, the one that
    stands last in the order of `MetricStore.rows`.
    """

    key: str
    kind: Kind
    count: int
    last_step: int
    last: Value
    minimum: float | None
    maximum: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class XColumns:
    """Where the buckets of a series lie on another axis than the step; float64.

    For wall times, in seconds since 1970, the least, the greatest and that of the last point. For
    another key, those of its numbers at the bucket's steps, the finite ones; `last` is its last
    number there, or the greatest where that is not finite, and NaN stands where none is finite.
    A bucket without a number of the key stands at the `last` of the bucket before it that has
    one, inside the range.
    """

    min: Floats
    max: Floats
    last: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The history of one key of one run in buckets, as docs/design/http-api.md defines them.

    Numbers and bools of the key together. All columns are float64 and have one entry per bucket
    that holds a point. `width` is the number of steps per bucket, the least power of two that
    gives at most as many entries as asked for, or 0 where each entry is one point.
    """

    run: RunRef
    key: str
    width: int
    points: int
    step: Floats
    step_last: Floats
    count: Floats
    min: Floats
    max: Floats
    mean: Floats
    last: Floats
    nan: Floats
    posinf: Floats
    neginf: Floats
    x: XColumns | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """What one writer logged together at one step, superseded points left out."""

    writer: str
    step: int
    time_ns: int
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanColumn:
    """One key and kind in a batch of rows.

    `values` are float64, bools as 0 and 1; of strings an array of objects. What stands where
    `present` is false means nothing.
    """

    key: str
    kind: Kind
    values: Floats | NDArray[np.object_]
    present: Flags


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanBatch:
    """Some rows of a scan, as columns; `writers` are places in `Scan.writers`."""

    steps: Ints
    times_ns: Ints
    writers: Ints
    superseded: Flags
    columns: Sequence[ScanColumn]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """All points of a run, a batch of columns at a time.

    Attributes:
        cells: every key and kind that may occur, by name.
        batches: yields as they are asked for; none is empty.
        close: lets go of the snapshot; as good as exhausting it, and may be called twice.
    """

    cells: Sequence[tuple[str, Kind]]
    writers: Sequence[str]
    batches: Iterator[ScanBatch]
    close: Callable[[], None]


def check_no_forks(run: RunRef, forks: Sequence[RunRef]) -> None:
    """Raise ConflictError if other runs inherit from one that is to be deleted."""
    if forks:
        names = ", ".join(repr(fork.run_id) for fork in forks[-_NAMED_FORKS:][::-1])
        more = len(forks) - _NAMED_FORKS
        raise ConflictError(
            f"run {run} cannot be deleted: forks inherit its history; delete these first, in "
            f"this order: {names}" + (f" and {more} more" if more > 0 else "")
        )


class MetricStore(Protocol):
    """Points of all runs, readable as soon as `append` returns.

    Obligations:
        Durability: when `append` returns, its pieces survive the death of the process and a
            power cut. All pieces of one call share one commit.
        Identity: a point is (run, key, writer, offset). Bytes that are stored already are
            skipped, so a piece may come twice, overlap, or come after a crash.
        Gaps: a piece that begins behind what is stored of its writer raises ConflictError and
            stores nothing of that piece; the other pieces of the call are kept.
        Rows: consecutive frames of one step of one writer are one row until a key repeats;
            its time is that of the first of them.
        Programs: writers whose headers name the same `program` are one program; a header without
            one names its own writer. The main writer is the one that the program is named
            after. A program begins and ends with it: its last `finish`, `closed` or `lost`.
            As long as nothing of the main writer is stored, each writer that is stored stands
            for it: the program has ended when all of them have.
        Superseding: where program A had ended before B began, A's points of a key, of whatever
            kind, at or behind the least step of that key in any writer of B are superseded. If
            A has no end, and B's header says `resumed`, A ended with the last row of any of its
            writers. Ends and begins are compared by `boot_ns` where both headers name the same
            `boot` and both have it, else by wall time; equal is not before. Programs that
            overlap in time never supersede each other, nor do the writers of one. The order of
            arrival changes nothing.
        Forks: a fork shows, beside its own points, those that its parent shows up to the step
            where it was forked off, which may be inherited in their turn. Of a key that the
            fork, or a run between, has itself, those at or behind its least step there are
            superseded. A rewind of the fork leaves nothing inherited behind its step. The
            parent's rewinds count that were stored when the fork was, and of its programs
            those that had begun, by wall time, when the fork's first one began, and others
            that supersede none of these: what happens to the parent later changes no fork. A
            parent that is not there, or was deleted before, has no points. Rows of ancestors
            stand before those of the fork at the same step.
        Reads are one snapshot: no piece is seen in part.
        Threads: any method may be called from any thread.
    """

    def append(self, pieces: Sequence[SpoolPiece]) -> list[Stored | Exception]:
        """Store pieces in one durable commit; one answer per piece, in order.

        An answer is ConflictError for a gap, DeletedError for a deleted run, DamageError for a
        frame that cannot be decoded (the frames before it are stored), UnavailableError where
        the disk does not take it now (nothing of the call is stored; it may be sent again).
        """
        ...

    def stored(self, run: RunRef, writer: str) -> Stored:
        """Tell how far this writer's spool is stored; zeros if nothing is."""
        ...

    def keys(
        self, run: RunRef, *, limit: int | None = None, pick: Pick | None = None
    ) -> list[KeySummary]:
        """Summarise every key of a run, one entry per key and kind, sorted by key.

        `limit` asks for so many keys alone, the first by name; it then needs no more memory for
        a run of very many. `pick` leaves those that it returns, and its errors are the caller's.
        """
        ...

    def last_step(self, run: RunRef) -> int | None:
        """Return the greatest step of a run, None where it has no points."""
        ...

    def key_counts(
        self,
        runs: Collection[RunRef],
        *,
        after: str | None = None,
        limit: int | None = None,
        pick: Pick | None = None,
    ) -> Mapping[tuple[str, Kind], int]:
        """Count the runs, of some, that have each key and kind or inherit it, superseded or not.

        `limit` asks for so many keys alone, the first by name, and `after` for those behind one.
        `pick` leaves those that it returns; its errors are the caller's, and it may be called
        for a key more than once, but never where others wait for it.
        What is not there has none. Damage to points of a run does not keep it from the others.
        """
        ...

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
        """Return the numbers of each run and key, from step `start` up to before `stop`.

        By run, then by key, in the order asked for; what has no such points gives no series.
        Buckets are by step whatever the axis; one other than the step adds `x` to each series.

        Raises:
            UsageError: `buckets` is less than 2 (a bucket never spans steps -1 and 0).
        """
        ...

    def rows(
        self,
        run: RunRef,
        *,
        keys: Sequence[str] | None = None,
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[HistoryRow]:
        """Yield rows by step, then in the order in which their writers began, then as logged.

        With `keys`, only these, and only rows that hold one of them.
        """
        ...

    def scan(self, run: RunRef, *, keys: Sequence[str] | None = None) -> Scan:
        """Return all points of a run, superseded ones too, as columns.

        A row is what one frame holds, with the frame's own time; where some of its points are
        superseded and others are not, these are two rows, the superseded ones behind. Rows come
        by step, then in the order in which their writers began, then as logged. With `keys`,
        only these, and only rows that hold one of them. The snapshot is taken now; memory is
        needed for a batch and what it is decoded from, however long the run.
        """
        ...

    def rewind(self, run: RunRef, step: int) -> None:
        """Supersede all points that are stored now and lie behind `step`.

        Raises:
            DeletedError: the run was deleted.
        """
        ...

    def fork(self, run: RunRef, fork: Fork) -> None:
        """Let a run inherit from another one of its project, durably; twice is quiet.

        Raises:
            ConflictError: it is a fork of another run or step, or would inherit from itself.
            DeletedError: the run was deleted.
        """
        ...

    def forks(self, run: RunRef) -> list[RunRef]:
        """Return the runs that inherit from a run, over others too, its own forks first."""
        ...

    def delete(self, run: RunRef) -> int:
        """Delete a run's points for good and return the bytes freed; a tombstone stays.

        Deleting twice, or what never existed, is quiet. Later pieces get DeletedError.

        Raises:
            ConflictError: other runs inherit from it.
        """
        ...

    def close(self) -> None:
        """Finish background work and let go of the files."""
        ...
