"""The commit log of metric history: what was acknowledged and is not packed yet, and who wrote it.

One `log.db` for all projects. A committed piece is durable; a packer moves it to a history file
and removes it here.
"""

import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from runlore.core.run import Fork
from runlore.errors import ConflictError, DamageError, UnavailableError
from runlore.store.embedded.metrics_blob import seal, unseal
from runlore.store.embedded.metrics_programs import Progress, Token
from runlore.store.embedded.presence import Presence

SCHEMA_VERSION = 3
_FORKS = """
CREATE TABLE fork
    (run INTEGER PRIMARY KEY, parent TEXT, step INTEGER, rewinds INTEGER) STRICT;
"""
_TABLES = """
CREATE TABLE project (id INTEGER PRIMARY KEY, owner TEXT, name TEXT) STRICT;
CREATE TABLE run (id INTEGER PRIMARY KEY, project INTEGER, name TEXT, deleted INTEGER) STRICT;
CREATE TABLE writer (id INTEGER PRIMARY KEY, run INTEGER, name TEXT, progress TEXT) STRICT;
CREATE TABLE piece (seq INTEGER PRIMARY KEY, writer INTEGER, stop INTEGER, body BLOB) STRICT;
CREATE TABLE declared (id INTEGER PRIMARY KEY, writer INTEGER, frames BLOB) STRICT;
CREATE TABLE rewind (id INTEGER PRIMARY KEY, run INTEGER, step INTEGER, stored TEXT) STRICT;
CREATE INDEX declared_writer ON declared (writer);
CREATE INDEX writer_run ON writer (run);
"""
_UPGRADES = {1: _FORKS, 2: _FORKS}

_PASSING = (
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY),
    *(sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL),
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_SCHEMA),
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH),
)
"""What of SQLite's errors says nothing about the file itself."""
_NEVER_SHRANK = 1
"""The schema version whose files need a VACUUM before they can give pages back."""
_JOURNAL_BYTES = 4 * 1024 * 1024
_MANY_FREE_PAGES = 256

ALIVE, TOMBSTONE, PURGED = 0, 1, 2
"""States of a run: purged means that its history is gone from the disk, too."""


class Rewind(NamedTuple):
    """A rewind to `step`; `stored` says per writer how many bytes it covers."""

    step: int
    stored: dict[int, int]


class KnownFork(NamedTuple):
    """Where a run was forked off, and how many rewinds of its parent had come."""

    point: Fork
    rewinds: int


def known_fork(parent: object, step: object, rewinds: object) -> KnownFork:
    """Make a fork of the columns of its row.

    Raises:
        TypeError: they are not what was written.
    """
    if not (isinstance(parent, str) and isinstance(step, int) and isinstance(rewinds, int)):
        raise TypeError(f"a fork of {parent!r} at step {step!r} after {rewinds!r} rewinds")
    return KnownFork(Fork(run=parent, step=step), rewinds)


class Piece(NamedTuple):
    """A committed piece of a writer's stream: its frames up to byte `stop`."""

    seq: int
    writer: int
    stop: int


@dataclass(kw_only=True)
class Changes:
    """What one commit writes."""

    projects: list[tuple[int, str, str]] = field(default_factory=list)
    runs: list[tuple[int, int, str, int]] = field(default_factory=list)
    writers: list[tuple[int, int, str]] = field(default_factory=list)
    pieces: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    declared: list[tuple[int, bytes]] = field(default_factory=list)


class FolderLock:
    """Holds a folder for this process, so that no other opens the same files."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise ConflictError(
                f"the data folder {str(folder)!r} is in use by process {pid}; "
                "stop that server or choose another folder with --data"
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go of the folder."""
        os.close(self._file)


