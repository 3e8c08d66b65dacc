"""What the frames of a spool say about their run: checked pieces, and a run folded from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

from runlore.core.json import JsonObject, JsonValue
from runlore.core.metric import MAX_STEP
from runlore.core.run import Fork, RunRef, checked_name
from runlore.errors import DamageError, UsageError
from runlore.store.runs import EndKind, RunRecord, WriterRecord
from runlore.wire import spool

MAX_DEPTH = 64
_MOST_LOST = 2**53
_ENDS: dict[int, EndKind] = {spool.FINISH: "finish", spool.CLOSED: "closed", spool.LOST: "lost"}
_TOLD = frozenset(
    (spool.HEADER, spool.RUN, spool.CONFIG, spool.SUMMARY, spool.DEFINE, spool.GAP, *_ENDS)
)
_TIMES = {spool.HEADER: "started_ns", **dict.fromkeys(_ENDS, "time_ns")}


class Told(NamedTuple):
    """A frame that says something about the run rather than logging a row."""

    end: int
    kind: int
    content: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPiece:
    """Whole, undamaged frames of one writer, from byte `offset` up to before `end`.

    `damage` says why the bytes behind `end` are refused, if they are. `last_ns` is the time of
    the last row, 0 without one. `is_gone` says that somebody else brings them, after the writer's
    process has gone.
    """

    run: RunRef
    writer: str
    offset: int
    end: int
    data: bytes
    told: tuple[Told, ...]
    last_ns: int
    damage: DamageError | None
    is_gone: bool = False


def check_piece(run: RunRef, writer: str, offset: int, data: bytes) -> CheckedPiece:
    """Walk a piece of a spool that begins at `offset`, a frame's edge.

    Raises:
        UsageError: the stream's header names another run or writer, or does not come first.
    """
    told: list[Told] = []
    end = offset
    last_row: memoryview | None = None
    damage: DamageError | None = None
    try:
        for frame in spool.whole_frames(data, offset=offset):
            kind = frame.kind
            if kind in spool.ROWS:
                last_row = frame.payload
            elif kind in _TOLD:
                told.append(Told(frame.end, kind, _content(frame)))
            if end == 0:
                _check_header(kind, told, run, writer)
            end = frame.end
    except DamageError as error:
        damage = error
    head = spool.row_head(last_row) if last_row is not None else None
    return CheckedPiece(
        run=run,
        writer=writer,
        offset=offset,
        end=end,
        data=data[: end - offset],
        told=tuple(told),
        last_ns=head.time_ns if head else 0,
        damage=damage,
    )


def fold(
    found: RunRecord | None,
    run: RunRef,
    writer: str,
    told: Sequence[Told],
    *,
    heard_ns: int,
    last_ns: int,
) -> RunRecord:
    """Take into a run what frames of one writer say; frames that were taken in are skipped.

    `heard_ns` is 0 where the writer itself is gone: nothing is to be expected of it then.
    """
    record = found or RunRecord(ref=run, name=run.run_id, created_ns=heard_ns)
    known = record.writers.get(writer, WriterRecord())
    for frame in told:
        if frame.end > known.applied:
            record, known = _apply(record, known, frame, is_new=found is None)
            known = replace(known, applied=frame.end)
    heard_last_ns = max(known.heard_ns, heard_ns) if heard_ns else 0
    known = replace(known, heard_ns=heard_last_ns, last_ns=max(known.last_ns, last_ns))
    return settle(
        replace(
            record,
            unsettled=True,
            active_ns=max(record.active_ns, heard_ns or known.last_ns),
            writers={**record.writers, writer: known},
        )
    )


def settle(record: RunRecord) -> RunRecord:
    """Tell from its writers how a run stands.

    A run ends with the latest `finish` of any writer or `lost` of a main one; not with a `lost`
    whose writer was silent before another main one began that has ended, too: such a frame may
    tell when somebody came to look. It goes on while
    a main writer has not ended, or while another one logs later than that end: what a child
    logged before the end and arrives late does not revive a run.
    """
    writers = record.writers.values()
    ends = [w for w in writers if w.end == "finish" or (w.end == "lost" and w.role == "main")]
    if not ends:
        # Writers that only closed leave the run open until it has been silent for long.
        alive_ns = max((w.heard_ns for w in writers), default=0)
        return replace(
            record, alive_ns=alive_ns, end_state=None, end_ns=0, exit_code=None, signal=None
        )
    resumed_ns = max((w.started_ns for w in ends if w.role == "main"), default=0)
    ends = [w for w in ends if w.end != "lost" or w.last_ns >= resumed_ns]
    last = max(ends, key=lambda w: (w.end_ns, w.end == "finish"))
    end_ns = last.end_ns
    going_on = [w for w in writers if w.end is None and (w.role == "main" or w.last_ns > end_ns)]
    alive_ns = max((w.heard_ns for w in going_on), default=0)
    if last.end == "lost":
        return replace(
            record,
            alive_ns=alive_ns,
            end_state="crashed",
            end_ns=end_ns,
            exit_code=None,
            signal=last.signal,
        )
    return replace(
        record,
        alive_ns=alive_ns,
        end_state="failed" if last.exit_code else "finished",
        end_ns=end_ns,
        exit_code=last.exit_code or 0,
        signal=None,
    )


def _apply(
    record: RunRecord, writer: WriterRecord, frame: Told, *, is_new: bool
) -> tuple[RunRecord, WriterRecord]:
    content = frame.content
    match frame.kind:
        case spool.HEADER:
            started_ns = _int(content.get("started_ns"), 0)
            role = "child" if content.get("role") == "child" else "main"
            last_ns = max(writer.last_ns, started_ns)
            writer = replace(writer, role=role, started_ns=started_ns, last_ns=last_ns)
            created_ns = started_ns if is_new and started_ns else record.created_ns
            if 0 < started_ns < created_ns:
                created_ns = started_ns
            host = record.host or _text(content.get("host"))
            fork = record.fork or fork_of(record.ref, content)
            record = replace(record, created_ns=created_ns, host=host, fork=fork)
        case spool.RUN:
            record = _named(record, content)
        case spool.CONFIG:
            record = replace(record, config={**record.config, **content})
        case spool.SUMMARY:
            record = replace(record, summary={**record.summary, **content})
        case spool.DEFINE:
            metric = content.get("metric")
            kept = tuple(d for d in record.definitions if d.get("metric") != metric)
            record = replace(record, definitions=(*kept, content))
        case spool.GAP:
            gaps = writer.gaps + _int(content.get("points"), 0)
            writer = replace(writer, gaps=gaps)
        case _:
            writer = replace(
                writer,
                end=_ENDS[frame.kind],
                end_ns=_int(content.get("time_ns"), 0),
                exit_code=_int(content.get("exit_code"), 0)
                if frame.kind == spool.FINISH
                else None,
                signal=_int(content.get("signal"), 0) or None,
            )
    return record, writer


def fork_of(run: RunRef, header: JsonObject) -> Fork | None:
    """Tell where a run was forked off by the header of one of its writers; None if it was not.

    What is no fork is left out: what the writer logs counts all the same.
    """
    content = header.get("fork")
    if not isinstance(content, dict):
        return None
    parent, step = content.get("run"), content.get("step")
    try:
        checked_name(parent, "run id")
    except UsageError:
        return None
    is_step = isinstance(step, int) and not isinstance(step, bool) and abs(step) <= MAX_STEP
    if not is_step or parent == run.run_id:
        return None
    return Fork(str(parent), cast(int, step))


def _named(record: RunRecord, content: JsonObject) -> RunRecord:
    tags = content.get("tags")
    return replace(
        record,
        name=_text(content.get("name")) or record.name,
        notes=_text(content.get("notes")) or record.notes,
        group=_text(content.get("group")) or record.group,
        job_type=_text(content.get("job_type")) or record.job_type,
        program=_text(content.get("program")) or record.program,
        tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else record.tags,
    )


def checked_depth(content: JsonObject) -> JsonObject:
    """Return a document that is nested no deeper than everything that reads it can follow.

    Raises:
        UsageError: it is deeper.
    """
    level: list[JsonObject | list[JsonValue]] = [content]
    for _ in range(MAX_DEPTH):
        level = [
            value
            for one in level
            for value in (one.values() if isinstance(one, dict) else one)
            if isinstance(value, dict | list)
        ]
        if not level:
            return content
    raise UsageError(f"a document may be nested {MAX_DEPTH} deep, this one is deeper; flatten it")


def _content(frame: spool.Frame) -> JsonObject:
    try:
        content = checked_depth(spool.decode_json(frame.payload))
        if frame.kind == spool.GAP:
            _check_gap(content)
        if frame.kind == spool.HEADER and frame.offset > len(spool.PREAMBLE):
            raise ValueError("a stream begins with its only header")
        if frame.kind in _TIMES:
            _check_time(content, _TIMES[frame.kind])
        return content
    except (ValueError, RecursionError) as error:
        raise DamageError(
            f"damaged frame at byte {frame.offset}: {error}; what stands before it is good",
            offset=frame.offset,
        ) from error


def _check_gap(content: JsonObject) -> None:
    for name in ("rows", "points"):
        count = content.get(name)
        if isinstance(count, int) and not 0 <= count <= _MOST_LOST:
            raise ValueError(f"a gap has 0 to {_MOST_LOST} {name}, got {str(count)[:80]}")


def _check_time(content: JsonObject, name: str) -> None:
    """Refuse a time that the metric store would: by then the catalog has taken in the frame."""
    time_ns = content.get(name)
    if not isinstance(time_ns, int) or isinstance(time_ns, bool) or abs(time_ns) >= 2**63:
        raise ValueError(f"expected whole nanoseconds as {name!r}, got {str(time_ns)[:80]!r}")


def _check_header(kind: int, told: Sequence[Told], run: RunRef, writer: str) -> None:
    if kind != spool.HEADER:
        raise UsageError(f"the first frame of a spool must be its header, got kind {kind}")
    expected = {
        "owner": run.owner,
        "project": run.project,
        "run": run.run_id,
        "writer": writer,
    }
    for name, value in expected.items():
        if told[0].content.get(name) != value:
            raise UsageError(
                f"the header of this spool says {name} {told[0].content.get(name)!r}, the "
                f"address it was sent to says {value!r}; send it where its header says"
            )


def _text(value: JsonValue) -> str | None:
    return None if value is None else str(value)


def _int(value: JsonValue, default: int) -> int:
    """Take a whole number from a frame; another program may have written anything there."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return int(value) if is_whole and -(2**63) <= int(value) < 2**63 else default  # type: ignore[arg-type]
