"""All points of a run as a file."""

import asyncio
import logging
from asyncio import to_thread
from collections.abc import AsyncIterator
from typing import Annotated

from litestar import get
from litestar.params import Parameter
from litestar.response import Stream

from runlore.core.run import run_ref
from runlore.errors import UsageError
from runlore.server.backend import Backend
from runlore.services.export import FORMATS, Export, Format, export

_log = logging.getLogger(__name__)

STALL_SECONDS = 60.0
_TYPES = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv"}


@get("/api/v1/projects/{owner:str}/{project:str}/runs/{run:str}/export")
async def export_run(
    backend: Backend,
    owner: str,
    project: str,
    run: str,
    format: Annotated[str, Parameter(schema_extra={"enum": [*FORMATS]})] = "parquet",
    keys: list[str] | None = None,
) -> Stream:
    """Return all points, superseded ones too, as Parquet or CSV that is made while it is sent."""
    ref = run_ref(owner, project, run)
    known = _format(format)

    def begin() -> Export:
        backend.runs.get(ref)
        return export(backend.metrics.scan(ref, keys=keys), known)

    found = await to_thread(begin)
    return Stream(
        sent(found, stall_s=STALL_SECONDS),
        media_type=_TYPES[known],
        headers={"Content-Disposition": f'attachment; filename="{run}.{known}"'},
    )


def _format(given: str) -> Format:
    for known in FORMATS:
        if known == given:
            return known
    raise UsageError(f"format must be one of {', '.join(FORMATS)}, got {given[:80]!r}")


async def sent(found: Export, *, stall_s: float) -> AsyncIterator[bytes]:
    """Yield pieces, made one by one as the client takes them.

    Of a client that takes nothing for so long the export is closed: as long as it is open, the
    store cannot use again what deletions and packing have freed.
    """
    loop = asyncio.get_running_loop()
    try:
        while (piece := await to_thread(found.piece)) is not None:
            watch = loop.call_later(stall_s, lambda: loop.run_in_executor(None, found.close))
            try:
                yield piece
            finally:
                watch.cancel()
    finally:
        # Not waited for: the client may be gone while a piece is being made.
        closing = loop.run_in_executor(None, found.close)
        closing.add_done_callback(_told)


def _told(closing: asyncio.Future[None]) -> None:
    if not closing.cancelled() and (error := closing.exception()) is not None:
        _log.warning("an export was not closed well: %s", error)
