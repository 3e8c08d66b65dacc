"""What a group of runs has in common is what a naive computation from all points finds."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runlore.core.axis import Axis
from runlore.core.metric import MAX_STEP
from runlore.core.statistics import t_quantile
from runlore.services.groups import GroupSeries, common_width, group_series, merged
from runlore.services.series import Asked, Group, read_series
from runlore.store.metrics import Series
from runlore.testing.metrics import ReferenceMetricStore
from runlore.testing.spools import SpoolBuilder, a_run
from runlore.wire.series import GROUP_COLUMNS

Curve: TypeAlias = list[tuple[int, float]]

steps = st.one_of(
    st.integers(-4, 40),
    st.integers(-1000, 1000),
    st.integers(1_700_000_000_000, 1_700_000_000_400),
    st.integers(-MAX_STEP, MAX_STEP),
)
values = st.one_of(
    st.floats(-1000, 1000, allow_subnormal=False),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1e308, -1e308, 1e-300]),
)
curves = st.lists(st.tuples(steps, values), min_size=1, max_size=40)


def series_of(curves: Sequence[Curve], buckets: int) -> list[Series]:
    """Store curves as runs and read them back."""
    store = ReferenceMetricStore()
    refs = []
    for number, curve in enumerate(curves):
        builder = SpoolBuilder(a_run(f"run-{number}"))
        for step, value in curve:
            builder.log({"loss": value}, step=step)
        store.append([builder.piece()])
        refs.append(builder.run)
    return store.series(refs, ["loss"], buckets=buckets)


def naive_width(curves: Sequence[Curve], buckets: int) -> int:
    width = 1
    while len({step // width for curve in curves for step, _ in curve}) > buckets:
        width *= 2
    return width


def naive(curves: Sequence[Curve], width: int) -> list[dict[str, float]]:
    """Compute each bucket from its points, in fractions where floats would round."""
    found = []
    for place in sorted({step // width for curve in curves for step, _ in curve}):
        inside = [[p for p in curve if p[0] // width == place] for curve in curves]
        finite = [[v for _, v in points if math.isfinite(v)] for points in inside]
        means = [Fraction(sum(map(Fraction, of))) / len(of) for of in finite if of]
        count = len(means)
        all_steps = [step for points in inside for step, _ in points]
        all_values = [value for of in finite for value in of]
        row = dict.fromkeys(GROUP_COLUMNS, math.nan)
        row |= {"step": min(all_steps), "step_last": max(all_steps), "runs": count}
        row["min"] = min(all_values, default=math.nan)
        row["max"] = max(all_values, default=math.nan)
        if count:
            row["mean"] = float(sum(means) / count)
            row["median"] = float(statistics.median(means))
        if count > 1:
            std = root(statistics.variance(means))
            row["std"] = std
            row["stderr"] = std / math.sqrt(count)
            half = Fraction(row["stderr"]) * Fraction(t_quantile(count - 1, 0.975))
            row["low"] = as_float(Fraction(sum(means) / count) - half)
            row["high"] = as_float(Fraction(sum(means) / count) + half)
        found.append(row)
    return found


def root(square: Fraction) -> float:
    """Take a square root of what a float may be too small for."""
    if square == 0:
        return 0.0
    exponent = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    return math.ldexp(math.sqrt(square / Fraction(4) ** exponent), exponent)


def as_float(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def assert_same(found: GroupSeries, expected: Sequence[dict[str, float]]) -> None:
    for name in GROUP_COLUMNS:
        column = getattr(found, name)
        wanted = np.array([row[name] for row in expected])
        if name in ("step", "step_last", "runs", "min", "max"):
            np.testing.assert_array_equal(column, wanted, err_msg=name)
            continue
        assert np.isnan(column).tolist() == np.isnan(wanted).tolist(), name
        # A mean of what cancels out is as exact as what it is the mean of.
        with np.errstate(over="ignore", invalid="ignore"):
            size = np.maximum(np.abs([row["min"] for row in expected]), np.abs(found.max))
            close = np.abs(column - wanted) <= 1e-13 * np.maximum(size, np.abs(wanted))
        assert (close | (column == wanted) | np.isnan(wanted)).all(), (name, column, wanted)


@settings(max_examples=1000, deadline=None)
@given(st.lists(curves, min_size=1, max_size=5), st.integers(2, 12))
def test_a_group_is_what_its_points_say(curves: list[Curve], buckets: int) -> None:
    found = group_series("all", series_of(curves, buckets), buckets)
    assert found.width == naive_width(curves, buckets)
    assert found.points == sum(map(len, curves))
    assert_same(found, naive(curves, found.width))


@settings(max_examples=300, deadline=None)
@given(st.lists(curves, min_size=1, max_size=4), st.integers(2, 12), st.integers(0, 6))
def test_wider_buckets_can_be_made_of_narrower_ones(
    curves: list[Curve], buckets: int, wider: int
) -> None:
    series = series_of(curves, buckets)
    width = common_width(series, buckets) << wider
    cells = merged(series, width)
    for number, curve in enumerate(curves):
        for place, first in enumerate(cells.step.tolist()):
            inside = [v for s, v in curve if s // width == int(first) // width]
            finite = [v for v in inside if math.isfinite(v)]
            seen = cells.values[number, place]
            if not finite:
                assert math.isnan(seen)
                continue
            expected = float(sum(map(Fraction, finite)) / len(finite))
            peak = max(map(abs, finite))
            assert abs(seen - expected) <= 1e-13 * peak


def test_a_group_of_a_thousand_runs_has_the_interval_of_its_mean() -> None:
    curves: list[Curve] = [[(step, float(run % 10)) for step in range(8)] for run in range(1000)]
    found = group_series("all", series_of(curves, 4), 4)
    assert (found.width, found.runs.tolist()) == (2, [1000.0] * 4)
    std = statistics.stdev(float(run % 10) for run in range(1000))
    assert found.mean.tolist() == [4.5] * 4
    assert found.std[0] == pytest.approx(std, rel=1e-14)
    half = t_quantile(999, 0.975) * std / math.sqrt(1000)
    assert (found.low[0], found.high[0]) == pytest.approx((4.5 - half, 4.5 + half), rel=1e-14)


def test_groups_may_share_runs_and_hold_unknown_ones() -> None:
    store = ReferenceMetricStore()
    for name, value in (("a", 1.0), ("b", 3.0), ("c", 8.0)):
        builder = SpoolBuilder(a_run(name))
        builder.log({"loss": value, "note": "text"}, step=0)
        store.append([builder.piece()])
    asked = Asked(
        runs=["c"],
        groups=[
            Group(name="one", runs=["a", "b", "unknown"]),
            Group(name="two", runs=["b", "c", "b"]),
            Group(name="none", runs=["unknown"]),
        ],
        keys=["loss", "note", "unknown"],
        buckets=10,
    )
    found = read_series(store, "local", "digits", asked, began_ns=lambda _: 0)
    assert [(one.run.run_id, one.key) for one in found.series] == [("c", "loss")]
    assert [(one.group, one.key, one.runs.tolist()) for one in found.groups] == [
        ("one", "loss", [2.0]),
        ("two", "loss", [2.0]),
    ]
    assert [one.mean.tolist() for one in found.groups] == [[2.0], [5.5]]


def test_a_group_lies_on_another_axis_where_its_runs_do() -> None:
    store = ReferenceMetricStore()
    for name, begin_ns in (("a", 0), ("b", 10**9)):
        builder = SpoolBuilder(a_run(name))
        for step in range(4):
            time_ns = begin_ns + step * 10**8
            builder.log({"loss": 1.0}, step=step, time_ns=time_ns)
        store.append([builder.piece()])
    asked = Asked(
        groups=[Group(name="all", runs=["a", "b"])],
        runs=["b"],
        keys=["loss"],
        buckets=2,
        axis=Axis(kind="time"),
    )
    for is_relative in (False, True):
        found = read_series(
            store,
            "local",
            "digits",
            replace(asked, is_relative=is_relative),
            began_ns=lambda ref: 10**9 if ref.run_id == "b" else 0,
        )
        own, group = found.series[0].x, found.groups[0].x
        assert own is not None
        assert group is not None
        begin = 0.0 if is_relative else 1.0
        assert own.last.tolist() == pytest.approx([begin + 0.1, begin + 0.3])
        assert group.min.tolist() == pytest.approx([0.0, 0.2])
        assert group.max.tolist() == pytest.approx([begin + 0.1, begin + 0.3])
        assert group.last.tolist() == pytest.approx([begin / 2 + 0.1, begin / 2 + 0.3])
