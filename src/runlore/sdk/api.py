"""A client of the HTTP API: `runlore.Api()` reads and changes what a server keeps."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Literal, cast, get_args, overload
from urllib.parse import quote

from runlore.core.json import JsonObject, JsonValue
from runlore.core.run import DEFAULT_OWNER, RunRef, RunState, checked_name, checked_owner, run_ref
from runlore.errors import UsageError
from runlore.sdk import answers, logins
from runlore.sdk.answers import Logged, Row
from runlore.sdk.download import download
from runlore.sdk.history import HistoryRows
from runlore.sdk.link import Link, Query, strange
from runlore.sdk.series import SeriesTable, read_series

TIMEOUT_SECONDS = 30.0
_PAGE = 200
# So many keys a pattern is taken to match, where requests are cut to what one answer holds.
_MATCHING = 100
_MAX_PAGE = 1000
_ROWS = 5000
_MAX_ROWS = 10_000
_MAX_TIMEOUT_SECONDS = 24 * 3600


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
        url: address of the server; None takes that of `login`, else the setting `url`.
        api_key: key of the server; None takes that of `login`, else the setting `api_key`.
        timeout: seconds to wait for each answer, and one more per MiB of it; None takes 30.
        **unknown: what only wandb knows; it is refused with the way out.

    Raises:
        UsageError: the address or the key cannot be one.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float | None = None,
        **unknown: object,
    ) -> None:
        _refuse(
            "Api()", unknown, "give url=, api_key= and timeout=, name runs 'owner/project/run'"
        )
        for name, text in (("url", url), ("api_key", api_key)):
            if not isinstance(text, str | None):
                raise UsageError(f"{name} must be a string, got a {type(text).__name__}")
        found = logins.load(url=url, api_key=api_key)
        self.url = found.url
        self._project = found.project
        self._link = Link(found.url, found.api_key, _checked_timeout(timeout))

    def projects(self) -> list[ApiProject]:
        """Return all projects, last active first."""
        answer = self._link.ask_json("GET", "/api/v1/projects")
        return [_project(one, self.url) for one in answers.items(answer, "projects", self.url)]

    def runs(
        self,
        project: str | None = None,
        filters: Mapping[str, object] | None = None,
        order: str | None = None,
        per_page: int | None = None,
        *,
        search: str = "",
        state: RunState | None = None,
        filter: str = "",
        sort: str = "",
        path: str | None = None,
        **unknown: object,
    ) -> "ApiRuns":
        """Return the runs of a project, newest first, asked for as they are used.

        Args:
            project: `project` or `owner/project`; None takes the setting `project`.
            filters: as scripts for wandb ask for a state, {"state": "finished"}; nothing else.
            order: "-created_at" for the newest first, as None, or "+created_at".
            per_page: how many to ask for at once.
            search: part of a name, id or tag, or a regular expression between slashes.
            state: only runs in this state.
            filter: only runs for which this holds, as in `config.lr < 0.1 AND tags = 'good'`.
            sort: columns to sort by, those with a minus falling, as in `-summary.accuracy,name`.
            path: another word for `project`.
            **unknown: what only wandb knows; it is refused with the way out.

        Raises:
            UsageError: an argument is wrong, or nothing that Runlore can do.
        """
        harmless = {"include_sweeps", "lazy"}
        _refuse(
            "runs()", unknown.keys() - harmless, "give project, filter=, sort=, search= and state="
        )
        owner, name = _project_name(project or path or self._project)
        asked = {
            "search": search,
            "state": _state(filters, state),
            "filter": filter,
            "sort": sort,
            "limit": str(_checked_page("per_page", per_page, _PAGE, _MAX_PAGE)),
        }
        if order not in (None, "-created_at", "+created_at", "created_at"):
            raise UsageError(
                f"order must be '-created_at' (newest first) or '+created_at', got {order!r}; "
                "for another one use sort="
            )
        found = ApiRuns(self._runs(_path(owner, name, "runs"), asked))
        return found if order in (None, "-created_at") else ApiRuns(reversed(list(found)))

    def run(self, path: str) -> "ApiRun":
        """Return a run.

        Args:
            path: `project/run` or `owner/project/run`, `run` being its id.
        """
        ref = _run_name(path)
        content = self._link.ask_json("GET", _path(ref.owner, ref.project, "runs", ref.run_id))
        return ApiRun(self._link, content)

    def series(
        self,
        project: str,
        *,
        runs: Sequence[str] | None = None,
        keys: Sequence[str] = (),
        keys_matching: str | None = None,
        buckets: int = 800,
        start: int | None = None,
        stop: int | None = None,
        x: Literal["step", "time", "relative", "key"] = "step",
        x_key: str | None = None,
    ) -> SeriesTable:
        """Return the numbers of runs and keys, each in at most `buckets` buckets of steps.

        Example:
            >>> found = runlore.Api().series("digits", keys=["loss"], buckets=100)
            >>> found["k3f9x2ab", "loss"]["mean"]

        Args:
            project: `project` or `owner/project`.
            runs: ids of runs; None takes all of the project, newest first.
            keys: metrics by name.
            keys_matching: a regular expression for more of them.
            buckets: how many entries a series has at most; one with fewer points has them all.
            start: the first step.
            stop: the step before which to stop.
            x: where the buckets lie beside their steps, in the columns `x_min`, `x_max` and
                `x_last`: wall time, time since the run began, or another metric, `x_key`.
            x_key: see `x`.
        """
        owner, name = _project_name(project)
        asked: JsonObject = {
            "keys": [*_checked_keys(keys)],
            "keys_matching": keys_matching,
            "buckets": buckets,
            "start": start,
            "stop": stop,
            "x": {"kind": x, "key": x_key},
        }
        ids = [run.id for run in self.runs(project)] if runs is None else _checked_keys(runs)
        count = len(keys) + (0 if keys_matching is None else _MATCHING)
        path = _path(owner, name, "series")
        return read_series(self._link, path, asked, runs=ids, keys=count, buckets=buckets)

    def _runs(self, path: str, asked: Query) -> Iterator["ApiRun"]:
        cursor: str | None = ""
        while cursor is not None:
            answer = self._link.ask_json("GET", path, query={**asked, "cursor": cursor})
            for one in answers.items(answer, "runs", self.url):
                yield ApiRun(self._link, one)
            cursor = answers.next_cursor(answer, cursor, self.url)


class ApiRuns:
    """Runs of a project: gone through as they come, again without asking, counted, indexed."""

    def __init__(self, coming: Iterator["ApiRun"]) -> None:
        self._coming = coming
        self._known: list[ApiRun] = []

    def __iter__(self) -> Iterator["ApiRun"]:
        """Yield the runs, asking for more as they are used."""
        at = 0
        while at < len(self._known) or self._take(1):
            yield self._known[at]
            at += 1

    def __len__(self) -> int:
        """Ask for all of them, and count."""
        self._take(None)
        return len(self._known)

    def __getitem__(self, at: int) -> "ApiRun":
        """Return one by its place; from the end on, too."""
        self._take(None if at < 0 else max(0, at + 1 - len(self._known)))
        return self._known[at]

    def _take(self, count: int | None) -> bool:
        before = len(self._known)
        self._known.extend(islice(self._coming, count))
        return len(self._known) > before


class ApiRun:
    """A run as the server has it; `refresh` reads it again."""

    def __init__(self, link: Link, content: JsonValue) -> None:
        self._link = link
        self._content = self._checked(content)
        try:
            self.ref = run_ref(*(str(self._content[key]) for key in ("owner", "project", "id")))
        except UsageError as error:
            raise strange("a run with an address", self._content["id"], link.url) from error

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
        return answers.unplain_object(self._content["config"], self._link.url)

    @property
    def summary(self) -> JsonObject:
        """The last value of each key, or what its definition asks for."""
        return answers.unplain_object(self._content["summary"], self._link.url)

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
        return f"{self._link.url}/{owner}/{project}/runs/{run}"

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
        self._content = self._checked(self._link.ask_json("GET", self._path()))

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int | None = None,
        *,
        start: int | None = None,
        stop: int | None = None,
        min_step: int | None = None,
        max_step: int | None = None,
        **unknown: object,
    ) -> HistoryRows:
        """Return rows by step, to go through or as a table: `step`, `time` and what was logged.

        `step` and `time` are the row's own. A metric that was logged under one of these names
        stands beside them as `metric:step` or `metric:time`; one that was itself logged as
        `metric:step` stands as `metric:metric:step`, and so on, so that none hides another.

        Args:
            keys: only these metrics, by the names under which they were logged, and only rows
                that hold one of them; None yields all.
            page_size: how many rows to ask for at once.
            start: the first step.
            stop: the step before which to stop.
            min_step: another word for `start`.
            max_step: another word for `stop`.
            **unknown: what only wandb knows; it is refused with the way out.
        """
        _refuse("scan_history()", unknown, "give keys, start= and stop=")
        first, last = (
            start if min_step is None else min_step,
            stop if max_step is None else max_step,
        )
        asked = {
            "keys": _checked_keys(keys),
            "start": "" if first is None else str(first),
            "stop": "" if last is None else str(last),
            "limit": str(_checked_page("page_size", page_size, _ROWS, _MAX_ROWS)),
        }
        return HistoryRows(self._rows(asked))

    def _rows(self, asked: Query) -> Iterator[Logged]:
        cursor: str | None = ""
        url = self._link.url
        while cursor is not None:
            query = {**asked, "cursor": cursor}
            answer = self._link.ask_json("GET", self._path("history"), query=query)
            for one in answers.items(answer, "rows", url):
                yield answers.logged(one, url)
            cursor = answers.next_cursor(answer, cursor, url)

    @overload
    def history(
        self,
        keys: Sequence[str] | None = None,
        *,
        samples: int | None = None,
        pandas: Literal[False] = False,
        x_axis: str | None = None,
        stream: str | None = None,
        **unknown: object,
    ) -> list[Row]: ...

    @overload
    def history(
        self,
        keys: Sequence[str] | None = None,
        *,
        samples: int | None = None,
        pandas: Literal[True],
        x_axis: str | None = None,
        stream: str | None = None,
        **unknown: object,
    ) -> object: ...

    def history(
        self,
        keys: Sequence[str] | None = None,
        *,
        samples: int | None = None,
        pandas: bool = False,
        x_axis: str | None = None,
        stream: str | None = None,
        **unknown: object,
    ) -> object:
        """Return all rows that `scan_history` yields.

        Args:
            keys: only these metrics; see `scan_history`.
            samples: at most so many rows, evenly chosen, the first and the last among them.
            pandas: return a `pandas.DataFrame`, if pandas is installed.
            x_axis: rows are by step, so "_step" or None.
            stream: rows are what was logged, so "default" or None.
            **unknown: what only wandb knows; it is refused with the way out.
        """
        _refuse("history()", unknown, "give keys, samples= and pandas=")
        for name, given, only in (("x_axis", x_axis, "_step"), ("stream", stream, "default")):
            if given not in (None, only):
                raise UsageError(
                    f"{name} must be {only!r}, got {given!r}; name metrics in keys, and sort the "
                    "rows by one of them"
                )
        if samples is not None and (type(samples) is not int or samples < 1):
            raise UsageError(f"samples must be a whole number from 1 on, got {samples!r}")
        frames = _pandas() if pandas else None
        rows = _thinned(list(self.scan_history(keys)), samples)
        return rows if frames is None else frames(rows)

    def series(
        self, keys: Sequence[str], *, buckets: int = 800
    ) -> dict[str, dict[str, list[float]]]:
        """Return the numbers of each key in at most `buckets` buckets: column name to numbers."""
        asked: JsonObject = {"keys": [*_checked_keys(keys)], "buckets": buckets}
        path = _path(self.ref.owner, self.ref.project, "series")
        table = read_series(
            self._link, path, asked, runs=[self.id], keys=len(keys), buckets=buckets
        )
        return {key: {name: list(one[name]) for name in one} for (_, key), one in table.items()}

    def export(
        self,
        path: str | Path,
        *,
        format: Literal["parquet", "csv"] | None = None,
        keys: Sequence[str] | None = None,
    ) -> Path:
        """Write all points of the run into a file, superseded ones marked, and return its path.

        Args:
            path: a file that is there is replaced once the new one is whole.
            format: None goes by the name: CSV if it ends with `.csv`, else Parquet.
            keys: only these metrics; None writes all.
        """
        target = Path(path)
        known = format or ("csv" if target.suffix.lower() == ".csv" else "parquet")
        asked = {"format": known, "keys": _checked_keys(keys)}
        download(self._link, self._path("export"), asked, target)
        return target

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
        self._content = self._checked(self._link.ask_json("PATCH", self._path(), body=body))

    def delete(self) -> int:
        """Delete the run for good, and return the bytes freed."""
        found = self._link.ask_json("DELETE", self._path())
        shape = {"freed_bytes": (int,)}
        answers.checked(found, shape, what="a deletion", url=self._link.url)
        return cast(int, found["freed_bytes"])

    def _checked(self, content: JsonValue) -> JsonObject:
        found = answers.checked(content, answers.RUN, what="a run", url=self._link.url)
        if found["state"] not in get_args(RunState):
            raise strange("a run with a state", found["state"], self._link.url)
        return found

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


def _project(content: JsonValue, url: str) -> ApiProject:
    found = answers.checked(content, answers.PROJECT, what="a project", url=url)
    return ApiProject(
        owner=str(found["owner"]),
        name=str(found["name"]),
        runs=cast(int, found["runs"]),
        running=cast(int, found["running"]),
        points=cast(int, found["points"]),
        created_at=datetime.fromisoformat(str(found["created_at"])),
        active_at=datetime.fromisoformat(str(found["active_at"])),
    )


def _refuse(door: str, unknown: Iterable[str], way_out: str) -> None:
    names = ", ".join(sorted(unknown))
    if names:
        raise UsageError(f"{door} has no use for {names}; {way_out}")


def _checked_timeout(timeout: object) -> float:
    if timeout is None:
        return TIMEOUT_SECONDS
    seconds = timeout if isinstance(timeout, int | float) else 0
    if isinstance(timeout, bool) or not 0 < seconds <= _MAX_TIMEOUT_SECONDS:
        raise UsageError(
            f"timeout must be a number of seconds above 0, at most {_MAX_TIMEOUT_SECONDS:,}, got "
            f"{timeout!r}"
        )
    return float(seconds)


def _checked_page(name: str, size: int | None, usual: int, most: int) -> int:
    if size is None:
        return usual
    if type(size) is not int or size < 1:
        raise UsageError(f"{name} must be a whole number from 1 on, got {size!r}")
    return min(size, most)


def _checked_keys(keys: Sequence[str] | None) -> list[str]:
    if isinstance(keys, str):
        raise UsageError(f"keys must be a list of names, got {keys!r}; write [{keys!r}]")
    if isinstance(keys, int):
        raise UsageError(
            f"keys must be a list of names, got {keys!r}; for so many rows write samples={keys!r}"
        )
    found = list(keys or ())
    for key in found:
        if not isinstance(key, str):
            raise UsageError(f"keys must be a list of names, got {key!r} in it")
    return found


def _state(filters: Mapping[str, object] | None, state: RunState | None) -> str:
    """Return the only state that is asked for, empty for all."""
    if filters is not None and not isinstance(filters, Mapping):
        raise UsageError(f"filters must be a dict, got {filters!r}; see also search= and state=")
    for name in filters or ():
        if name != "state":
            raise UsageError(
                f"filters can only ask for a 'state', got {name!r}; use search= for names, ids "
                "and tags, or choose here: [run for run in api.runs(project) if "
                "run.config.get('lr') == 0.1]"
            )
    asked = (filters or {}).get("state", state)
    if asked is not None and asked not in get_args(RunState):
        words = ", ".join(get_args(RunState))
        raise UsageError(f"state must be one of {words}, got {asked!r}")
    return str(asked or "")


def _thinned(rows: list[Row], samples: int | None) -> list[Row]:
    if samples is None or len(rows) <= samples:
        return rows
    last = len(rows) - 1
    return [rows[at * last // max(1, samples - 1)] for at in range(samples)]


def _pandas() -> Callable[[list[Row]], object]:
    """Return what makes a data frame of rows."""
    try:
        module = import_module("pandas")
    except ImportError as error:
        raise UsageError(
            "pandas=True needs pandas, which is not installed here; install it, or leave "
            "pandas=True out to get a list of dicts"
        ) from error
    frame: Callable[[list[Row]], object] = module.DataFrame
    return frame
