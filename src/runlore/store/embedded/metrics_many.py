"""Series of many runs at once: the common case of a chart, without a step per run.

A run is plain where one writer logged it to its end and nothing was rewound; a key of it where
one tower holds all its numbers. Such keys of all runs are read by one statement, and decoded,
merged and counted as one array in which run stands behind run. All else is answered run by run.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from runlore.core.run import RunRef
from runlore.errors import DamageError
from runlore.store.embedded.metrics_blob import Flags, Floats, Ints, unseal, unwoven
from runlore.store.embedded.metrics_buckets import (
    COUNT,
    FINAL,
    FIRST,
    HIGH,
    LAST,
    LOW,
    MEAN,
    NO_LEVEL,
    ODD,
    ROW,
    SHARED,
    TIME_LAST,
    TIME_MIN,
    VALUES,
    Buckets,
    bits_between,
    merged,
    splits_of,
)
from runlore.store.embedded.metrics_levels import Tower
from runlore.store.embedded.metrics_reader import HistoryReader
from runlore.store.embedded.metrics_view import RunView
from runlore.store.metrics import Series, XColumns

_AT_ONCE = 64
_NUMBER_BYTES = 8
_BITS = NO_LEVEL + 1


class _Wanted(NamedTuple):
    """A key of a plain run, and the levels that may answer, the coarsest last."""

    run: int
    ref: RunRef
    key: str
    tower: int
    slot: int
    keys: int
    levels: Sequence[int]


class _Shape(NamedTuple):
    """How a leaf is laid out: buckets, rows of numbers, keys in its segment, the one wanted."""

    n: int
    rows: int
    keys: int
    inside: int


class _Leaf(NamedTuple):
    """A leaf of one key, opened but not decoded."""

    shape: _Shape
    shared: bytes
    values: bytes


class _Row(NamedTuple):
    """Buckets of several runs, one run behind the other; each has at least one."""

    wanted: Sequence[_Wanted]
    levels: Ints
    lengths: Ints
    buckets: Buckets

    @property
    def begins(self) -> Ints:
        """Where the buckets of each run begin."""
        begins: Ints = np.cumsum(self.lengths) - self.lengths
        return begins

    def only(self, chosen: Flags) -> "_Row":
        """Return some of the runs."""
        if chosen.all():
            return self
        inside = np.repeat(chosen, self.lengths)
        whole = self.buckets
        return _Row(
            wanted=[one for one, is_chosen in zip(self.wanted, chosen, strict=True) if is_chosen],
            levels=self.levels[chosen],
            lengths=self.lengths[chosen],
            buckets=Buckets(
                shared=whole.shared[:, inside],
                values=whole.values[:, :, inside],
                odd=None if whole.odd is None else whole.odd[:, :, inside],
            ),
        )


def series_at_once(
    views: Sequence[RunView],
    keys: Sequence[str],
    *,
    buckets: int,
    low: int,
    high: int,
    has_times: bool,
) -> dict[tuple[int, str], Series]:
    """Answer, by the numbers of runs and by key, for the plain ones of the runs and keys."""
    by_reader: dict[HistoryReader, list[RunView]] = {}
    for view in views:
        if view.is_plain and view.reader is not None:
            by_reader.setdefault(view.reader, []).append(view)
    shared = SHARED if has_times else ROW
    found: dict[tuple[int, str], Series] = {}
    for reader, plain in by_reader.items():
        reader.expect_columns(number for view in plain for number in _sets(reader, view))
        waiting = [
            one for view in plain for one in _wanted(reader, view, keys, buckets, low, high)
        ]
        for begin in range(0, len(waiting), _AT_ONCE):
            some: Sequence[_Wanted] = waiting[begin : begin + _AT_ONCE]
            while some:
                answered, some = _round(reader, some, buckets, shared)
                for row in answered:
                    found.update(_shown(row, has_times))
    return found


def _sets(reader: HistoryReader, view: RunView) -> Iterator[int]:
    for tower in reader.towers(view.id):
        yield tower.key.columns
    for block in reader.loose_blocks(view.id, view.published):
        yield block.columns


def _wanted(
    reader: HistoryReader, view: RunView, keys: Sequence[str], buckets: int, low: int, high: int
) -> Iterator[_Wanted]:
    """Yield the plain keys of a plain run that lie inside the range as a whole."""
    towers = reader.towers(view.id)
    name = str(view.ref)
    try:
        sets = [reader.columns(tower.key.columns, name) for tower in towers]
        loose = [
            reader.columns(block.columns, name)
            for block in reader.loose_blocks(view.id, view.published)
        ]
    except DamageError:
        return
    for key in keys:
        holding = [at for at, columns in enumerate(sets) if columns.slot_of(key) is not None]
        if len(holding) != 1 or any(columns.slot_of(key) is not None for columns in loose):
            continue
        tower, columns = towers[holding[0]], sets[holding[0]]
        slot, levels = columns.slot_of(key), _enough(tower, buckets)
        if slot is not None and levels and low <= tower.first_step and tower.last_step < high:
            count = len(columns.number_columns)
            yield _Wanted(view.id, view.ref, key, tower.id, slot, count, levels)


def _enough(tower: Tower, buckets: int) -> list[int]:
    """Return the levels of so many buckets that of half the width there would be too many."""
    return [level for level, count in tower.levels if 2 * count > buckets]


def _round(
    reader: HistoryReader, wanted: Sequence[_Wanted], buckets: int, shared: int
) -> tuple[list[_Row], list[_Wanted]]:
    """Read the coarsest levels; return what they answer, and what needs the next finer ones."""
    whole = _read(reader, wanted, shared)
    if whole is None:
        return [], []
    splits = splits_of(np.repeat(whole.levels, whole.lengths), whole.buckets.shared)
    halves = whole.lengths + np.add.reduceat(splits, whole.begins, dtype=np.int64)
    is_few = whole.lengths <= buckets
    is_right = is_few & (halves > buckets)
    rows = [whole.only(is_right)] if is_right.any() else []
    if not is_few.all():
        rows.append(_coarser(whole.only(~is_few), buckets))
    again = [
        one._replace(levels=one.levels[:-1])
        for one, is_done in zip(whole.wanted, is_right | ~is_few, strict=True)
        if not is_done and len(one.levels) > 1
    ]
    return rows, again


def _read(reader: HistoryReader, wanted: Sequence[_Wanted], shared: int) -> _Row | None:
    """Read whole levels, and as many of the shared rows as are asked for.

    What is damaged is left to those who answer from points.
    """
    leaves: list[list[_Leaf]] = [[] for _ in wanted]
    damaged: set[int] = set()
    places = [(one.tower, one.levels[-1], one.slot) for one in wanted]
    for place, n, per_segment, body, segment in reader.whole_levels(places):
        try:
            leaves[place].append(_leaf(wanted[place], n, per_segment, body, segment))
        except DamageError:
            damaged.add(place)
    good = [at for at, found in enumerate(leaves) if found and at not in damaged]
    if not good:
        return None
    return _Row(
        wanted=[wanted[at] for at in good],
        levels=np.array([wanted[at].levels[-1] for at in good]),
        lengths=np.array([sum(leaf.shape.n for leaf in leaves[at]) for at in good]),
        buckets=_decoded([leaf for at in good for leaf in leaves[at]], shared),
    )


def _leaf(one: _Wanted, n: int, per_segment: int, body: bytes, segment: bytes | None) -> "_Leaf":
    first = one.slot - one.slot % per_segment
    count = min(per_segment, one.keys - first)
    shared, values = unseal(body, "a leaf"), unseal(segment or b"", "a leaf")
    rows = len(values) // (_NUMBER_BYTES * n)
    is_whole = len(values) == _NUMBER_BYTES * n * rows and rows in (
        VALUES * count,
        (VALUES + ODD) * count,
    )
    if len(shared) != _NUMBER_BYTES * n * SHARED or not is_whole:
        raise DamageError("a leaf does not hold what it should", offset=0)
    return _Leaf(_Shape(n, rows, count, one.slot - first), shared, values)


def _decoded(leaves: Sequence[_Leaf], rows: int) -> Buckets:
    """Decode leaves, those of one shape together, and put them one behind the other."""
    shapes: dict[_Shape, list[int]] = {}
    for at, leaf in enumerate(leaves):
        shapes.setdefault(leaf.shape, []).append(at)
    shared: dict[int, Ints] = {}
    values: dict[int, Floats] = {}
    for shape, places in shapes.items():
        ints = unwoven([leaves[at].shared for at in places], SHARED, shape.n, slice(rows))
        of_key = slice(shape.inside, None, shape.keys)
        floats = unwoven([leaves[at].values for at in places], shape.rows, shape.n, of_key)
        shared.update(zip(places, np.cumsum(ints, axis=2), strict=True))
        values.update(zip(places, floats.view(np.float64), strict=True))
    order = range(len(leaves))
    odd = None
    if any(len(values[at]) > VALUES for at in order):
        odd = np.concatenate([_odd(values[at]) for at in order], axis=1)[:, np.newaxis]
    return Buckets(
        shared=np.concatenate([shared[at] for at in order], axis=1),
        values=np.concatenate([values[at][:VALUES] for at in order], axis=1)[:, np.newaxis],
        odd=odd,
    )


def _odd(values: Floats) -> Floats:
    return values[VALUES:] if len(values) > VALUES else np.zeros((ODD, values.shape[1]))


def _coarser(row: _Row, buckets: int) -> _Row:
    """Merge buckets to the least width with which each run needs at most so many."""
    shared = row.buckets.shared
    runs = np.arange(len(row.wanted))
    owner = np.repeat(runs, row.lengths)
    is_same = owner[1:] == owner[:-1]
    bits = bits_between(shared[FIRST])[is_same]
    borders = np.bincount(owner[1:][is_same] * _BITS + bits, minlength=_BITS * len(runs))
    counts = borders.reshape(-1, _BITS)[:, ::-1].cumsum(axis=1)[:, ::-1]
    # At level l those neighbours are apart that share a bucket from a later level on only.
    levels = np.argmax(counts[:, 1:] < buckets, axis=1)
    ids = shared[FIRST] >> np.repeat(levels, row.lengths)
    starts = np.flatnonzero(np.append(True, ~is_same | (ids[1:] != ids[:-1])))
    lengths = np.bincount(owner[starts], minlength=len(runs))
    return row._replace(levels=levels, lengths=lengths, buckets=merged(row.buckets, starts))


def _shown(row: _Row, has_times: bool) -> Iterator[tuple[tuple[int, str], Series]]:
    """Yield the series of a row."""
    shared, values, odd = row.buckets.shared, row.buckets.values[:, 0], row.buckets.odd
    points = np.add.reduceat(shared[COUNT], row.begins).tolist()
    low, high, mean, last = values[LOW], values[HIGH], values[MEAN], values[FINAL]
    nan = posinf = neginf = nothing = np.zeros(int(row.lengths.max()))
    if odd is not None:
        nan, posinf, neginf = odd[:, 0]
        is_none = low > high
        low, high, mean = (np.where(is_none, np.nan, column) for column in (low, high, mean))
    steps, step_lasts, counts = shared[[FIRST, LAST, COUNT]].astype(np.float64)
    times = shared[TIME_MIN : TIME_LAST + 1] if has_times else None
    ends = np.cumsum(row.lengths).tolist()
    cells = zip(row.wanted, row.levels.tolist(), row.begins.tolist(), ends, points, strict=True)
    for one, level, begin, end, count in cells:
        at = slice(begin, end)
        odd_at = slice(end - begin) if nan is nothing else at
        yield (
            (one.run, one.key),
            Series(
                run=one.ref,
                key=one.key,
                width=2**level,
                points=count,
                step=steps[at],
                step_last=step_lasts[at],
                count=counts[at],
                min=low[at],
                max=high[at],
                mean=mean[at],
                last=last[at],
                nan=nan[odd_at],
                posinf=posinf[odd_at],
                neginf=neginf[odd_at],
                x=None if times is None else x_of_times(times[:, at]),
            ),
        )


def x_of_times(times: Ints) -> XColumns:
    """Return wall times in seconds; `times` are the least, the greatest and the last ones."""
    low, high, last = times / 1e9
    return XColumns(min=low, max=high, last=last)
