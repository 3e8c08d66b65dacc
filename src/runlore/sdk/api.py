"""A client of the HTTP API: `runlore.Api()` reads and changes what a server keeps."""

import gzip
import http.client
import json
import re
import struct
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from urllib.parse import quote, urlencode, urlsplit

from runlore import settings
from runlore.core.json import JsonObject, JsonValue
from runlore.core.metric import Value
from runlore.core.run import DEFAULT_OWNER, RunRef, RunState, checked_name, checked_owner, run_ref
from runlore.errors import (
    AccessError,
    ConflictError,
    DamageError,
    DeletedError,
    NotFoundError,
    RunloreError,
    UnavailableError,
    UsageError,
)

TIMEOUT_SECONDS = 30.0
_PAGE = 200
_ROWS = 5000
_SERIES_HEAD = struct.Struct("<4sII4x")
_SERIES_TYPE = "application/vnd.runlore.series"
# What Python turns into an integer has at most 4,300 digits.
_NUMBER = re.compile(r"NaN|-?Infinity|-?[0-9]{1,4300}")
_METRIC = "metric:"
_ROW_OWN = re.compile(f"(?:{_METRIC})*(?:step|time)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiProject:
    """A project of a server."""

    owner: str
    name: str
    runs: int
    running: int
    points: int
    created_at: datetime
    active_at: datetime


class Api:
    """Reads and changes the runs of a server.

    Example:
        >>> api = runlore.Api()
        >>> for run in api.runs("digits", state="finished"):
        ...     print(run.name, run.summary["loss"])

    Args:
        url: address of the server; None takes the setting `url`.
        api_key: key of the server; None takes the setting `api_key`.

    Raises:
        UsageError: the address or the key cannot be one.
    """

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        found = settings.load(url=url, api_key=api_key)
        self.url = found.url
        self._key = found.api_key

    def projects(self) -> list[ApiProject]:
        """Return all projects, last active first."""
        answer = self._json("GET", "/api/v1/projects")
        return [_project(one) for one in _objects(answer, "projects")]

    def runs(
        self,
        project: str,
        *,
        search: str = "",
        state: RunState | None = None,
        filter: str = "",
        sort: str = "",
    ) -> Iterator["ApiRun"]:
        """Yield the runs of a project, newest first, asking for more as they are used.

        Args:
            project: `project` or `owner/project`.
            search: part of a name, id or tag, or a regular expression between slashes.
            state: only runs in this state.
            filter: only runs for which this holds, as in `config.lr < 0.1 AND tags = 'good'`.
            sort: columns to sort by, those with a minus falling, as in `-summary.accuracy,name`.
        """
        owner, name = _project_name(project)
        path = _path(owner, name, "runs")
        asked = {
            "search": search,
            "state": state or "",
            "filter": filter,
            "sort": sort,
            "limit": str(_PAGE),
        }
        cursor: JsonValue = ""
        while cursor is not None:
            query = {**asked, "cursor": str(cursor)}
            answer = self._json("GET", path, query=query)
            for one in _objects(answer, "runs"):
                yield ApiRun(self, one)
            cursor = answer.get("next")

    def run(self, path: str) -> "ApiRun":
        """Return a run.

        Args:
            path: `project/run` or `owner/project/run`, `run` being its id.
        """
        ref = _run_name(path)
        return ApiRun(self, self._json("GET", _path(ref.owner, ref.project, "runs", ref.run_id)))

    def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | Sequence[str]] | None = None,
        body: JsonObject | None = None,
    ) -> JsonObject:
        text = self._bytes(method, path, query=query, body=body)
        try:
            content: JsonValue = json.loads(text)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise UnavailableError(
                f"expected a JSON object from {self.url}, got {text[:80]!r}; "
                "is this the address of a Runlore server?"
            )
        return content

    def _bytes(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | Sequence[str]] | None = None,
        body: JsonObject | None = None,
        accept: str = "application/json",
    ) -> bytes:
        asked = {name: value for name, value in (query or {}).items() if value}
        target = f"{path}?{urlencode(asked, doseq=True)}" if asked else path
        headers = {"Accept": accept, "Accept-Encoding": "gzip"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        text = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            text = json.dumps(_plain(body)).encode()
        status, answered, content = self._exchange(method, target, text, headers)
        if status >= 400:
            raise _error(status, content, self.url)
        is_known = answered.startswith(("application/json", _SERIES_TYPE))
        if status >= 300 or not is_known:
            raise UnavailableError(
                f"{self.url} answered {status} with {answered or 'nothing'}; "
                "is this the address of a Runlore server?"
            )
        return content

    def _exchange(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, str, bytes]:
        address = urlsplit(self.url)
        kind = (
            http.client.HTTPSConnection
            if address.scheme == "https"
            else http.client.HTTPConnection
        )
        connection = kind(address.hostname or "", address.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, address.path + target, body=body, headers=dict(headers))
            answer = connection.getresponse()
            content = answer.read()
            if answer.headers.get("Content-Encoding") == "gzip":
                content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error, http.client.HTTPException) as error:
            raise UnavailableError(
                f"no answer from {self.url}: {error or type(error).__name__}; "
                "is it running? 'runlore serve' starts one, RUNLORE_URL names another"
            ) from error
        finally:
            connection.close()
        return answer.status, answer.headers.get("Content-Type", ""), content


