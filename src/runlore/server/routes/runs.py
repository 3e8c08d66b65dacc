"""Runs: list, get, update and delete them."""

import json
import re
from asyncio import to_thread
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated

import msgspec
from litestar import delete, get, patch
from litestar.params import Parameter
from msgspec import UNSET, UnsetType

from runlore.core.json import JsonObject
from runlore.core.run import RUN_STATES, RunState, checked_name, checked_owner, run_ref
from runlore.errors import UsageError
from runlore.server.backend import Backend
from runlore.server.nouns import (
    Deleted,
    Run,
    RunGroup,
    RunGroupList,
    RunKey,
    RunKeys,
    RunList,
    RunPatch,
    a_run,
    shown,
)
from runlore.services.runs import MAX_GROUPS, MAX_PAGE, MAX_RUN_KEYS, RunUpdate
from runlore.store.runs import Place
from runlore.store.search import checked_search
from runlore.wire.document import plain, unplain_object

_RUNS = "/api/v1/projects/{owner:str}/{project:str}/runs"
_RUN = f"{_RUNS}/{{run:str}}"
_COLOR = re.compile(r"#[0-9a-fA-F]{6}\Z")
_MAX_NAME = 256
_MOST = 2**63
_MAX_TAGS = 100


@get(_RUNS)
async def list_runs(
    backend: Backend,
    owner: str,
    project: str,
    search: Annotated[
        str, Parameter(description="part of name, id or tag, or /a regular expression/")
    ] = "",
    in_state: Annotated[
        str | None, Parameter(query="state", schema_extra={"enum": [*RUN_STATES]})
    ] = None,
    where: Annotated[
        str, Parameter(query="filter", description="such as config.lr < 0.1 AND state = 'failed'")
    ] = "",
    sort: Annotated[str, Parameter(description="columns, such as -summary.loss,name")] = "",
    limit: Annotated[int, Parameter(ge=1, le=MAX_PAGE)] = 100,
    cursor: str | None = None,
) -> RunList:
    """Return runs of a project, in the order of `sort`, by itself newest first."""
    checked_owner(owner)
    checked_name(project, "project")
    state = _state(in_state)
    checked_search(search)
    after = None if cursor is None else _place(cursor)

    def read() -> RunList:
        page = backend.runs.page(
            owner,
            project,
            search=search,
            state=state,
            where=where,
            sort=sort,
            limit=limit,
            after=after,
        )
        return RunList(
            runs=[a_run(view) for view in page.runs],
            total=page.total,
            next=None if page.next is None else _cursor(page.next),
        )

    return await to_thread(read)


@get("/api/v1/projects/{owner:str}/{project:str}/groups")
async def group_runs(
    backend: Backend,
    owner: str,
    project: str,
    by: Annotated[str, Parameter(description="columns, such as config.lr,config.model")],
    where: Annotated[
        str, Parameter(query="filter", description="such as config.lr < 0.1 AND state = 'failed'")
    ] = "",
    limit: Annotated[int, Parameter(ge=1, le=MAX_GROUPS)] = 1000,
) -> RunGroupList:
    """Return runs counted by the values of columns, numbers first, what is missing last."""
    checked_owner(owner)
    checked_name(project, "project")

    def read() -> RunGroupList:
        found = backend.runs.groups(owner, project, by=by, where=where, limit=limit)
        return RunGroupList(
            groups=[
                RunGroup(
                    values=[plain(value) for value in group.values],
                    runs=group.runs,
                    states={str(state): count for state, count in group.states.items()},
                )
                for group in found.groups
            ],
            total=found.total,
        )

    return await to_thread(read)


@get(_RUN)
async def get_run(backend: Backend, owner: str, project: str, run: str) -> Run:
    """Return a run."""
    return a_run(await to_thread(backend.runs.get, run_ref(owner, project, run)))


@get(f"{_RUN}/keys")
async def list_run_keys(
    backend: Backend,
    owner: str,
    project: str,
    run: str,
    search: Annotated[
        str, Parameter(description="part of a name, or /a regular expression/")
    ] = "",
    limit: Annotated[int, Parameter(ge=1, le=MAX_RUN_KEYS)] = MAX_RUN_KEYS,
) -> RunKeys:
    """Return the metrics of a run and its ancestors, the first by name."""
    ref = run_ref(owner, project, run)
    found = await to_thread(backend.runs.run_keys, ref, search=search, limit=limit)
    keys = [RunKey(key=shown(one.key), kind=one.kind) for one in found.keys]
    return RunKeys(keys=keys, more=found.more)


@patch(_RUN)
async def update_run(backend: Backend, owner: str, project: str, run: str, data: RunPatch) -> Run:
    """Change what is named; `config` and `summary` replace the keys that they name."""
    ref = run_ref(owner, project, run)
    return a_run(await to_thread(backend.runs.update, ref, _update(data)))


@delete(_RUN, status_code=200)
async def delete_run(backend: Backend, owner: str, project: str, run: str) -> Deleted:
    """Delete a run for good; later pieces of it are refused."""
    freed = await to_thread(backend.runs.delete, run_ref(owner, project, run))
    return Deleted(deleted=run, freed_bytes=freed)


def _update(data: RunPatch) -> RunUpdate:
    name = data.name or None
    if data.name == "":
        raise UsageError("name must not be empty; leave it out to keep it")
    if name is not None and len(name) > _MAX_NAME:
        raise UsageError(f"name may have {_MAX_NAME} characters, got {len(name)}")
    tags = data.tags if isinstance(data.tags, list) else None
    if tags is not None and len(tags) > _MAX_TAGS:
        raise UsageError(f"a run may have {_MAX_TAGS} tags, got {len(tags)}")
    color = None if data.color is UNSET else data.color or ""
    if color and not _COLOR.match(color):
        raise UsageError(f"color must be written as #rrggbb, got {color[:80]!r}")
    return RunUpdate(
        name=name,
        notes=data.notes if isinstance(data.notes, str) else None,
        tags=None if tags is None else tuple(dict.fromkeys(tags)),
        color=color,
        config=_object(data.config),
        summary=_object(data.summary),
    )


def _object(given: dict[str, object] | UnsetType) -> JsonObject | None:
    return None if given is UNSET else unplain_object(given)


def _state(given: str | None) -> RunState | None:
    if given is None:
        return None
    for state in RUN_STATES:
        if state == given:
            return state
    raise UsageError(f"state must be one of {', '.join(RUN_STATES)}, got {given[:80]!r}")


def _cursor(place: Place) -> str:
    """Write a place as text: a number alone in the order of numbers."""
    if not place.values:
        return str(place.number)
    return urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _place(cursor: str) -> Place:
    if re.fullmatch(r"\d{1,15}", cursor):
        return Place((), int(cursor))
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        found = msgspec.json.decode(urlsafe_b64decode(padded), type=Place)
    except (ValueError, msgspec.MsgspecError) as error:
        raise _no_cursor(cursor) from error
    # No database has greater ones.
    if any(not -_MOST <= n < _MOST for n in (found.number, *(at.rank for at in found.values))):
        raise _no_cursor(cursor)
    return found


def _no_cursor(given: str) -> UsageError:
    return UsageError(f"cursor must be the 'next' of an answer, got {given[:80]!r}")
