"""Series for charts, binary or JSON."""

from asyncio import to_thread
from collections.abc import Iterator, Sequence

from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec

from runlore.core.json import JsonValue
from runlore.core.run import checked_name, checked_owner
from runlore.server.backend import Backend
from runlore.server.nouns import OneGroup, OneSeries, SeriesList, SeriesQuery, plain, shown
from runlore.services.groups import GroupSeries
from runlore.services.series import Asked, Found, Group, read_series
from runlore.store.metrics import Floats, Series
from runlore.wire.series import COLUMNS, GROUP_COLUMNS, MEDIA_TYPE, encode_series


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
    """Return the numbers of runs and of groups of runs, each in at most `buckets` buckets."""
    checked_owner(owner)
    checked_name(project, "project")
    is_binary = MEDIA_TYPE in request.headers.get("accept", "")
    return await to_thread(_answer, backend, owner, project, data, is_binary)


def _answer(
    backend: Backend, owner: str, project: str, query: SeriesQuery, is_binary: bool
) -> Response[bytes] | SeriesList:
    asked = Asked(
        runs=query.runs,
        groups=[Group(name=group.name, runs=group.runs) for group in query.groups],
        keys=query.keys,
        keys_matching=query.keys_matching,
        buckets=query.buckets,
        start=query.start,
        stop=query.stop,
    )
    found = read_series(backend.metrics, owner, project, asked)
    has_groups = bool(query.groups)
    return _binary(found, has_groups) if is_binary else _json(found, has_groups)


def _binary(found: Found, has_groups: bool) -> Response[bytes]:
    header: dict[str, JsonValue] = {
        "series": [_head(series) for series in found.series],
        "columns": list(COLUMNS),
    }
    if has_groups:
        header["groups"] = [_group_head(group) for group in found.groups]
        header["group_columns"] = list(GROUP_COLUMNS)
    return Response(encode_series(header, _bytes(found)), media_type=MEDIA_TYPE)


def _json(found: Found, has_groups: bool) -> SeriesList:
    series = [_one(series) for series in found.series]
    if not has_groups:
        return SeriesList(series=series, columns=list(COLUMNS))
    return SeriesList(
        series=series,
        columns=list(COLUMNS),
        groups=[_one_group(group) for group in found.groups],
        group_columns=list(GROUP_COLUMNS),
    )


def _head(series: Series) -> dict[str, JsonValue]:
    return {
        "run": series.run.run_id,
        "key": series.key,
        "width": series.width,
        "rows": len(series.step),
        "points": series.points,
    }


def _group_head(group: GroupSeries) -> dict[str, JsonValue]:
    return {
        "group": group.group,
        "key": group.key,
        "width": group.width,
        "rows": len(group.step),
        "points": group.points,
    }


def _bytes(found: Found) -> Iterator[bytes]:
    for series in found.series:
        for _, column in _columns(series, COLUMNS):
            yield column.astype("<f8", copy=False).tobytes()
    for group in found.groups:
        for _, column in _columns(group, GROUP_COLUMNS):
            yield column.astype("<f8", copy=False).tobytes()


def _columns(series: Series | GroupSeries, names: Sequence[str]) -> Iterator[tuple[str, Floats]]:
    for name in names:
        column: Floats = getattr(series, name)
        yield name, column


def _listed(series: Series | GroupSeries, names: Sequence[str]) -> dict[str, list[object]]:
    return {
        name: [plain(value) for value in column.tolist()]
        for name, column in _columns(series, names)
    }


def _one(series: Series) -> OneSeries:
    return OneSeries(
        run=series.run.run_id,
        key=shown(series.key),
        width=series.width,
        rows=len(series.step),
        points=series.points,
        columns=_listed(series, COLUMNS),
    )


def _one_group(group: GroupSeries) -> OneGroup:
    return OneGroup(
        group=shown(group.group),
        key=shown(group.key),
        width=group.width,
        rows=len(group.step),
        points=group.points,
        columns=_listed(group, GROUP_COLUMNS),
    )