class ApiRun:
    """A run as the server has it; `refresh` reads it again."""

    def __init__(self, api: Api, content: JsonObject) -> None:
        self._api = api
        self._content = content
        self.ref = run_ref(str(content["owner"]), str(content["project"]), str(content["id"]))

    def __repr__(self) -> str:
        """Show the address, name and state."""
        return f"<ApiRun {self.ref} {self.name!r} {self.state}>"

    @property
    def id(self) -> str:
        """The id, unique in the project."""
        return self.ref.run_id

    @property
    def name(self) -> str:
        """The name, which may change."""
        return str(self._content["name"])

    @property
    def state(self) -> RunState:
        """The state: running, finished, failed or crashed."""
        return cast(RunState, self._content["state"])

    @property
    def config(self) -> JsonObject:
        """The configuration."""
        return _unplain_object(self._content["config"])

    @property
    def summary(self) -> JsonObject:
        """The last value of each key, or what its definition asks for."""
        return _unplain_object(self._content["summary"])

    @property
    def tags(self) -> list[str]:
        """The tags."""
        return [str(tag) for tag in cast(list[JsonValue], self._content["tags"])]

    @property
    def notes(self) -> str:
        """The notes."""
        return str(self._content["notes"])

    @property
    def group(self) -> str | None:
        """The group, if any."""
        return cast(str | None, self._content["group"])

    @property
    def points(self) -> int:
        """How many values were logged."""
        return cast(int, self._content["points"])

    @property
    def url(self) -> str:
        """The address of its page."""
        owner, project, run = self.ref
        return f"{self._api.url}/{owner}/{project}/runs/{run}"

    @property
    def created_at(self) -> datetime:
        """When it began."""
        return datetime.fromisoformat(str(self._content["created_at"]))

    @property
    def finished_at(self) -> datetime | None:
        """When it ended, None while it runs."""
        text = self._content["finished_at"]
        return None if text is None else datetime.fromisoformat(str(text))

    def to_json(self) -> JsonObject:
        """Return all that the server tells of the run, as it tells it."""
        return dict(self._content)

    def refresh(self) -> None:
        """Read the run again."""
        self._content = self._api._json("GET", self._path())

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        *,
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[dict[str, Value | datetime]]:
        """Yield rows by step: `step`, `time` and the keys that were logged.

        `step` and `time` are the row's own. A metric that was logged under one of these names
        stands beside them as `metric:step` or `metric:time`; one that was itself logged as
        `metric:step` stands as `metric:metric:step`, and so on, so that none hides another.

        Args:
            keys: only these metrics, by the names under which they were logged, and only rows
                that hold one of them; None yields all.
            start: the first step.
            stop: the step before which to stop.
        """
        if isinstance(keys, str):
            raise UsageError(f"keys must be a list of names, got {keys!r}; write [{keys!r}]")
        asked: dict[str, str | Sequence[str]] = {
            "keys": list(keys or ()),
            "start": "" if start is None else str(start),
            "stop": "" if stop is None else str(stop),
            "limit": str(_ROWS),
        }
        cursor: JsonValue = ""
        while cursor is not None:
            answer = self._api._json(
                "GET", self._path("history"), query={**asked, "cursor": str(cursor)}
            )
            for row in _objects(answer, "rows"):
                yield _row(row)
            cursor = answer.get("next")

    def history(self, keys: Sequence[str] | None = None) -> list[dict[str, Value | datetime]]:
        """Return all rows that `scan_history` yields."""
        return list(self.scan_history(keys))

    def series(
        self, keys: Sequence[str], *, buckets: int = 800
    ) -> dict[str, dict[str, list[float]]]:
        """Return the numbers of each key in at most `buckets` buckets: column name to numbers."""
        body: JsonObject = {"runs": [self.id], "keys": list(keys), "buckets": buckets}
        content = self._api._bytes(
            "POST",
            _path(self.ref.owner, self.ref.project, "series"),
            body=body,
            accept=_SERIES_TYPE,
        )
        return _series(content)

    def update(
        self,
        *,
        name: str | None = None,
        notes: str | None = None,
        tags: Sequence[str] | None = None,
        color: str | None = None,
        config: JsonObject | None = None,
        summary: JsonObject | None = None,
    ) -> None:
        """Change what is given; `config` and `summary` replace the keys that they name."""
        given: dict[str, JsonValue] = {
            "name": name,
            "notes": notes,
            "tags": None if tags is None else list(tags),
            "color": color,
            "config": config,
            "summary": summary,
        }
        body: JsonObject = {key: value for key, value in given.items() if value is not None}
        self._content = self._api._json("PATCH", self._path(), body=body)

    def delete(self) -> int:
        """Delete the run for good, and return the bytes freed."""
        return cast(int, self._api._json("DELETE", self._path())["freed_bytes"])

    def _path(self, *more: str) -> str:
        return _path(self.ref.owner, self.ref.project, "runs", self.ref.run_id, *more)


