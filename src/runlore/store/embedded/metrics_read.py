"""Answers from one snapshot of a run: packed blocks and the unpacked tail, superseded or not."""

from collections.abc import Collection, Iterator, Sequence
from heapq import merge
from itertools import groupby, zip_longest
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from runlore.core.metric import Kind, Value
from runlore.errors import DamageError
from runlore.store.embedded.metrics_blob import Ints
from runlore.store.embedded.metrics_parts import Part, share_of_window
from runlore.store.embedded.metrics_series import SeriesAnswers
from runlore.store.embedded.metrics_summary import Cell, CellName
from runlore.store.embedded.metrics_view import NEVER, Snapshot, WriterView
from runlore.store.metrics import HistoryRow, KeySummary
from runlore.store.search import Pick

_key_of = itemgetter(0)


class _Found(NamedTuple):
    """What one writer has of a key and kind, and whether some of it may be superseded."""

    writer: int
    cell: Cell
    is_partial: bool


class RunAnswers:
    """Answers questions about one run from one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._series = SeriesAnswers(snapshot)

    def summaries(self, pick: Pick | None = None) -> Iterator[tuple[str, list[KeySummary]]]:
        """Yield keys by name, or those that `pick` leaves, each with a summary of every kind.

        Only what is partly superseded is counted again.
        """
        known = self._snapshot.writers
        if len(known) == 1 and all(map(self._snapshot.is_whole, known)):
            # Nearly always: a list of runs asks for the keys of a thousand of them.
            parts = (part for one in known.values() for part in self._snapshot.summaries(one))
            cells = (cell for part in parts for cell in part.cells(pick))
            for key, of_key in groupby(cells, key=_key_of):
                yield key, [_summary_of(cell) for cell in of_key]
            return
        writers = [self._cells_of(writer, pick) for writer in known.values()]
        ordered = writers[0] if len(writers) == 1 else merge(*writers, key=_name_of)
        for key, of_writers in groupby(ordered, key=lambda one: one.cell.key):
            kinds: dict[Kind, list[_Found]] = {}
            for found in of_writers:
                kinds.setdefault(found.cell.kind, []).append(found)
            is_partial = any(one.is_partial for some in kinds.values() for one in some)
            shown = [
                self._count(key, kind) if is_partial else self._merge(of_kind)
                for kind, of_kind in kinds.items()
            ]
            yield key, [one for one in shown if one is not None]

    def last_step(self) -> int | None:
        """Return the greatest step; keys are gone through only where something is superseded."""
        writers = self._snapshot.writers
        if all(self._snapshot.is_whole(writer) for writer in writers):
            return max((part.last_step for part in self._snapshot.all_parts), default=None)
        steps = (one.last_step for _, kinds in self.summaries() for one in kinds)
        return max(steps, default=None)

    def _cells_of(self, writer: WriterView, pick: Pick | None) -> "Iterator[_Found]":
        """Yield what a writer has of each key and kind, unless all of it is superseded."""
        steps = (step for step, _ in self._snapshot.rewinds(writer.id))
        least = min(steps, default=NEVER)
        is_whole = self._snapshot.is_whole(writer.id)
        for summary in self._snapshot.summaries(writer):
            for cell in summary.cells(pick):
                is_partial = False
                if not is_whole:
                    limit = self._snapshot.limit(writer.id, cell.key)
                    if cell.first_step >= limit:
                        continue
                    is_partial = cell.last_step > least or cell.last_step >= limit
                yield _Found(writer.id, cell, is_partial)

    def rows(
        self, keys: Sequence[str] | None, start: int | None, stop: int | None
    ) -> Iterator[HistoryRow]:
        """Yield rows, a window of steps at a time, so that few blocks are open at once."""
        wanted = None if keys is None else set(keys)
        low = -NEVER if start is None else start
        high = NEVER if stop is None else stop
        parts = [
            part
            for part in self._snapshot.parts(low, high)
            if (wanted is None or not wanted.isdisjoint(part.columns.place))
        ]
        parts.sort(key=lambda part: part.first_step)
        begin, gathered, open_parts = low, 0.0, []
        for part, after in zip_longest(parts, parts[1:]):
            open_parts.append(part)
            gathered += share_of_window(part, wanted)
            if after is not None and (gathered < 1 or after.first_step <= begin):
                continue
            end = high if after is None else after.first_step
            yield from self._window(open_parts, wanted, begin, end)
            for done in open_parts:
                if done.last_step < end:
                    done.release()
            open_parts = [part for part in open_parts if part.last_step >= end]
            begin, gathered = end, 0.0

    def _merge(self, of_writers: "Sequence[_Found]") -> KeySummary:
        """Put together the summaries of writers of which nothing is superseded."""
        if len(of_writers) == 1:
            return _summary_of(of_writers[0].cell)
        ranks = self._snapshot.ranks
        last = max(of_writers, key=lambda one: (one.cell.last_step, ranks[one.writer])).cell
        return _summary_of(
            last._replace(
                points=sum(one.cell.points for one in of_writers),
                minimum=min(one.cell.minimum for one in of_writers),
                maximum=max(one.cell.maximum for one in of_writers),
            )
        )

    def _count(self, key: str, kind: Kind) -> KeySummary | None:
        """Summarise a key and kind of which some points do not count."""
        if kind == "string" or not self._snapshot.towers:
            return self._count_points(key, kind)
        try:
            total = self._series.total(key, kind)
        except DamageError as error:
            # The points are there, too: it takes longer, until the tower is built again.
            assert self._snapshot.view.reader is not None
            self._snapshot.view.reader.tell(error)
            return self._count_points(key, kind)
        if total is None:
            return None
        has_finite = total.low <= total.high
        return KeySummary(
            key=key,
            kind=kind,
            count=total.points,
            last_step=total.last_step,
            last=bool(total.last) if kind == "bool" else total.last,
            minimum=total.low if has_finite else None,
            maximum=total.high if has_finite else None,
        )

    def _count_points(self, key: str, kind: Kind) -> KeySummary | None:
        """Summarise a key and kind point by point."""
        count, low, high = 0, np.inf, -np.inf
        newest: tuple[tuple[int, int, int], Part, int] | None = None
        for part in self._snapshot.all_parts:
            column = part.columns.place.get(key)
            if column is None or part.columns.kinds[column] != kind:
                continue
            live = self._snapshot.live(part, key, -NEVER, NEVER)
            picked = np.arange(part.n) if live is None else live
            if not len(picked):
                continue
            count += len(picked)
            frames = part.frames()[:, picked]
            at = len(picked) - 1 - int(np.argmax(frames[0][::-1]))
            place = (int(frames[0][at]), self._snapshot.ranks[part.writer], int(frames[1][at]))
            if newest is None or place > newest[0]:
                newest = (place, part, int(picked[at]))
            if kind != "string":
                values = part.numbers(column)[picked]
                finite = values[np.isfinite(values)]
                low = min(low, finite.min(initial=np.inf))
                high = max(high, finite.max(initial=-np.inf))
        if newest is None:
            return None
        (last_step, _, _), part, at = newest
        return KeySummary(
            key=key,
            kind=kind,
            count=count,
            last_step=last_step,
            last=part.values(part.columns.place[key])[at],
            minimum=float(low) if low <= high else None,
            maximum=float(high) if low <= high else None,
        )

    def _window(
        self, parts: Sequence[Part], wanted: Collection[str] | None, begin: int, end: int
    ) -> Iterator[HistoryRow]:
        """Yield the rows of some parts from step `begin` up to before `end`."""
        inside: list[tuple[Ints, Ints, Ints, Ints, Ints, Ints, Ints]] = []
        values: list[list[tuple[list[str], list[Value]]]] = []
        for number, part in enumerate(parts):
            frames = part.frames()
            places = np.flatnonzero((frames[0] >= begin) & (frames[0] < end))
            if not len(places):
                values.append([])
                continue
            steps, offsets, times, back, late = frames[:, places]
            rank = np.full(len(places), self._snapshot.ranks[part.writer])
            which = np.full(len(places), number)
            local = np.arange(len(places))
            inside.append((steps, rank, offsets - back, offsets, times - late, which, local))
            values.append(self._cells(part, wanted, places))
        if not inside:
            return
        stacked = np.array([np.concatenate(column) for column in zip(*inside, strict=True)])
        stacked = stacked[:, np.lexsort((stacked[3], stacked[2], stacked[1], stacked[0]))]
        row: dict[str, Value] = {}
        opened: tuple[int, int, int] | None = None
        shown = HistoryRow(writer="", step=0, time_ns=0, values=row)
        for step, rank, row_offset, _, time_ns, which, at in stacked.T.tolist():
            if (step, rank, row_offset) != opened:
                if row:
                    yield shown
                row, opened = {}, (step, rank, row_offset)
                name = self._snapshot.writers[parts[which].writer].name
                shown = HistoryRow(writer=name, step=step, time_ns=time_ns, values=row)
            keys, cells = values[which][at]
            row.update(zip(keys, cells, strict=True))
        if row:
            yield shown

    def _cells(
        self, part: Part, wanted: Collection[str] | None, places: Ints
    ) -> list[tuple[list[str], list[Value]]]:
        """Return the keys and values that are not superseded at some places of a part."""
        keys = [key for key in part.columns.keys if wanted is None or key in wanted]
        columns = []
        gone: list[tuple[int, set[int]]] = []
        for number, key in enumerate(keys):
            column = part.values(part.columns.place[key])
            columns.append([column[place] for place in places.tolist()])
            live = self._snapshot.live(part, key, -NEVER, NEVER)
            if live is not None:
                gone.append((number, set(places.tolist()).difference(live.tolist())))
        cells = [list(row) for row in zip(*columns, strict=True)]
        if not any(missing for _, missing in gone):
            return [(keys, row) for row in cells]
        found = []
        for place, row in zip(places.tolist(), cells, strict=True):
            missing_here = {number for number, missing in gone if place in missing}
            kept = [number for number in range(len(keys)) if number not in missing_here]
            found.append(([keys[number] for number in kept], [row[number] for number in kept]))
        return found


def _name_of(found: _Found) -> CellName:
    return found.cell.key, found.cell.kind


def _summary_of(cell: Cell) -> KeySummary:
    has_finite = cell.kind != "string" and cell.minimum <= cell.maximum
    return KeySummary(
        key=cell.key,
        kind=cell.kind,
        count=cell.points,
        last_step=cell.last_step,
        last=cell.last,
        minimum=cell.minimum if has_finite else None,
        maximum=cell.maximum if has_finite else None,
    )
