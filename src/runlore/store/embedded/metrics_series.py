"""Series of one run from one snapshot: as many buckets as are asked for, at the cost of these.

The levels of the towers answer for most of a range, finer ones and points for its edges, and
points alone where a range holds few of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from runlore.core.axis import Axis
from runlore.core.metric import Kind
from runlore.errors import DamageError
from runlore.store.embedded.metrics_blob import Floats, Ints
from runlore.store.embedded.metrics_buckets import (
    COUNT,
    FINAL,
    FIRST,
    HIGH,
    LAST,
    LOW,
    MEAN,
    ROW,
    TIME_LAST,
    TIME_MIN,
    Buckets,
    aggregated,
    combined,
    halves_of,
    level_for,
    starts_of,
)
from runlore.store.embedded.metrics_decode import Columns
from runlore.store.embedded.metrics_levels import Level, Tower
from runlore.store.embedded.metrics_many import series_at_once, x_of_times
from runlore.store.embedded.metrics_parts import Part
from runlore.store.embedded.metrics_view import NEVER, RunView, Snapshot
from runlore.store.metrics import Series, XColumns

_TOP = 62
"""The level at which all steps share two buckets."""


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Rows of some parts, by step, then as they stand there; many keys may share them.

    `ranks` say where their writers stand among those of the run, `order` where each row stood
    before they were sorted; None if they were not.
    """

    steps: Ints
    ranks: Ints
    rows: Ints
    times: Ints
    order: Ints | None

    @cached_property
    def float_steps(self) -> Floats:
        return self.steps.astype(np.float64)

    @cached_property
    def ones(self) -> Floats:
        return np.ones(len(self.steps))

    @cached_property
    def zeros(self) -> Floats:
        return np.zeros(len(self.steps))


@dataclass(frozen=True)
class _Points:
    """Points of one key that are not superseded, in the order of their rows."""

    of: _Rows
    values: Floats

    def __len__(self) -> int:
        return len(self.values)


class _Clipped(NamedTuple):
    """What counts of a tower for one key: number column `slot`, steps from low to before high."""

    tower: Tower
    slot: int
    low: int
    high: int

    def most(self, level: int) -> int:
        """Return how many buckets of 2**level steps it can need at most."""
        held = self.tower.points
        for finer in self.tower.levels:
            if finer.level <= level:
                held = finer.buckets
        return min(held, ((self.high - 1) >> level) - (self.low >> level) + 1)


class Total(NamedTuple):
    """A key summed up; `low` is above `high` without a finite number."""

    points: int
    last_step: int
    last: float
    low: float
    high: float


