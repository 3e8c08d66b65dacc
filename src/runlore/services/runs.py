"""Runs and projects: list, get, update and delete them, and read what they logged."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from runlore.asking.check import check_column, check_condition, spellings
from runlore.asking.parse import parse_columns, parse_filter, parse_sort
from runlore.core.expression import Column, ColumnType, Condition, SortKey, columns_of
from runlore.core.json import JsonObject, JsonValue
from runlore.core.metric import Kind, Value, bounded_step
from runlore.core.run import RunRef, RunState
from runlore.errors import NotFoundError
from runlore.services.frames import checked_depth
from runlore.services.ingest import Change, Ingest
from runlore.services.noting import mean_of
from runlore.services.summary import MAX_SUMMARY, first_keys, summarise
from runlore.store.metrics import HistoryRow, KeySummary, MetricStore
from runlore.store.runs import (
    FIELDS,
    Place,
    ProjectRecord,
    RunColumn,
    RunGroups,
    RunPage,
    RunRecord,
    RunStore,
    RunValues,
)
from runlore.store.search import checked_search, searcher

MAX_PAGE = 1000
MAX_KEYS = 20_000
MAX_GROUPS = 10_000
MAX_RUN_KEYS = 20_000
MAX_ROWS = 10_000
PAGE_TEXT = 8 * 1024 * 1024
"""A page of runs or rows ends with the one that brings its texts to as many characters."""
_REMEMBERED = 20_000
_REMEMBERED_TEXT = 16 * 1024
_VALUE_TEXT = 24
_LONGER = (str, dict, list)
_SOURCES = {"config": "config", "summary": "summary", "min": "summary", "max": "summary"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run with what is worked out when it is read."""

    record: RunRecord
    state: RunState
    finished_ns: int | None
    summary: JsonObject
    last_step: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunViews:
    """Some runs of a project, how many match in all, and where the next page begins."""

    runs: list[RunView]
    total: int
    next: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunUpdate:
    """What to change of a run; None leaves it. `config` and `summary` set the keys they name.

    An empty color goes back to that of the palette.
    """

    name: str | None = None
    notes: str | None = None
    tags: tuple[str, ...] | None = None
    color: str | None = None
    config: JsonObject | None = None
    summary: JsonObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectKey:
    """A metric of a project, and how many runs have it."""

    key: str
    kind: Kind
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKeys:
    """The metrics of a run, the first by name, and whether there are more."""

    keys: list[KeySummary]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectKeys:
    """Some metrics of a project; `next` is the one behind which there are more, or None."""

    keys: list[ProjectKey]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some rows of a run; `next` is the step and how many rows of it come before, or None."""

    rows: list[HistoryRow]
    next: tuple[int, int] | None


class Runs:
    """What one can ask and change about runs."""

    def __init__(
        self,
        runs: RunStore,
        metrics: MetricStore,
        ingest: Ingest,
        *,
        tell: Callable[[Sequence[Change]], None],
    ) -> None:
        self._runs = runs
        self._metrics = metrics
        self._ingest = ingest
        self._tell = tell
        # Protects the remembered keys.
        self._lock = threading.Lock()
        self._keys: OrderedDict[RunRef, tuple[object, tuple[list[KeySummary], int | None]]] = (
            OrderedDict()
        )

    def projects(self) -> list[ProjectRecord]:
        """Return all projects, last active first."""
        return self._runs.projects(now_ns=time.time_ns())

    def project(self, owner: str, name: str) -> ProjectRecord:
        """Return a project, or raise NotFoundError."""
        return self._runs.project(owner, name, now_ns=time.time_ns())

    def page(
        self,
        owner: str,
        project: str,
        *,
        search: str = "",
        state: RunState | None = None,
        where: str = "",
        sort: str = "",
        limit: int = 100,
        after: Place | None = None,
    ) -> RunViews:
        """Return runs of a project in the order asked for, newest first by themselves.

        At most `limit`, fewer where they are long.

        Raises:
            NotFoundError: there is no such project.
            ExpressionError: the filter or the order cannot be read or names what is not there.
            UsageError: a regular expression is wrong or takes too long.
        """
        order = parse_sort(sort) if sort.strip() else ()
        parsed = parse_filter(where) if where.strip() else None
        columns = self._list_columns(owner, project, parsed, [key.column for key in order])
        now_ns = time.time_ns()
        condition = None if parsed is None else check_condition(parsed, columns)
        keys = [
            SortKey(column=check_column(key.column, columns), is_falling=key.is_falling)
            for key in order
        ]

        def ask(count: int) -> RunPage:
            return self._runs.page(
                owner,
                project,
                now_ns=now_ns,
                search=search,
                state=state,
                where=condition,
                sort=keys,
                limit=count,
                after=after,
            )

        page = ask(limit)
        views = self._views(page.runs)
        text = 0
        for count, view in enumerate(views[:-1], 1):
            text += _length(view.summary) + _length(view.record.config) + len(view.record.notes)
            if text >= PAGE_TEXT:
                shorter = ask(count)
                return RunViews(runs=views[:count], total=page.total, next=shorter.next)
        return RunViews(runs=views, total=page.total, next=page.next)

    def groups(
        self, owner: str, project: str, *, by: str, where: str = "", limit: int = 1000
    ) -> RunGroups:
        """Return runs counted by the values of columns.

        Raises:
            NotFoundError: there is no such project.
            ExpressionError: a column or the filter cannot be read or names what is not there.
            UsageError: a regular expression is wrong or takes too long.
        """
        asked = parse_columns(by)
        parsed = parse_filter(where) if where.strip() else None
        columns = self._list_columns(owner, project, parsed, asked)
        return self._runs.groups(
            owner,
            project,
            now_ns=time.time_ns(),
            by=[check_column(column, columns) for column in asked],
            where=None if parsed is None else check_condition(parsed, columns),
            limit=limit,
        )

    def columns(self, owner: str, project: str) -> list[RunColumn]:
        """Return the keys of config and summary of a project, sorted."""
        return self._runs.columns(owner, project)

    def get(self, ref: RunRef) -> RunView:
        """Return a run, or raise NotFoundError or DeletedError."""
        record = self._runs.get(ref)
        noted = self._runs.noted([ref]).get(ref)
        is_large = noted is not None and _is_large(noted)
        return self._view(record, noted if is_large else None)

    def update(self, ref: RunRef, update: RunUpdate) -> RunView:
        """Change a run as its user asks.

        Raises:
            NotFoundError: there is no such run.
            DeletedError: there was.
            UsageError: the config or summary is nested too deep.
        """
        checked_depth(update.config or {})
        checked_depth(update.summary or {})

        def change(found: RunRecord | None) -> RunRecord:
            if found is None:
                raise NotFoundError(f"no run {ref.run_id!r} in '{ref.owner}/{ref.project}'")
            return _updated(found, update)

        changed = self._runs.change({ref: change}).get(ref)
        if changed is None:
            # It has a tombstone, which `get` tells.
            return self.get(ref)
        self._tell([Change(ref, "run")])
        return self._view(changed)

    def delete(self, ref: RunRef) -> int:
        """Delete a run for good and return the bytes freed."""
        freed = self._ingest.delete(ref)
        with self._lock:
            self._keys.pop(ref, None)
        return freed

    def project_keys(
        self,
        owner: str,
        project: str,
        *,
        search: str = "",
        limit: int = MAX_KEYS,
        after: str | None = None,
    ) -> ProjectKeys:
        """Return the metrics of a project, by name: at most so many, behind one.

        Raises:
            NotFoundError: there is no such project.
            UsageError: what is searched for is too long, wrong or takes too long.
        """
        pick = searcher(checked_search(search)) if search else None
        refs = self._runs.refs(owner, project)
        # One more tells whether there are any behind them.
        counts = self._metrics.key_counts(refs, after=after, limit=limit + 1, pick=pick)
        names = sorted({key for key, _ in counts})
        last = names[limit - 1] if len(names) > limit else None
        keys = [
            ProjectKey(key=key, kind=kind, runs=runs)
            for (key, kind), runs in sorted(counts.items())
            if last is None or key <= last
        ]
        return ProjectKeys(keys=keys, next=last)

    def run_keys(self, ref: RunRef, *, search: str = "", limit: int = MAX_RUN_KEYS) -> RunKeys:
        """Return the metrics of a run by name, at most so many.

        Raises:
            NotFoundError: there is no such run.
            DeletedError: there was.
            UsageError: what is searched for is too long, wrong or takes too long.
        """
        self._runs.get(ref)
        pick = searcher(checked_search(search)) if search else None
        # One more tells whether there are any behind them.
        found = self._metrics.keys(ref, limit=limit + 1, pick=pick)
        names = list(dict.fromkeys(one.key for one in found))
        if len(names) <= limit:
            return RunKeys(keys=found, more=False)
        last = names[limit - 1]
        return RunKeys(keys=[one for one in found if one.key <= last], more=True)

    def rows(
        self,
        ref: RunRef,
        *,
        keys: Sequence[str] | None,
        start: int | None,
        stop: int | None,
        limit: int,
        after: tuple[int, int] | None,
    ) -> Rows:
        """Return merged rows of a run in the order of steps: at most `limit`, fewer of long ones.

        `after` is the `next` of the rows before.
        """
        self._runs.get(ref)
        skip = 0
        if after is not None:
            start, skip = after
        start, stop = bounded_step(start), bounded_step(stop)
        rows: list[HistoryRow] = []
        step, seen, text = None, 0, 0
        for row in self._metrics.rows(ref, keys=keys, start=start, stop=stop):
            if row.step != step:
                step, seen = row.step, 0
            if len(rows) == limit or text >= PAGE_TEXT:
                return Rows(rows=rows, next=(row.step, seen))
            seen += 1
            if after is not None and row.step == start and seen <= skip:
                continue
            rows.append(row)
            text += sum(map(_row_length, row.values.items()))
        return Rows(rows=rows, next=None)

    def _list_columns(
        self, owner: str, project: str, where: Condition | None, more: Sequence[Column]
    ) -> "ListColumns":
        named = [*more, *([] if where is None else columns_of(where))]
        return ListColumns(lambda only: self._runs.columns(owner, project, only=only), named)

    def _views(self, stored: Sequence[RunRecord]) -> list[RunView]:
        # A run is settled once its summary is noted; others are asked of the metric store.
        noted = self._runs.noted([record.ref for record in stored])
        unsettled = {record.ref for record in stored if record.unsettled}
        known = {
            ref: values
            for ref, values in noted.items()
            if ref not in unsettled or _is_large(values)
        }
        return [self._view(record, known.get(record.ref)) for record in stored]

    def _view(self, stored: RunRecord, noted: RunValues | None = None) -> RunView:
        record = self._ingest.overlay(stored)
        state = record.state(time.time_ns())
        finished_ns: int | None = None
        if state != "running":
            finished_ns = record.end_ns or record.active_ns
        if noted is not None:
            return RunView(
                record=record,
                state=state,
                finished_ns=finished_ns,
                summary={**noted.values, **record.summary},
                last_step=noted.last_step,
            )
        keys, last_step = self._keys_of(record)
        summary = summarise(
            keys,
            record.definitions,
            record.summary,
            mean=lambda key: mean_of(self._metrics, record.ref, key),
        )
        return RunView(
            record=record,
            state=state,
            finished_ns=finished_ns,
            summary=summary,
            last_step=last_step,
        )

    def _keys_of(self, record: RunRecord) -> tuple[list[KeySummary], int | None]:
        """Return a run's first keys and its last step, remembered as long as nothing has come."""
        version = (
            record.number,
            self._ingest.inherited(record.ref),
            tuple(
                (name, writer.heard_ns, writer.points) for name, writer in record.writers.items()
            ),
        )
        with self._lock:
            known = self._keys.get(record.ref)
            if known is not None and known[0] == version:
                self._keys.move_to_end(record.ref)
                return known[1]
        found = first_keys(self._metrics, record.ref)
        text = sum(len(key.last) for key in found[0] if isinstance(key.last, str))
        if text > _REMEMBERED_TEXT or len(found[0]) >= MAX_SUMMARY:
            return found
        with self._lock:
            self._keys[record.ref] = (version, found)
            self._keys.move_to_end(record.ref)
            while len(self._keys) > _REMEMBERED:
                self._keys.popitem(last=False)
        return found


