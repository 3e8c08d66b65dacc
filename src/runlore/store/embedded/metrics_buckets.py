"""Buckets of points: what the levels of the pyramid hold, and how they are put together.

Widths are powers of two and edges are aligned to steps, so buckets of any runs, writers and
widths can be merged into wider ones, in any order, with the same outcome (Gray et al., "Data
Cube", 1997, call such aggregates distributive).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runlore.store.embedded.metrics_blob import Flags, Floats, Ints

FIRST, LAST, COUNT, ROW, TIME_MIN, TIME_MAX, TIME_LAST = range(7)
"""Rows of `Buckets.shared`: steps, points per key, offset of the last point's row, times in ns."""
LOW, HIGH, MEAN, FINAL = range(4)
"""Rows of `Buckets.values`: least, greatest and mean of the finite ones, value of the last."""
SHARED, VALUES, ODD = 7, 4, 3
NO_LEVEL = 64
"""More than any level: of buckets that can never be one, such as those of steps -1 and 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Buckets of keys that were logged together, by step; each holds at least one point.

    `shared` is (7, n), `values` (4, keys, n); `odd` is (3, keys, n), the counts of NaN, infinity
    and -infinity, or None where all are finite. Without a finite value LOW is above HIGH.
    """

    shared: Ints
    values: Floats
    odd: Floats | None

    def __len__(self) -> int:
        return len(self.shared[FIRST])

    def between(self, begin: int, end: int) -> "Buckets":
        """Return the buckets at the places from `begin` up to before `end`."""
        return Buckets(
            shared=self.shared[:, begin:end],
            values=self.values[:, :, begin:end],
            odd=None if self.odd is None else self.odd[:, :, begin:end],
        )


def aggregated(level: int, steps: Ints, rows: Ints, times: Ints, values: Floats) -> Buckets:
    """Put points into buckets of 2**level steps; `values` is (keys, points).

    Points of one step must stand in the order in which they were logged.
    """
    if not (steps[1:] >= steps[:-1]).all():
        order = np.lexsort((rows, steps))
        steps, rows, times, values = steps[order], rows[order], times[order], values[:, order]
    starts = starts_of(level, steps)
    ends = np.append(starts[1:], len(steps)) - 1
    shared = np.array(
        [
            steps[starts],
            steps[ends],
            ends + 1 - starts,
            rows[ends],
            np.minimum.reduceat(times, starts),
            np.maximum.reduceat(times, starts),
            times[ends],
        ]
    )
    found = np.empty((VALUES, len(values), len(starts)))
    found[FINAL] = values[:, ends]
    finite = np.isfinite(values)
    if finite.all():
        np.minimum.reduceat(values, starts, axis=1, out=found[LOW])
        np.maximum.reduceat(values, starts, axis=1, out=found[HIGH])
        found[MEAN] = _means(values, starts, shared[COUNT])
        return Buckets(shared=shared, values=found, odd=None)
    odd = np.array(
        [
            np.add.reduceat(flags, starts, axis=1, dtype=np.float64)
            for flags in (np.isnan(values), np.isposinf(values), np.isneginf(values))
        ]
    )
    np.minimum.reduceat(np.where(finite, values, np.inf), starts, axis=1, out=found[LOW])
    np.maximum.reduceat(np.where(finite, values, -np.inf), starts, axis=1, out=found[HIGH])
    good = shared[COUNT] - odd.sum(axis=0)
    found[MEAN] = _means(np.where(finite, values, 0.0), starts, np.maximum(good, 1))
    return Buckets(shared=shared, values=found, odd=odd)


def combined(level: int, parts: Sequence[Buckets], ranks: Sequence[Ints] | None = None) -> Buckets:
    """Merge buckets, none wider than 2**level steps, into buckets of that width.

    Of two last points at one step that of the greater rank, then of the later row is the last;
    `ranks` holds one number per bucket of each part.
    """
    whole = parts[0] if len(parts) == 1 else _joined(parts)
    shared, values, odd = whole.shared, whole.values, whole.odd
    ids = shared[FIRST] >> level
    if (ids[1:] > ids[:-1]).all():
        return whole
    if not (shared[FIRST, 1:] > shared[LAST, :-1]).all():
        rank = np.zeros(len(whole)) if ranks is None else np.concatenate(ranks)
        order = np.lexsort((shared[ROW], rank, shared[LAST], ids))
        ids, shared, values = ids[order], shared[:, order], values[:, :, order]
        odd = None if odd is None else odd[:, :, order]
    starts = _starts(ids)
    ordered = Buckets(shared=shared, values=values, odd=odd)
    return ordered if len(starts) == len(ids) else merged(ordered, starts)