class SeriesAnswers:
    """Answers for the series of one run."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._view = snapshot.view
        # Nearly always the keys of a run are in the same rows.
        self._rows_of: dict[tuple[int, ...], _Rows] = {}
        self._parts_of: dict[tuple[bool, int, int], list[Part]] = {}

    def series(
        self, key: str, buckets: int, start: int | None, stop: int | None, axis: Axis
    ) -> Series | None:
        """Bucket the numbers of a key; None without any."""
        low = -NEVER if start is None else start
        high = NEVER if stop is None else stop
        found = self._series(key, buckets, low, high, has_times=axis.kind == "time")
        if found is None or axis.key is None:
            return found
        return replace(found, x=self._placed(axis.key, found, low, high))

    def total(self, key: str, kind: Kind) -> Total | None:
        """Sum up the numbers or bools of a key that count; None without any.

        Raises:
            DamageError: a tower is not what was written; the points may be.
        """
        towers = [
            clipped
            for clipped in self._clipped(key, -NEVER, NEVER)
            if _holds(self._columns(clipped.tower), key, kind)
        ]
        parts = self._parts(-NEVER, NEVER, is_loose=True)
        loose = [part for part in parts if _holds(part.columns, key, kind)]
        points = self._points(key, loose, -NEVER, NEVER)
        found, of_ranks = self._gathered(key, _TOP, towers, points)
        if not found:
            return None
        shared = np.concatenate([buckets.shared for buckets in found], axis=1)
        values = np.concatenate([buckets.values[:, 0] for buckets in found], axis=1)
        last = np.lexsort((shared[ROW], np.concatenate(of_ranks), shared[LAST]))[-1]
        return Total(
            points=int(shared[COUNT].sum()),
            last_step=int(shared[LAST, last]),
            last=float(values[FINAL, last]),
            low=float(values[LOW].min()),
            high=float(values[HIGH].max()),
        )

    def _series(
        self, key: str, buckets: int, low: int, high: int, *, has_times: bool
    ) -> Series | None:
        towers = self._clipped(key, low, high)
        if towers:
            try:
                found = self._from_towers(key, towers, buckets, low, high, has_times)
            except DamageError as error:
                # The points are there, too: it takes longer, until the tower is built again.
                assert self._view.reader is not None
                self._view.reader.tell(error)
            else:
                if found is not None:
                    return found
        points = self._points(key, self._parts(low, high), low, high)
        if not points:
            return None
        return self._from_points(key, points, buckets, has_times)

    def _parts(self, low: int, high: int, *, is_loose: bool = False) -> list[Part]:
        """Return the parts with steps from `low` to before `high`; loose ones are in no tower."""
        name = (is_loose, low, high)
        if name not in self._parts_of:
            look = self._snapshot.loose_parts if is_loose else self._snapshot.parts
            self._parts_of[name] = look(low, high)
        return self._parts_of[name]

    def _clipped(self, key: str, low: int, high: int) -> list[_Clipped]:
        """Return the towers that hold numbers of a key which count in a range."""
        found = []
        for tower in self._snapshot.towers:
            columns = self._columns(tower)
            column = columns.place.get(key)
            if column is None or columns.kinds[column] == "string":
                continue
            end = min(high, tower.last_step + 1, self._snapshot.limit(tower.key.writer, key))
            rewinds = [step + 1 for step, _ in self._snapshot.rewinds(tower.key.writer)]
            end = min([end, *rewinds[tower.key.era :]])
            begin = max(low, tower.first_step)
            if begin < end:
                found.append(_Clipped(tower, columns.slots[column], begin, end))
        return found

    def _columns(self, tower: Tower) -> Columns:
        assert self._view.reader is not None
        name = self._snapshot.name(tower.key.writer)
        return self._view.reader.columns(tower.key.columns, name)

    def _from_towers(
        self,
        key: str,
        towers: Sequence[_Clipped],
        buckets: int,
        low: int,
        high: int,
        has_times: bool,
    ) -> Series | None:
        """Answer from the coarsest level that has enough buckets; None where points answer."""
        loose = self._points(key, self._parts(low, high, is_loose=True), low, high)
        levels = {level for clipped in towers for level, _ in clipped.tower.levels}
        for level in sorted(levels, reverse=True):
            most = sum(clipped.most(level) for clipped in towers) + len(loose)
            if 2 * most <= buckets:
                # Buckets of half the width would be few enough as well.
                continue
            parts, ranks = self._gathered(key, level, towers, loose)
            if 2 * sum(map(len, parts)) <= buckets:
                continue
            whole = combined(level, parts, ranks)
            if len(whole) > buckets:
                level = level_for(whole.shared[FIRST], buckets)
                return self._shown(key, level, combined(level, [whole]), has_times)
            if halves_of(level, whole) > buckets:
                return self._shown(key, level, whole, has_times)
        return None

    def _gathered(
        self, key: str, level: int, towers: Sequence[_Clipped], loose: _Points
    ) -> tuple[list[Buckets], list[Ints]]:
        """Return all that counts of a key in buckets of at most 2**level steps, and ranks."""
        parts: list[Buckets] = []
        ranks: list[Ints] = []
        for clipped in towers:
            levels = [one for one in clipped.tower.levels if one.level <= level]
            found = self._cover(key, clipped, level, levels, clipped.low, clipped.high)
            rank = self._snapshot.ranks[clipped.tower.key.writer]
            parts += found
            ranks += [np.full(len(part), rank) for part in found]
        if loose:
            parts.append(_aggregated(level, loose))
            ends = np.append(starts_of(level, loose.of.steps)[1:], len(loose)) - 1
            ranks.append(loose.of.ranks[ends])
        return parts, ranks

    def _cover(
        self,
        key: str,
        clipped: _Clipped,
        wanted: int,
        levels: Sequence[Level],
        low: int,
        high: int,
    ) -> list[Buckets]:
        """Return buckets, none wider than 2**wanted, for the steps from `low` to before `high`.

        The coarsest of `levels` gives those that lie inside as a whole, the others the edges.
        """
        tower = clipped.tower
        if not levels:
            parts = self._snapshot.raised_parts(tower, low, high)
            era = tower.key.era
            points = self._points(key, parts, low, high, era=era)
            return [_aggregated(wanted, points)] if points else []
        *finer, (level, _) = levels
        first = low >> level if low <= tower.first_step else -(-low >> level)
        stop = ((high - 1) >> level) + 1 if high > tower.last_step else high >> level
        if first >= stop:
            return self._cover(key, clipped, wanted, finer, low, high)
        found: list[Buckets] = []
        if low < first << level:
            found += self._cover(key, clipped, wanted, finer, low, first << level)
        assert self._view.reader is not None
        columns, name = self._columns(tower), self._snapshot.name(tower.key.writer)
        for leaf in self._view.reader.leaves(tower, level, first, stop - 1):
            read = self._view.reader.buckets(tower, leaf, clipped.slot, columns, name)
            if first <= leaf[0].first and leaf[0].last < stop:
                found.append(read)
                continue
            begin, end = np.searchsorted(read.shared[FIRST] >> level, (first, stop))
            if begin < end:
                found.append(read.between(int(begin), int(end)))
        if stop << level < high:
            found += self._cover(key, clipped, wanted, finer, stop << level, high)
        return found

    def _points(
        self, key: str, parts: Sequence[Part], low: int, high: int, era: int | None = None
    ) -> _Points:
        """Return a key's numbers and bools in the order of rows; of one era, if it is given."""
        held: list[tuple[Part, Ints | None]] = []
        values: list[Floats] = []
        for part in parts:
            column = part.columns.place.get(key)
            if column is None or part.columns.kinds[column] == "string":
                continue
            live = self._snapshot.live(part, key, low, high)
            if era is not None:
                live = self._of_era(part, era, live)
            if live is not None and not len(live):
                continue
            held.append((part, live))
            numbers = part.numbers(column)
            values.append(numbers if live is None else numbers[live])
        rows = self._rows(held)
        if not values:
            return _Points(rows, np.zeros(0))
        # Also of one alone, which would keep all that was decoded with it.
        numbers = np.concatenate(values)
        return _Points(rows, numbers if rows.order is None else numbers[rows.order])

    def _rows(self, held: Sequence[tuple[Part, Ints | None]]) -> _Rows:
        """Return the rows of some parts, or of those of their places that are given."""
        is_whole = all(live is None for _, live in held)
        name = tuple(id(part) for part, _ in held)
        if is_whole and name in self._rows_of:
            return self._rows_of[name]
        found = np.zeros((4, 0), dtype=np.int64)
        if held:
            found = np.concatenate([self._row_columns(part, live) for part, live in held], axis=1)
        steps, ranks, offsets, _ = found
        order: Ints | None = None
        if not (steps[1:] > steps[:-1]).all():
            order = np.lexsort((offsets, ranks, steps))
            found = found[:, order]
        steps, ranks, offsets, times = found
        rows = _Rows(steps=steps, ranks=ranks, rows=offsets, times=times, order=order)
        if is_whole and held:
            # The snapshot keeps the parts, so that none gets the number of another one.
            self._rows_of = {name: rows}
        return rows

    def _row_columns(self, part: Part, live: Ints | None) -> Ints:
        """Return steps, ranks, offsets of rows and their times, a row each."""
        steps, offsets, times, back, late = part.frames()
        ranks = np.full(len(steps), self._snapshot.ranks[part.writer])
        found = np.array((steps, ranks, offsets - back, times - late))
        return found if live is None else found[:, live]

    def _of_era(self, part: Part, era: int, live: Ints | None) -> Ints | None:
        """Return which of the places of a part lie between one rewind and the next."""
        borders = self._snapshot.eras(part.writer)
        if not borders:
            return live
        inside = np.searchsorted(np.array(borders), part.frames()[1], side="right") == era
        return np.flatnonzero(inside) if live is None else live[inside[live]]

    def _from_points(self, key: str, points: _Points, buckets: int, has_times: bool) -> Series:
        of, values = points.of, points.values
        if len(values) > buckets:
            level = level_for(of.steps, buckets)
            return self._shown(key, level, _aggregated(level, points), has_times)
        finite = np.isfinite(values)
        is_finite = bool(finite.all())
        known = values if is_finite else np.where(finite, values, np.nan)
        return Series(
            run=self._view.ref,
            key=key,
            width=0,
            points=len(values),
            step=of.float_steps,
            step_last=of.float_steps,
            count=of.ones,
            min=known,
            max=known,
            mean=known,
            last=values,
            nan=of.zeros if is_finite else np.isnan(values).astype(np.float64),
            posinf=of.zeros if is_finite else np.isposinf(values).astype(np.float64),
            neginf=of.zeros if is_finite else np.isneginf(values).astype(np.float64),
            x=x_of_times(np.array([of.times] * 3)) if has_times else None,
        )

    def _shown(self, key: str, level: int, buckets: Buckets, has_times: bool) -> Series:
        shared, values = buckets.shared, buckets.values[:, 0]
        counts = shared[COUNT].astype(np.float64)
        low, high, mean = values[LOW], values[HIGH], values[MEAN]
        if buckets.odd is None:
            nan = posinf = neginf = np.zeros(len(counts))
        else:
            nan, posinf, neginf = buckets.odd[:, 0]
            none = low > high
            low, high, mean = (np.where(none, np.nan, column) for column in (low, high, mean))
        return Series(
            run=self._view.ref,
            key=key,
            width=2**level,
            points=int(shared[COUNT].sum()),
            step=shared[FIRST].astype(np.float64),
            step_last=shared[LAST].astype(np.float64),
            count=counts,
            min=low,
            max=high,
            mean=mean,
            last=values[FINAL],
            nan=nan,
            posinf=posinf,
            neginf=neginf,
            x=x_of_times(shared[TIME_MIN : TIME_LAST + 1]) if has_times else None,
        )

    def _placed(self, key: str, series: Series, low: int, high: int) -> XColumns:
        """Place the buckets of a series by another key."""
        level = max(series.width.bit_length() - 1, 0)
        steps = series.step.astype(np.int64)
        if series.width:
            whole = self._all(key, level, low, high)
        else:
            spans = [
                (part, *span)
                for part in self._parts(low, high)
                if key in part.columns.place and (span := self._span(part, key, low, high))
            ]
            parts = _around(spans, steps)
            points = self._points(key, parts, low, high)
            whole = _aggregated(level, points) if points else None
        nowhere = np.full(len(steps), np.nan)
        if whole is None:
            return XColumns(min=nowhere, max=nowhere, last=nowhere)
        values = whole.values[:, 0]
        good = values[LOW] <= values[HIGH]
        low_x, high_x, last = np.where(good, values[[LOW, HIGH, FINAL]], np.nan)
        last = np.where(np.isfinite(last), last, high_x)
        # The bucket itself, or the nearest before it.
        ids = whole.shared[FIRST] >> level
        at = np.searchsorted(ids, steps >> level, side="right") - 1
        known, at = at >= 0, np.maximum(at, 0)
        inside = known & (ids[at] == steps >> level)
        last = np.where(known, last[at], np.nan)
        return XColumns(
            min=np.where(inside, low_x[at], last),
            max=np.where(inside, high_x[at], last),
            last=last,
        )

    def _span(self, part: Part, key: str, low: int, high: int) -> tuple[int, int] | None:
        """Return the first and the last step of a part's points of a key that count."""
        live = self._snapshot.live(part, key, low, high)
        if live is None:
            return part.first_step, part.last_step
        steps = part.frames()[0][live]
        return (int(steps.min()), int(steps.max())) if len(steps) else None

    def _all(self, key: str, level: int, low: int, high: int) -> Buckets | None:
        """Return all that counts of a key in buckets of 2**level steps, however many."""
        loose = self._points(key, self._parts(low, high, is_loose=True), low, high)
        try:
            parts, ranks = self._gathered(key, level, self._clipped(key, low, high), loose)
        except DamageError as error:
            assert self._view.reader is not None
            self._view.reader.tell(error)
            points = self._points(key, self._parts(low, high), low, high)
            return _aggregated(level, points) if points else None
        return combined(level, parts, ranks) if parts else None


