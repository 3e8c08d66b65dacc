"""Search by regular expression, in bounded time."""

import re
from collections.abc import Callable
from math import prod
from time import monotonic

from runlore.errors import UsageError

_SECONDS = 1.0
_MAX_PATTERN = 512
_MAX_REPEATS = 10_000
_BRACES = re.compile(r"\{[^{}]*\}")
_DIGITS = re.compile(r"\d+")


def matcher(pattern: str, *, is_search: bool) -> Callable[[str], bool]:
    """Return a test of whether a text holds a match; in a search, one of its lines, in any case.

    All calls together may take a second: the pattern comes from outside, and some patterns
    take for ever.

    Raises:
        UsageError: the pattern is wrong, or, from the test, takes too long.
    """
    if len(pattern) > _MAX_PATTERN:
        raise UsageError(
            f"a regular expression may have {_MAX_PATTERN} characters, got {len(pattern)}"
        )
    # Repeats in repeats are written out when a pattern is compiled, which no time-out ends.
    if prod(map(_repeats, _BRACES.findall(pattern))) > _MAX_REPEATS:
        raise UsageError(
            f"the counts of repeats in a regular expression may multiply to {_MAX_REPEATS}, "
            f"those of {pattern!r} are more; use smaller ones"
        )
    # Loaded here, since it would slow every start for what few ask.
    import regex

    try:
        compiled = regex.compile(pattern, regex.IGNORECASE | regex.MULTILINE if is_search else 0)
    except regex.error as error:
        hint = "; without the slashes it is searched for as it stands" if is_search else ""
        raise UsageError(f"{pattern!r} is no regular expression: {error}{hint}") from error
    left = _SECONDS

    def matches(text: str) -> bool:
        nonlocal left
        began = monotonic()
        try:
            return compiled.search(text, timeout=max(left, 0.001), concurrent=True) is not None
        except TimeoutError as error:
            raise UsageError(
                f"searching for {pattern!r} takes longer than {_SECONDS:g} s; use a simpler one"
            ) from error
        finally:
            left -= monotonic() - began

    return matches


def _repeats(braces: str) -> int:
    """Return the greatest number in braces, such as `{3,5}`; of other braces, 1."""
    return max((int(digits[:9]) for digits in _DIGITS.findall(braces)), default=1) or 1
