"""A run as `runlore.Api()` answers it: what is known of it, its history, its changes."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Literal, cast, get_args, overload

from runlore.core.json import JsonObject, JsonValue
from runlore.core.run import RunState, run_ref
from runlore.errors import UsageError
from runlore.sdk import answers
from runlore.sdk.answers import Logged, Row
from runlore.sdk.download import download
from runlore.sdk.history import HistoryRows
from runlore.sdk.link import Link, Query, strange
from runlore.sdk.questions import checked_keys, checked_page, project_path, refuse
from runlore.sdk.series import read_series

_ROWS = 5000
_MAX_ROWS = 10_000


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
    def fork(self) -> JsonObject | None:
        """Where it went on from another run, as `{"run": id, "step": last inherited}`."""
        return cast(JsonObject | None, self._content.get("fork"))

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
        refuse("scan_history()", unknown, "give keys, start= and stop=")
        first, last = (
            start if min_step is None else min_step,
            stop if max_step is None else max_step,
        )
        asked = {
            "keys": checked_keys(keys),
            "start": "" if first is None else str(first),
            "stop": "" if last is None else str(last),
            "limit": str(checked_page("page_size", page_size, _ROWS, _MAX_ROWS)),
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
        refuse("history()", unknown, "give keys, samples= and pandas=")
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
        asked: JsonObject = {"keys": [*checked_keys(keys)], "buckets": buckets}
        path = project_path(self.ref.owner, self.ref.project, "series")
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
        asked = {"format": known, "keys": checked_keys(keys)}
        download(self._link, self._path("export"), asked, target)
        return target

    def update(
        self,
        *,
        name: str | None = None,
        notes: str | None = None,
        tags: Sequence[str] | str | None = None,
        color: str | None = None,
        config: JsonObject | None = None,
        summary: JsonObject | None = None,
    ) -> None:
        """Change what is given; `config` and `summary` replace the keys that they name.

        One text as `tags` is one tag, as in `init`.
        """
        given: dict[str, JsonValue] = {
            "name": name,
            "notes": notes,
            "tags": None if tags is None else [tags] if isinstance(tags, str) else list(tags),
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
        return project_path(self.ref.owner, self.ref.project, "runs", self.ref.run_id, *more)


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
