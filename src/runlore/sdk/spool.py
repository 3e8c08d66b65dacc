"""The writing end of a stream: frames go into segments in staging, or wait, or are counted.

docs/design/spool.md draws the files. Nothing here waits for a disk unless staging lies on one.
"""

import os
import time
from errno import EEXIST
from zlib import crc32

from runlore.core.json import JsonObject
from runlore.sdk.segments import Segment, is_of_handler, make_segment
from runlore.wire import spool

FIRST_SEGMENT = 64 * 1024
LAST_SEGMENT = 4 * 1024 * 1024
LIMIT = 64 * 1024 * 1024
"""What may wait of one writer, in staging and in memory together."""
_RESERVE = 2 * LAST_SEGMENT
"""Room beyond the limit for what is not a row: how the run ends must not be lost."""
_RETRY_NS = 50_000_000
_ROW_HEAD_BYTES = 21

_pack_head = spool.FRAME_HEAD.pack


class Stream:
    """One writer's stream of frames.

    The caller serialises threads. A signal handler, though, may log in the middle of any method:
    it runs between two calls, so what must not be parted is written without a call in between.

    Attributes:
        buffer: the segment that takes frames now.
        base: the stream's byte at which it begins.
        at: the byte of the segment behind its last frame.
        capacity: the byte behind its last one; 0 while it takes nothing.
        lost_rows: rows that could not be kept and that no gap frame has counted yet.
        trouble: why rows wait in memory or are counted, or None.
    """

    def __init__(self, folder: str, header: JsonObject) -> None:
        self.folder = folder
        self.buffer: Segment | None = None
        self.base = 0
        self.at = 0
        self.capacity = 0
        self.lost_rows = 0
        self.gap_points = 0
        self.trouble: str | None = None
        self._lost_points = 0
        self._lost_first = 0
        self._lost_last = 0
        self._size = FIRST_SEGMENT // 4
        self._sizes: dict[str, int] = {}
        self._held = [spool.PREAMBLE, spool.frame(spool.encode_json(spool.HEADER, header))]
        self._held_bytes = sum(map(len, self._held))
        self._is_rolling = False
        self._retry_ns = 0
        self._look_ns = 0
        self._room = 0
        self._roll()

    @property
    def end(self) -> int:
        """The byte behind everything that lies in staging."""
        return self.base + self.at

    @property
    def held_bytes(self) -> int:
        """How much waits in memory because staging has no room."""
        return self._held_bytes

    def put(self, payload: bytes, *, is_row: bool = False) -> bool:
        """Append a frame; False when there is no room for it at all."""
        size = len(payload)
        head = _pack_head(size, crc32(payload))
        at = self.at
        body = at + 8
        end = body + size
        buffer = self.buffer
        if end <= self.capacity and not self._held and buffer is not None:
            self.at = end
            try:
                buffer[body:end] = payload
                buffer[at:body] = head
            except OSError as error:
                if is_of_handler(error):
                    complete(buffer, at, head, payload)
                    raise
                self.trouble = error.strerror or str(error)
                self.capacity = 0
                self.give_back(at, end)
            except BaseException:
                complete(buffer, at, head, payload)
                raise
            else:
                return True
        return self._put_behind_roll(head + payload, LIMIT if is_row else LIMIT + _RESERVE)

    def give_back(self, at: int, end: int) -> None:
        """Take back the room of a frame that could not be written, unless another one follows."""
        if self.at == end:
            self.at = at

    def count_lost(self, points: int, step: int) -> None:
        """Count a row that there is no room for; a gap frame will say so."""
        if not self.lost_rows:
            self._lost_first = self._lost_last = step
        self.lost_rows += 1
        self._lost_points += points
        self.gap_points += points
        self._lost_first = min(self._lost_first, step)
        self._lost_last = max(self._lost_last, step)

    def settle_gap(self) -> None:
        """Write what was counted as lost, if there is room."""
        if self.lost_rows:
            self._put_behind_roll(b"", LIMIT + _RESERVE)

    def retry(self) -> bool:
        """Look for room now; tell whether nothing is held any more."""
        if (self._held or self.lost_rows) and not self._is_rolling:
            self._retry_ns = 0
            self._roll()
        return not self._held

    def close(self) -> None:
        """Let go of the segment; what is still held is counted as lost."""
        self.capacity = 0
        self.gap_points += sum(map(_points_in, self._held))
        self._held = []
        self._held_bytes = 0
        buffer, self.buffer = self.buffer, None
        if buffer is not None:
            buffer.close()

    def _put_behind_roll(self, framed: bytes, limit: int) -> bool:
        if self._waiting() + self._next_size(len(framed)) > limit and not self._has_room(
            len(framed), limit
        ):
            self.trouble = f"{LIMIT // 2**20} MiB wait to be taken over"
            return False
        if framed:
            # Nothing may overtake what is held: a row needs the frame that declares its keys.
            self.capacity = 0
            size = len(framed)
            self._held_bytes += size
            self._held.append(framed)
        # A signal handler that logs during a roll finds it under way: its frame waits its turn.
        if not self._is_rolling:
            self._roll()
        return True

    def _has_room(self, length: int, limit: int) -> bool:
        """Look, though not for every call, whether the sender has made room."""
        now = time.monotonic_ns()
        if now < self._look_ns:
            return False
        self._look_ns = now + _RETRY_NS
        self._forget_taken()
        return self._waiting() + self._next_size(length) <= limit

    def _roll(self) -> None:
        """Begin a segment that takes what is held; where there is no room, keep holding."""
        now = time.monotonic_ns()
        if now < self._retry_ns:
            return
        self._is_rolling = True
        self.capacity = 0
        try:
            while self._held or self.lost_rows:
                self._begin_any_segment(len(self._held[0]) if self._held else 0)
                self._drain()
            self.trouble = None
        except OSError as error:
            if is_of_handler(error):
                raise
            self.trouble = error.strerror or str(error)
            self._retry_ns = now + _RETRY_NS
        finally:
            self._is_rolling = False

    def _next_size(self, length: int) -> int:
        pages = -(-length // 4096) * 4096
        return max(min(self._size * 4, LAST_SEGMENT), pages)

    def _begin_any_segment(self, length: int) -> None:
        """Begin a segment of the next size, or where that has no room, a small one."""
        size = self._next_size(length)
        try:
            self._begin_segment(size)
        except OSError as error:
            if is_of_handler(error):
                raise
            small = max(FIRST_SEGMENT, -(-length // 4096) * 4096)
            if small >= size:
                raise
            self._begin_segment(small)

    def _begin_segment(self, size: int) -> None:
        base = self.base + self.at
        name = f"{base:020d}"
        path = os.path.join(self.folder, name)
        try:
            buffer = make_segment(path, size)
        except OSError as error:
            if error.errno != EEXIST:
                raise
            # A segment that was begun but took nothing, because a write to it failed.
            os.unlink(path)
            buffer = make_segment(path, size)
        old = self.buffer
        self._sizes[name] = size
        self.buffer = buffer
        self.base = base
        self.at = 0
        self._room = size
        self._size = min(size, LAST_SEGMENT)
        if old is not None:
            old.close()

    def _drain(self) -> None:
        """Move what is held into the fresh segment, a gap first, as far as it fits."""
        if self.lost_rows:
            gap = spool.frame(spool.encode_json(spool.GAP, self._take_gap()))
            self._held.insert(0, gap)
            size = len(gap)
            self._held_bytes += size
        done = 0
        try:
            while done < len(self._held):
                framed = self._held[done]
                size = len(framed)
                start, end = self.at, self.at + size
                if end > self._room:
                    break
                assert self.buffer is not None
                # Behind its head, so that a reader never sees a length before its payload.
                self.buffer[start + 8 : end] = framed[8:]
                self.buffer[start : start + 8] = framed[:8]
                self.at = end
                done += 1
                self._held_bytes -= size
        finally:
            # Also when a signal handler raises in here: what is written is held no more, or it
            # would be written twice.
            del self._held[:done]
            if not self._held:
                self.capacity = self._room

    def _take_gap(self) -> JsonObject:
        gap: JsonObject = {
            "rows": self.lost_rows,
            "points": self._lost_points,
            "first_step": self._lost_first,
            "last_step": self._lost_last,
            "reason": self.trouble or "no room",
        }
        self.lost_rows = self._lost_points = 0
        return gap

    def _waiting(self) -> int:
        return sum(self._sizes.values()) + self._held_bytes

    def _forget_taken(self) -> None:
        """Forget the segments that the sender has moved on."""
        try:
            there = set(os.listdir(self.folder))
        except OSError:
            return
        for name in [name for name in self._sizes if name not in there]:
            del self._sizes[name]


def complete(buffer: Segment, at: int, head: bytes, payload: bytes) -> None:
    """Write a frame whose writing a signal handler ended with an exception.

    A hole would be the end of the stream, and what a reader may have seen is not taken back.
    """
    body = at + len(head)
    buffer[body : body + len(payload)] = payload
    buffer[at:body] = head


def _points_in(framed: bytes) -> int:
    """Return how many values a frame holds."""
    kind = framed[8] if len(framed) > 8 else 0
    if kind == spool.ROW:
        return (len(framed) - 8 - _ROW_HEAD_BYTES) // 8
    if kind in (spool.LOOSE_ROW, spool.MIXED_ROW):
        return int.from_bytes(framed[9:13], "little")
    return 0
