"""The shapes of what the HTTP API takes and gives; the OpenAPI description is made from them."""

from datetime import UTC, datetime, timedelta
from typing import Literal, cast

import msgspec
from msgspec import UNSET, UnsetType

from runlore.core.json import JsonObject
from runlore.core.metric import Kind
from runlore.core.run import RunState
from runlore.services.runs import RunView
from runlore.store.runs import ProjectRecord
from runlore.wire.document import plain_object

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """That the server answers, and which one it is."""

    status: Literal["ok"]
    version: str
    server: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error, as RFC 9457 writes it."""

    type: str
    title: str
    status: int
    detail: str
    where: str | int | None = None
    next: int | None = None
    server: str | None = None


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project with what its runs amount to."""

    owner: str
    name: str
    runs: int
    running: int
    points: int
    created_at: datetime
    active_at: datetime


class Projects(msgspec.Struct, frozen=True, kw_only=True):
    """All projects, last active first."""

    projects: list[Project]


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What `define_metric` said of a metric."""

    metric: str
    step_metric: str | None = None
    summary: str | None = None
    goal: str | None = None
    hidden: bool = False


class Fork(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run was forked off: it inherits what `run` has up to `step`."""

    run: str
    step: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run. `writers` counts the processes that logged to it, `gaps` the points they lost."""

    owner: str
    project: str
    id: str
    name: str
    number: int
    state: RunState
    color: str | None
    created_at: datetime
    active_at: datetime
    finished_at: datetime | None
    exit_code: int | None
    signal: int | None
    config: dict[str, object]
    summary: dict[str, object]
    tags: list[str]
    notes: str
    group: str | None
    job_type: str | None
    program: str | None
    host: str | None
    writers: int
    points: int
    gaps: int
    last_step: int | None
    fork: Fork | None
    definitions: list[Definition]


class RunList(msgspec.Struct, frozen=True, kw_only=True):
    """Some runs of a project; `next` is the cursor of the next page."""

    runs: list[Run]
    total: int
    next: str | None


class RunGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that have the same values in the columns asked for, in their order."""

    values: list[object]
    runs: int
    states: dict[str, int]


class RunGroupList(msgspec.Struct, frozen=True, kw_only=True):
    """Some groups; `total` counts all."""

    groups: list[RunGroup]
    total: int


class RunColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column of the list of runs, as a filter names it; kinds with how many runs have it."""

    column: str
    source: str
    key: str
    runs: int
    kinds: dict[str, int]


class RunColumns(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of config and summary of a project."""

    columns: list[RunColumn]


class RunPatch(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a run."""

    name: str | UnsetType = UNSET
    notes: str | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET
    color: str | None | UnsetType = UNSET
    config: dict[str, object] | UnsetType = UNSET
    summary: dict[str, object] | UnsetType = UNSET


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """The run that was deleted."""

    deleted: str
    freed_bytes: int


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of a project, and how many runs have it."""

    key: str
    kind: Kind
    runs: int


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """Some metrics of a project; `next` is the `cursor` of those behind them, if there are any."""

    keys: list[Key]
    next: str | None


class RunKey(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of a run; one with values of several kinds is there once for each."""

    key: str
    kind: Kind


class RunKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The metrics of a run, the first by name; `more` says that it has others behind them."""

    keys: list[RunKey]
    more: bool


class SeriesGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Runs, by id, that are read as one series."""

    name: str
    runs: list[str]


class XAxis(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What buckets are placed by, beside their steps; only the kind `key` has a key.

    `time` is in seconds since 1970, `relative` in seconds since the run began.
    """

    kind: Literal["step", "time", "relative", "key"]
    key: str | None = None


class SeriesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which series to read, and in how many buckets at most.

    `keys_matching` is a regular expression for more keys beside `keys`.
    """

    runs: list[str] = []
    groups: list[SeriesGroup] = []
    keys: list[str] = []
    keys_matching: str | None = None
    buckets: int = 800
    start: int | None = None
    stop: int | None = None
    x: XAxis = XAxis(kind="step")


class OneSeries(msgspec.Struct, frozen=True, kw_only=True):
    """The history of one key of one run, a number per bucket in every column."""

    run: str
    key: str
    width: int
    rows: int
    points: int
    columns: dict[str, list[object]]


class OneGroup(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs of a group have in common at one key, a number per bucket in every column."""

    group: str
    key: str
    width: int
    rows: int
    points: int
    columns: dict[str, list[object]]


class SeriesList(msgspec.Struct, frozen=True, kw_only=True):
    """The series that were asked for; `columns` and `group_columns` name theirs."""

    series: list[OneSeries]
    columns: list[str]
    x: XAxis | UnsetType = UNSET
    groups: list[OneGroup] | UnsetType = UNSET
    group_columns: list[str] | UnsetType = UNSET


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one writer logged together at one step."""

    step: int
    time: datetime
    values: dict[str, object]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of a run; `next` is the cursor of the next page."""

    rows: list[Row]
    next: str | None


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """The spool is stored up to byte `next`; `points` counts the writer's points so far."""

    next: int
    server: str
    points: int


def a_project(record: ProjectRecord) -> Project:
    """Show a project."""
    return Project(
        owner=record.owner,
        name=record.name,
        runs=record.runs,
        running=record.running,
        points=record.points,
        created_at=at(record.created_ns),
        active_at=at(record.active_ns),
    )


def a_run(view: RunView) -> Run:
    """Show a run."""
    record = view.record
    has_ended = view.state != "running"
    return Run(
        owner=record.ref.owner,
        project=record.ref.project,
        id=record.ref.run_id,
        name=shown(record.name),
        number=record.number,
        state=view.state,
        color=record.color,
        created_at=at(record.created_ns),
        active_at=at(record.active_ns),
        finished_at=None if view.finished_ns is None else at(view.finished_ns),
        exit_code=record.exit_code if has_ended else None,
        signal=record.signal if has_ended else None,
        config=shown_object(record.config),
        summary=shown_object(view.summary),
        tags=[shown(tag) for tag in record.tags],
        notes=shown(record.notes),
        group=_shown_or_none(record.group),
        job_type=_shown_or_none(record.job_type),
        program=_shown_or_none(record.program),
        host=_shown_or_none(record.host),
        writers=len(record.writers),
        points=record.points,
        gaps=record.gaps,
        last_step=view.last_step,
        fork=None if record.fork is None else Fork(run=record.fork.run, step=record.fork.step),
        definitions=[_definition(definition) for definition in record.definitions],
    )


def at(time_ns: int) -> datetime:
    """Turn nanoseconds since 1970 into a time with zone."""
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def shown_object(content: JsonObject) -> dict[str, object]:
    """Make an object that strict JSON can hold."""
    return cast(dict[str, object], plain_object(content, shown))


def shown(text: str) -> str:
    """Replace what UTF-8 cannot hold: halves of surrogate pairs that came by JSON escapes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _shown_or_none(text: str | None) -> str | None:
    return None if text is None else shown(text)


def _definition(content: JsonObject) -> Definition:
    def text(name: str) -> str | None:
        value = content.get(name)
        return None if value is None else shown(str(value))

    return Definition(
        metric=text("metric") or "",
        step_metric=text("step_metric"),
        summary=text("summary"),
        goal=text("goal"),
        hidden=content.get("hidden") is True,
    )