def answered(
    views: Sequence[RunView],
    keys: Sequence[str],
    buckets: int,
    start: int | None,
    stop: int | None,
    axis: Axis,
) -> list[Series]:
    """Bucket the numbers of each run and key, in this order."""
    known: Mapping[tuple[int, str], Series] = {}
    if axis.key is None:
        low, high = -NEVER if start is None else start, NEVER if stop is None else stop
        has_times = axis.kind == "time"
        known = series_at_once(
            views, keys, buckets=buckets, low=low, high=high, has_times=has_times
        )
    found: list[Series | None] = []
    for view in views:
        answers: SeriesAnswers | None = None
        for key in keys:
            series = known.get((view.id, key))
            if series is None:
                answers = answers or SeriesAnswers(Snapshot(view))
                series = answers.series(key, buckets, start, stop, axis)
            found.append(series)
    return [series for series in found if series is not None]


def _around(spans: Sequence[tuple[Part, int, int]], steps: Ints) -> list[Part]:
    """Return the parts with points at some steps or, of each writer and columns, before them."""
    firsts = np.array([first for _, first, _ in spans], dtype=np.int64)
    lasts = np.array([last for _, _, last in spans], dtype=np.int64)
    wanted = np.searchsorted(steps, firsts) < np.searchsorted(steps, lasts, side="right")
    groups: dict[tuple[int, tuple[tuple[str, Kind], ...]], list[int]] = {}
    for number, (part, _, _) in enumerate(spans):
        groups.setdefault((part.writer, part.columns.cells), []).append(number)
    for members in groups.values():
        places = np.array(members)
        places = places[np.argsort(lasts[places], kind="stable")]
        before = np.searchsorted(lasts[places], steps, side="right") - 1
        # Several may end at the same step: all that was logged there counts.
        nearest = lasts[places][before[before >= 0]]
        wanted[places[np.isin(lasts[places], nearest)]] = True
    return [spans[number][0] for number in np.flatnonzero(wanted).tolist()]


def _holds(columns: Columns, key: str, kind: Kind) -> bool:
    column = columns.place.get(key)
    return column is not None and columns.kinds[column] == kind


def _aggregated(level: int, points: _Points) -> Buckets:
    of = points.of
    return aggregated(level, of.steps, of.rows, of.times, points.values[np.newaxis])