def _path(owner: str, project: str, *more: str) -> str:
    return "/api/v1/projects/" + "/".join(quote(part, safe="") for part in (owner, project, *more))


def _project_name(text: str) -> tuple[str, str]:
    owner, _, name = text.rpartition("/")
    return checked_owner(owner or DEFAULT_OWNER), checked_name(name, "project")


def _run_name(text: str) -> RunRef:
    parts = text.split("/")
    if len(parts) == 2:
        parts.insert(0, DEFAULT_OWNER)
    if len(parts) != 3:
        raise UsageError(f"a run is named 'project/run' or 'owner/project/run', got {text!r}")
    return run_ref(*parts)


def _project(content: JsonObject) -> ApiProject:
    return ApiProject(
        owner=str(content["owner"]),
        name=str(content["name"]),
        runs=cast(int, content["runs"]),
        running=cast(int, content["running"]),
        points=cast(int, content["points"]),
        created_at=datetime.fromisoformat(str(content["created_at"])),
        active_at=datetime.fromisoformat(str(content["active_at"])),
    )


def _row(content: JsonObject) -> dict[str, Value | datetime]:
    values = cast(JsonObject, content["values"])
    return {
        "step": cast(int, content["step"]),
        "time": datetime.fromisoformat(str(content["time"])),
        **{_row_name(key): cast(Value, _unplain(value)) for key, value in values.items()},
    }


def _row_name(key: str) -> str:
    """Name a metric in a row, apart from the row's own step and time and from all others."""
    return f"{_METRIC}{key}" if _ROW_OWN.fullmatch(key) else key


def _objects(answer: JsonObject, name: str) -> list[JsonObject]:
    return cast(list[JsonObject], answer[name])


def _plain(value: JsonValue) -> JsonValue:
    """Write numbers that JSON has no token for as the API does."""
    if isinstance(value, float) and value - value != 0:
        name = "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
        return {"$number": name}
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _unplain_object(value: JsonValue) -> JsonObject:
    # A name of the user's own, even "$number", is never a number's.
    return {key: _unplain(one) for key, one in cast(JsonObject, value).items()}


def _unplain(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        name = value.get("$number") if len(value) == 1 else None
        if isinstance(name, str) and _NUMBER.fullmatch(name):
            return float(name) if name.endswith(("NaN", "Infinity")) else int(name)
        return {key: _unplain(one) for key, one in value.items()}
    return [_unplain(one) for one in value] if isinstance(value, list) else value


def _series(content: bytes) -> dict[str, dict[str, list[float]]]:
    magic, version, size = _SERIES_HEAD.unpack_from(content)
    if magic != b"RLSR" or version != 1:
        raise UnavailableError(
            f"expected series of version 1, got {magic!r} of version {version}; "
            "use the same version of Runlore here and on the server"
        )
    at = _SERIES_HEAD.size + size
    header = cast(JsonObject, json.loads(content[_SERIES_HEAD.size : at]))
    found: dict[str, dict[str, list[float]]] = {}
    for one in _objects(header, "series"):
        columns = found[str(one["key"])] = {}
        for name in cast(list[str], header["columns"]):
            numbers = array("d", content[at : at + 8 * cast(int, one["rows"])])
            columns[name] = numbers.tolist()
            at += 8 * cast(int, one["rows"])
    return found


def _error(status: int, content: bytes, url: str) -> RunloreError:
    """Turn a problem into the error of the same sense."""
    try:
        problem: JsonValue = json.loads(content)
    except ValueError:
        problem = None
    detail = problem.get("detail") if isinstance(problem, dict) else None
    if not isinstance(detail, str):
        return UnavailableError(
            f"{url} answered {status}; is this the address of a Runlore server?"
        )
    if isinstance(problem, dict) and problem.get("type") == "runlore:damage":
        where = problem.get("where")
        return DamageError(detail, offset=where if isinstance(where, int) else 0)
    kinds: dict[int, type[RunloreError]] = {
        401: AccessError,
        403: AccessError,
        404: NotFoundError,
        409: ConflictError,
        410: DeletedError,
    }
    if status >= 500 or status == 429:
        return UnavailableError(detail)
    return kinds.get(status, UsageError)(detail)
