"""A client of the HTTP API: `runlore.Api()` reads and changes what a server keeps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Literal, cast, get_args

from runlore.core.json import JsonObject, JsonValue
from runlore.core.run import DEFAULT_OWNER, RunRef, RunState, checked_name, checked_owner, run_ref
from runlore.errors import UsageError
from runlore.sdk import answers, logins
from runlore.sdk.api_run import ApiRun
from runlore.sdk.link import Link, Query
from runlore.sdk.questions import checked_keys, checked_page, project_path, refuse
from runlore.sdk.series import SeriesTable, read_series

TIMEOUT_SECONDS = 30.0
_PAGE = 200
# So many keys a pattern is taken to match, where requests are cut to what one answer holds.
_MATCHING = 100
_MAX_PAGE = 1000
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
        refuse("Api()", unknown, "give url=, api_key= and timeout=, name runs 'owner/project/run'")
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
        refuse(
            "runs()", unknown.keys() - harmless, "give project, filter=, sort=, search= and state="
        )
        owner, name = _project_name(project or path or self._project)
        asked = {
            "search": search,
            "state": _state(filters, state),
            "filter": filter,
            "sort": sort,
            "limit": str(checked_page("per_page", per_page, _PAGE, _MAX_PAGE)),
        }
        if order not in (None, "-created_at", "+created_at", "created_at"):
            raise UsageError(
                f"order must be '-created_at' (newest first) or '+created_at', got {order!r}; "
                "for another one use sort="
            )
        found = ApiRuns(self._runs(project_path(owner, name, "runs"), asked))
        return found if order in (None, "-created_at") else ApiRuns(reversed(list(found)))

    def run(self, path: str) -> ApiRun:
        """Return a run.

        Args:
            path: `project/run` or `owner/project/run`, `run` being its id.
        """
        ref = _run_name(path)
        content = self._link.ask_json(
            "GET", project_path(ref.owner, ref.project, "runs", ref.run_id)
        )
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
            "keys": [*checked_keys(keys)],
            "keys_matching": keys_matching,
            "buckets": buckets,
            "start": start,
            "stop": stop,
            "x": {"kind": x, "key": x_key},
        }
        ids = [run.id for run in self.runs(project)] if runs is None else checked_keys(runs)
        count = len(keys) + (0 if keys_matching is None else _MATCHING)
        path = project_path(owner, name, "series")
        return read_series(self._link, path, asked, runs=ids, keys=count, buckets=buckets)

    def _runs(self, path: str, asked: Query) -> Iterator[ApiRun]:
        cursor: str | None = ""
        while cursor is not None:
            answer = self._link.ask_json("GET", path, query={**asked, "cursor": cursor})
            for one in answers.items(answer, "runs", self.url):
                yield ApiRun(self._link, one)
            cursor = answers.next_cursor(answer, cursor, self.url)


class ApiRuns:
    """Runs of a project: gone through as they come, again without asking, counted, indexed."""

    def __init__(self, coming: Iterator[ApiRun]) -> None:
        self._coming = coming
        self._known: list[ApiRun] = []

    def __iter__(self) -> Iterator[ApiRun]:
        """Yield the runs, asking for more as they are used."""
        at = 0
        while at < len(self._known) or self._take(1):
            yield self._known[at]
            at += 1

    def __len__(self) -> int:
        """Ask for all of them, and count."""
        self._take(None)
        return len(self._known)

    def __getitem__(self, at: int) -> ApiRun:
        """Return one by its place; from the end on, too."""
        self._take(None if at < 0 else max(0, at + 1 - len(self._known)))
        return self._known[at]

    def _take(self, count: int | None) -> bool:
        before = len(self._known)
        self._known.extend(islice(self._coming, count))
        return len(self._known) > before


def _project_name(text: str) -> tuple[str, str]:
    owner, _, name = text.rpartition("/")
    return checked_owner(owner or DEFAULT_OWNER), checked_name(name, "project")


def _run_name(text: object) -> RunRef:
    parts = text.split("/") if isinstance(text, str) else []
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
