"""The catalog in SQLite: a document per run as the truth, and an index of its keys."""

import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import ConnectionPoolEntry

from runlore.core.expression import Column, Condition, SortKey, columns_of
from runlore.core.run import RUN_STATES, RunRef, RunState
from runlore.errors import DeletedError, NotFoundError, UnavailableError
from runlore.store.embedded import runs_index, runs_statements
from runlore.store.embedded.presence import Presence
from runlore.store.embedded.runs_index import Changed, changed_by, changed_by_noting, is_same
from runlore.store.embedded.runs_migration import opened
from runlore.store.embedded.runs_patterns import PATTERNS, Patterns
from runlore.store.embedded.runs_query import RunQuery, group_of, index_name, ordered, place_of
from runlore.store.embedded.runs_tables import (
    decode,
    decode_noted,
    decode_values,
    documents,
    encode,
    encode_noted,
    projects,
    row_of,
    runs,
    tombstones,
)
from runlore.store.runs import (
    SILENCE_NS,
    Noted,
    Place,
    ProjectRecord,
    RunColumn,
    RunGroups,
    RunPage,
    RunRecord,
    RunSummary,
    RunValues,
)
from runlore.store.search import matcher, pattern_in

Summarise: TypeAlias = Callable[[RunRecord], RunSummary | None]

