"""Search by regular expression, in bounded time."""

import re
from collections.abc import Callable
from math import prod
from time import monotonic
from typing import Protocol

from runlore.errors import UsageError

_SECONDS = 1.0
_MAX_PATTERN = 512
_MAX_REPEATS = 10_000
_BRACES = re.compile(r"\{[^{}]*\}")
_DIGITS = re.compile(r"\d+")
# Characters and classes of them, no groups or references, and at most one of them repeated: at
# worst this takes the square of a text's length, times the length of the pattern.
_ATOM = r"(?:[\w /:;,.<>=!@%'\"`~&#-]|\\[.dDwWsS$^*+?|/(){}\[\]-]|\[\^?[\w /.,:]+\])"
_PART = rf"(?:{_ATOM}|\\[bB]|[\^$|])*"
_SIMPLE = re.compile(rf"{_PART}(?:{_ATOM}[*+?]{_PART})?", re.ASCII)
_SHORT_PATTERN = 64
_SHORT_TEXT = 256


class _Compiled(Protocol):
    def __call__(self, text: str, *, seconds: float) -> bool: ...


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
    is_simple = len(pattern) <= _SHORT_PATTERN and _SIMPLE.fullmatch(pattern)
    compiled = (_simple if is_simple else _any)(pattern, is_search)
    left = _SECONDS

    def matches(text: str) -> bool:
        nonlocal left
        began = monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            return compiled(text, seconds=left)
        except TimeoutError as error:
            raise UsageError(
                f"searching for {pattern!r} takes longer than {_SECONDS:g} s; use a simpler one"
            ) from error
        finally:
            left -= monotonic() - began

    return matches


def _simple(pattern: str, is_search: bool) -> _Compiled:
    """Compile a pattern that is quick on short texts, without the time-outs, which cost more."""
    try:
        search = re.compile(pattern, re.IGNORECASE | re.MULTILINE if is_search else 0).search
    except re.error as error:
        raise _wrong(pattern, error, is_search) from error
    on_long: _Compiled | None = None

    def found(text: str, *, seconds: float) -> bool:
        nonlocal on_long
        if len(text) <= _SHORT_TEXT:
            return search(text) is not None
        on_long = on_long or _any(pattern, is_search)
        return on_long(text, seconds=seconds)

    return found


def _any(pattern: str, is_search: bool) -> _Compiled:
    # Loaded here, since it would slow every start for what few ask.
    import regex

    try:
        compiled = regex.compile(pattern, regex.IGNORECASE | regex.MULTILINE if is_search else 0)
    except regex.error as error:
        raise _wrong(pattern, error, is_search) from error

    def found(text: str, *, seconds: float) -> bool:
        return compiled.search(text, timeout=max(seconds, 0.001), concurrent=True) is not None

    return found


def _wrong(pattern: str, error: Exception, is_search: bool) -> UsageError:
    hint = "; without the slashes it is searched for as it stands" if is_search else ""
    return UsageError(f"{pattern!r} is no regular expression: {error}{hint}")


def _repeats(braces: str) -> int:
    """Return the greatest number in braces, such as `{3,5}`; of other braces, 1."""
    return max((int(digits[:9]) for digits in _DIGITS.findall(braces)), default=1) or 1
