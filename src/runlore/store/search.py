"""Search by regular expression, in bounded time."""

import re
from collections.abc import Callable, Iterable
from itertools import islice
from math import prod
from time import monotonic, thread_time
from typing import Protocol, TypeAlias

from runlore.errors import UsageError

_SECONDS = 1.0
_MAX_PATTERN = 512
_MAX_REPEATS = 10_000
_BRACES = re.compile(r"\{[^{}]*\}")
_DIGITS = re.compile(r"\d+")
_ESCAPED = re.compile(r"\\.")
_GROUP = re.compile(r"\([^()]*\)")
# Characters and classes of them, some of them repeated, and groups of alternatives without
# repeats, in groups or of them: at worst this takes, for each repeat and once more, the length of
# a text, times the ways through the groups and the length of the pattern.
_ATOM = r"(?:[\w /:;,.<>=!@%'\"`~&#-]|\\[.dDwWsS$^*+?|/(){}\[\]-]|\[\^?(?:\w-\w|[\w /.,:])+\])"
_EDGE = r"\\[bB]|[\^$|]"
_SIMPLE = re.compile(rf"(?:{_ATOM}[*+?]?|{_EDGE}|\((?:\?:)?(?:{_ATOM}|{_EDGE})*\))*", re.ASCII)
_SHORT_PATTERN = 64
_SHORT_TEXTS = (256, 256, 128, 64)
"""How long a text may be, by the number of repeats, so that a look at it is quick."""
_MOST_WAYS = 8
# So many quick looks at short texts are taken between two at the clock.
_TOGETHER = 8
_MAX_SEARCH = 1024

Pick: TypeAlias = Callable[[Iterable[str]], list[str]]
"""Returns those of some texts that fit, in their order; all its calls together take a second."""


class _Compiled(Protocol):
    def __call__(self, text: str, *, seconds: float) -> bool: ...


def checked_search(search: str) -> str:
    """Return what is searched for, if it is no longer than that may be."""
    if len(search) > _MAX_SEARCH:
        raise UsageError(f"search may have {_MAX_SEARCH} characters, got {len(search)}")
    return search


def pattern_in(search: str) -> str | None:
    """Return the regular expression that stands between slashes; None where it is just text."""
    is_pattern = len(search) > 2 and search[0] == search[-1] == "/"
    return search[1:-1] if is_pattern else None


def searcher(search: str) -> Pick:
    """Return what picks the texts with a part that is searched for, whatever the case.

    Raises:
        UsageError: a regular expression is wrong, or, from what is returned, takes too long.
    """
    pattern = pattern_in(search)
    if pattern is not None:
        return picker(pattern, is_search=True)
    wanted = search.casefold()
    return lambda texts: [text for text in texts if wanted in text.casefold()]


def picker(pattern: str, *, is_search: bool) -> Pick:
    """Return what picks the texts that hold a match: as `matcher`, at less cost for many."""
    fits = matcher(pattern, is_search=is_search)
    short = _short_text(pattern)
    if short == 0:
        return lambda texts: [text for text in texts if fits(text)]
    quick = _compiled(pattern, is_search).search
    left = _SECONDS

    def pick(texts: Iterable[str]) -> list[str]:
        nonlocal left
        found: list[str] = []
        rest = iter(texts)
        # Of this thread alone: a busy server takes nothing from a search of a million names.
        until = thread_time() + left
        while some := list(islice(rest, _TOGETHER)):
            if thread_time() >= until:
                raise _too_long(pattern)
            found += [text for text in some if (quick if len(text) <= short else fits)(text)]
        left = until - thread_time()
        return found

    return pick


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
    short = _short_text(pattern)
    compiled = _simple(pattern, is_search, short) if short else _any(pattern, is_search)
    left = _SECONDS

    def matches(text: str) -> bool:
        nonlocal left
        began = monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            return compiled(text, seconds=left)
        except TimeoutError as error:
            raise _too_long(pattern) from error
        finally:
            left -= monotonic() - began

    return matches


def _short_text(pattern: str) -> int:
    """Return how long texts may be that need no time-out with a pattern; 0 where all need one."""
    if len(pattern) > _SHORT_PATTERN or not _SIMPLE.fullmatch(pattern):
        return 0
    bare = _ESCAPED.sub("x", pattern).replace("(?:", "(")
    repeats = sum(map(bare.count, "*+?"))
    ways = prod(group.count("|") + 1 for group in _GROUP.findall(bare))
    if repeats >= len(_SHORT_TEXTS) or ways > _MOST_WAYS:
        return 0
    # Ways and repeats multiply.
    return _SHORT_TEXTS[repeats] // (ways if repeats > 1 else 1)


def _compiled(pattern: str, is_search: bool) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE | re.MULTILINE if is_search else 0)
    except re.error as error:
        raise _wrong(pattern, error, is_search) from error


def _simple(pattern: str, is_search: bool, short: int) -> _Compiled:
    """Compile a pattern that is quick on short texts, without the time-outs, which cost more."""
    search = _compiled(pattern, is_search).search
    on_long: _Compiled | None = None

    def found(text: str, *, seconds: float) -> bool:
        nonlocal on_long
        if len(text) <= short:
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


def _too_long(pattern: str) -> UsageError:
    return UsageError(
        f"searching for {pattern!r} takes longer than {_SECONDS:g} s; use a simpler one"
    )


def _repeats(braces: str) -> int:
    """Return the greatest number in braces, such as `{3,5}`; of other braces, 1."""
    return max((int(digits[:9]) for digits in _DIGITS.findall(braces)), default=1) or 1