_AT_ONCE = 1000
_NOTHING = RunSummary({}, None)


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
        with self._translating(), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            self.server_id = opened(connection, path)
            connection.commit()
        self._presence = Presence(path, "catalog")

    def change(
        self, changes: Mapping[RunRef, Callable[[RunRecord | None], RunRecord]]
    ) -> dict[RunRef, RunRecord]:
        """Make each run what its function makes of it, in one commit."""
        changed: dict[RunRef, RunRecord] = {}
        indexed: dict[int, list[Changed]] = {}
        added: list[tuple[int, RunRecord]] = []
        written: list[tuple[int, RunRecord]] = []
        with self._writing() as connection:
            there = _find_all(connection, changes)
            known = {record.ref: record for _, record in there}
            projects_of = {record.ref[:2]: project for project, record in there}
            deleted = _deleted(connection, changes.keys() - known.keys())
            for ref, make in changes.items():
                if ref in deleted:
                    continue
                found = known.get(ref)
                record = make(found)
                summary: Mapping[str, Noted] = {}
                if found is None:
                    projects_of[ref[:2]], record = _numbered(connection, record)
                    added.append((projects_of[ref[:2]], record))
                project = projects_of[ref[:2]]
                is_changed = found is None or _is_changed(found, record)
                if found is not None and is_changed:
                    written.append((project, record))
                    if not is_same(record.summary, found.summary):
                        before = _noted(connection, project, [record.number])
                        summary = before.get(record.number, _NOTHING).values
                if is_changed:
                    indexed.setdefault(project, []).extend(changed_by(found, record, summary))
                changed[ref] = record
            _add(connection, added)
            _write(connection, written)
            for project, entries in indexed.items():
                runs_index.write(connection, project, entries)
        return changed

    def note(self, summaries: Mapping[RunRef, Summarise]) -> None:
        """Note what the metrics of runs amount to, in one commit."""
        with self._writing() as connection:
            there: dict[int, list[RunRecord]] = {}
            for project, record in _find_all(connection, summaries):
                there.setdefault(project, []).append(record)
            for project, records in there.items():
                _note(connection, project, records, summaries)

    def get(self, ref: RunRef) -> RunRecord:
        """Return a run, or say why there is none."""
        with self._reading() as connection:
            record = _find(connection, ref)
            if record is None and _deleted(connection, [ref]):
                raise DeletedError(f"run {ref} was deleted")
        if record is None:
            raise NotFoundError(
                f"no run {ref.run_id!r} in project '{ref.owner}/{ref.project}'; "
                f"'runlore run list {ref.owner}/{ref.project}' shows what is there"
            )
        return record

    def noted(self, refs: Collection[RunRef]) -> dict[RunRef, RunValues]:
        """Return the values that were last noted of runs."""
        with self._reading() as connection:
            rows = _rows_of(connection, runs_statements.NOTED_VALUES, refs)
            return {ref: decode_values(*row) for ref, row in rows}

    def page(
        self,
        owner: str,
        project: str,
        *,
        now_ns: int,
        search: str = "",
        state: RunState | None = None,
        where: Condition | None = None,
        sort: Sequence[SortKey] = (),
        limit: int = 100,
        after: Place | None = None,
    ) -> RunPage:
        """Return runs in the order asked for that stand behind a place."""
        with self._reading() as connection:
            query = _query(
                connection, owner, project, where, [key.column for key in sort], now_ns=now_ns
            )
            wanted = [runs.c.project == query.project]
            if state is not None:
                wanted.append(query.is_in(state))
            if search:
                wanted.append(_is_found(search))
            if where is not None:
                wanted.append(query.condition(where))
            found, total = ordered(connection, query, wanted, sort, after, limit + 1)
            shown = found[:limit]
            records = _records(connection, query.project, owner, project, [r[-1] for r in shown])
        return RunPage(
            runs=[records[row[-1]] for row in shown],
            total=total,
            next=place_of(shown[-1]) if len(found) > limit else None,
        )

    def groups(
        self,
        owner: str,
        project: str,
        *,
        now_ns: int,
        by: Sequence[Column],
        where: Condition | None = None,
        limit: int = 1000,
    ) -> RunGroups:
        """Return runs counted by the values of columns."""
        with self._reading() as connection:
            query = _query(connection, owner, project, where, by, now_ns=now_ns)
            wanted = [runs.c.project == query.project]
            if where is not None:
                wanted.append(query.condition(where))
            terms = [term for column in by for term in query.value(column)]
            kinds = [kind for column in by for kind in query.kind(column)]
            states = [sa.func.sum(sa.case((query.is_in(s), 1), else_=0)) for s in RUN_STATES]
            rows = connection.execute(
                sa.select(*terms, *kinds, *states, sa.func.count().over())
                .select_from(query.tables())
                .where(*wanted)
                .group_by(*terms)
                .order_by(*terms)
                .limit(limit)
            ).all()
        return RunGroups(
            groups=[group_of(row, len(by)) for row in rows], total=rows[0][-1] if rows else 0
        )

    def columns(
        self, owner: str, project: str, *, only: Collection[Column] | None = None
    ) -> list[RunColumn]:
        """Return the keys of config and summary that runs have, sorted, or those named."""
        with self._reading() as connection:
            project_id = _project_id(connection, owner, project)
            return runs_index.read_columns(connection, project_id, only)

    def projects(self, *, now_ns: int) -> list[ProjectRecord]:
        """Return all projects, last active first."""
        with self._reading() as connection:
            return _sum_projects(connection, now_ns)

    def project(self, owner: str, name: str, *, now_ns: int) -> ProjectRecord:
        """Return a project, or raise NotFoundError."""
        with self._reading() as connection:
            project_id = _project_id(connection, owner, name)
            return _sum_projects(connection, now_ns, projects.c.id == project_id)[0]

    def refs(self, owner: str, project: str) -> Sequence[RunRef]:
        """Return all runs of a project, or raise NotFoundError."""
        with self._reading() as connection:
            project_id = _project_id(connection, owner, project)
            found = connection.execute(
                sa.select(runs.c.run_id).where(runs.c.project == project_id)
            )
            return [RunRef(owner, project, run_id) for run_id in found.scalars()]

    def unsettled(self) -> Sequence[RunRef]:
        """Return the runs whose counts may be behind."""
        with self._reading() as connection:
            rows = connection.execute(
                sa.select(projects.c.owner, projects.c.name, runs.c.run_id)
                .join_from(runs, projects)
                .where(runs.c.unsettled)
            )
            return [RunRef(row.owner, row.name, row.run_id) for row in rows]

    def delete(self, ref: RunRef) -> None:
        """Remove a run and leave a tombstone."""
        with self._writing() as connection:
            if _deleted(connection, [ref]):
                return
            connection.execute(
                sa.insert(tombstones).values(
                    owner=ref.owner,
                    project=ref.project,
                    run_id=ref.run_id,
                    deleted_ns=time.time_ns(),
                )
            )
            found = connection.execute(
                sa.select(runs.c.project, runs.c.number).where(*_is_run(ref))
            ).one_or_none()
            if found is None:
                return
            project, number = found
            runs_index.remove(connection, project, number)
            connection.execute(sa.delete(documents).where(*_is_document(project, number)))
            connection.execute(sa.delete(runs).where(*_is_run(ref)))

    def close(self) -> None:
        """Let go of the file."""
        with self._translating(), self._engine.connect() as connection:
            self._presence.write_again(
                cast(sqlite3.Connection, connection.connection.driver_connection)
            )
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        self._presence.check()
        with self._write_lock, self._translating(), self._engine.connect() as connection:
            # A read that becomes a write would fail when another process wrote in between.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()
        # It may have been removed in between.
        self._presence.check()

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        # A new connection would open, or make, another file than those that are there.
        self._presence.check()
        with self._translating(), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            patterns = cast(Patterns, connection.info[PATTERNS])
            patterns.clear()
            try:
                yield connection
            except DatabaseError:
                # SQLite keeps to itself why a function of ours failed.
                if patterns.error is not None:
                    raise patterns.error from None
                raise

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


