"""Series for charts, binary or JSON."""

from asyncio import to_thread
from collections.abc import Iterator, Sequence

from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec

from runlore.core.json import JsonValue
from runlore.core.run import checked_name, checked_owner
from runlore.server.backend import Backend
from runlore.server.nouns import OneSeries, SeriesList, SeriesQuery, shown
from runlore.services.series import read_series
from runlore.store.metrics import Floats, Series
from runlore.wire.document import plain
from runlore.wire.series import COLUMNS, MEDIA_TYPE, encode_series


@post(
    "/api/v1/projects/{owner:str}/{project:str}/series",
    status_code=200,
    responses={200: ResponseSpec(data_container=SeriesList, description="as Accept asks for")},
)
async def query_series(
    request: Request[object, object, State],
    backend: Backend,
    owner: str,
    project: str,
    data: SeriesQuery,
) -> Response[bytes] | SeriesList:
    """Return the numbers of runs and keys, each in at most `buckets` buckets."""
    checked_owner(owner)
    checked_name(project, "project")
    is_binary = MEDIA_TYPE in request.headers.get("accept", "")
    return await to_thread(_answer, backend, owner, project, data, is_binary)


def _answer(
    backend: Backend, owner: str, project: str, query: SeriesQuery, is_binary: bool
) -> Response[bytes] | SeriesList:
    found = read_series(
        backend.metrics,
        owner,
        project,
        runs=query.runs,
        keys=query.keys,
        buckets=query.buckets,
        start=query.start,
        stop=query.stop,
    )
    if not is_binary:
        return SeriesList(series=[_one(series) for series in found], columns=list(COLUMNS))
    body = encode_series([_head(series) for series in found], _columns(found))
    return Response(body, media_type=MEDIA_TYPE)


def _head(series: Series) -> dict[str, JsonValue]:
    return {
        "run": series.run.run_id,
        "key": series.key,
        "width": series.width,
        "rows": len(series.step),
        "points": series.points,
    }


def _columns(found: Sequence[Series]) -> Iterator[bytes]:
    for series in found:
        for name in COLUMNS:
            column: Floats = getattr(series, name)
            yield column.astype("<f8", copy=False).tobytes()


def _one(series: Series) -> OneSeries:
    return OneSeries(
        run=series.run.run_id,
        key=shown(series.key),
        width=series.width,
        rows=len(series.step),
        points=series.points,
        columns={
            name: [plain(value) for value in getattr(series, name).tolist()] for name in COLUMNS
        },
    )
