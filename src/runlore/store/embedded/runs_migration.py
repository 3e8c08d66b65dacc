"""Opens the tables of the catalog, and makes those of earlier versions what they are now."""

import secrets
from pathlib import Path

import sqlalchemy as sa

from runlore.core.run import RunRef
from runlore.errors import UsageError
from runlore.store.embedded import runs_index
from runlore.store.embedded.runs_index import Changed, changed_by
from runlore.store.embedded.runs_tables import about, decode, documents, row_of, runs, schema

VERSION = 2
_AT_ONCE = 200


def opened(connection: sa.Connection, path: Path) -> str:
    """Make or check the tables, and return the id of this catalog.

    Raises:
        UsageError: a newer Runlore has written it.
    """
    about.create(connection, checkfirst=True)
    known = {row.key: row.value for row in connection.execute(sa.select(about))}
    if not known:
        known = {"version": str(VERSION), "server": secrets.token_hex(8)}
        connection.execute(sa.insert(about), [{"key": k, "value": v} for k, v in known.items()])
    version = int(known["version"])
    if version > VERSION:
        raise UsageError(
            f"the catalog {str(path)!r} has version {version}, this Runlore reads up to version "
            f"{VERSION}; upgrade Runlore or choose another --data"
        )
    if version == 1:
        _index(connection)
        connection.execute(
            sa.update(about).where(about.c.key == "version").values(value=str(VERSION))
        )
    schema.create_all(connection)
    return str(known["server"])


def _index(connection: sa.Connection) -> None:
    """Version 1 had the documents among the narrow rows, and no index of their keys.

    All runs become unsettled, so that the metrics of each are looked at once.
    """
    connection.exec_driver_sql("ALTER TABLE runs RENAME TO runs_1")
    connection.exec_driver_sql("DROP INDEX runs_unsettled")
    schema.create_all(connection)
    found = connection.exec_driver_sql(
        "SELECT runs_1.project, owner, name, run_id, number, document FROM runs_1 "
        "JOIN projects ON projects.id = runs_1.project ORDER BY runs_1.project, number"
    )
    while rows := found.fetchmany(_AT_ONCE):
        changes: dict[int, list[Changed]] = {}
        narrow: list[dict[str, object]] = []
        for project, owner, name, run_id, number, document in rows:
            record = decode(RunRef(owner, name, run_id), number, document)
            row = {**row_of(record), "unsettled": True}
            narrow.append({"project": project, "run_id": run_id, "number": number, **row})
            changes.setdefault(project, []).extend(changed_by(None, record, {}))
        connection.execute(sa.insert(runs), narrow)
        connection.execute(
            sa.insert(documents),
            [{"project": row[0], "number": row[4], "document": row[5]} for row in rows],
        )
        for project, entries in changes.items():
            runs_index.write(connection, project, entries)
    connection.exec_driver_sql("DROP TABLE runs_1")
