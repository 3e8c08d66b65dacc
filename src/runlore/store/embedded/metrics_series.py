"""Series of one run from one snapshot: as many buckets as are asked for, at the cost of these.

The levels of the towers answer for most of a range, finer ones and points for its edges, and
points alone where a range holds few of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

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
    Buckets,
    aggregated,
    combined,
    halves_of,
    level_for,
    starts_of,
)
from runlore.store.embedded.metrics_levels import Level, Tower
from runlore.store.embedded.metrics_parts import Part
from runlore.store.embedded.metrics_view import NEVER, Snapshot
from runlore.store.metrics import Series


class _Points(NamedTuple):
    """Points of one key that are not superseded, by step, then as rows stand.

    `ranks` say where their writers stand among those of the run.
    """

    steps: Ints
    ranks: Ints
    rows: Ints
    times: Ints
    values: Floats


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


class SeriesAnswers:
    """Answers for the series of one run."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._view = snapshot.view
        reader = snapshot.view.reader
        self._towers = [] if reader is None else reader.towers(snapshot.view.id)
        self._name = str(snapshot.view.ref)

    def series(self, key: str, buckets: int, start: int | None, stop: int | None) -> Series | None:
        """Bucket the numbers of a key; None without any."""
        low = -NEVER if start is None else start
        high = NEVER if stop is None else stop
        towers = self._clipped(key, low, high)
        if towers:
            try:
                found = self._from_towers(key, towers, buckets, low, high)
            except DamageError as error:
                # The points are there, too: it takes longer, until the tower is built again.
                assert self._view.reader is not None
                self._view.reader.tell(error)
            else:
                if found is not None:
                    return found
        points = self._points(key, self._snapshot.parts(low, high), low, high)
        if not len(points.steps):
            return None
        return self._from_points(key, points, buckets)

    def _clipped(self, key: str, low: int, high: int) -> list[_Clipped]:
        """Return the towers that hold numbers of a key which count in a range."""
        found = []
        for tower in self._towers:
            assert self._view.reader is not None
            columns = self._view.reader.columns(tower.key.columns, self._name)
            column = columns.place.get(key)
            if column is None or columns.kinds[column] == "string":
                continue
            end = min(high, tower.last_step + 1, self._snapshot.limit(tower.key.writer, key))
            rewinds = [
                rewind.step + 1
                for rewind in self._view.rewinds
                if rewind.stored.get(tower.key.writer, 0) > 0
            ]
            end = min([end, *rewinds[tower.key.era :]])
            begin = max(low, tower.first_step)
            if begin < end:
                found.append(_Clipped(tower, columns.slots[column], begin, end))
        return found

    def _from_towers(
        self, key: str, towers: Sequence[_Clipped], buckets: int, low: int, high: int
    ) -> Series | None:
        """Answer from the coarsest level that has enough buckets; None where points answer."""
        loose = self._points(key, self._snapshot.loose_parts(low, high), low, high)
        levels = {level for clipped in towers for level, _ in clipped.tower.levels}
        for level in sorted(levels, reverse=True):
            most = sum(clipped.most(level) for clipped in towers) + len(loose.steps)
            if 2 * most <= buckets:
                # Buckets of half the width would be few enough as well.
                continue
            parts, ranks = self._gathered(key, level, towers, loose)
            if 2 * sum(map(len, parts)) <= buckets:
                continue
            whole = combined(level, parts, ranks)
            if len(whole) > buckets:
                level = level_for(whole.shared[FIRST], buckets)
                return self._shown(key, level, combined(level, [whole]))
            if halves_of(level, whole) > buckets:
                return self._shown(key, level, whole)
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
        if len(loose.steps):
            parts.append(_aggregated(level, loose))
            ends = np.append(starts_of(level, loose.steps)[1:], len(loose.steps)) - 1
            ranks.append(loose.ranks[ends])
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
            return [_aggregated(wanted, points)] if len(points.steps) else []
        *finer, (level, _) = levels
        first = low >> level if low <= tower.first_step else -(-low >> level)
        stop = ((high - 1) >> level) + 1 if high > tower.last_step else high >> level
        if first >= stop:
            return self._cover(key, clipped, wanted, finer, low, high)
        found: list[Buckets] = []
        if low < first << level:
            found += self._cover(key, clipped, wanted, finer, low, first << level)
        assert self._view.reader is not None
        columns = self._view.reader.columns(tower.key.columns, self._name)
        for leaf in self._view.reader.leaves(tower, level, first, stop - 1):
            read = self._view.reader.buckets(tower, leaf, clipped.slot, columns, self._name)
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
        columns: list[list[Ints]] = [[], [], [], []]
        values: list[Floats] = []
        for part in parts:
            column = part.columns.place.get(key)
            if column is None or part.columns.kinds[column] == "string":
                continue
            live = self._snapshot.live(part, key, low, high)
            steps, offsets, times, back, late = part.frames()
            if era is not None:
                live = self._of_era(part, era, offsets, live)
            if live is not None and not len(live):
                continue
            picked = slice(None) if live is None else live
            ranks = np.full(len(steps), self._snapshot.ranks[part.writer])
            for rows, column_of in zip(
                columns, (steps, ranks, offsets - back, times - late), strict=True
            ):
                rows.append(column_of[picked])
            values.append(part.numbers(column)[picked])
        if not values:
            nothing = np.zeros(0, dtype=np.int64)
            return _Points(nothing, nothing, nothing, nothing, np.zeros(0))
        steps, ranks, offsets, times = map(np.concatenate, columns)
        numbers = np.concatenate(values)
        if (steps[1:] > steps[:-1]).all():
            return _Points(steps, ranks, offsets, times, numbers)
        order = np.lexsort((offsets, ranks, steps))
        steps, ranks, offsets, times = np.array([steps, ranks, offsets, times])[:, order]
        return _Points(steps, ranks, offsets, times, numbers[order])

    def _of_era(self, part: Part, era: int, offsets: Ints, live: Ints | None) -> Ints | None:
        """Return which of the places of a part lie between one rewind and the next."""
        borders = [
            stored
            for rewind in self._view.rewinds
            if (stored := rewind.stored.get(part.writer, 0)) > 0
        ]
        if not borders:
            return live
        inside = np.searchsorted(np.array(borders), offsets, side="right") == era
        return np.flatnonzero(inside) if live is None else live[inside[live]]

    def _from_points(self, key: str, points: _Points, buckets: int) -> Series:
        if len(points.steps) > buckets:
            level = level_for(points.steps, buckets)
            return self._shown(key, level, _aggregated(level, points))
        values = points.values
        finite = np.isfinite(values)
        known = values if finite.all() else np.where(finite, values, np.nan)
        nothing = np.zeros(len(values))
        steps = points.steps.astype(np.float64)
        return Series(
            run=self._view.ref,
            key=key,
            width=0,
            points=len(values),
            step=steps,
            step_last=steps,
            count=np.ones(len(values)),
            min=known,
            max=known,
            mean=known,
            last=values,
            nan=nothing if finite.all() else np.isnan(values).astype(np.float64),
            posinf=nothing if finite.all() else np.isposinf(values).astype(np.float64),
            neginf=nothing if finite.all() else np.isneginf(values).astype(np.float64),
        )

    def _shown(self, key: str, level: int, buckets: Buckets) -> Series:
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
        )


def _aggregated(level: int, points: _Points) -> Buckets:
    return aggregated(level, points.steps, points.rows, points.times, points.values[np.newaxis])
