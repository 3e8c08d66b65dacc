"""Search by regular expression, in bounded time."""

from collections.abc import Callable
from time import monotonic

from runlore.errors import UsageError

_SECONDS = 1.0
_MAX_PATTERN = 512


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
