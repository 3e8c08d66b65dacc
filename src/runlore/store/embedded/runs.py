"""The catalog in SQLite: one row and one JSON document per run."""

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from runlore.core.json import JsonObject
from runlore.core.run import RunRef, RunState
from runlore.errors import DeletedError, NotFoundError, UnavailableError, UsageError
from runlore.store.runs import SILENCE_NS, ProjectRecord, RunPage, RunRecord, WriterRecord
from runlore.store.search import matcher

VERSION = 1

_schema = sa.MetaData()
_about = sa.Table(
    "about",
    _schema,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)
_projects = sa.Table(
    "projects",
    _schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    sa.Column("last_number", sa.Integer, nullable=False),
    sa.UniqueConstraint("owner", "name"),
)
_runs = sa.Table(
    "runs",
    _schema,
    sa.Column("project", sa.Integer, sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    # What lists filter, sort and add up; the document is the truth.
    sa.Column("active_ns", sa.BigInteger, nullable=False),
    sa.Column("alive_ns", sa.BigInteger, nullable=False),
    sa.Column("end_state", sa.String),
    sa.Column("points", sa.BigInteger, nullable=False),
    sa.Column("unsettled", sa.Boolean, nullable=False),
    sa.Column("search", sa.String, nullable=False),
    sa.Column("document", sa.String, nullable=False),
    sa.UniqueConstraint("project", "number"),
)
_tombstones = sa.Table(
    "tombstones",
    _schema,
    sa.Column("owner", sa.String, primary_key=True),
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("deleted_ns", sa.BigInteger, nullable=False),
)
sa.Index("runs_unsettled", _runs.c.unsettled, sqlite_where=_runs.c.unsettled)


class EmbeddedRunStore:
    """A `RunStore` in one SQLite file."""

    def __init__(self, path: Path) -> None:
        """Open or make the catalog.

        Raises:
            UsageError: a newer Runlore has written it.
            UnavailableError: it cannot be opened or written.
        """
        self._path = path
        self._engine = sa.create_engine(
            f"sqlite:///{path}", connect_args={"timeout": 30, "check_same_thread": False}
        )
        sa.event.listen(self._engine, "connect", _prepare_connection)
        # One writer at a time: SQLite allows no more, and waiting here is fair.
        self._write_lock = threading.Lock()
        with self._writing() as connection:
            _schema.create_all(connection)
            self.server_id = self._describe(connection)

    def change(
        self, changes: Mapping[RunRef, Callable[[RunRecord | None], RunRecord]]
    ) -> dict[RunRef, RunRecord]:
        """Make each run what its function makes of it, in one commit."""
        changed: dict[RunRef, RunRecord] = {}
        with self._writing() as connection:
            for ref, make in changes.items():
                if _is_deleted(connection, ref):
                    continue
                found = _find(connection, ref)
                record = make(found)
                if found is None:
                    record = _insert(connection, record)
                elif record != found:
                    _write(connection, record)
                changed[ref] = record
        return changed

    def get(self, ref: RunRef) -> RunRecord:
        """Return a run, or say why there is none."""
        with self._reading() as connection:
            record = _find(connection, ref)
            if record is None and _is_deleted(connection, ref):
                raise DeletedError(f"run {ref} was deleted")
        if record is None:
            raise NotFoundError(
                f"no run {ref.run_id!r} in project '{ref.owner}/{ref.project}'; "
                f"'runlore run list {ref.owner}/{ref.project}' shows what is there"
            )
        return record

    def page(
        self,
        owner: str,
        project: str,
        *,
        now_ns: int,
        search: str = "",
        state: RunState | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> RunPage:
        """Return runs with the greatest numbers below `before`, falling."""
        with self._reading() as connection:
            project_id = _project_id(connection, owner, project)
            wanted = [_runs.c.project == project_id, *_in_state(state, now_ns)]
            is_pattern = len(search) > 2 and search[0] == search[-1] == "/"
            if is_pattern:
                matches = matcher(search[1:-1])
                rows = connection.execute(sa.select(_runs.c.number, _runs.c.search).where(*wanted))
                numbers = [row.number for row in rows if matches(row.search)]
                total = len(numbers)
                numbers = sorted(n for n in numbers if before is None or n < before)[::-1]
                more = len(numbers) > limit
                wanted.append(_runs.c.number.in_(numbers[:limit]))
            else:
                if search:
                    wanted.append(_runs.c.search.contains(search.casefold(), autoescape=True))
                total = connection.execute(
                    sa.select(sa.func.count()).select_from(_runs).where(*wanted)
                ).scalar_one()
                if before is not None:
                    wanted.append(_runs.c.number < before)
                more = False
            found = connection.execute(
                sa.select(_runs.c.run_id, _runs.c.number, _runs.c.document)
                .where(*wanted)
                .order_by(_runs.c.number.desc())
                .limit(limit + 1)
            ).all()
        more = more or len(found) > limit
        runs = [
            _decode(RunRef(owner, project, row.run_id), row.number, row.document)
            for row in found[:limit]
        ]
        return RunPage(runs=runs, total=total, next=runs[-1].number if more else None)

    def projects(self, *, now_ns: int) -> list[ProjectRecord]:
        """Return all projects, last active first."""
        with self._reading() as connection:
            return _sum_projects(connection, now_ns)

    def project(self, owner: str, name: str, *, now_ns: int) -> ProjectRecord:
        """Return a project, or raise NotFoundError."""
        with self._reading() as connection:
            project_id = _project_id(connection, owner, name)
            return _sum_projects(connection, now_ns, _projects.c.id == project_id)[0]

    def unsettled(self) -> Sequence[RunRef]:
        """Return the runs whose counts may be behind."""
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(_projects.c.owner, _projects.c.name, _runs.c.run_id)
                .join_from(_runs, _projects)
                .where(_runs.c.unsettled)
            )
            return [RunRef(row.owner, row.name, row.run_id) for row in rows]

    def delete(self, ref: RunRef) -> None:
        """Remove a run and leave a tombstone."""
        with self._writing() as connection:
            if _is_deleted(connection, ref):
                return
            connection.execute(
                sa.insert(_tombstones).values(
                    owner=ref.owner,
                    project=ref.project,
                    run_id=ref.run_id,
                    deleted_ns=time.time_ns(),
                )
            )
            connection.execute(sa.delete(_runs).where(*_is_run(ref)))

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self._write_lock, self._translating(), self._engine.connect() as connection:
            # A read that becomes a write would fail when another process wrote in between.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._translating(), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            yield connection

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (DatabaseError, sqlite3.Error) as error:
            cause = error.orig if isinstance(error, DatabaseError) else error
            raise UnavailableError(
                f"cannot use the catalog {str(self._path)!r}: {cause}; "
                "look at the disk's free space and at who may write there"
            ) from error

    def _describe(self, connection: sa.Connection) -> str:
        """Check or set the version, and return the id of this catalog."""
        about = {row.key: row.value for row in connection.execute(sa.select(_about))}
        if not about:
            about = {"version": str(VERSION), "server": secrets.token_hex(8)}
            connection.execute(
                sa.insert(_about), [{"key": k, "value": v} for k, v in about.items()]
            )
        if int(about["version"]) > VERSION:
            raise UsageError(
                f"the catalog {str(self._path)!r} has version {about['version']}, this Runlore "
                f"reads up to version {VERSION}; upgrade Runlore or choose another --data"
            )
        return str(about["server"])


def _prepare_connection(connection: sqlite3.Connection, _: object) -> None:
    # The driver's own implicit transactions are off: ours begin as their use needs.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _is_run(ref: RunRef) -> tuple[sa.ColumnElement[bool], ...]:
    project = sa.select(_projects.c.id).where(
        _projects.c.owner == ref.owner, _projects.c.name == ref.project
    )
    return (_runs.c.project == project.scalar_subquery(), _runs.c.run_id == ref.run_id)


def _find(connection: sa.Connection, ref: RunRef) -> RunRecord | None:
    row = connection.execute(
        sa.select(_runs.c.number, _runs.c.document).where(*_is_run(ref))
    ).one_or_none()
    return None if row is None else _decode(ref, row.number, row.document)


def _is_deleted(connection: sa.Connection, ref: RunRef) -> bool:
    found = connection.execute(
        sa.select(_tombstones.c.deleted_ns).where(
            _tombstones.c.owner == ref.owner,
            _tombstones.c.project == ref.project,
            _tombstones.c.run_id == ref.run_id,
        )
    )
    return found.first() is not None


def _project_id(connection: sa.Connection, owner: str, name: str) -> int:
    found = connection.execute(
        sa.select(_projects.c.id).where(_projects.c.owner == owner, _projects.c.name == name)
    ).scalar_one_or_none()
    if found is None:
        raise NotFoundError(
            f"no project '{owner}/{name}' here; 'runlore project list' shows what is there, "
            "and the first run logged to it makes it"
        )
    return int(found)


def _insert(connection: sa.Connection, record: RunRecord) -> RunRecord:
    """Add a run, and its project if that is new; return it with its number."""
    owner, name, run_id = record.ref
    number = connection.execute(
        sa.update(_projects)
        .where(_projects.c.owner == owner, _projects.c.name == name)
        .values(last_number=_projects.c.last_number + 1)
        .returning(_projects.c.last_number)
    ).scalar_one_or_none()
    if number is None:
        number = 1
        connection.execute(
            sa.insert(_projects).values(
                owner=owner, name=name, created_ns=record.created_ns, last_number=number
            )
        )
    numbered = replace(record, number=number)
    connection.execute(
        sa.insert(_runs).values(
            project=_project_id(connection, owner, name),
            run_id=run_id,
            number=number,
            **_columns(numbered),
        )
    )
    return numbered


def _write(connection: sa.Connection, record: RunRecord) -> None:
    connection.execute(sa.update(_runs).where(*_is_run(record.ref)).values(**_columns(record)))


def _columns(record: RunRecord) -> dict[str, object]:
    document = asdict(record)
    for column in ("ref", "number"):
        del document[column]
    return {
        "active_ns": record.active_ns,
        "alive_ns": record.alive_ns,
        "end_state": record.end_state,
        "points": record.points,
        "unsettled": record.unsettled,
        "search": _searched(record),
        "document": json.dumps(document, separators=(",", ":")),
    }


def _searched(record: RunRecord) -> str:
    text = "\n".join([record.name, record.ref.run_id, *record.tags]).casefold()
    # Halves of surrogate pairs come by JSON escapes; SQLite has no place for them.
    return text.encode("utf-8", "replace").decode()


def _decode(ref: RunRef, number: int, text: str) -> RunRecord:
    document = cast(JsonObject, json.loads(text))
    writers = cast(dict[str, JsonObject], document.pop("writers"))
    tags = cast(list[str], document.pop("tags"))
    definitions = cast(list[JsonObject], document.pop("definitions"))
    return RunRecord(
        ref=ref,
        number=number,
        tags=tuple(tags),
        definitions=tuple(definitions),
        writers={name: WriterRecord(**writer) for name, writer in writers.items()},  # type: ignore[arg-type]
        **document,  # type: ignore[arg-type]
    )


def _in_state(state: RunState | None, now_ns: int) -> list[sa.ColumnElement[bool]]:
    if state is None:
        return []
    is_alive = _runs.c.alive_ns > now_ns - SILENCE_NS
    if state == "running":
        return [is_alive]
    return [~is_alive, sa.func.coalesce(_runs.c.end_state, "crashed") == state]


def _sum_projects(
    connection: sa.Connection, now_ns: int, *wanted: sa.ColumnElement[bool]
) -> list[ProjectRecord]:
    is_alive = _runs.c.alive_ns > now_ns - SILENCE_NS
    rows = connection.execute(
        sa.select(
            _projects.c.owner,
            _projects.c.name,
            _projects.c.created_ns,
            sa.func.count(_runs.c.run_id).label("runs"),
            sa.func.coalesce(sa.func.sum(sa.case((is_alive, 1), else_=0)), 0).label("running"),
            sa.func.coalesce(sa.func.sum(_runs.c.points), 0).label("points"),
            sa.func.coalesce(sa.func.max(_runs.c.active_ns), _projects.c.created_ns).label(
                "active_ns"
            ),
        )
        .join_from(_projects, _runs, isouter=True)
        .where(*wanted)
        .group_by(_projects.c.id)
    )
    found = [ProjectRecord(**row._mapping) for row in rows]
    return sorted(found, key=lambda project: project.active_ns, reverse=True)
