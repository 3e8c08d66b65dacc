"""A naive metric store, for the contract to be measured against."""

import math
import struct
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from runlore.core.axis import STEP, Axis
from runlore.core.json import JsonObject
from runlore.core.metric import Kind, Value, kind_of
from runlore.core.run import Fork, RunRef
from runlore.errors import ConflictError, DamageError, DeletedError, UsageError
from runlore.store.metrics import (
    Floats,
    HistoryRow,
    KeySummary,
    Scan,
    ScanBatch,
    ScanColumn,
    Series,
    SpoolPiece,
    Stored,
    XColumns,
    check_no_forks,
)
from runlore.store.search import Pick
from runlore.wire import spool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    key: str
    kind: Kind
    value: Value
    step: int
    writer: str
    offset: int
    row: int
    row_time_ns: int
    time_ns: int
    depth: int = 0
    """How many forks lie between its run and the one that shows it."""


@dataclass(kw_only=True)
class _Stream:
    """One writer's stream, decoded from its first byte."""

    header: JsonObject = field(default_factory=dict)
    end: JsonObject | None = None
    last_time_ns: int | None = None
    points: list[_Point] = field(default_factory=list)
    stop: int = 0


@dataclass(frozen=True, kw_only=True)
class _Program:
    """Streams that know and spare each other; `leads` are those that say when it ran."""

    streams: list[_Stream]
    leads: list[_Stream]


@dataclass(kw_only=True)
class _Run:
    spools: dict[str, bytes] = field(default_factory=dict)
    rewinds: list[tuple[int, dict[str, int]]] = field(default_factory=list)
    fork: Fork | None = None
    parent_rewinds: int = 0
    """How many rewinds of its parent had come when it became a fork."""