def _prepare_connection(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    # The driver's own implicit transactions are off: ours begin as their use needs.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # As every other database has it.
    connection.execute("PRAGMA case_sensitive_like = ON")
    record.info[PATTERNS] = Patterns(connection)


def _is_run(ref: RunRef) -> tuple[sa.ColumnElement[bool], ...]:
    project = sa.select(projects.c.id).where(
        projects.c.owner == ref.owner, projects.c.name == ref.project
    )
    return (runs.c.project == project.scalar_subquery(), runs.c.run_id == ref.run_id)


def _is_document(project: int, number: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (documents.c.project == project, documents.c.number == number)


def _find(connection: sa.Connection, ref: RunRef) -> RunRecord | None:
    owner, name, run_id = ref
    row = connection.execute(
        runs_statements.RUN, {"of_owner": owner, "of_name": name, "of_id": run_id}
    ).one_or_none()
    return None if row is None else decode(ref, row.number, row.document)


def _find_all(connection: sa.Connection, refs: Collection[RunRef]) -> list[tuple[int, RunRecord]]:
    """Return those of some runs that are there, and the project of each."""
    rows = _rows_of(connection, runs_statements.RUNS, refs)
    return [(project, decode(ref, number, text)) for ref, (project, number, text) in rows]


def _deleted(connection: sa.Connection, refs: Collection[RunRef]) -> set[RunRef]:
    """Return those of some runs that have a tombstone."""
    return {ref for ref, _ in _rows_of(connection, runs_statements.DELETED_RUNS, refs)}


def _rows_of(
    connection: sa.Connection, statement: sa.Select[Any], refs: Collection[RunRef]
) -> Iterator[tuple[RunRef, Sequence[Any]]]:
    """Ask about runs; the first column of the statement is the id of a run."""
    for owner, name in {ref[:2] for ref in refs}:
        ids = [ref.run_id for ref in refs if ref[:2] == (owner, name)]
        # A statement takes some ten thousand values at most.
        for first in range(0, len(ids), _AT_ONCE):
            some = ids[first : first + _AT_ONCE]
            rows = connection.execute(
                statement, {"of_owner": owner, "of_name": name, "of_ids": some}
            )
            for run_id, *row in rows:
                yield RunRef(owner, name, run_id), row


def _records(
    connection: sa.Connection, project: int, owner: str, name: str, numbers: Sequence[int]
) -> dict[int, RunRecord]:
    rows = connection.execute(
        runs_statements.NUMBERED_RUNS, {"of_project": project, "of_numbers": numbers}
    )
    return {
        number: decode(RunRef(owner, name, run_id), number, text) for run_id, number, text in rows
    }


def _query(
    connection: sa.Connection,
    owner: str,
    project: str,
    where: Condition | None,
    columns: Sequence[Column],
    *,
    now_ns: int,
) -> RunQuery:
    project_id = _project_id(connection, owner, project)
    named = [*columns, *(columns_of(where) if where is not None else ())]
    ids = runs_index.key_ids(connection, project_id, dict.fromkeys(map(index_name, named)))
    return RunQuery(project_id, ids, now_ns=now_ns)


def _is_found(search: str) -> sa.ColumnElement[bool]:
    pattern = pattern_in(search)
    if pattern is not None:
        # A wrong one is told even where no run is looked at.
        matcher(pattern, is_search=True)
        return sa.func.runlore_search(pattern, runs.c.search) == 1
    return runs.c.search.contains(search.casefold(), autoescape=True)


def _project_id(connection: sa.Connection, owner: str, name: str) -> int:
    found = connection.execute(
        runs_statements.PROJECT_ID, {"of_owner": owner, "of_name": name}
    ).scalar_one_or_none()
    if found is None:
        raise NotFoundError(
            f"no project '{owner}/{name}' here; 'runlore project list' shows what is there, "
            "and the first run logged to it makes it"
        )
    return int(found)


def _numbered(connection: sa.Connection, record: RunRecord) -> tuple[int, RunRecord]:
    """Give a new run its number; return its project, made if that is new, and the run."""
    owner, name, _ = record.ref
    row = connection.execute(
        runs_statements.NEXT_NUMBER, {"of_owner": owner, "of_name": name}
    ).one_or_none()
    if row is not None:
        return row.id, replace(record, number=row.last_number)
    created = {"owner": owner, "name": name, "created_ns": record.created_ns, "last_number": 1}
    project = connection.execute(runs_statements.ADD_PROJECT, created).scalar_one()
    return project, replace(record, number=1)


def _add(connection: sa.Connection, added: Sequence[tuple[int, RunRecord]]) -> None:
    if not added:
        return
    connection.execute(
        runs_statements.ADD_RUNS,
        [
            {"project": project, "number": one.number, "run_id": one.ref.run_id, **row_of(one)}
            for project, one in added
        ],
    )
    connection.execute(
        runs_statements.ADD_DOCUMENTS,
        [
            {"project": project, "number": one.number, "document": encode(one)}
            for project, one in added
        ],
    )


def _write(connection: sa.Connection, written: Sequence[tuple[int, RunRecord]]) -> None:
    if not written:
        return
    connection.execute(
        runs_statements.WRITE_RUNS,
        [
            {"of_project": project, "of_number": one.number, **row_of(one)}
            for project, one in written
        ],
    )
    connection.execute(
        runs_statements.WRITE_DOCUMENTS,
        [
            {"of_project": project, "of_number": one.number, "document": encode(one)}
            for project, one in written
        ],
    )


def _note(
    connection: sa.Connection,
    project: int,
    records: Sequence[RunRecord],
    summaries: Mapping[RunRef, Summarise],
) -> None:
    before = _noted(connection, project, [record.number for record in records])
    changed: list[Changed] = []
    rows: list[dict[str, object]] = []
    for record in records:
        after = summaries[record.ref](record)
        known = before.get(record.number)
        if after is None:
            continue
        row = encode_noted(after)
        if known is None or row != encode_noted(known):
            known = known or _NOTHING
            changed += changed_by_noting(record, known.values, after.values)
            rows.append({"project": project, "number": record.number, **row})
    if rows:
        connection.execute(runs_statements.REPLACE_NOTED, rows)
    runs_index.write(connection, project, changed)


def _is_changed(found: RunRecord, record: RunRecord) -> bool:
    return (
        record != found
        or not is_same(record.config, found.config)
        or not is_same(record.summary, found.summary)
    )


def _noted(
    connection: sa.Connection, project: int, numbers: Sequence[int]
) -> dict[int, RunSummary]:
    rows = connection.execute(
        runs_statements.NOTED, {"of_project": project, "of_numbers": numbers}
    )
    return {number: decode_noted(*row) for number, *row in rows}


def _sum_projects(
    connection: sa.Connection, now_ns: int, *wanted: sa.ColumnElement[bool]
) -> list[ProjectRecord]:
    is_alive = runs.c.alive_ns > now_ns - SILENCE_NS
    rows = connection.execute(
        sa.select(
            projects.c.owner,
            projects.c.name,
            projects.c.created_ns,
            sa.func.count(runs.c.run_id).label("runs"),
            sa.func.coalesce(sa.func.sum(sa.case((is_alive, 1), else_=0)), 0).label("running"),
            sa.func.coalesce(sa.func.sum(runs.c.points), 0).label("points"),
            sa.func.coalesce(sa.func.max(runs.c.active_ns), projects.c.created_ns).label(
                "active_ns"
            ),
        )
        .join_from(projects, runs, isouter=True)
        .where(*wanted)
        .group_by(projects.c.id)
    )
    found = [ProjectRecord(**row._mapping) for row in rows]
    return sorted(found, key=lambda project: project.active_ns, reverse=True)
