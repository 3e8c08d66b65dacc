"""What a check of the metric store's files looked at and found damaged."""

import sqlite3
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import zstandard

from runlore.errors import DamageError, RunloreError

BROKEN = (
    *(ValueError, TypeError, LookupError, OverflowError, AttributeError),
    *(struct.error, sqlite3.Error, zstandard.ZstdError),
)
"""What reading bytes that are not what was written can raise."""
Remedy = Literal["reindex", "columns", "block", "tower", "summary", "orphan", "piece", "none"]
_MOST_TROUBLES = 100
_MOST_TEXT = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One damage.

    Attributes:
        what: names it and says what is wrong.
        means: what it means for whoever uses the store.
        remedy: how a repair can try to mend it.
        target: the numbers of the rows that the remedy is for.
        size: how many bytes are concerned.
    """

    file: str
    what: str
    means: str
    remedy: Remedy = "none"
    target: tuple[int, ...] = ()
    run: str = ""
    keys: tuple[str, ...] = ()
    steps: tuple[int, int] | None = None
    size: int | None = None


@dataclass(kw_only=True)
class Findings:
    """What was looked at, counted by kind, and what was found."""

    looked: Counter[str] = field(default_factory=Counter)
    found: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """Note a damage."""
        self.found.append(finding)

    def remedies(self, file: str, remedy: Remedy) -> list[tuple[int, ...]]:
        """Return the targets of one remedy in one file."""
        found = [f.target for f in self.found if f.file == file and f.remedy == remedy]
        return list(dict.fromkeys(found))


@contextmanager
def read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database that no other process has, leaving its files as they are."""
    log, index = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    # What a killed server left in the WAL counts; without one nothing needs to be made.
    has_log = log.exists() and log.stat().st_size > 0
    had_index = index.exists()
    mode = "mode=ro" if has_log else "mode=ro&immutable=1"
    db = sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, isolation_level=None)
    try:
        yield db
    finally:
        db.close()
        if has_log and not had_index:
            index.unlink(missing_ok=True)


@contextmanager
def agreeing(path: Path) -> Iterator[None]:
    """Turn what numbers in plain columns that cannot be right lead to into DamageError."""
    try:
        yield
    except RunloreError:
        raise
    except BROKEN as error:
        raise DamageError(
            f"{str(path)!r} is damaged: its tables do not agree with each other ({error!r}); "
            "'runlore fsck' names the rows and mends what can be mended",
            offset=0,
        ) from error


def told(error: BaseException) -> str:
    """Return an error as text that fits on a line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MOST_TEXT else text[:_MOST_TEXT] + "…"


def check_database(db: sqlite3.Connection, file: str, findings: Findings) -> bool:
    """Let SQLite look at its own structure; tell whether the file can be read at all."""
    findings.looked["files"] += 1
    try:
        # A schema may be damaged so that SQLite's own errors are no text.
        rows = db.execute(f"PRAGMA integrity_check({_MOST_TROUBLES})").fetchall()
    except BROKEN as error:
        findings.add(
            Finding(
                file=file,
                what=f"is no database that SQLite can read: {told(error)}",
                means="nothing in it can be read; restore it from a backup",
            )
        )
        return False
    for line in [line for (text,) in rows for line in str(text).splitlines()]:
        if line == "ok" or line.startswith("*** in database"):
            continue
        is_index = "index" in line and "btree" not in line.lower()
        findings.add(
            Finding(
                file=file,
                what=f"SQLite finds: {line}",
                means="an index does not match its table; some reads miss rows"
                if is_index
                else "pages of the file are damaged; what stands on them cannot be read",
                remedy="reindex",
            )
        )
    return True


def rows_of(
    db: sqlite3.Connection,
    table: str,
    columns: str,
    order: str = "",
    *,
    file: str,
    findings: Findings,
    called: str = "",
) -> list[tuple[object, ...]]:
    """Return the rows of a table, counted as looked at; name it if they cannot be read.

    `called` is its name for people, where that is another.
    """
    called = called or table
    try:
        rows = db.execute(f"SELECT {columns} FROM {table} {order}").fetchall()
    except BROKEN as error:
        findings.add(
            Finding(
                file=file,
                what=f"table {called} cannot be read: {told(error)}",
                means="what it holds is not shown; restore the file from a backup",
            )
        )
        return []
    findings.looked[called] += len(rows)
    return rows
