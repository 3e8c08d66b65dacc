"""Regular expressions inside SQLite, in bounded time."""

import sqlite3
from collections.abc import Callable

from runlore.errors import UsageError
from runlore.store.search import matcher

PATTERNS = "runlore.patterns"
"""Under this name a connection keeps its own."""


class Patterns:
    """The two functions of a connection that match texts; each question begins with `clear`.

    Attributes:
        error: why the last question could not be answered.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.error: UsageError | None = None
        self._matchers: dict[tuple[str, bool], Callable[[str], bool]] = {}
        # The first is what `REGEXP` calls.
        for name, is_search in (("regexp", False), ("runlore_search", True)):
            connection.create_function(name, 2, self._function(is_search=is_search))

    def clear(self) -> None:
        """Forget what was asked before."""
        self.error = None
        self._matchers.clear()

    def _function(self, *, is_search: bool) -> Callable[[str, str | None], bool | None]:
        def matches(pattern: str, text: str | None) -> bool | None:
            if text is None:
                return None
            try:
                known = self._matchers.get((pattern, is_search))
                if known is None:
                    known = matcher(pattern, is_search=is_search)
                    self._matchers[(pattern, is_search)] = known
                return known(text)
            except UsageError as error:
                self.error = error
                raise

        return matches
