"""One series for a group of runs: what they have in common in each bucket of steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from runlore.core.statistics import t_quantile
from runlore.store.metrics import Floats, Series, XColumns

_IN_MIDDLE = 0.95

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSeries:
    """One key of a group of runs in buckets, as docs/design/http-api.md defines them.

    All columns are float64 and have one entry per bucket in which any run has a point.
    """

    group: str
    key: str
    width: int
    points: int
    step: Floats
    step_last: Floats
    runs: Floats
    mean: Floats
    median: Floats
    min: Floats
    max: Floats
    std: Floats
    stderr: Floats
    low: Floats
    high: Floats
    x: XColumns | None = None


class Cells(NamedTuple):
    """Buckets of several runs in common ones: arrays of (runs, buckets) and of (buckets,).

    `values` is the mean of a run's finite points in a bucket and NaN where there is none; `step`
    and `step_last` are the first and the last of any run, `min` and `max` NaN without a point.
    """

    values: Floats
    step: Floats
    step_last: Floats
    min: Floats
    max: Floats


def common_width(series: Sequence[Series], buckets: int) -> int:
    """Return the least width, a power of two, at which all series together need few buckets."""
    level: int = max(max(one.width, 1) for one in series).bit_length() - 1
    steps = np.concatenate([one.step for one in series]).astype(np.int64)
    places = np.unique(steps >> level)
    while len(places) > buckets:
        level += 1
        places = np.unique(places >> 1)
    return 1 << level


def merged(series: Sequence[Series], width: int) -> Cells:
    """Put the buckets of several series of one key into common ones of `width` steps.

    Widths are powers of two and edges are aligned, so each bucket lies within a wider one.
    """
    cell, column, shape = _places(series, width)
    size = shape[0] * shape[1]
    columns = _Columns(column, shape[1])
    counts = np.concatenate([one.count - one.nan - one.posinf - one.neginf for one in series])
    totals = np.bincount(cell, counts, size)
    means = np.concatenate([one.mean for one in series])
    is_known = counts > 0
    # Shares of the mean are added up, not sums: these may be too large for a float.
    shares = means[is_known] * (counts[is_known] / totals[cell[is_known]])
    values: Floats = np.bincount(cell[is_known], shares, size).astype(np.float64)
    values[totals == 0] = np.nan
    return Cells(
        values=values.reshape(shape),
        step=columns.extreme(np.minimum, [one.step for one in series]),
        step_last=columns.extreme(np.maximum, [one.step_last for one in series]),
        min=columns.extreme(np.fmin, [one.min for one in series]),
        max=columns.extreme(np.fmax, [one.max for one in series]),
    )


def merged_x(series: Sequence[Series], width: int) -> XColumns | None:
    """Put where the buckets of series lie on another axis into common ones of `width` steps.

    `last` is the mean of those of the runs.
    """
    placed = [one.x for one in series if one.x is not None]
    if len(placed) < len(series):
        return None
    cell, column, shape = _places(series, width)
    columns = _Columns(column, shape[1])
    lasts = np.full(shape[0] * shape[1], np.nan)
    # Of several buckets of a run the last is written last and stays.
    lasts[cell] = np.concatenate([one.last for one in placed])
    lasts = lasts.reshape(shape)
    known = np.isfinite(lasts)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, lasts / count, 0.0).sum(axis=0)
    return XColumns(
        min=columns.extreme(np.fmin, [one.min for one in placed]),
        max=columns.extreme(np.fmax, [one.max for one in placed]),
        last=np.where(known.any(axis=0), mean, np.nan),
    )


def group_series(group: str, series: Sequence[Series], buckets: int) -> GroupSeries:
    """Aggregate one key of a group of runs, whose series have at most `buckets` buckets each."""
    width = common_width(series, buckets)
    cells = merged(series, width)
    # By bucket, and what is NaN behind all others.
    values = np.sort(cells.values.T, axis=1)
    known = np.isfinite(values)
    runs = known.sum(axis=1)
    # Scaled by a power of two, which is exact, so that no square is too large or too small.
    peak = np.where(known, np.abs(values), 0.0).max(axis=1, initial=0.0)
    power = np.frexp(peak)[1]
    scaled = np.where(known, np.ldexp(values, -power[:, np.newaxis]), 0.0)
    one, two = np.maximum(runs, 1), np.maximum(runs - 1, 1)
    mean = scaled.sum(axis=1) / one
    apart = np.where(known, scaled - mean[:, np.newaxis], 0.0)
    spread = np.frexp(np.abs(apart).max(axis=1, initial=0.0))[1]
    squares = np.square(np.ldexp(apart, -spread[:, np.newaxis])).sum(axis=1)
    std = np.ldexp(np.sqrt(squares / two), spread)
    each = np.arange(len(runs))
    median = 0.5 * scaled[each, (one - 1) // 2] + 0.5 * scaled[each, one // 2]
    stderr = std / np.sqrt(one)
    half = stderr * _quantiles(runs)
    none, alone = runs == 0, runs < 2
    # What is beyond all floats is infinite, as it should be.
    with np.errstate(over="ignore"):
        return GroupSeries(
            group=group,
            key=series[0].key,
            width=width,
            points=sum(one.points for one in series),
            step=cells.step,
            step_last=cells.step_last,
            runs=runs.astype(np.float64),
            mean=_shown(mean, power, none),
            median=_shown(median, power, none),
            min=cells.min,
            max=cells.max,
            std=_shown(std, power, alone),
            stderr=_shown(stderr, power, alone),
            low=_shown(mean - half, power, alone),
            high=_shown(mean + half, power, alone),
            x=merged_x(series, width),
        )


def _places(series: Sequence[Series], width: int) -> tuple[_Ints, _Ints, tuple[int, int]]:
    """Return the cell and the column of each bucket in an array of runs × common buckets."""
    level = width.bit_length() - 1
    steps = np.concatenate([one.step for one in series]).astype(np.int64)
    places, column = np.unique(steps >> level, return_inverse=True)
    row = np.repeat(np.arange(len(series)), [len(one.step) for one in series])
    return row * len(places) + column, column, (len(series), len(places))


class _Columns:
    """Finds the extremes of what falls into each column of common buckets."""

    def __init__(self, column: _Ints, size: int) -> None:
        self._order = np.argsort(column, kind="stable")
        self._starts = np.searchsorted(column[self._order], np.arange(size))

    def extreme(self, pick: np.ufunc, values: Sequence[Floats]) -> Floats:
        found: Floats = pick.reduceat(np.concatenate(values)[self._order], self._starts)
        return found


def _shown(scaled: Floats, power: NDArray[np.int32], without: NDArray[np.bool_]) -> Floats:
    return np.where(without, np.nan, np.ldexp(scaled, power))


def _quantiles(runs: _Ints) -> Floats:
    """Return for each count of runs how many standard errors a half of the interval is."""
    counts, place = np.unique(runs, return_inverse=True)
    found = [t_quantile(int(n) - 1, (1 + _IN_MIDDLE) / 2) if n > 1 else np.nan for n in counts]
    return np.array(found)[place]