def open_database(path: Path, tables: str, upgrades: Mapping[int, str]) -> sqlite3.Connection:
    """Open a database of this store, making it if it is new.

    Args:
        path: the file.
        tables: makes a new one.
        upgrades: what makes one of an earlier schema version what a new one is.

    Raises:
        ConflictError: a newer Runlore wrote it.
        UnavailableError: it cannot be opened or made now.
    """
    with translated(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            refuse_newer(path, version)
            # Before there are tables, or else a VACUUM is needed.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")
            if version < SCHEMA_VERSION:
                script = upgrades[version] if version else tables
                connection.executescript(
                    f"BEGIN; {script} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
                )
            if version == _NEVER_SHRANK:
                connection.execute("VACUUM")
        except BaseException:
            connection.close()
            raise
        return connection


def is_unmade(connection: sqlite3.Connection) -> bool:
    """Tell whether a database has no tables yet: whoever made it was killed before."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return (version, tables) == (0, 0)


def refuse_newer(path: Path, version: int) -> None:
    """Raise ConflictError if a file of this schema version is a newer Runlore's."""
    if version > SCHEMA_VERSION:
        raise ConflictError(
            f"{str(path)!r} has schema version {version}, this Runlore reads version "
            f"{SCHEMA_VERSION}; upgrade Runlore or choose another folder with --data"
        )


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn a disk that is full or fails into UnavailableError, a broken file into DamageError."""
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        # SQLite's own text of an error may hold bytes of a damaged schema.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING:
            raise UnavailableError(
                f"cannot read or write {str(path)!r} now: {error}; free space on its disk"
            ) from error
        raise DamageError(
            f"{str(path)!r} is damaged: {error}; restore it from a backup", offset=0
        ) from error


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Commit what happens inside, or nothing of it."""
    with translated(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def give_back(connection: sqlite3.Connection, path: Path, pages: int) -> None:
    """Give up to so many free pages of a database back to the disk."""
    with translated(path):
        # Lost to a power cut, this only leaves the file longer.
        connection.execute("PRAGMA synchronous = NORMAL")
        # `execute` would stop behind the first page: the statement yields rows without columns.
        connection.executescript(f"PRAGMA incremental_vacuum({pages})")
        connection.execute("PRAGMA synchronous = FULL")


class Log:
    """The file `log.db`; hold `lock` to call it."""

    def __init__(self, folder: Path) -> None:
        self.lock = threading.Lock()
        self.path = folder / "log.db"
        if not self.path.exists() and any((folder / "history").glob("*.db")):
            raise DamageError(
                f"{str(self.path)!r} is missing, and with it the names of all that "
                f"{str(folder / 'history')!r} holds; put it back from a backup, or move "
                f"{str(folder)!r} away to begin anew",
                offset=0,
            )
        self._db = open_database(self.path, _TABLES + _FORKS, _UPGRADES)
        try:
            with translated(self.path):
                (self.last_seq,) = self._db.execute(
                    "SELECT ifnull(max(seq), 0) FROM piece"
                ).fetchone()
        except BaseException:
            self._db.close()
            raise
        self._presence = Presence(self.path, "commit log")
        self._is_shrinking = False

    def commit(self, changes: Changes) -> None:
        """Write changes durably, all or none."""
        with self._lasting():
            many = self._db.executemany
            self._add_names(changes)
            if changes.writers:
                many("INSERT INTO writer VALUES (?, ?, ?, NULL)", changes.writers)
            many("INSERT INTO piece VALUES (?, ?, ?, ?)", changes.pieces)
            if changes.declared:
                many("INSERT INTO declared (writer, frames) VALUES (?, ?)", changes.declared)

    def projects(self) -> dict[int, tuple[str, str]]:
        """Return owner and name of each project by its number."""
        rows = self._db.execute("SELECT id, owner, name FROM project")
        return {number: (owner, name) for number, owner, name in rows}

    def runs(self) -> Iterator[tuple[int, int, str, int]]:
        """Yield number, project, name and state of each run."""
        yield from self._db.execute("SELECT id, project, name, deleted FROM run")

    def writers(self) -> Iterator[tuple[int, int, str, str | None]]:
        """Yield number, run, name and encoded progress of each writer.

        Progress stands as it was when pieces were last removed; what came since is in pieces.
        """
        yield from self._db.execute("SELECT id, run, name, progress FROM writer")

    def rewinds(self) -> Iterator[tuple[int, Rewind]]:
        """Yield the rewinds, in order, with their runs."""
        for run, step, stored in self._db.execute("SELECT run, step, stored FROM rewind"):
            yield run, Rewind(step, {int(w): n for w, n in json.loads(stored).items()})

    def forks(self) -> Iterator[tuple[int, KnownFork]]:
        """Yield the forks with their runs."""
        for run, *fork in self._db.execute("SELECT run, parent, step, rewinds FROM fork"):
            yield run, known_fork(*fork)

    def pieces(self) -> Iterator[Piece]:
        """Yield the pieces in the order of their commits."""
        for row in self._db.execute("SELECT seq, writer, stop FROM piece ORDER BY seq"):
            yield Piece(*row)

    def body(self, seq: int) -> bytes:
        """Return the sealed bytes of a piece."""
        with translated(self.path):
            (body,) = self._db.execute("SELECT body FROM piece WHERE seq = ?", (seq,)).fetchone()
        return bytes(body)

    def declared(self, writer: int, name: str) -> list[bytes]:
        """Return the frames in which a writer declared keys and key sets.

        Raises:
            DamageError: they are not what was written; it calls the writer `name`.
        """
        with translated(self.path):
            rows = self._db.execute(
                "SELECT id, frames FROM declared WHERE writer = ? ORDER BY id", (writer,)
            ).fetchall()
        return [
            unseal(frames, f"declaration {number} of {name} in {str(self.path)!r}")
            for number, frames in rows
        ]

    def add_rewind(self, run: int, rewind: Rewind) -> None:
        """Write a rewind durably."""
        with self._lasting():
            self._db.execute(
                "INSERT INTO rewind (run, step, stored) VALUES (?, ?, ?)",
                (run, rewind.step, json.dumps(rewind.stored)),
            )

    def add_fork(self, changes: Changes, run: int, fork: KnownFork) -> None:
        """Write a fork durably, and its run and project if they are new."""
        with transaction(self._db, self.path):
            self._add_names(changes)
            self._db.execute(
                "INSERT INTO fork (run, parent, step, rewinds) VALUES (?, ?, ?, ?)",
                (run, fork.point.run, fork.point.step, fork.rewinds),
            )

    def bury(self, changes: Changes, run: int) -> int:
        """Leave only a tombstone of a run; return the bytes that its pieces took."""
        of_run = "writer IN (SELECT id FROM writer WHERE run = ?)"
        with self._lasting():
            self._add_names(changes)
            self._db.execute("UPDATE run SET deleted = ? WHERE id = ?", (TOMBSTONE, run))
            (freed,) = self._db.execute(
                f"SELECT ifnull(sum(length(body)), 0) FROM piece WHERE {of_run}", (run,)
            ).fetchone()
            self._db.execute(f"DELETE FROM piece WHERE {of_run}", (run,))
            self._db.execute(f"DELETE FROM declared WHERE {of_run}", (run,))
            self._db.execute("DELETE FROM writer WHERE run = ?", (run,))
            self._db.execute("DELETE FROM rewind WHERE run = ?", (run,))
            self._db.execute("DELETE FROM fork WHERE run = ?", (run,))
            return int(freed)

    def purged(self, run: int) -> None:
        """Note that a buried run's history is gone, too."""
        with transaction(self._db, self.path):
            self._db.execute("UPDATE run SET deleted = ? WHERE id = ?", (PURGED, run))

    def forget(self, seqs: Sequence[int], packed: Mapping[int, Progress]) -> None:
        """Remove pieces that are packed, and keep how far their writers are packed.

        It need not be durable, for packing skips them again.
        """
        progress = [(encode_progress(known), writer) for writer, known in packed.items()]
        self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            with transaction(self._db, self.path):
                self._db.executemany("DELETE FROM piece WHERE seq = ?", [(s,) for s in seqs])
                self._db.executemany("UPDATE writer SET progress = ? WHERE id = ?", progress)
        finally:
            self._db.execute("PRAGMA synchronous = FULL")

    def shrink(self, pages: int) -> bool:
        """Give up to so many free pages back to the disk; tell whether there are more.

        It begins where most of the file is free: what comes next needs some of it again.
        """
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (count,) = self._db.execute("PRAGMA page_count").fetchone()
        self._is_shrinking |= free >= max(_MANY_FREE_PAGES, count / 2)
        if self._is_shrinking:
            give_back(self._db, self.path, pages)
            self._is_shrinking = free > pages
            if not self._is_shrinking:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return self._is_shrinking

    def limit_pages(self, pages: int) -> None:
        """Let the file grow to this many pages at most, as a quota; 0 is no limit."""
        self._db.execute(f"PRAGMA max_page_count = {pages or 2**30}")

    def close(self) -> None:
        """Close the file."""
        self._presence.write_again(self._db)
        self._db.close()

    def _add_names(self, changes: Changes) -> None:
        if changes.projects:
            self._db.executemany("INSERT INTO project VALUES (?, ?, ?)", changes.projects)
        if changes.runs:
            self._db.executemany("INSERT INTO run VALUES (?, ?, ?, ?)", changes.runs)

    @contextmanager
    def _lasting(self) -> Iterator[None]:
        """Commit what happens inside; UnavailableError where it would go into no file's path."""
        self._presence.check()
        with transaction(self._db, self.path):
            yield
        # It may have been removed in between.
        self._presence.check()


def encode_progress(progress: Progress) -> str:
    """Encode what is known of a stream as JSON."""
    return json.dumps([getattr(progress, name) for name in Progress.__slots__])


def decode_progress(text: str | None) -> Progress:
    """Decode what `encode_progress` made; None stands for nothing yet."""
    if text is None:
        return Progress()
    try:
        *plain, tokens = json.loads(text)
        restored: list[Token] = [tuple(t) if isinstance(t, list) else t for t in tokens]
        names = Progress.__slots__[:-1]
        return Progress(**dict(zip(names, plain, strict=True)), row_tokens=tuple(restored))
    except (ValueError, TypeError) as error:
        raise DamageError(
            f"what was known of a writer is damaged: {text!r} is not what was written; "
            "'runlore fsck' names the writer",
            offset=0,
        ) from error


def sealed(data: bytes) -> bytes:
    """Seal the bytes of a piece or of declarations."""
    return seal(data)
