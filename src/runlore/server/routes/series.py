"""Series for charts, binary or JSON."""

from asyncio import to_thread
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import chain
from typing import Literal, cast

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Stream
from msgspec import UNSET

from runlore.core.axis import Axis
from runlore.core.json import JsonValue
from runlore.core.run import checked_name, checked_owner
from runlore.server.backend import Backend
from runlore.server.nouns import OneGroup, OneSeries, SeriesList, SeriesQuery, shown
from runlore.services.groups import GroupSeries
from runlore.services.series import Asked, Found, Group, read_series
from runlore.store.metrics import Floats, Series
from runlore.wire.document import plain
from runlore.wire.series import (
    COLUMNS,
    GROUP_COLUMNS,
    MEDIA_TYPE,
    X_COLUMNS,
    Pool,
)

_KINDS: Mapping[str, Literal["step", "time", "key"]] = {
    "step": "step",
    "time": "time",
    "relative": "time",
    "key": "key",
}


@post(
    "/api/v1/projects/{owner:str}/{project:str}/series",
    status_code=200,
    responses={
        200: ResponseSpec(
            data_container=SeriesList,
            description="as Accept asks for",
            # Those that are made up hold what is no JSON.
            generate_examples=False,
        )
    },
)
async def query_series(
    request: Request[object, object, State],
    backend: Backend,
    owner: str,
    project: str,
    data: SeriesQuery,
) -> Response[bytes] | Stream:
    """Return the numbers of runs and of groups of runs, each in at most `buckets` buckets."""
    # JSON is answered as text as well; its shape is named above for the description alone.
    checked_owner(owner)
    checked_name(project, "project")
    is_binary = MEDIA_TYPE in request.headers.get("accept", "")
    return await to_thread(_answer, backend, owner, project, data, is_binary)


def _answer(
    backend: Backend, owner: str, project: str, query: SeriesQuery, is_binary: bool
) -> Response[bytes] | Stream:
    is_relative = query.x.kind == "relative"
    asked = Asked(
        runs=query.runs,
        groups=[Group(name=group.name, runs=group.runs) for group in query.groups],
        keys=query.keys,
        keys_matching=query.keys_matching,
        buckets=query.buckets,
        start=query.start,
        stop=query.stop,
        axis=Axis(kind=_KINDS[query.x.kind], key=query.x.key),
        is_relative=is_relative,
    )
    found = read_series(
        backend.metrics,
        owner,
        project,
        asked,
        began_ns=lambda ref: backend.catalog.get(ref).created_ns,
    )
    return _binary(found, query) if is_binary else _json(found, query)


def _binary(found: Found, query: SeriesQuery) -> Response[bytes] | Stream:
    more = _x_columns(query)
    pool = Pool()
    placed = _Placed(pool)
    header: dict[str, JsonValue] = {
        "series": [_head(series, placed) for series in found.series],
        "columns": [*COLUMNS, *more],
    }
    if more:
        header["x"] = {"kind": query.x.kind, "key": query.x.key}
    if query.groups:
        header["groups"] = [_group_head(group, placed) for group in found.groups]
        header["group_columns"] = [*GROUP_COLUMNS, *more]
    pieces = pool.encode(header)
    first, second = next(pieces), next(pieces, b"")
    if not second:
        return Response(first, media_type=MEDIA_TYPE)
    return Stream(_one_by_one(first, second, pieces), media_type=MEDIA_TYPE)


async def _one_by_one(
    first: bytes, second: bytes, pieces: Iterator[bytes]
) -> AsyncIterator[bytes]:
    # Each is put together within a tenth of a millisecond, a thread for it would take longer.
    for piece in chain((first, second), pieces):
        yield piece


def _json(found: Found, query: SeriesQuery) -> Response[bytes]:
    more = _x_columns(query)
    # Each becomes text by itself: a number as an object of Python takes several times its text.
    groups = [msgspec.Raw(msgspec.json.encode(_one_group(group))) for group in found.groups]
    series = [msgspec.Raw(msgspec.json.encode(_one(series))) for series in found.series]
    answer = SeriesList(
        series=cast(list[OneSeries], series),
        columns=[*COLUMNS, *more],
        x=query.x if more else UNSET,
        groups=cast(list[OneGroup], groups) if query.groups else UNSET,
        group_columns=[*GROUP_COLUMNS, *more] if query.groups else UNSET,
    )
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _x_columns(query: SeriesQuery) -> Sequence[str]:
    return () if query.x.kind == "step" else X_COLUMNS


class _Placed:
    """Where the columns of series stand in a pool; a column that many share is looked up once."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        # By the number of the object, which the series keeps alive.
        self._places: dict[int, int] = {}

    def of(self, series: Series | GroupSeries, names: Sequence[str]) -> list[JsonValue]:
        """Return the places of its columns."""
        return [self._of_column(column) for _, column in _columns(series, names)]

    def _of_column(self, column: Floats) -> int:
        place = self._places.get(id(column))
        if place is None:
            place = self._pool.place(column.astype("<f8", copy=False).tobytes())
            self._places[id(column)] = place
        return place


def _head(series: Series, placed: _Placed) -> dict[str, JsonValue]:
    return {
        "run": series.run.run_id,
        "key": series.key,
        "width": series.width,
        "rows": len(series.step),
        "points": series.points,
        "at": placed.of(series, COLUMNS),
    }


def _group_head(group: GroupSeries, placed: _Placed) -> dict[str, JsonValue]:
    return {
        "group": group.group,
        "key": group.key,
        "width": group.width,
        "rows": len(group.step),
        "points": group.points,
        "at": placed.of(group, GROUP_COLUMNS),
    }


def _columns(series: Series | GroupSeries, names: Sequence[str]) -> Iterator[tuple[str, Floats]]:
    for name in names:
        column: Floats = getattr(series, name)
        yield name, column
    if series.x is not None:
        yield from zip(X_COLUMNS, (series.x.min, series.x.max, series.x.last), strict=True)


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
