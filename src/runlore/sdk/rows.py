"""Rows: the hot path from a dict of values to a frame in the stream.

A call whose keys and types were seen twice before costs one dict look-up, one `struct` pack, one
checksum and two copies. What that needs is a *plan*; docs/design/spool.md draws the frames.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from struct import error as StructError
from struct import unpack_from
from threading import RLock, current_thread, main_thread
from typing import NamedTuple
from zlib import crc32

from runlore.core.metric import MAX_STEP, MAX_STRING_BYTES, Value
from runlore.errors import UsageError
from runlore.sdk.spool import Stream
from runlore.sdk.values import VALUE_ERRORS, check_key, checked_step, flatten, is_direct
from runlore.wire import spool

_MAX_PLANS = 512
_MAX_PLANNED_KEYS = 1_000_000
_MAX_FIRST_SIGHTS = 65_536
_MAX_KEY_IDS = 1_000_000
_KEYS_FRAME_BYTES = 1024 * 1024
_MAX_SAMPLED_KEYS = 256
_MAX_SAMPLES = 256
_FIRST_TICK_NS = 20_000
_TICK_NS = 1_000_000_000
_ROW_HEAD_BYTES = 21

_pack_head = spool.FRAME_HEAD.pack
_time_ns = time.time_ns


class Plan:
    """How rows of one declared set of keys are packed, and the last one of them."""

    __slots__ = ("count", "keys", "last", "length", "pack", "sequence", "set_id")

    def __init__(self, set_id: int, keys: tuple[str, ...]) -> None:
        layout = spool.row_struct(len(keys))
        self.set_id = set_id
        self.keys = keys
        self.count = len(keys)
        self.pack: Callable[..., bytes] = layout.pack
        self.length = layout.size
        self.last = b""
        self.sequence = 0


class Sample(NamedTuple):
    """A row kept for the sparklines; `keys` and `values` are parallel."""

    step: int
    keys: tuple[str, ...]
    values: tuple[float, ...]


class Last(NamedTuple):
    """A key's value at its greatest step; of two at one step `sequence` tells the later."""

    step: int
    sequence: int
    value: Value