def merged(buckets: Buckets, starts: Ints) -> Buckets:
    """Merge those from each start up to before the next; the last of each has the last point.

    `shared` may end behind COUNT where nobody asks for more.
    """
    shared, values, odd = buckets.shared, buckets.values, buckets.odd
    ends = np.append(starts[1:], len(buckets)) - 1
    rows = [
        np.minimum.reduceat(shared[FIRST], starts),
        shared[LAST, ends],
        np.add.reduceat(shared[COUNT], starts),
    ]
    if len(shared) == SHARED:
        rows += [
            shared[ROW, ends],
            np.minimum.reduceat(shared[TIME_MIN], starts),
            np.maximum.reduceat(shared[TIME_MAX], starts),
            shared[TIME_LAST, ends],
        ]
    good: Floats = shared[COUNT].astype(np.float64)
    if odd is not None:
        good = good - odd.sum(axis=0)
    totals = np.maximum(np.add.reduceat(good, starts, axis=-1), 1)
    # Shares of the mean are added up, not sums: these may be too large for a float.
    share = good / np.repeat(totals, ends + 1 - starts, axis=-1)
    found = np.empty((VALUES, values.shape[1], len(starts)))
    np.minimum.reduceat(values[LOW], starts, axis=1, out=found[LOW])
    np.maximum.reduceat(values[HIGH], starts, axis=1, out=found[HIGH])
    np.add.reduceat(values[MEAN] * share, starts, axis=1, out=found[MEAN])
    found[FINAL] = values[FINAL][:, ends]
    odd = None if odd is None else np.add.reduceat(odd, starts, axis=2)
    return Buckets(shared=np.array(rows), values=found, odd=odd)


def starts_of(level: int, steps: Ints) -> Ints:
    """Return where in steps, which stand in order, buckets of 2**level steps begin."""
    return _starts(steps >> level)


def counts_of(steps: Ints) -> Ints:
    """Return, for each level up to NO_LEVEL, how many buckets steps that stand in order need.

    Two neighbours share a bucket from that level on which is the number of bits in which they
    differ, so one pass answers for all levels.
    """
    borders = np.bincount(bits_between(steps), minlength=NO_LEVEL + 1)[::-1].cumsum()[::-1]
    return 1 + np.append(borders[1:], 0)


def level_for(steps: Ints, buckets: int) -> int:
    """Return the least level that needs at most so many buckets; the steps stand in order."""
    return int(np.argmax(counts_of(steps) <= buckets))


def halves_of(level: int, buckets: Buckets) -> int:
    """Return how many buckets of half the width the points of these buckets need."""
    return len(buckets) + int(np.count_nonzero(splits_of(level, buckets.shared)))


def splits_of(levels: int | Ints, shared: Ints) -> Flags:
    """Tell of each bucket of 2**levels steps whether its points need two of half the width."""
    differ = shared[FIRST] ^ shared[LAST]
    splits: Flags = (differ >> np.maximum(levels - 1, 0)) != 0
    return splits


def bits_between(steps: Ints) -> Ints:
    """Return from which level on each step shares a bucket with the one before it."""
    differ = steps[1:] ^ steps[:-1]
    # A float64 holds these exactly but for steps of different signs, which never share a bucket.
    bits: Ints = np.where(differ < 0, NO_LEVEL, np.frexp(differ.astype(np.float64))[1])
    return bits


def _starts(ids: Ints) -> Ints:
    begins = np.ones(len(ids), dtype=bool)
    np.not_equal(ids[1:], ids[:-1], out=begins[1:])
    return np.flatnonzero(begins)


def _joined(parts: Sequence[Buckets]) -> Buckets:
    odd = None
    if any(part.odd is not None for part in parts):
        odd = np.concatenate(
            [
                np.zeros((ODD, *part.values.shape[1:])) if part.odd is None else part.odd
                for part in parts
            ],
            axis=2,
        )
    return Buckets(
        shared=np.concatenate([part.shared for part in parts], axis=1),
        values=np.concatenate([part.values for part in parts], axis=2),
        odd=odd,
    )


def _means(values: Floats, starts: Ints, counts: Ints | Floats) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        means: Floats = np.add.reduceat(values, starts, axis=1) / counts
        if not np.isfinite(means).all():
            # The sum overflowed: add up shares instead, which is slower and less exact.
            lengths = np.diff(np.append(starts, values.shape[1]))
            shares = values / np.repeat(counts, lengths, axis=-1)
            means = np.add.reduceat(shares, starts, axis=1)
    return means