class ReferenceMetricStore:
    """Keeps the bytes of every spool in memory and decodes all of a run for each question."""

    def __init__(self) -> None:
        self._runs: dict[RunRef, _Run] = {}
        self._deleted: set[RunRef] = set()
        self._lock = threading.RLock()  # one call at a time: the plainest snapshot

    def append(self, pieces: Sequence[SpoolPiece]) -> list[Stored | Exception]:
        """Keep pieces; see `MetricStore`."""
        with self._lock:
            return [self._append(piece) for piece in pieces]

    def stored(self, run: RunRef, writer: str) -> Stored:
        """Tell how far a writer is stored."""
        with self._lock:
            data = self._run(run).spools.get(writer, b"")
            return Stored(next=len(data), points=len(_decode(data, writer).points))

    def keys(
        self, run: RunRef, *, limit: int | None = None, pick: Pick | None = None
    ) -> list[KeySummary]:
        """Summarise every key and kind, or those of the first keys by name."""
        with self._lock:
            points = self._live(run)
        histories: dict[tuple[str, Kind], list[_Point]] = {}
        for point in points:
            histories.setdefault((point.key, point.kind), []).append(point)
        first = _named(histories, limit, pick)
        return [
            _summary(history)
            for (key, _), history in sorted(histories.items(), key=_first)
            if key in first
        ]

    def last_step(self, run: RunRef) -> int | None:
        """Return the greatest step of a run."""
        with self._lock:
            return max((point.step for point in self._live(run)), default=None)

    def key_counts(
        self,
        runs: Collection[RunRef],
        *,
        after: str | None = None,
        limit: int | None = None,
        pick: Pick | None = None,
    ) -> Mapping[tuple[str, Kind], int]:
        """Count the runs, of some, that have each key and kind."""
        with self._lock:
            counts = Counter(
                cell
                for run in dict.fromkeys(runs)
                for cell in {(point.key, point.kind) for point, _ in self._all(run)}
                if after is None or cell[0] > after
            )
        first = _named(counts, limit, pick)
        return {cell: count for cell, count in counts.items() if cell[0] in first}

    def series(
        self,
        runs: Sequence[RunRef],
        keys: Sequence[str],
        *,
        buckets: int,
        start: int | None = None,
        stop: int | None = None,
        axis: Axis = STEP,
    ) -> list[Series]:
        """Bucket the numbers of each run and key."""
        if buckets < 2:
            raise UsageError(f"buckets must be at least 2, got {buckets}")
        found = []
        with self._lock:
            for run in runs:
                points = [p for p in self._live(run) if p.kind != "string" and _in(p, start, stop)]
                for key in keys:
                    of_key = [point for point in points if point.key == key]
                    if of_key:
                        series, groups = _series(run, key, of_key, buckets)
                        x = _x_columns(axis, series.width, groups, points)
                        found.append(replace(series, x=x))
        return found

    def rows(
        self,
        run: RunRef,
        *,
        keys: Sequence[str] | None = None,
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[HistoryRow]:
        """Yield merged rows."""
        rows: dict[tuple[int, str, int], list[_Point]] = {}
        with self._lock:
            for point in self._live(run):
                if _in(point, start, stop) and (keys is None or point.key in keys):
                    rows.setdefault((point.depth, point.writer, point.row), []).append(point)
        return iter(
            [
                HistoryRow(
                    writer=points[0].writer,
                    step=points[0].step,
                    time_ns=points[0].row_time_ns,
                    values={point.key: point.value for point in points},
                )
                for points in rows.values()
            ]
        )

    def scan(self, run: RunRef, *, keys: Sequence[str] | None = None) -> Scan:
        """Return all points as columns, in one batch per row."""
        rows: dict[tuple[int, int, str, int, bool], list[_Point]] = {}
        with self._lock:
            for point, is_live in self._all(run):
                if keys is None or point.key in keys:
                    depth, writer = point.depth, point.writer
                    place = (point.step, depth, writer, point.offset, not is_live)
                    rows.setdefault(place, []).append(point)
        writers = sorted({place[2] for place in rows})
        points = [point for of_row in rows.values() for point in of_row]
        # A frame's live points may stand behind its superseded ones.
        spans = {place[:4]: number for number, place in enumerate(rows)}
        ordered = sorted(rows, key=lambda place: (spans[place[:4]], place[4]))
        return Scan(
            cells=sorted({(point.key, point.kind) for point in points}),
            writers=writers,
            batches=iter([_batch(rows[p], writers.index(p[2]), p[4]) for p in ordered]),
            close=lambda: None,
        )

    def rewind(self, run: RunRef, step: int) -> None:
        """Supersede what is stored behind a step."""
        with self._lock:
            if run in self._deleted:
                raise DeletedError(f"run {run} was deleted; log to a new run")
            kept = self._run(run)
            kept.rewinds.append((step, {w: len(data) for w, data in kept.spools.items()}))

    def fork(self, run: RunRef, fork: Fork) -> None:
        """Let a run inherit from another."""
        with self._lock:
            if run in self._deleted:
                raise DeletedError(f"run {run} was deleted; log to a new run")
            parent = run._replace(run_id=fork.run)
            if run in (parent, *self._ancestors(parent)):
                raise ConflictError(f"run {run} would inherit from itself; fork another run")
            kept = self._run(run)
            if kept.fork not in (None, fork):
                raise ConflictError(f"run {run} is a fork of {kept.fork}; fork to a new run")
            if kept.fork is None:
                kept.fork, kept.parent_rewinds = fork, len(self._run(parent).rewinds)
                self._runs[run] = kept

    def forks(self, run: RunRef) -> list[RunRef]:
        """Return the runs that inherit from a run."""
        with self._lock:
            above = {other: self._ancestors(other) for other in self._runs}
        found = [other for other, ancestors in above.items() if run in ancestors]
        return sorted(found, key=lambda other: above[other].index(run))

    def delete(self, run: RunRef) -> int:
        """Forget a run."""
        with self._lock:
            check_no_forks(run, self.forks(run))
            freed = sum(map(len, self._run(run).spools.values()))
            self._runs.pop(run, None)
            self._deleted.add(run)
            return freed

    def close(self) -> None:
        """Do nothing: there are no files."""

    def _run(self, run: RunRef) -> _Run:
        return self._runs.get(run, _Run())

    def _append(self, piece: SpoolPiece) -> Stored | Exception:
        if piece.run in self._deleted:
            return DeletedError(f"run {piece.run} was deleted; log to a new run")
        spools = self._runs.setdefault(piece.run, _Run()).spools
        had = spools.get(piece.writer, b"")
        if piece.offset > len(had):
            return ConflictError(
                f"writer {piece.writer} is stored up to byte {len(had)}, the piece begins at "
                f"{piece.offset}; send again from {len(had)}"
            )
        whole = had + piece.data[len(had) - piece.offset :]
        try:
            stream = _decode(whole, piece.writer)
        except DamageError as error:
            has_header = error.offset > len(spool.PREAMBLE)
            spools[piece.writer] = whole[: error.offset] if has_header else b""
            return error
        spools[piece.writer] = whole[: stream.stop]
        return Stored(next=stream.stop, points=len(stream.points))

    def _live(self, run: RunRef) -> list[_Point]:
        """Return the points that are not superseded, in the order of rows."""
        return [point for point, is_live in self._all(run) if is_live]

    def _all(self, run: RunRef) -> list[tuple[_Point, bool]]:
        """Return all points in the order of rows, and whether they are not superseded."""
        found = []
        began: dict[tuple[int, str], int] = {}
        # What the runs between leave of an ancestor: steps up to `end`, of each key below `least`.
        end, least = math.inf, dict[str, float]()
        rewinds: int | None = None
        below: list[_Program] = []
        for depth, ref in enumerate([run, *self._ancestors(run)]):
            kept = self._run(ref)
            streams = {w: _decode(data, w) for w, data in kept.spools.items() if data}
            streams = _seen_by(below, streams)
            points = _points_of(streams, kept.rewinds[:rewinds])
            for point, is_live in points:
                if point.step <= end:
                    is_shown = is_live and point.step < least.get(point.key, math.inf)
                    found.append((replace(point, depth=depth), is_shown))
            for point, _ in points:
                least[point.key] = min(least.get(point.key, math.inf), point.step)
            end = min([end, *(step for step, _ in kept.rewinds[:rewinds])])
            end = min(end, kept.fork.step if kept.fork is not None else end)
            rewinds, below = kept.parent_rewinds, list(_programs(streams).values())
            for writer, stream in streams.items():
                began[depth, writer] = _whole(stream.header, "started_ns") or 0

        def order(one: tuple[_Point, bool]) -> tuple[int, int, int, str, int]:
            point = one[0]
            at = began[point.depth, point.writer]
            return (point.step, -point.depth, at, point.writer, point.row)

        return sorted(found, key=order)

    def _ancestors(self, run: RunRef) -> list[RunRef]:
        """Return the runs from which one inherits, its parent first, as far as they are there."""
        found: list[RunRef] = []
        fork = self._run(run).fork
        while fork is not None:
            found.append(run._replace(run_id=fork.run))
            fork = self._run(found[-1]).fork
        return found


def _points_of(
    streams: Mapping[str, _Stream], rewinds: Sequence[tuple[int, dict[str, int]]]
) -> list[tuple[_Point, bool]]:
    """Return the points of one run, and whether nothing else of the run supersedes them."""
    programs = _programs(streams)
    found = []
    for writer, stream in streams.items():
        later = [
            other
            for program in programs.values()
            if _ended_before(programs[_program_of(writer, stream)], program)
            for other in program.streams
        ]
        for point in stream.points:
            rewound = any(
                point.step > step and point.offset < stored.get(point.writer, 0)
                for step, stored in rewinds
            )
            superseded = any(
                point.step >= min(p.step for p in other.points if p.key == point.key)
                for other in later
                if any(p.key == point.key for p in other.points)
            )
            found.append((point, not rewound and not superseded))
    return found


def _seen_by(forks: Sequence[_Program], streams: dict[str, _Stream]) -> dict[str, _Stream]:
    """Return what a fork, of which these are the programs, sees of its parent's streams."""
    if not forks:
        return streams
    began_ns = min(map(_began_ns, forks))
    programs = _programs(streams)
    early = [program for program in programs.values() if _began_ns(program) <= began_ns]
    return {
        writer: stream
        for writer, stream in streams.items()
        if (program := programs[_program_of(writer, stream)]) in early
        or not any(_ended_before(one, program) for one in early)
    }


def _began_ns(program: _Program) -> int:
    return min(_whole(stream.header, "started_ns") or 0 for stream in program.leads)


def _batch(points: Sequence[_Point], writer: int, superseded: bool) -> ScanBatch:
    def values(point: _Point) -> Floats | NDArray[np.object_]:
        if isinstance(point.value, str):
            return np.array([point.value], dtype=object)
        return np.array([float(point.value)])

    return ScanBatch(
        steps=np.array([points[0].step]),
        times_ns=np.array([points[0].time_ns]),
        writers=np.array([writer]),
        superseded=np.array([superseded]),
        columns=[
            ScanColumn(
                key=point.key, kind=point.kind, values=values(point), present=np.array([True])
            )
            for point in points
        ],
    )


def _decode(data: bytes, writer: str) -> _Stream:
    stream = _Stream()
    table = spool.KeyTable()
    row = -1
    row_step: int | None = None
    row_time_ns = 0
    row_keys: set[str] = set()
    for frame in spool.whole_frames(data, offset=0):
        stream.stop = frame.end
        try:
            if (frame.offset == len(spool.PREAMBLE)) != (frame.kind == spool.HEADER):
                raise ValueError("a stream begins with its only header")
            if frame.kind == spool.HEADER:
                stream.header = _with_time(spool.decode_json(frame.payload), "started_ns")
            elif frame.kind in spool.ENDS:
                stream.end = _with_time(spool.decode_json(frame.payload), "time_ns")
            elif frame.kind in spool.DECLARING:
                table.declare(frame.payload)
            elif frame.kind in spool.ROWS:
                decoded = table.row(frame.payload)
                if not decoded.keys:
                    continue
                stream.last_time_ns = decoded.time_ns
                if decoded.step != row_step or row_keys.intersection(decoded.keys):
                    row, row_step, row_time_ns = row + 1, decoded.step, decoded.time_ns
                    row_keys = set()
                row_keys.update(decoded.keys)
                stream.points += [
                    _Point(
                        key=key,
                        kind=kind_of(value),
                        value=value,
                        step=decoded.step,
                        writer=writer,
                        offset=frame.offset,
                        row=row,
                        row_time_ns=row_time_ns,
                        time_ns=decoded.time_ns,
                    )
                    for key, value in zip(decoded.keys, decoded.values, strict=True)
                ]
        except (ValueError, struct.error) as error:
            raise DamageError(
                f"frame at byte {frame.offset} of writer {writer} cannot be decoded: {error}; "
                "what stands before it is stored",
                offset=frame.offset,
            ) from error
    return stream


def _with_time(content: JsonObject, name: str) -> JsonObject:
    if _whole(content, name) is None:
        raise ValueError(f"expected whole nanoseconds as {name!r}, got {content.get(name)!r}")
    return content


def _whole(content: Mapping[str, object], name: str) -> int | None:
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        return None
    return value


def _programs(streams: Mapping[str, _Stream]) -> dict[str, _Program]:
    members: dict[str, dict[str, _Stream]] = {}
    for writer, stream in streams.items():
        members.setdefault(_program_of(writer, stream), {})[writer] = stream
    return {
        name: _Program(
            streams=list(found.values()),
            leads=[found[name]] if name in found else list(found.values()),
        )
        for name, found in members.items()
    }


def _program_of(writer: str, stream: _Stream) -> str:
    program = stream.header.get("program")
    return program if isinstance(program, str) and program else writer


def _ended_before(earlier: _Program, later: _Program) -> bool:
    if earlier is later:
        return False
    ends = [stream.end for stream in earlier.leads]
    if None not in ends:
        return all(_end_is_before(one, other) for one in earlier.leads for other in later.leads)
    resumed = any(stream.header.get("resumed") is True for stream in later.leads)
    rows = [s.last_time_ns for s in earlier.streams if s.last_time_ns is not None]
    began_ns = min(_whole(stream.header, "started_ns") or 0 for stream in later.leads)
    return resumed and bool(rows) and max(rows) < began_ns


def _end_is_before(earlier: _Stream, later: _Stream) -> bool:
    assert earlier.end is not None
    ended_boot = _whole(earlier.end, "boot_ns")
    began_boot = _whole(later.header, "boot_ns")
    boot = earlier.header.get("boot")
    if (
        boot is not None
        and boot == later.header.get("boot")
        and None not in (ended_boot, began_boot)
    ):
        return (ended_boot or 0) < (began_boot or 0)
    return (_whole(earlier.end, "time_ns") or 0) < (_whole(later.header, "started_ns") or 0)


def _in(point: _Point, start: int | None, stop: int | None) -> bool:
    return (start is None or point.step >= start) and (stop is None or point.step < stop)


def _first(item: tuple[tuple[str, Kind], list[_Point]]) -> tuple[str, Kind]:
    return item[0]


def _named(cells: Iterable[tuple[str, Kind]], limit: int | None, pick: Pick | None) -> set[str]:
    names = sorted({key for key, _ in cells})
    return set((names if pick is None else pick(names))[:limit])


def _summary(points: Sequence[_Point]) -> KeySummary:
    finite = [v for v in map(_number, points) if v is not None and math.isfinite(v)]
    return KeySummary(
        key=points[0].key,
        kind=points[0].kind,
        count=len(points),
        last_step=points[-1].step,
        last=points[-1].value,
        minimum=min(finite, default=None),
        maximum=max(finite, default=None),
    )


def _number(point: _Point) -> float | None:
    return None if isinstance(point.value, str) else float(point.value)


def _x_columns(
    axis: Axis, width: int, groups: Sequence[Sequence[_Point]], points: Sequence[_Point]
) -> XColumns | None:
    """Place buckets, given as their points, by another axis; `points` are all of the range."""
    if axis.kind == "step":
        return None
    found: list[tuple[float, float, float]] = []
    for group in groups:
        if axis.kind == "time":
            times = [point.row_time_ns / 1e9 for point in group]
            found.append((min(times), max(times), times[-1]))
            continue
        bucket = group[0].step // max(width, 1)
        known: dict[int, list[float]] = {}
        for point in points:
            if point.key == axis.key and point.step // max(width, 1) <= bucket:
                number = _number(point)
                assert number is not None
                known.setdefault(point.step // max(width, 1), []).append(number)
        at, values = max(known.items(), default=(bucket, [math.nan]))
        finite = [value for value in values if math.isfinite(value)] or [math.nan]
        last = values[-1] if math.isfinite(values[-1]) else max(finite)
        found.append((min(finite), max(finite), last) if at == bucket else (last, last, last))
    low, high, last = np.array(found, dtype=np.float64).T
    return XColumns(min=low, max=high, last=last)


def _series(
    run: RunRef, key: str, points: Sequence[_Point], buckets: int
) -> tuple[Series, list[list[_Point]]]:
    groups = [[point] for point in points]
    width = 0
    while len(groups) > buckets:
        width = 2 * width or 1
        by_bucket: dict[int, list[_Point]] = {}
        for point in points:
            by_bucket.setdefault(point.step // width, []).append(point)
        groups = list(by_bucket.values())
    columns = np.array([_bucket(group) for group in groups], dtype=np.float64).T
    names = ("step", "step_last", "count", "min", "max", "mean", "last", "nan", "posinf", "neginf")
    step, step_last, count, low, high, mean, last, nan, posinf, neginf = columns
    assert len(columns) == len(names)
    series = Series(
        run=run,
        key=key,
        width=width,
        points=len(points),
        step=step,
        step_last=step_last,
        count=count,
        min=low,
        max=high,
        mean=mean,
        last=last,
        nan=nan,
        posinf=posinf,
        neginf=neginf,
    )
    return series, groups


def _bucket(points: Sequence[_Point]) -> list[float]:
    values = [value for value in map(_number, points) if value is not None]
    finite = [value for value in values if math.isfinite(value)]
    mean = float(sum(map(Fraction, finite)) / len(finite)) if finite else math.nan
    return [
        points[0].step,
        points[-1].step,
        len(points),
        min(finite, default=math.nan),
        max(finite, default=math.nan),
        mean,
        values[-1],
        sum(map(math.isnan, values)),
        values.count(math.inf),
        values.count(-math.inf),
    ]
