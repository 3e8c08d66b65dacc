"""Quantiles of Student's t are those of the tables."""

import math

import pytest

from runlore.core.statistics import t_quantile

# The 97.5 % column of the t tables, with more places than most print.
_TABLE = {
    1: 12.7062047362,
    2: 4.3026527297,
    3: 3.1824463053,
    4: 2.7764451052,
    5: 2.5705818356,
    6: 2.4469118511,
    7: 2.3646242516,
    8: 2.3060041352,
    9: 2.2621571628,
    10: 2.2281388520,
    11: 2.2009851601,
    12: 2.1788128297,
    15: 2.1314495456,
    20: 2.0859634473,
    25: 2.0595385528,
    30: 2.0422724563,
    40: 2.0210753903,
    60: 2.0002978221,
    100: 1.9839715185,
    120: 1.9799304051,
    1000: 1.9623390808,
}


@pytest.mark.parametrize("degrees", _TABLE)
def test_the_quantiles_of_95_percent_intervals_are_those_of_the_tables(degrees: int) -> None:
    assert t_quantile(degrees, 0.975) == pytest.approx(_TABLE[degrees], abs=1e-9)


@pytest.mark.parametrize(
    ("degrees", "probability", "expected"),
    [(1, 0.95, 6.3137515), (5, 0.995, 4.0321430), (8, 0.9, 1.3968153), (29, 0.9995, 3.6594050)],
)
def test_other_columns_of_the_tables_are_met(
    degrees: int, probability: float, expected: float
) -> None:
    assert t_quantile(degrees, probability) == pytest.approx(expected, abs=1e-6)


def test_four_degrees_agree_with_their_closed_form() -> None:
    # Shaw, "Sampling Student's T distribution" (2006): the quantile of four degrees.
    for probability in (0.6, 0.9, 0.975, 0.999):
        a = 4 * probability * (1 - probability)
        closed = 2 * math.sqrt(math.cos(math.acos(math.sqrt(a)) / 3) / math.sqrt(a) - 1)
        assert t_quantile(4, probability) == pytest.approx(closed, rel=1e-12)


def test_quantiles_fall_towards_those_of_the_normal_distribution() -> None:
    found = [t_quantile(degrees, 0.975) for degrees in range(1, 600)]
    assert all(after < before for before, after in zip(found, found[1:], strict=False))
    assert t_quantile(10**9, 0.975) == pytest.approx(1.959963985, abs=1e-8)
    assert t_quantile(3, 0.5) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("degrees", "probability"), [(0, 0.9), (3, 0.4), (3, 1.0)])
def test_what_has_no_quantile_is_refused(degrees: int, probability: float) -> None:
    with pytest.raises(ValueError, match="degree of freedom"):
        t_quantile(degrees, probability)
