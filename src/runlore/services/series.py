"""Series for charts: what may be asked at once, and the columns that are sent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from runlore.core.axis import STEP, Axis
from runlore.core.metric import bounded_step
from runlore.core.run import RunRef, run_ref
from runlore.errors import UsageError
from runlore.services.groups import GroupSeries, group_series
from runlore.store.metrics import MetricStore, Series, XColumns
from runlore.store.search import picker
from runlore.wire.series import MAX_BUCKETS, MAX_POINTS, MAX_SERIES

_MAX_NAME = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs, by id, that are drawn as one series."""

    name: str
    runs: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which series are asked for: of runs, each for itself, and of groups of runs.

    `keys_matching` is a regular expression for more keys beside `keys`; with `is_relative`, wall
    times count from the begin of each run.
    """

    runs: Sequence[str] = ()
    groups: Sequence[Group] = ()
    keys: Sequence[str] = ()
    keys_matching: str | None = None
    buckets: int
    start: int | None = None
    stop: int | None = None
    axis: Axis = STEP
    is_relative: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Series of runs, by run and key in the order asked for, and of groups likewise."""

    series: list[Series] = field(default_factory=list)
    groups: list[GroupSeries] = field(default_factory=list)


def read_series(
    metrics: MetricStore,
    owner: str,
    project: str,
    asked: Asked,
    *,
    began_ns: Callable[[RunRef], int],
) -> Found:
    """Return the series that are asked for, each in at most `buckets` buckets.

    `began_ns` tells when a run began, for times that are relative to it.

    Raises:
        UsageError: more is asked for than one answer should hold, two groups have one name, or
            the pattern is wrong or takes too long.
    """
    if not 2 <= asked.buckets <= MAX_BUCKETS:
        raise UsageError(f"buckets must be 2 to {MAX_BUCKETS}, got {asked.buckets}")
    names = [group.name for group in asked.groups]
    if len(set(names)) < len(names) or any(len(name) > _MAX_NAME for name in names):
        raise UsageError(
            f"groups must have different names of at most {_MAX_NAME} characters, got "
            f"{repr(names)[:200]}"
        )
    own = [run_ref(owner, project, run) for run in dict.fromkeys(asked.runs)]
    members = [
        [run_ref(owner, project, run) for run in dict.fromkeys(group.runs)]
        for group in asked.groups
    ]
    refs = list(dict.fromkeys([*own, *(ref for group in members for ref in group)]))
    # Also of none, so that neither groups nor keys are without a limit.
    count = max(1, len(own) + sum(len(group) or 1 for group in members))
    keys = list(dict.fromkeys(asked.keys))
    _check_amount(count, len(keys), asked.buckets)
    if asked.keys_matching is not None:
        keys = list(dict.fromkeys([*keys, *_matching(metrics, refs, asked.keys_matching)]))
        _check_amount(count, len(keys), asked.buckets)
    found = metrics.series(
        refs,
        keys,
        buckets=asked.buckets,
        start=bounded_step(asked.start),
        stop=bounded_step(asked.stop),
        axis=asked.axis,
    )
    if asked.is_relative:
        began = {run: began_ns(run) for run in dict.fromkeys(one.run for one in found)}
        found = [_since(one, began[one.run]) for one in found]
    if not members:
        return Found(series=found)
    by_place = {(series.run, series.key): series for series in found}
    groups = []
    for group, runs in zip(asked.groups, members, strict=True):
        for key in keys:
            of_group = [by_place[run, key] for run in runs if (run, key) in by_place]
            if of_group:
                groups.append(group_series(group.name, of_group, asked.buckets))
    drawn = set(own)
    return Found(series=[one for one in found if one.run in drawn], groups=groups)


def _check_amount(runs: int, keys: int, buckets: int) -> None:
    if runs * keys > MAX_SERIES or runs * keys * buckets > MAX_POINTS:
        raise UsageError(
            f"{runs} runs × {keys} keys × {buckets} buckets are more than one answer "
            f"holds ({MAX_SERIES} series, {MAX_POINTS} points); ask for fewer at a time"
        )


def _matching(metrics: MetricStore, refs: Sequence[RunRef], pattern: str) -> list[str]:
    """Return the keys with numbers in any of some runs that a pattern fits, by name."""
    found = metrics.key_counts(refs, pick=picker(pattern, is_search=False))
    return sorted({key for key, kind in found if kind != "string"})


def _since(series: Series, began_ns: int) -> Series:
    """Count wall times from the begin of the run."""
    assert series.x is not None
    began_s = began_ns / 1e9
    x, last = series.x, series.x.last - began_s
    return replace(series, x=XColumns(min=x.min - began_s, max=x.max - began_s, last=last))
