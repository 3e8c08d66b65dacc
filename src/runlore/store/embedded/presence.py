"""Whether the files of an open database are still those at their paths."""

import logging
import os
import sqlite3
from pathlib import Path
from typing import TypeAlias

from runlore.errors import UnavailableError

_Identity: TypeAlias = tuple[int, int] | None

_logger = logging.getLogger(__name__)


class Presence:
    """Remembers which files an open database writes to; the path of each may come to mean another.

    A system keeps a file that was removed as long as somebody has it open: what goes into it then
    is lost, though nothing fails.
    """

    def __init__(self, path: Path, what: str) -> None:
        """Remember the files as they are now, when the database was used once.

        Args:
            path: the database, beside which its WAL stands.
            what: what errors call it.
        """
        self._path = path
        self._what = what
        self._files = [str(path), f"{path}-wal"]
        self._known = [_identity(file) for file in self._files]

    def check(self) -> None:
        """Raise UnavailableError if one was removed or replaced."""
        if [_identity(file) for file in self._files] != self._known:
            raise UnavailableError(
                f"the {self._what} {str(self._path)!r}, or the '-wal' beside it, was removed or "
                "replaced while the server runs; stop the server, put the file back, and start "
                "it again"
            )

    def write_again(self, connection: sqlite3.Connection) -> None:
        """Make a database that is gone again from what its connection still has, at the end."""
        if self._known[0] is None or _identity(self._files[0]) is not None:
            return
        # Another database's WAL must not be taken for its own.
        wal = _identity(self._files[1])
        if wal not in (None, self._known[1]) or not self._path.parent.is_dir():
            return
        try:
            # So that the file is whole, too, where it was only moved and is put back.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if wal is not None:
                os.unlink(self._files[1])
            connection.execute("VACUUM INTO ?", (str(self._path),))
        except (sqlite3.Error, OSError) as error:
            _logger.error("%r is gone and cannot be written again: %s", str(self._path), error)
        else:
            _logger.warning("%r was gone and has been written again", str(self._path))


def _identity(file: str) -> _Identity:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino
