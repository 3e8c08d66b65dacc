"""The history of one run as rows."""

import re
from asyncio import to_thread
from typing import Annotated

from litestar import get
from litestar.params import Parameter

from runlore.core.run import run_ref
from runlore.errors import UsageError
from runlore.server.backend import Backend
from runlore.server.nouns import History, Row, at, shown_object
from runlore.services.runs import MAX_ROWS
from runlore.store.metrics import HistoryRow


@get(
    "/api/v1/projects/{owner:str}/{project:str}/runs/{run:str}/history",
)
async def read_history(
    backend: Backend,
    owner: str,
    project: str,
    run: str,
    keys: list[str] | None = None,
    start: int | None = None,
    stop: int | None = None,
    limit: Annotated[int, Parameter(ge=1, le=MAX_ROWS)] = 1000,
    cursor: str | None = None,
) -> History:
    """Return merged rows in the order of steps, each with `step`, `time` and its values by key."""
    ref = run_ref(owner, project, run)
    after = _place(cursor)

    def read() -> History:
        found = backend.runs.rows(ref, keys=keys, start=start, stop=stop, limit=limit, after=after)
        return History(
            rows=[_row(row) for row in found.rows],
            next=None if found.next is None else f"{found.next[0]}.{found.next[1]}",
        )

    return await to_thread(read)


def _row(row: HistoryRow) -> Row:
    return Row(step=row.step, time=at(row.time_ns), values=shown_object(dict(row.values)))


def _place(cursor: str | None) -> tuple[int, int] | None:
    if cursor is None:
        return None
    found = re.fullmatch(r"(-?\d{1,16})\.(\d{1,9})", cursor)
    if not found:
        raise UsageError(f"cursor must be the 'next' of an answer, got {cursor[:80]!r}")
    return int(found[1]), int(found[2])
