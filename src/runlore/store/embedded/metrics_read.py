"""Answers from one snapshot of a run: packed blocks and the unpacked tail, superseded or not."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from runlore.core.metric import Value
from runlore.core.run import RunRef
from runlore.store.embedded.metrics_blob import Floats, Ints
from runlore.store.embedded.metrics_decode import Block, Columns
from runlore.store.embedded.metrics_history import BlockRow, HistoryReader
from runlore.store.embedded.metrics_log import Rewind
from runlore.store.embedded.metrics_programs import Program, Progress, programs_of
from runlore.store.embedded.metrics_summary import Cell, Summary
from runlore.store.metrics import HistoryRow, KeySummary, Series

_NEVER = 2**62
_MOST_LEVELS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterView:
    """One writer in a snapshot: how far it came, and its unpacked blocks."""

    id: int
    name: str
    progress: Progress
    tail: Sequence[Block]


@dataclass(slots=True, kw_only=True)
class RunView:
    """One run in a snapshot; `reader` is None where nothing was ever packed."""

    id: int
    ref: RunRef
    writers: Sequence[WriterView]
    rewinds: Sequence[Rewind]
    published: int
    reader: HistoryReader | None
    summaries: Callable[[HistoryReader, int, int, str, int], Summary | None]


class _Part:
    """Some frames of one writer: a packed block or one of the tail, decoded as far as asked."""

    def __init__(
        self, writer: int, columns: Columns, first_step: int, last_step: int, n: int
    ) -> None:
        self.writer = writer
        self.columns = columns
        self.first_step = first_step
        self.last_step = last_step
        self.n = n

    def frames(self) -> Ints:
        """Return steps, offsets, times, back and late, a row each."""
        raise NotImplementedError

    def numbers(self, column: int) -> Floats:
        raise NotImplementedError

    def texts(self, column: int) -> list[str]:
        raise NotImplementedError

    def values(self, column: int) -> list[Value]:
        """Return one column as values of its kind."""
        kind = self.columns.kinds[column]
        if kind == "string":
            return list(self.texts(column))
        numbers: list[Value] = self.numbers(column).tolist()
        return [bool(number) for number in numbers] if kind == "bool" else numbers


class _TailPart(_Part):
    def __init__(self, writer: int, block: Block) -> None:
        steps = block.steps
        super().__init__(writer, block.columns, int(steps.min()), int(steps.max()), len(block))
        self._block = block
        self._frames = np.array([steps, block.offsets, block.times, block.back, block.late])

    def frames(self) -> Ints:
        return self._frames

    def numbers(self, column: int) -> Floats:
        return self._block.numbers[:, self.columns.slots[column]]

    def texts(self, column: int) -> list[str]:
        return self._block.texts[self.columns.slots[column]]


class _PackedPart(_Part):
    def __init__(self, reader: HistoryReader, row: BlockRow, run_name: str) -> None:
        columns = reader.columns(row.columns, run_name)
        super().__init__(row.writer, columns, row.first_step, row.last_step, row.n)
        self._reader, self._row, self._run_name = reader, row, run_name
        self._frames: Ints | None = None
        self._segments: dict[int, Floats] = {}

    def frames(self) -> Ints:
        if self._frames is None:
            self._frames = self._reader.frames(self._row, self._run_name)
        return self._frames

    def numbers(self, column: int) -> Floats:
        slot = self.columns.slots[column]
        first = slot - slot % self._row.per_segment
        if first not in self._segments:
            self._segments[first] = self._reader.numbers(
                self._row, self.columns, first, self._run_name
            )
        found: Floats = self._segments[first][slot - first]
        return found

    def texts(self, column: int) -> list[str]:
        slot = self.columns.slots[column]
        return self._reader.texts(self._row, self.columns, slot, self._run_name)


class _Points(NamedTuple):
    """Points of one key that are not superseded, by step, then as rows stand."""

    steps: Ints
    values: Floats


class RunAnswers:
    """Answers questions about one run from one snapshot."""

    def __init__(self, view: RunView) -> None:
        self._view = view
        self._name = str(view.ref)
        began = sorted(view.writers, key=_begin)
        self._ranks = {writer.id: rank for rank, writer in enumerate(began)}
        self._writers = {writer.id: writer for writer in view.writers}
        self._program = {
            writer.id: program
            for program in programs_of(view.writers)
            for writer in program.writers
        }
        self._summaries: dict[int, Summary] = {}
        self._first_steps: dict[Program[WriterView], dict[str, int]] = {}

    def keys(self) -> list[KeySummary]:
        """Summarise every key and kind; only what is partly superseded is read point by point."""
        cells: dict[tuple[str, str], list[tuple[int, Cell]]] = {}
        again: set[str] = set()
        for writer in self._view.writers:
            rewinds = [r for r in self._view.rewinds if r.stored.get(writer.id, 0) > 0]
            least = min((rewind.step for rewind in rewinds), default=_NEVER)
            is_whole = not rewinds and not self._program[writer.id].later
            for cell in self._summary(writer).cells():
                cells.setdefault((cell.key, cell.kind), []).append((writer.id, cell))
                if is_whole:
                    continue
                if cell.last_step > least or cell.last_step >= self._limit(writer.id, cell.key):
                    again.add(cell.key)
        found = []
        for (key, _), of_writers in sorted(cells.items()):
            if key not in again:
                found.append(self._merge(of_writers))
            elif (counted := self._count(key, of_writers)) is not None:
                found.append(counted)
        return found

    def series(self, key: str, buckets: int, start: int | None, stop: int | None) -> Series | None:
        """Bucket the numbers of a key; None without any."""
        points = self._points(key, start, stop)
        if not len(points.steps):
            return None
        return bucketed(self._view.ref, key, points.steps, points.values, buckets)

    def rows(
        self, keys: Sequence[str] | None, start: int | None, stop: int | None
    ) -> Iterator[HistoryRow]:
        """Yield rows, a window of steps at a time, so that few blocks are open at once."""
        wanted = None if keys is None else set(keys)
        low = -_NEVER if start is None else start
        high = _NEVER if stop is None else stop
        parts = [
            part
            for part in self._parts
            if part.last_step >= low
            and part.first_step < high
            and (wanted is None or not wanted.isdisjoint(part.columns.place))
        ]
        edges = sorted({max(part.first_step, low) for part in parts}) + [high]
        for begin, end in zip(edges, edges[1:], strict=False):
            within = [p for p in parts if p.last_step >= begin and p.first_step < end]
            yield from self._window(within, wanted, begin, end)

    @cached_property
    def _parts(self) -> list[_Part]:
        """All parts of the run; most lists of keys need none."""
        view = self._view
        parts: list[_Part] = []
        if view.reader is not None:
            rows = view.reader.blocks(view.id, view.published)
            parts += [_PackedPart(view.reader, row, self._name) for row in rows]
        return parts + [
            _TailPart(writer.id, block) for writer in view.writers for block in writer.tail
        ]

    def _summary(self, writer: WriterView) -> Summary:
        if writer.id not in self._summaries:
            view = self._view
            packed = None
            if view.reader is not None:
                packed = view.summaries(
                    view.reader, view.id, writer.id, self._name, view.published
                )
            summary = packed.copy() if packed is not None else Summary()
            for block in writer.tail:
                summary.fold(block)
            self._summaries[writer.id] = summary
        return self._summaries[writer.id]

    def _limit(self, writer: int, key: str) -> int:
        """Return the step from which on a writer's points of a key are superseded by others."""
        limit = _NEVER
        for later in self._program[writer].later:
            if later not in self._first_steps:
                self._first_steps[later] = self._least_steps(later)
            limit = min(limit, self._first_steps[later].get(key, _NEVER))
        return limit

    def _least_steps(self, program: Program[WriterView]) -> dict[str, int]:
        """Return the least step of each key in any writer of a program."""
        least: dict[str, int] = {}
        for writer in program.writers:
            for key, step in self._summary(writer).first_steps().items():
                least[key] = min(least.get(key, step), step)
        return least

    def _live(self, part: _Part, key: str, low: int, high: int) -> Ints | None:
        """Return the places of a part's points of a key that are neither superseded nor outside.

        None stands for all of them.
        """
        limit = min(high, self._limit(part.writer, key))
        rewinds = [
            (rewind.step, rewind.stored[part.writer])
            for rewind in self._view.rewinds
            if rewind.stored.get(part.writer, 0) > 0 and part.last_step > rewind.step
        ]
        if not rewinds and part.first_step >= low and part.last_step < limit:
            return None
        steps, offsets, *_ = part.frames()
        live = (steps >= low) & (steps < limit)
        for step, stored in rewinds:
            live &= (steps <= step) | (offsets >= stored)
        return np.flatnonzero(live)

    def _points(self, key: str, start: int | None, stop: int | None) -> _Points:
        """Return a key's numbers and bools in the order of rows."""
        low = -_NEVER if start is None else start
        high = _NEVER if stop is None else stop
        steps, ranks, rows, values = [], [], [], []
        for part in self._parts:
            column = part.columns.place.get(key)
            if column is None or part.columns.kinds[column] == "string":
                continue
            if part.last_step < low or part.first_step >= high:
                continue
            live = self._live(part, key, low, high)
            if live is not None and not len(live):
                continue
            picked = slice(None) if live is None else live
            frames = part.frames()
            steps.append(frames[0][picked])
            rows.append((frames[1] - frames[3])[picked])
            ranks.append(np.full(len(steps[-1]), self._ranks[part.writer]))
            values.append(part.numbers(column)[picked])
        if not steps:
            return _Points(np.zeros(0, dtype=np.int64), np.zeros(0))
        all_steps, all_values = np.concatenate(steps), np.concatenate(values)
        if (all_steps[1:] > all_steps[:-1]).all():
            return _Points(all_steps, all_values)
        order = np.lexsort((np.concatenate(rows), np.concatenate(ranks), all_steps))
        return _Points(all_steps[order], all_values[order])

    def _merge(self, of_writers: Sequence[tuple[int, Cell]]) -> KeySummary:
        """Put together the summaries of writers of which nothing is superseded."""
        if len(of_writers) == 1:
            # Nearly always: a list of runs asks for the keys of a thousand of them.
            return _summary_of(of_writers[0][1])
        _, last = max(of_writers, key=lambda one: (one[1].last_step, self._ranks[one[0]]))
        return _summary_of(
            last._replace(
                points=sum(cell.points for _, cell in of_writers),
                minimum=min(cell.minimum for _, cell in of_writers),
                maximum=max(cell.maximum for _, cell in of_writers),
            )
        )

    def _count(self, key: str, of_writers: Sequence[tuple[int, Cell]]) -> KeySummary | None:
        """Summarise a key and kind point by point."""
        kind = of_writers[0][1].kind
        count, low, high = 0, np.inf, -np.inf
        newest: tuple[tuple[int, int, int], _Part, int] | None = None
        for part in self._parts:
            column = part.columns.place.get(key)
            if column is None or part.columns.kinds[column] != kind:
                continue
            live = self._live(part, key, -_NEVER, _NEVER)
            picked = np.arange(part.n) if live is None else live
            if not len(picked):
                continue
            count += len(picked)
            frames = part.frames()[:, picked]
            at = len(picked) - 1 - int(np.argmax(frames[0][::-1]))
            place = (int(frames[0][at]), self._ranks[part.writer], int(frames[1][at]))
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
        self, parts: Sequence[_Part], wanted: Collection[str] | None, begin: int, end: int
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
            rank = np.full(len(places), self._ranks[part.writer])
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
                name = self._writers[parts[which].writer].name
                shown = HistoryRow(writer=name, step=step, time_ns=time_ns, values=row)
            keys, cells = values[which][at]
            row.update(zip(keys, cells, strict=True))
        if row:
            yield shown

    def _cells(
        self, part: _Part, wanted: Collection[str] | None, places: Ints
    ) -> list[tuple[list[str], list[Value]]]:
        """Return the keys and values that are not superseded at some places of a part."""
        keys = [key for key in part.columns.keys if wanted is None or key in wanted]
        columns = []
        gone: list[tuple[int, set[int]]] = []
        for number, key in enumerate(keys):
            column = part.values(part.columns.place[key])
            columns.append([column[place] for place in places.tolist()])
            live = self._live(part, key, -_NEVER, _NEVER)
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


