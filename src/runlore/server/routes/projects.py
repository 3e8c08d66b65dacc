"""Projects: list and get them, and the metrics that their runs have."""

import json
from asyncio import to_thread
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated

from litestar import get
from litestar.params import Parameter

from runlore.core.expression import Column
from runlore.core.run import checked_name, checked_owner
from runlore.errors import UsageError
from runlore.server.backend import Backend
from runlore.server.nouns import (
    Key,
    Keys,
    Project,
    Projects,
    RunColumn,
    RunColumns,
    a_project,
    shown,
)
from runlore.services.runs import MAX_KEYS
from runlore.store import runs as store

_PROJECT = "/api/v1/projects/{owner:str}/{project:str}"


@get("/api/v1/projects")
async def list_projects(backend: Backend) -> Projects:
    """Return all projects, last active first."""
    found = await to_thread(backend.runs.projects)
    return Projects(projects=[a_project(record) for record in found])


@get(_PROJECT)
async def get_project(backend: Backend, owner: str, project: str) -> Project:
    """Return a project."""
    checked_owner(owner)
    checked_name(project, "project")
    return a_project(await to_thread(backend.runs.project, owner, project))


@get(f"{_PROJECT}/keys")
async def list_keys(
    backend: Backend,
    owner: str,
    project: str,
    search: Annotated[
        str, Parameter(description="part of a name, or /a regular expression/")
    ] = "",
    limit: Annotated[int, Parameter(ge=1, le=MAX_KEYS)] = MAX_KEYS,
    cursor: str | None = None,
) -> Keys:
    """Return metrics of a project, by name."""
    checked_owner(owner)
    checked_name(project, "project")
    after = None if cursor is None else _key(cursor)
    found = await to_thread(
        backend.runs.project_keys, owner, project, search=search, limit=limit, after=after
    )
    return Keys(
        keys=[Key(key=shown(one.key), kind=one.kind, runs=one.runs) for one in found.keys],
        next=None if found.next is None else _cursor(found.next),
    )


@get(f"{_PROJECT}/columns")
async def list_columns(backend: Backend, owner: str, project: str) -> RunColumns:
    """Return the keys of config and summary that runs have, and how many have which kind."""
    checked_owner(owner)
    checked_name(project, "project")
    found = await to_thread(backend.runs.columns, owner, project)
    return RunColumns(columns=[_column(one) for one in found])


def _cursor(key: str) -> str:
    # Escaped, for a key may hold what UTF-8 cannot.
    return urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def _key(cursor: str) -> str:
    try:
        key = json.loads(urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
    except ValueError as error:
        raise _no_cursor(cursor) from error
    if not isinstance(key, str):
        raise _no_cursor(cursor)
    return key


def _no_cursor(given: str) -> UsageError:
    return UsageError(f"cursor must be the 'next' of an answer, got {given[:80]!r}")


def _column(found: store.RunColumn) -> RunColumn:
    kinds = {"number": found.numbers, "bool": found.bools, "text": found.texts}
    return RunColumn(
        column=str(Column(source=found.source, key=found.key)),
        source=found.source,
        key=found.key,
        runs=sum(kinds.values()),
        kinds={kind: count for kind, count in kinds.items() if count},
    )