class ListColumns:
    """The columns of a project's list of runs."""

    def __init__(
        self,
        read: Callable[[Collection[Column] | None], Sequence[RunColumn]],
        named: Iterable[Column],
    ) -> None:
        """Look up the columns that are named; `read` returns those it is given, or all."""
        self._read = read
        indexed = [_indexed(one) for column in named for one in spellings(column)]
        asked = [column for column in dict.fromkeys(indexed) if column is not None]
        self._found = {(one.source, one.key): one for one in read(asked)} if asked else {}

    def type_of(self, column: Column) -> ColumnType | None:
        """Tell what one of the columns named holds, None for one that is not there."""
        if not column.source:
            return FIELDS.get(column.key)
        found = self._found.get((_SOURCES.get(column.source, ""), column.key))
        if found is None:
            return None
        if column.source != found.source:
            return "number"
        has_numbers = found.numbers + found.bools > 0
        return "mixed" if has_numbers and found.texts else "number" if has_numbers else "text"

    def names(self) -> Iterator[str]:
        """Name the columns as one would type them."""
        yield from FIELDS
        for found in self._read(None):
            for source in (s for s, indexed in _SOURCES.items() if indexed == found.source):
                yield str(Column(source=source, key=found.key))


def _is_large(noted: RunValues) -> bool:
    """Tell whether a run has so many metrics that asking for them anew would take long."""
    return len(noted.values) >= MAX_SUMMARY


def _indexed(column: Column) -> Column | None:
    """Return the column of the index that a column stands on, None for one of the list's own."""
    source = _SOURCES.get(column.source)
    return None if source is None else Column(source=source, key=column.key)


def _length(value: JsonValue) -> int:
    """Tell about how many characters a document has as JSON."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(len, value)) + _lengths(value.values())
    return _lengths(value) if isinstance(value, list) else _VALUE_TEXT


def _lengths(values: Collection[JsonValue]) -> int:
    # Most are numbers, and a page has ten thousands of them.
    longer = [value for value in values if isinstance(value, _LONGER)]
    return _VALUE_TEXT * (len(values) - len(longer)) + sum(map(_length, longer))


def _row_length(cell: tuple[str, Value]) -> int:
    key, value = cell
    return len(key) + (len(value) if isinstance(value, str) else _VALUE_TEXT)


def _updated(record: RunRecord, update: RunUpdate) -> RunRecord:
    return replace(
        record,
        name=record.name if update.name is None else update.name,
        notes=record.notes if update.notes is None else update.notes,
        tags=record.tags if update.tags is None else update.tags,
        color=record.color if update.color is None else update.color or None,
        config={**record.config, **(update.config or {})},
        summary={**record.summary, **(update.summary or {})},
    )
