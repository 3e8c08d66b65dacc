"""Puts routes, guard and page together to one application."""

from asyncio import to_thread
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import msgspec
from litestar import Litestar, Response, get
from litestar.config.compression import CompressionConfig
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.types import ASGIApp

from runlore.server.auth import Guard, prefix_of
from runlore.server.backend import Backend
from runlore.server.page import PAGE_FOLDER, PageFiles, show_first_page, show_page
from runlore.server.problems import MAX_JSON, answer_error
from runlore.server.routes import export, health, history, live, projects, runs, series, spool
from runlore.services.access import Access
from runlore.version import __version__

_ROUTES: tuple[HTTPRouteHandler, ...] = (
    health.get_health,
    health.log_in,
    projects.list_projects,
    projects.get_project,
    projects.list_keys,
    projects.list_columns,
    runs.list_runs,
    runs.group_runs,
    runs.get_run,
    runs.list_run_keys,
    runs.update_run,
    runs.delete_run,
    history.read_history,
    export.export_run,
    series.query_series,
    spool.take_spool,
    live.watch,
)
_COMPRESSED_BYTES = 16 * 1024


def create_app(
    backend: Backend,
    *,
    access: Access,
    public_url: str | None = None,
    page_folder: Path = PAGE_FOLDER,
) -> ASGIApp:
    """Make the application; the backend stays its caller's, who closes it."""
    door = spool.SpoolDoor(backend)
    files = PageFiles(page_folder, prefix=prefix_of(public_url))

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        backend.live.open()
        yield
        door.close()

    app = _Application(
        route_handlers=[*_ROUTES, describe, show_page, show_first_page],
        dependencies={
            "backend": Provide(lambda: backend, sync_to_thread=False),
            "access": Provide(lambda: access, sync_to_thread=False),
            "door": Provide(lambda: door, sync_to_thread=False),
            "page": Provide(lambda: files, sync_to_thread=False),
        },
        exception_handlers={Exception: answer_error},
        compression_config=CompressionConfig(
            backend="gzip",
            gzip_compress_level=1,
            minimum_size=_COMPRESSED_BYTES,
            # Streams must not be held back; series do not shrink; spools answer shortly.
            exclude=["/live$", "/series$", "/spool/", "/export$"],
        ),
        request_max_body_size=MAX_JSON,
        lifespan=[lifespan],
        openapi_config=None,
        logging_config=None,
    )
    return Guard(app, access=access, public_url=public_url)


class _Application(Litestar):
    """Litestar without the plugins that load pydantic, an eighth of the start, which we never use.

    There is no public way to leave them out.
    """

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


@get("/api/openapi.json", include_in_schema=False)
async def describe() -> Response[bytes]:
    """Describe the API, worked out when first asked for: it would slow the start."""
    return Response(await to_thread(description), media_type="application/json")


@cache
def description() -> bytes:
    """Return the OpenAPI description of all routes."""
    from litestar.openapi import OpenAPIConfig

    described = _Application(
        route_handlers=list(_ROUTES),
        dependencies={
            # Named, so that they are not taken for parameters of the query; never called.
            "backend": Provide(lambda: None, sync_to_thread=False),
            "access": Provide(lambda: False, sync_to_thread=False),
            "door": Provide(lambda: 0, sync_to_thread=False),
        },
        openapi_config=OpenAPIConfig(title="Runlore", version=__version__),
        logging_config=None,
    )
    return msgspec.json.encode(described.openapi_schema.to_schema())
