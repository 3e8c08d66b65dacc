"""The stream of what has grown."""

from litestar import get
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Stream

from runlore.server.backend import Backend


@get(
    "/api/v1/live",
    responses={
        200: ResponseSpec(
            data_container=str, media_type="text/event-stream", description="server-sent events"
        )
    },
)
async def watch(backend: Backend) -> Stream:
    """Tell what has grown, gathered over a quarter of a second."""
    return Stream(
        backend.live.subscribe(),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )
