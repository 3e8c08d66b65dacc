"""Runs: list, get, update and delete them."""

import re
from asyncio import to_thread
from typing import Annotated, get_args

from litestar import delete, get, patch
from litestar.params import Parameter
from msgspec import UNSET, UnsetType

from runlore.core.json import JsonObject
from runlore.core.run import RunState, checked_name, checked_owner, run_ref
from runlore.errors import UsageError
from runlore.server.backend import Backend
from runlore.server.nouns import Deleted, Run, RunList, RunPatch, a_run
from runlore.services.runs import MAX_PAGE, RunUpdate
from runlore.wire.document import unplain_object

_RUNS = "/api/v1/projects/{owner:str}/{project:str}/runs"
_RUN = f"{_RUNS}/{{run:str}}"
_COLOR = re.compile(r"#[0-9a-fA-F]{6}\Z")
_MAX_NAME = 256
_MAX_TAGS = 100
_STATES: tuple[RunState, ...] = get_args(RunState)


@get(_RUNS)
async def list_runs(
    backend: Backend,
    owner: str,
    project: str,
    search: Annotated[
        str, Parameter(description="part of name, id or tag, or /a regular expression/")
    ] = "",
    in_state: Annotated[
        str | None, Parameter(query="state", schema_extra={"enum": [*_STATES]})
    ] = None,
    limit: Annotated[int, Parameter(ge=1, le=MAX_PAGE)] = 100,
    cursor: str | None = None,
) -> RunList:
    """Return runs of a project, newest first."""
    checked_owner(owner)
    checked_name(project, "project")
    state = _state(in_state)
    before = _number(cursor)

    def read() -> RunList:
        page = backend.runs.page(
            owner, project, search=search, state=state, limit=limit, before=before
        )
        return RunList(
            runs=[a_run(view) for view in page.runs],
            total=page.total,
            next=None if page.next is None else str(page.next),
        )

    return await to_thread(read)


@get(_RUN)
async def get_run(backend: Backend, owner: str, project: str, run: str) -> Run:
    """Return a run."""
    return a_run(await to_thread(backend.runs.get, run_ref(owner, project, run)))


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
    for state in _STATES:
        if state == given:
            return state
    raise UsageError(f"state must be one of {', '.join(_STATES)}, got {given[:80]!r}")


def _number(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not re.fullmatch(r"\d{1,15}", cursor):
        raise UsageError(f"cursor must be the 'next' of an answer, got {cursor[:80]!r}")
    return int(cursor)
