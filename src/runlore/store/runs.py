"""The seam of the catalog: what every store of projects and runs keeps."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, TypeAlias

from runlore.core.expression import Column, ColumnType, Condition, SortKey
from runlore.core.json import JsonObject, JsonValue
from runlore.core.metric import Value
from runlore.core.run import Fork, RunRef, RunState

SILENCE_NS = 300 * 1_000_000_000
"""A run none of whose writers was heard of for this long has crashed."""

FIELDS: Mapping[str, ColumnType] = {
    "name": "text",
    "id": "text",
    "number": "number",
    "state": "text",
    "created_at": "time",
    "active_at": "time",
    "points": "number",
    "tags": "tags",
    "group": "text",
    "job_type": "text",
    "program": "text",
    "host": "text",
    "notes": "text",
    "fork": "text",
}
"""The columns of the list of runs that every run has. Beside them stand `config.<key>`,
`summary.<key>`, and of metrics `min.<key>` and `max.<key>`."""

EndKind: TypeAlias = Literal["finish", "closed", "lost"]


class Noted(NamedTuple):
    """What a metric amounts to: its value in the summary, least and greatest finite number."""

    value: Value
    low: float | None
    high: float | None


class RunSummary(NamedTuple):
    """What the metrics of a run amount to, and the greatest step that was logged."""

    values: Mapping[str, Noted]
    last_step: int | None


class RunValues(NamedTuple):
    """A `RunSummary` by its values alone."""

    values: JsonObject
    last_step: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterRecord:
    """What the catalog knows of one writer of a run.

    Attributes:
        applied: byte behind the last frame of its spool that the catalog has taken in.
        heard_ns: when the server last got something from it.
        started_ns: when it began, by its header; 0 where nothing told.
        last_ns: the latest time that its header or a row of it tells.
        end: the frame that ended its stream, None while it goes on.
    """

    role: str = "main"
    applied: int = 0
    heard_ns: int = 0
    started_ns: int = 0
    last_ns: int = 0
    points: int = 0
    gaps: int = 0
    end: EndKind | None = None
    end_ns: int = 0
    exit_code: int | None = None
    signal: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run as the catalog keeps it.

    Attributes:
        number: counts the runs of the project; 0 until the store has given one.
        alive_ns: when a writer that may go on was last heard of, 0 where there is none.
        end_state: how the run ended by its writers' own word, None where none has told.
        unsettled: counts may be behind what the metric store has; count again at start.
        summary: the keys that the user set by hand.
        fork: where it was forked off another run, None if it was not.
    """

    ref: RunRef
    name: str
    created_ns: int
    number: int = 0
    active_ns: int = 0
    alive_ns: int = 0
    end_state: RunState | None = None
    end_ns: int = 0
    exit_code: int | None = None
    signal: int | None = None
    unsettled: bool = True
    color: str | None = None
    notes: str = ""
    group: str | None = None
    job_type: str | None = None
    program: str | None = None
    host: str | None = None
    tags: tuple[str, ...] = ()
    config: JsonObject = field(default_factory=dict)
    summary: JsonObject = field(default_factory=dict)
    definitions: tuple[JsonObject, ...] = ()
    writers: Mapping[str, WriterRecord] = field(default_factory=dict)
    fork: Fork | None = None

    @property
    def points(self) -> int:
        """Count the points of all writers."""
        return sum(writer.points for writer in self.writers.values())

    @property
    def gaps(self) -> int:
        """Count the points that the writers could not keep."""
        return sum(writer.gaps for writer in self.writers.values())

    def state(self, now_ns: int) -> RunState:
        """Tell the state; silence counts, so it depends on the time."""
        if self.alive_ns > now_ns - SILENCE_NS:
            return "running"
        return self.end_state or "crashed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRecord:
    """A project with what its runs amount to."""

    owner: str
    name: str
    runs: int
    running: int
    points: int
    created_ns: int
    active_ns: int


class SortValue(NamedTuple):
    """What a run is sorted by: `rank` is 0 for a number, 1 for a text, 2 for nothing."""

    rank: int
    num: float
    text: str