class Rows:
    """One writer's rows. Safe to call from several threads, and from a signal handler.

    Attributes:
        step: what the next call without a step gets.
        points: values kept so far.
        tick_ns: the time from which the next call looks after the sender.
        tock_ns: a second before a call did so last: an earlier time tells of a clock set back.
        samples: rows spread over the time of the run.
        firsts: the first step and number of the first keys.
        tracked: keys whose every value `on_tracked` is told, because a goal is set for them.
        stream: where the rows go; only looked at from outside.
        is_leaving: the program ends: what other threads log once this is closed is dropped.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        step: int,
        on_tick: Callable[[], None],
        on_skipped: Callable[[str], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self.step = step
        self.points = 0
        self.tick_ns = 0
        self.tock_ns = 0
        self.samples: list[Sample] = []
        self.firsts: dict[str, tuple[int, float]] = {}
        self.tracked: Callable[[str], bool] | None = None
        self.on_tracked: Callable[[str, float], None] | None = None
        self.is_leaving = False
        self.stream = stream
        self._on_tick = on_tick
        self._on_skipped = on_skipped
        self._on_trouble = on_trouble
        self._plans: dict[tuple[object, ...], Plan] = {}
        # Set while steps are below one that was logged: then every call goes the long way, which
        # knows that what it logs is not the last value.
        self._top: int | None = None
        self._plans_at_top = self._plans
        self._planned_keys = 0
        self._sets: dict[tuple[str, ...], Plan] = {}
        self._set_keys = 0
        self._first_sights: set[int] = set()
        self._ids: dict[str, int] = {}
        self._next_id = 0
        self._next_set = 0
        self._loose: dict[str, Last] = {}
        self._is_closed = False
        self._postponed: Callable[[], None] | None = None
        self._started_ns = _time_ns()
        self._watch_ns = self._started_ns + _TICK_NS
        # Protects step, counts and the stream's position: a step is given once, and a frame is
        # whole before the next one begins. Re-entrant, since a signal handler may log while its
        # own thread is in here: no call stands between reading `at` and setting it below, and
        # the interpreter runs handlers only at calls.
        self._lock = RLock()

    def log(self, data: Mapping[str, object], step: int | None, commit: bool | None) -> None:
        """Append a row; a refused one stores nothing and does not advance the step."""
        try:
            plan = self._plans.get((*data, *map(type, data.values())))
        except VALUE_ERRORS:
            # The long way tells what is wrong.
            plan = None
        is_due = None
        now = 0
        if plan is not None and (
            step is None or (step.__class__ is int and self.step - 1 <= step < MAX_STEP)
        ):
            now = _time_ns()
            with self._lock:
                number = self.step if step is None else step
                stream = self.stream
                try:
                    payload = plan.pack(4, plan.set_id, number, now, *data.values())
                except (OverflowError, StructError):
                    # The long way tells what is wrong.
                    payload = b""
                head = _pack_head(plan.length, crc32(payload))
                at = stream.at
                body = at + 8
                end = body + plan.length
                if not payload:
                    is_kept = False
                elif end <= stream.capacity:
                    stream.at = end
                    buffer = stream.buffer
                    buffer[body:end] = payload  # type: ignore[index]
                    buffer[at:body] = head  # type: ignore[index]
                    is_kept = True
                else:
                    # Into a segment that is written; the long way makes room where there is none.
                    is_kept = end <= stream.reach and stream.put(payload, is_row=True)
                if is_kept:
                    self.step = number + 1 if commit is None or commit else number
                    plan.last = payload
                    self.points = plan.sequence = self.points + plan.count
                    is_due = not self.tock_ns <= now < self.tick_ns
            if self._postponed is not None:
                self.end_if_postponed()
        if is_due is None:
            self._log_slowly(data, step, commit)
        elif is_due:
            self._tick(now)

    def put(self, payload: bytes) -> None:
        """Append a frame that is not a row."""
        with self._lock:
            if self._is_open():
                self.stream.put(payload)
        self.end_if_postponed()

    def close(self, payload: bytes | None) -> None:
        """End the stream, with its last frame if one is given; `retry` and `release` follow."""
        with self._lock:
            if self._is_closed:
                return
            self.stream.settle_gap()
            if payload is not None:
                self.stream.put(payload)
            self._is_closed = True
            self._plans = {}

    def postpone(self, finish: Callable[[], None]) -> bool:
        """Put off the end if a signal handler asks for it while its own thread makes room.

        What is being moved is not lost then, nor the end itself.
        """
        with self._lock:
            if not self.stream.is_rolling:
                return False
            self._postponed = finish
            return True

    def retry(self) -> bool:
        """Look for room for what is held in memory; tell whether nothing is any more."""
        with self._lock:
            return self.stream.retry()

    def restore(self) -> None:
        """Make the writer's folder again, should somebody have removed it."""
        with self._lock:
            self.stream.restore()

    def release(self) -> None:
        """Let go of staging; what is still held is counted as a gap."""
        with self._lock:
            before = self.stream.gap_points
            self.stream.close()
            self.points -= self.stream.gap_points - before

    def forget_plans(self) -> None:
        """Make every call look again whether its keys are tracked."""
        with self._lock:
            self._plans = self._plans_at_top = {}
            self._planned_keys = 0

    def last_values(self) -> dict[str, Value]:
        """Return the value of each key at its greatest step."""
        return {key: last.value for key, last in self.last_points().items()}

    def last_points(self) -> dict[str, Last]:
        """Return the point of each key at its greatest step."""
        with self._lock:
            return _last_of(self._loose, self._sets)

    def forget(self, *, is_done: bool) -> None:
        """Let go of what could still be made again; what is neither there nor home is lost."""
        with self._lock:
            before = self.stream.gap_points
            self.stream.forget(is_done=is_done)
            self.points -= self.stream.gap_points - before

    @property
    def end(self) -> int:
        """The stream's byte behind everything that lies in staging."""
        return self.stream.end

    @property
    def gap_points(self) -> int:
        """How many values could not be kept."""
        return self.stream.gap_points

    def _log_slowly(self, data: Mapping[str, object], step: object, commit: bool | None) -> None:
        flat = flatten(data)
        keys = tuple(flat.keys)
        number = None if step is None else checked_step(step)
        if keys not in self._sets:
            for key in keys:
                if key not in self._ids:
                    check_key(key)
        now = _time_ns()
        with self._lock:
            if not self._is_open():
                return
            if number is None:
                number = self.step
                if number > MAX_STEP:
                    raise UsageError(
                        f"the next step would be {number}, beyond 2**53 - 1; give log() a step="
                    )
            self._note_place(number)
            if keys and not self._append(data, flat.values, keys, number, now, flat.is_numeric):
                self.stream.count_lost(len(keys), number)
            self.step = number + 1 if commit is None or commit else number
            if self.step > MAX_STEP:
                self._plans = {}
        for key in flat.skipped:
            self._on_skipped(key)
        if self.stream.trouble is not None:
            self._on_trouble(self.stream.trouble)
        self.end_if_postponed()
        if not self.tock_ns <= now < self.tick_ns:
            self._tick(now)

    def _note_place(self, number: int) -> None:
        """Note whether a step is below one that was logged."""
        if self._top is None and number + 1 < self.step:
            self._top = self.step - 1
            self._plans_at_top, self._plans = self._plans, {}
        elif self._top is not None and number >= self._top:
            self._top = None
            self._plans = self._plans_at_top

    def end_if_postponed(self) -> None:
        """End as a signal handler asked for, now that there is room."""
        if self._postponed is not None and not self.stream.is_rolling:
            finish, self._postponed = self._postponed, None
            finish()

    def _append(
        self,
        data: Mapping[str, object],
        values: list[Value],
        keys: tuple[str, ...],
        step: int,
        now: int,
        is_numeric: bool,
    ) -> bool:
        if is_numeric and keys in self._sets:
            if not self._append_planned(data, values, keys, step, now):
                return False
        else:
            ids = self._ids_of(keys)
            if ids is None:
                return False
            if is_numeric and self._declare_set(keys, ids):
                if not self._append_planned(data, values, keys, step, now):
                    return False
            elif not _put_loose(self.stream, values, ids, step, now, is_numeric):
                return False
            else:
                self._remember_loose(keys, values, step, now)
        # Counted before it is added: a handler that logs during len() adds too.
        count = len(keys)
        self.points += count
        if self.tracked is not None and self.on_tracked is not None:
            for key, value in zip(keys, values, strict=True):
                if isinstance(value, float) and self.tracked(key):
                    self.on_tracked(key, value)
        return True

    def _append_planned(
        self,
        data: Mapping[str, object],
        values: list[Value],
        keys: tuple[str, ...],
        step: int,
        now: int,
    ) -> bool:
        plan = self._sets[keys]
        payload = plan.pack(spool.ROW, plan.set_id, step, now, *values)
        if not self.stream.put(payload, is_row=True):
            return False
        if not plan.last or step >= _step_of(plan):
            plan.last = payload
            plan.sequence = self.points + plan.count
        if self._top is None:
            self._plan(data, keys, plan)
        return True

    def _plan(self, data: Mapping[str, object], keys: tuple[str, ...], plan: Plan) -> None:
        """Let the next call with these keys and types take the short way, if it may."""
        if len(data) != len(keys) or tuple(data) != keys:
            return
        kinds = list(map(type, data.values()))
        if not all(map(is_direct, set(kinds))):
            return
        if self.tracked is not None and any(map(self.tracked, keys)):
            return
        if len(self._plans) >= _MAX_PLANS or self._planned_keys > _MAX_PLANNED_KEYS:
            self.forget_plans()
        self._planned_keys += len(keys)
        self._plans[(*data, *kinds)] = plan

    def _declare_set(self, keys: tuple[str, ...], ids: list[int]) -> bool:
        """Declare a set of keys at its second sight; most that never repeat are never declared."""
        sight = hash(keys)
        if sight not in self._first_sights:
            if len(self._first_sights) >= _MAX_FIRST_SIGHTS:
                self._first_sights.clear()
            self._first_sights.add(sight)
            return False
        if self._set_keys > _MAX_PLANNED_KEYS:
            self._forget_sets()
        set_id = self._next_set
        self._next_set = set_id + 1
        if not self.stream.put(spool.encode_key_set(set_id, ids), is_row=True):
            return False
        self._set_keys += len(keys)
        self._sets[keys] = Plan(set_id, keys)
        return True

    def _forget_sets(self) -> None:
        self._loose = _last_of(self._loose, self._sets)
        self.forget_plans()
        self._sets = {}
        self._set_keys = 0

    def _ids_of(self, keys: tuple[str, ...]) -> list[int] | None:
        """Return the ids of keys, declaring new ones; None if there is no room to."""
        known = self._ids
        fresh = [key for key in keys if key not in known]
        if fresh:
            if len(known) + len(fresh) > _MAX_KEY_IDS:
                known = self._ids = {}
                fresh = list(keys)
            for part in _parts(fresh):
                # Taken before the frame is put, so that a handler that logs gets other ids.
                count = len(part)
                first = self._next_id
                self._next_id = first + count
                if not self.stream.put(spool.encode_keys(first, part), is_row=True):
                    return None
                known.update(zip(part, range(first, first + count), strict=True))
        return [known[key] for key in keys]

    def _remember_loose(
        self, keys: tuple[str, ...], values: list[Value], step: int, now: int
    ) -> None:
        if len(self._loose) > _MAX_KEY_IDS:
            self._loose.clear()
        sequence = self.points + len(keys)
        for key, value in zip(keys, values, strict=True):
            if key not in self._loose or step >= self._loose[key].step:
                self._loose[key] = Last(step, sequence, value)
            if isinstance(value, float) and len(self.firsts) < _MAX_SAMPLED_KEYS:
                self.firsts.setdefault(key, (step, value))
        if now >= self.tick_ns and len(keys) <= _MAX_SAMPLED_KEYS:
            numbers = [
                (key, value)
                for key, value in zip(keys, values, strict=True)
                if isinstance(value, float)
            ]
            if numbers:
                names, floats = zip(*numbers, strict=True)
                self._sample(Sample(step, names, floats))

    def _tick(self, now: int) -> None:
        """Keep samples; about once a second see that the sender lives.

        The first ticks follow one another quickly, so that a short run has samples too.
        """
        if now < self.tock_ns:
            self._started_ns -= self.tock_ns + _TICK_NS - now
            self._watch_ns = now
        # Threads come here out of order: what is a little earlier is no news.
        self.tock_ns = now - _TICK_NS
        elapsed = max(now - self._started_ns, 0)
        self.tick_ns = now + min(max(elapsed // 32, _FIRST_TICK_NS), _TICK_NS)
        for plan in list(self._sets.values())[:_MAX_PLANS]:
            if plan.last and plan.sequence > self.points - 16 * plan.count - 64:
                values = _values_of(plan, _MAX_SAMPLED_KEYS)
                self._sample(Sample(_step_of(plan), plan.keys[:_MAX_SAMPLED_KEYS], values))
        if now >= self._watch_ns:
            self._watch_ns = now + _TICK_NS
            with self._lock:
                self.stream.restore()
                self.stream.return_to_memory()
            self._on_tick()

    def _sample(self, sample: Sample) -> None:
        if len(self.samples) >= _MAX_SAMPLES:
            # The older half is the denser one.
            del self.samples[: _MAX_SAMPLES // 2 : 2]
        self.samples.append(sample)

    def _is_open(self) -> bool:
        if not self._is_closed:
            return True
        if self.is_leaving and current_thread() is not main_thread():
            # A daemon thread cannot know that the program ends; an error would only be noise.
            return False
        raise UsageError(
            "this run is finished and takes nothing more; call runlore.init() for another, "
            "or init(id=..., resume='must') to continue it"
        )


def _put_loose(
    stream: Stream, values: list[Value], ids: list[int], step: int, now: int, is_numeric: bool
) -> bool:
    """Put a row of no declared set; long strings over several frames of one step."""
    if is_numeric:
        numbers = [float(value) for value in values]
        return stream.put(spool.encode_loose_row(step, now, ids, numbers), is_row=True)
    start = size = 0
    for at, value in enumerate(values):
        size += len(value) * 4 if isinstance(value, str) else 8
        if size > MAX_STRING_BYTES and at > start:
            payload = spool.encode_mixed_row(step, now, ids[start:at], values[start:at])
            if not stream.put(payload, is_row=True):
                return False
            start, size = at, len(value) * 4 if isinstance(value, str) else 8
    payload = spool.encode_mixed_row(step, now, ids[start:], values[start:])
    return stream.put(payload, is_row=True)


def _last_of(loose: dict[str, Last], sets: dict[tuple[str, ...], Plan]) -> dict[str, Last]:
    found = dict(loose)
    for plan in sets.values():
        if not plan.last:
            continue
        step = _step_of(plan)
        for key, value in zip(plan.keys, _values_of(plan, plan.count), strict=False):
            last = Last(step, plan.sequence, value)
            if key not in found or last[:2] >= found[key][:2]:
                found[key] = last
    return found


def _step_of(plan: Plan) -> int:
    """Return the step of a plan's last row."""
    return int(unpack_from("<q", plan.last, 5)[0])


def _values_of(plan: Plan, limit: int) -> tuple[float, ...]:
    """Return the first values of a plan's last row, at most `limit` of them."""
    if not plan.last:
        return ()
    return unpack_from(f"<{min(plan.count, limit)}d", plan.last, _ROW_HEAD_BYTES)


def _parts(keys: list[str]) -> Iterator[list[str]]:
    """Cut keys into pieces that fit into one frame each."""
    start = size = 0
    for at, key in enumerate(keys):
        size += 4 * len(key) + 2
        if size > _KEYS_FRAME_BYTES and at > start:
            yield keys[start:at]
            start, size = at, 4 * len(key) + 2
    yield keys[start:]