def bucketed(run: RunRef, key: str, steps: Ints, values: Floats, buckets: int) -> Series:
    """Bucket points that stand in order of steps."""
    width = 0
    starts = np.arange(len(steps))
    if len(steps) > buckets:
        level, starts = _level(steps, buckets)
        width = 2**level
    ends = np.append(starts[1:], len(steps))
    finite = np.isfinite(values)
    all_finite = bool(finite.all())
    known = values if all_finite else np.where(finite, values, 0.0)
    good = ends - starts if all_finite else np.add.reduceat(finite, starts, dtype=np.int64)
    none = good == 0
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.add.reduceat(known, starts) / np.maximum(good, 1)
        if not np.isfinite(mean).all():
            # The sum overflowed: add up shares instead, which is slower and less exact.
            counts = np.repeat(np.maximum(good, 1), ends - starts)
            mean = np.add.reduceat(known / counts, starts)
    low = known if all_finite else np.where(finite, values, np.inf)
    high = known if all_finite else np.where(finite, values, -np.inf)
    nothing = np.zeros(len(starts))
    return Series(
        run=run,
        key=key,
        width=width,
        points=len(steps),
        step=steps[starts].astype(np.float64),
        step_last=steps[ends - 1].astype(np.float64),
        count=(ends - starts).astype(np.float64),
        min=np.where(none, np.nan, np.minimum.reduceat(low, starts)),
        max=np.where(none, np.nan, np.maximum.reduceat(high, starts)),
        mean=np.where(none, np.nan, mean),
        last=values[ends - 1],
        nan=nothing if all_finite else _counted(np.isnan(values), starts),
        posinf=nothing if all_finite else _counted(np.isposinf(values), starts),
        neginf=nothing if all_finite else _counted(np.isneginf(values), starts),
    )


def _level(steps: Ints, buckets: int) -> tuple[int, Ints]:
    """Find the least power of two of a width that needs at most `buckets`, and their starts.

    Two neighbours share a bucket from that width on whose exponent is the number of bits in
    which they differ, so one pass over the steps answers for all widths.
    """
    differ = steps[1:] ^ steps[:-1]
    # A float64 holds these exactly but for steps of different signs, which never share a bucket.
    bits = np.where(differ < 0, _MOST_LEVELS, np.frexp(differ.astype(np.float64))[1])
    borders = np.bincount(bits, minlength=_MOST_LEVELS + 1)[::-1].cumsum()[::-1]
    level = int(np.argmax(1 + np.append(borders[1:], 0) <= buckets))
    return level, np.append(0, np.flatnonzero(bits > level) + 1)


def _counted(flags: np.typing.NDArray[np.bool_], starts: Ints) -> Floats:
    return np.add.reduceat(flags, starts, dtype=np.int64).astype(np.float64)


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


def _begin(writer: WriterView) -> tuple[int, str]:
    return writer.progress.started_ns, writer.name