class Place(NamedTuple):
    """The place of a run in a sorted list, which stays the same while others come and go."""

    values: tuple[SortValue, ...]
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """Some runs of a project, how many match in all, and the place of the last if more follow."""

    runs: list[RunRecord]
    total: int
    next: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunColumn:
    """A key of runs, and how many have a number, a bool or a text under it."""

    source: str
    key: str
    numbers: int
    bools: int
    texts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGroup:
    """Runs that have the same values in some columns, and how many are in which state."""

    values: tuple[JsonValue, ...]
    states: Mapping[RunState, int]

    @property
    def runs(self) -> int:
        """Count the runs."""
        return sum(self.states.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGroups:
    """Some groups, in the order of their values, and how many there are in all."""

    groups: list[RunGroup]
    total: int


class RunStore(Protocol):
    """Projects and runs.

    Obligations:
        Durability: what `change` or `delete` returned from survives the death of the process
            and a power cut. All runs of one call share one commit, or none is changed.
        Atomicity: `change` reads and writes a run with nobody in between.
        Numbers: a new run gets the next number of its project; numbers are never used again.
        Index: filters, orders, groups and columns speak of `run_entries` of each run, and tell
            what the last `change` or `note` made of them, also after a crash.
        Tombstones: a deleted run is gone, and `change` leaves it so.
        Threads: any method may be called from any thread.
    """

    @property
    def server_id(self) -> str:
        """The id of this catalog, made once."""
        ...

    def change(
        self, changes: Mapping[RunRef, Callable[[RunRecord | None], RunRecord]]
    ) -> dict[RunRef, RunRecord]:
        """Make each run what its function makes of it, and return the runs.

        The function gets None for a run that is not there and may be called again. Runs with a
        tombstone are left out of the answer.
        """
        ...

    def get(self, ref: RunRef) -> RunRecord:
        """Return a run.

        Raises:
            NotFoundError: there is no such run.
            DeletedError: there was.
        """
        ...

    def note(self, summaries: Mapping[RunRef, Callable[[RunRecord], RunSummary | None]]) -> None:
        """Note what the metrics of runs amount to, in place of what was noted before.

        All runs of one call share one commit. A function may be called again; where it returns
        None, what was noted stays. Runs that are not there are left out.
        """
        ...

    def noted(self, refs: Collection[RunRef]) -> dict[RunRef, RunValues]:
        """Return the values that were last noted of runs, less those of which nothing was."""
        ...

    def page(
        self,
        owner: str,
        project: str,
        *,
        now_ns: int,
        search: str = "",
        state: RunState | None = None,
        where: Condition | None = None,
        sort: Sequence[SortKey] = (),
        limit: int = 100,
        after: Place | None = None,
    ) -> RunPage:
        """Return runs in the order asked for, then by falling number, that stand behind a place.

        `search` is a part of name, id or tag, whatever its case, or between two slashes a
        regular expression that one of them holds. `where` and `sort` have been checked; `after`
        is the `next` of a page in the same order.

        Raises:
            NotFoundError: there is no such project.
            UsageError: a regular expression is wrong or takes too long, or `after` belongs to
                another order.
        """
        ...

    def groups(
        self,
        owner: str,
        project: str,
        *,
        now_ns: int,
        by: Sequence[Column],
        where: Condition | None = None,
        limit: int = 1000,
    ) -> RunGroups:
        """Return runs counted by the values of columns, numbers first, what is missing last.

        Raises:
            NotFoundError: there is no such project.
            UsageError: a regular expression is wrong or takes too long.
        """
        ...

    def columns(
        self, owner: str, project: str, *, only: Collection[Column] | None = None
    ) -> list[RunColumn]:
        """Return the keys of config and summary that runs have, sorted, or those named.

        Raises:
            NotFoundError: there is no such project.
        """
        ...

    def projects(self, *, now_ns: int) -> list[ProjectRecord]:
        """Return all projects, last active first."""
        ...

    def project(self, owner: str, name: str, *, now_ns: int) -> ProjectRecord:
        """Return a project, or raise NotFoundError."""
        ...

    def refs(self, owner: str, project: str) -> Sequence[RunRef]:
        """Return all runs of a project, or raise NotFoundError."""
        ...

    def unsettled(self) -> Sequence[RunRef]:
        """Return the runs whose record says so."""
        ...

    def delete(self, ref: RunRef) -> None:
        """Remove a run and leave a tombstone. Twice, or what never was, is quiet."""
        ...

    def close(self) -> None:
        """Let go of the files."""
        ...
