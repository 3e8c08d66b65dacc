"""All points of a run from one snapshot as columns, superseded or not, in the order of rows."""

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from runlore.core.metric import Kind
from runlore.store.embedded.metrics_blob import Ints
from runlore.store.embedded.metrics_parts import Part, share_of_window
from runlore.store.embedded.metrics_view import NEVER, RunView, Snapshot
from runlore.store.metrics import Flags, Floats, Scan, ScanBatch, ScanColumn

_BATCH_CELLS = 1_000_000


def scan_of(views: AbstractContextManager[Sequence[RunView]], keys: Sequence[str] | None) -> Scan:
    """Take the snapshot of one run, or of none, and return what scans it."""
    with ExitStack() as undo:
        found = undo.enter_context(views)
        if not found:
            return Scan(cells=[], writers=[], batches=iter(()), close=_nothing)
        scanner = _Scanner(Snapshot(found[0]), None if keys is None else set(keys))
        cells = scanner.cells()
        held = undo.pop_all()
    batches = _held(held, scanner)
    # Begun, so that closing it lets go even if nothing was asked for.
    next(batches)
    return Scan(
        cells=cells,
        writers=scanner.writers,
        batches=(batch for batch in batches if batch is not None),
        close=batches.close,
    )


def _nothing() -> None:
    pass


def _held(held: ExitStack, scanner: "_Scanner") -> Generator[ScanBatch | None, None, None]:
    with held:
        yield None
        yield from scanner.batches()


class _Scanner:
    """Goes through a snapshot, a window of steps at a time, so that few blocks are open at once.

    Attributes:
        writers: the names of writers by their rank.
    """

    def __init__(self, snapshot: Snapshot, wanted: Collection[str] | None) -> None:
        self._snapshot = snapshot
        self._wanted = wanted
        ranked = sorted(snapshot.ranks, key=snapshot.ranks.__getitem__)
        self.writers = [snapshot.writers[writer].name for writer in ranked]
        self._parts = [part for part in snapshot.all_parts if self._cells_of(part)]
        self._parts.sort(key=lambda part: part.first_step)

    def cells(self) -> list[tuple[str, Kind]]:
        return sorted({cell for part in self._parts for cell in self._cells_of(part)})

    def batches(self) -> Iterator[ScanBatch]:
        begin, gathered = -NEVER, 0.0
        open_parts: list[Part] = []
        for part, after in zip_longest(self._parts, self._parts[1:]):
            open_parts.append(part)
            gathered += share_of_window(part, self._wanted)
            if after is not None and (gathered < 1 or after.first_step <= begin):
                continue
            end = NEVER if after is None else after.first_step
            cells = [self._cells_of(one) for one in open_parts]
            yield from _Window(self._snapshot, open_parts, cells, begin, end).batches()
            for done in open_parts:
                if done.last_step < end:
                    done.release()
            open_parts = [part for part in open_parts if part.last_step >= end]
            begin, gathered = end, 0.0

    def _cells_of(self, part: Part) -> list[tuple[str, Kind]]:
        return [
            cell for cell in part.columns.cells if self._wanted is None or cell[0] in self._wanted
        ]


class _Rows:
    """Rows of a window in their order: arrays of one length.

    `parts` and `places` say where each comes from.
    """

    def __init__(self, window: "_Window") -> None:
        found: list[tuple[Ints, ...]] = []
        for number, part in enumerate(window.parts):
            steps, offsets, times, *_ = part.frames()
            # Behind the step of a fork its parent's points are not superseded but no part of it.
            end = min(window.end, window.snapshot.end(part.writer))
            inside = np.flatnonzero((steps >= window.begin) & (steps < end))
            rank = window.snapshot.ranks[part.writer]
            for flag, chosen in window.split(number, inside):
                same = [np.full(len(chosen), one) for one in (rank, number, flag)]
                found.append((steps[chosen], offsets[chosen], times[chosen], *same, chosen))
        columns = [np.concatenate(column) for column in zip(*found, strict=True)]
        steps, offsets, times, ranks, numbers, flags, places = columns
        if len(found) > 1 or not (steps[1:] >= steps[:-1]).all():
            order = np.lexsort((flags, offsets, ranks, steps))
            columns = [column[order] for column in columns]
        self.steps, _, self.times, self.ranks, self.parts, self.flags, self.places = columns


class _Window:
    """Parts of a snapshot, from step `begin` up to before `end`."""

    def __init__(
        self,
        snapshot: Snapshot,
        parts: Sequence[Part],
        cells: Sequence[Sequence[tuple[str, Kind]]],
        begin: int,
        end: int,
    ) -> None:
        self.snapshot = snapshot
        self.parts = list(parts)
        self.begin, self.end = begin, end
        self._cells = cells
        self._gone = [self._superseded(*one) for one in zip(parts, cells, strict=True)]
        self._texts: dict[tuple[int, int], NDArray[np.object_]] = {}

    def split(self, number: int, places: Ints) -> Iterator[tuple[bool, Ints]]:
        """Yield the places of a part that have live points, then those with superseded ones."""
        gone = self._gone[number]
        if not gone:
            yield False, places
            return
        count = np.sum(list(gone.values()), axis=0)[places]
        yield False, places[count < len(self._cells[number])]
        yield True, places[count > 0]

    def batches(self) -> Iterator[ScanBatch]:
        rows = _Rows(self)
        width = len({cell for cells in self._cells for cell in cells})
        size = max(_BATCH_CELLS // width, 1)
        for first in range(0, len(rows.steps), size):
            chunk = slice(first, first + size)
            yield ScanBatch(
                steps=rows.steps[chunk],
                times_ns=rows.times[chunk],
                writers=rows.ranks[chunk],
                superseded=rows.flags[chunk],
                columns=self._columns(rows.parts[chunk], rows.places[chunk], rows.flags[chunk]),
            )

    def _columns(self, numbers: Ints, places: Ints, flags: Flags) -> list[ScanColumn]:
        found: dict[tuple[str, Kind], ScanColumn] = {}
        for number in np.unique(numbers).tolist():
            at = np.flatnonzero(numbers == number)
            of_part = places[at]
            for key, kind in self._cells[number]:
                if (key, kind) not in found:
                    found[key, kind] = _empty(key, kind, len(numbers))
                column = found[key, kind]
                column.values[at] = self._values(number, key, kind)[of_part]
                gone = self._gone[number].get(key)
                column.present[at] = True if gone is None else gone[of_part] == flags[at]
                if gone is None and self._gone[number]:
                    column.present[at] = ~flags[at]
        return list(found.values())

    def _values(self, number: int, key: str, kind: Kind) -> NDArray[np.object_] | Floats:
        part = self.parts[number]
        column = part.columns.place[key]
        if kind != "string":
            return part.numbers(column)
        if (number, column) not in self._texts:
            self._texts[number, column] = np.array(part.texts(column), dtype=object)
        return self._texts[number, column]

    def _superseded(self, part: Part, cells: Sequence[tuple[str, Kind]]) -> dict[str, Flags]:
        """Return which places of a part are superseded, of each key that has any."""
        found = {}
        for key, _ in cells:
            live = self.snapshot.live(part, key, -NEVER, NEVER)
            if live is not None and len(live) < part.n:
                gone = np.ones(part.n, dtype=np.bool_)
                gone[live] = False
                found[key] = gone
        return found


def _empty(key: str, kind: Kind, size: int) -> ScanColumn:
    return ScanColumn(
        key=key,
        kind=kind,
        values=np.zeros(size) if kind != "string" else np.full(size, None, dtype=object),
        present=np.zeros(size, dtype=np.bool_),
    )
