"""Quantiles of Student's t distribution, for intervals of means."""

import math
from functools import lru_cache
from statistics import NormalDist

_EXPANDED_FROM = 200
_STEPS = 50


@lru_cache(maxsize=4096)
def t_quantile(degrees: int, probability: float) -> float:
    """Return the value below which a t variable lies with a probability.

    Few degrees of freedom: the root of the finite series 26.7.3 and 26.7.4 of Abramowitz and
    Stegun, "Handbook of Mathematical Functions" (1964), by Newton's method. Many: their
    expansion 26.7.5, whose error is less than 1e-10 there.

    Args:
        degrees: at least 1.
        probability: at least 0.5 and less than 1, and not so near to 1 that only the tail's
            far end is left; 0.9995 is fine.
    """
    if degrees < 1 or not 0.5 <= probability < 1:
        raise ValueError(
            "a t quantile needs at least 1 degree of freedom and a probability from 0.5 to 1, "
            f"got {degrees} and {probability}"
        )
    wanted = 2 * probability - 1
    if degrees == 1:
        return math.tan(math.pi * wanted / 2)
    if degrees == 2:
        return wanted * math.sqrt(2 / (1 - wanted * wanted))
    found = _expanded(degrees, probability)
    if degrees >= _EXPANDED_FROM:
        return found
    for _ in range(_STEPS):
        # The derivative of the probability between -t and t is twice the density.
        change = (_between(degrees, found) - wanted) / (2 * _density(degrees, found))
        found -= change
        if abs(change) < 1e-14 * max(found, 1e-300):
            break
    return found


def _between(degrees: int, t: float) -> float:
    """Return the probability that a t variable lies between -t and t (26.7.3, 26.7.4)."""
    angle = math.atan2(t, math.sqrt(degrees))
    cosine, sine = math.cos(angle), math.sin(angle)
    is_odd = degrees % 2
    term = cosine if is_odd else 1.0
    total = 0.0
    for number in range(1 + is_odd, degrees, 2):
        total += term
        term *= cosine * cosine * number / (number + 1)
    return 2 / math.pi * (angle + sine * total) if is_odd else sine * total


def _density(degrees: int, t: float) -> float:
    ratio = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    power = -(degrees + 1) / 2 * math.log1p(t * t / degrees)
    return math.exp(ratio + power) / math.sqrt(degrees * math.pi)


def _expanded(degrees: int, probability: float) -> float:
    x = NormalDist().inv_cdf(probability)
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return x + sum(term / float(degrees) ** power for power, term in enumerate(terms, 1))
