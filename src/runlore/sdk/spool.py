"""The writing end of a stream: frames go into segments in staging, or wait, or are counted.

docs/design/spool.md draws the files. Segments lie in staging, in memory; a burst that memory does
not take goes on in segments on the disk, as long as the disk answers.
"""

import os
import time
from contextlib import suppress
from errno import EEXIST, EFBIG, EMFILE, ENFILE, ENOSPC
from zlib import crc32

from runlore.core.json import JsonObject
from runlore.sdk.kept import Kept, MakeAgain
from runlore.sdk.overflow import Overflow, Spare
from runlore.sdk.places import OVERFLOW, segment_name
from runlore.sdk.segments import Segment, WrittenSegment, is_of_handler, make_segment
from runlore.wire import spool

FIRST_SEGMENT = 64 * 1024
LAST_SEGMENT = 4 * 1024 * 1024
LIMIT = 64 * 1024 * 1024
"""What may wait of one writer in memory, in staging and in the program together."""
BURST = LIMIT // 2
"""From here on segments are wanted on the disk; what is left is for the time until it has one."""
_RESERVE = 2 * LAST_SEGMENT
"""Room beyond the limit for what is not a row: how the run ends must not be lost."""
_LAST_WORDS = 1024
"""Room at the end of each segment for the frames that end a stream when nothing else is had."""
_MAX_REASON = 200
_RETRY_NS = 50_000_000
_RETRY_SOON_NS = 2_000_000
_ROW_HEAD_BYTES = 21
_ENDS = (spool.FINISH, spool.CLOSED)
_OF_PROGRAM = (EMFILE, ENFILE, EFBIG)
"""Errors that no sender can help."""

_pack_head = spool.FRAME_HEAD.pack


class _Lost:
    """Rows that could not be kept and that no gap frame has counted yet."""

    def __init__(self) -> None:
        self.rows = self._points = self._first = self._last = 0

    def add(self, points: int, step: int) -> None:
        if not self.rows:
            self._first = self._last = step
        self.rows += 1
        self._points += points
        self._first = min(self._first, step)
        self._last = max(self._last, step)

    def take(self, reason: str | None) -> JsonObject:
        """Return what a gap frame says of them, and count anew."""
        gap: JsonObject = {
            "rows": self.rows,
            "points": self._points,
            "first_step": self._first,
            "last_step": self._last,
            "reason": (reason or "no room")[:_MAX_REASON],
        }
        self.rows = self._points = 0
        return gap


class Stream:
    """One writer's stream of frames.

    The caller serialises threads. A signal handler, though, may log in the middle of any method:
    it runs between two calls, so what must not be parted is written without a call in between.

    Attributes:
        buffer: the segment that takes frames now.
        base: the stream's byte at which it begins.
        at: the byte of the segment behind its last frame.
        capacity: the byte behind its last one; 0 while it takes nothing or is not mapped.
        reach: the same of a segment that is written: a handler may run in the middle of a frame.
        gap_points: values that could not be kept.
        trouble: why rows wait in memory or are counted, or None.
        is_rolling: whether a segment is being begun or written; a signal handler may find it so.
        is_helpless: whether the trouble is the program's own, which no waiting mends.
        restored: how often somebody removed the folder and it was made again.
        removed: why it could not be made again at the end, or None.
    """

    def __init__(
        self, folder: str, header: JsonObject, *, make_again: MakeAgain | None = None
    ) -> None:
        self.folder = folder
        self.restored = 0
        self.removed: str | None = None
        self._kept = Kept(folder, make_again)
        self.buffer: Segment | None = None
        self.base = self.at = 0
        self.capacity = self.reach = 0
        self.gap_points = 0
        self._lost = _Lost()
        self.trouble: str | None = None
        self._size = FIRST_SEGMENT // 4
        self._held = [spool.PREAMBLE, spool.frame(spool.encode_json(spool.HEADER, header))]
        self._held_bytes = sum(map(len, self._held))
        self.is_rolling = False
        self.is_helpless = False
        self._overflow = Overflow(folder)
        self._spare: Spare | None = None
        self._is_on_disk = False
        # Whether the segment is written and may take what is held.
        self._is_continued = False
        self._retry_ns = self._look_ns = 0
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
        if end <= self.capacity:
            self.at = end
            buffer = self.buffer
            buffer[body:end] = payload  # type: ignore[index]
            buffer[at:body] = head  # type: ignore[index]
            return True
        if end <= self.reach:
            self._hold(head + payload)
            return True
        return self._put_behind_roll(head + payload, LIMIT if is_row else LIMIT + _RESERVE)

    def count_lost(self, points: int, step: int) -> None:
        """Count a row that there is no room for; a gap frame will say so."""
        self._lost.add(points, step)
        self.gap_points += points

    def settle_gap(self) -> None:
        """Write what was counted as lost, if there is room."""
        if self._lost.rows:
            self._put_behind_roll(b"", LIMIT + _RESERVE)

    def retry(self) -> bool:
        """Look for room now; tell whether nothing is held any more."""
        self.restore()
        if (self._held or self._lost.rows) and not self.is_rolling:
            self._retry_ns = 0
            self._roll()
        return not self._held

    def restore(self) -> None:
        """Bring what is still there to a new folder, should somebody have removed this one."""
        if self.is_rolling or not self._kept.is_removed(self.base):
            return
        self.is_rolling = True
        before = self.capacity, self.reach
        # What a signal handler logs meanwhile waits.
        self.capacity = self.reach = 0
        try:
            self._make_segments_again()
            self.trouble = None
        except OSError as error:
            if is_of_handler(error):
                raise
            self.trouble = error.strerror or str(error)
        finally:
            self.is_rolling = False
        if self._held:
            self._roll()
        else:
            self.capacity, self.reach = before

    def forget(self, *, is_done: bool) -> None:
        """Let go of the segments' files; what nobody took from a folder that is gone is lost."""
        if not is_done and self._kept.is_removed(self.base):
            self.removed = self.trouble or "unknown"
            untaken = self._kept.untaken(self.end)
            self.gap_points += sum(_points_of(int(name), data) for name, data in untaken)
        self._kept.clear()

    def return_to_memory(self) -> None:
        """Leave the disk, which may hang any time, once staging has room again."""
        if not self._is_on_disk or self._held or self.is_rolling:
            return
        self._kept.forget_taken(self.base)
        size = self._next_size(0)
        with suppress(OSError):
            found = os.statvfs(self.folder)
            if self._kept.staged + size <= BURST and found.f_bavail * found.f_frsize >= 2 * size:
                # The next frame begins a segment.
                self.capacity = self.reach = 0
                self._is_continued = False

    def close(self) -> None:
        """Let go of the segment; what is still held is counted as lost."""
        self.capacity = self.reach = 0
        self._is_continued = False
        held, self._held = self._held, []
        self._held_bytes = 0
        buffer, self.buffer = self.buffer, None
        self._overflow.close()
        self._drop_spare()
        if buffer is None:
            self.gap_points += sum(map(_points_in, held))
            return
        if held or self._lost.rows:
            try:
                self._write_last_words(buffer, held)
            except OSError as error:
                self.trouble = error.strerror or str(error)
        buffer.close()

    def _write_last_words(self, buffer: Segment, held: list[bytes]) -> None:
        """Say behind the last frame what could not be kept, and how the stream ends."""
        for framed in held:
            points = _points_in(framed)
            if points:
                self.count_lost(points, int.from_bytes(framed[13:21], "little", signed=True))
        words = [framed for framed in held if _kind_of(framed) == spool.GAP]
        if self._lost.rows:
            words.append(spool.frame(spool.encode_json(spool.GAP, self._lost.take(self.trouble))))
        words += [framed for framed in held[-1:] if _kind_of(framed) in _ENDS]
        for framed in words:
            start, end = self.at, self.at + len(framed)
            if end > self._room + _LAST_WORDS:
                return
            buffer[start + 8 : end] = framed[8:]
            buffer[start : start + 8] = framed[:8]
            self.at = end

    def _put_behind_roll(self, framed: bytes, limit: int) -> bool:
        size = len(framed)
        # What a signal handler logs while a frame is written to the disk follows it there.
        is_for_disk = self.is_rolling and self._is_on_disk and self._held_bytes + size <= limit
        if (
            self._waiting() + self._next_size(size) > limit
            and not is_for_disk
            and not self._has_room(size, limit)
            and (self.is_rolling or not self._spare_for(size))
        ):
            self.trouble = f"{LIMIT // 2**20} MiB wait to be taken over"
            return False
        self._hold(framed)
        return True

    def _hold(self, framed: bytes) -> None:
        """Let a frame wait for its turn, which is now unless a roll is under way."""
        if framed:
            # Nothing may overtake what is held: a row needs the frame that declares its keys.
            self.capacity = self.reach = 0
            self._held_bytes += len(framed)
            self._held.append(framed)
        # A signal handler that logs during a roll finds it under way: its frame waits its turn.
        if not self.is_rolling:
            self._roll()

    def _has_room(self, length: int, limit: int) -> bool:
        """Look, though not for every call, whether the sender has made room."""
        now = time.monotonic_ns()
        if now < self._look_ns:
            return False
        self._look_ns = now + _RETRY_NS
        self._kept.forget_taken(self.base)
        return self._waiting() + self._next_size(length) <= limit

    def _roll(self) -> None:
        """Begin a segment that takes what is held; where there is no room, keep holding."""
        now = time.monotonic_ns()
        if now < self._retry_ns and self._spare is None and not self._is_continued:
            return
        self.is_rolling = True
        self.capacity = self.reach = 0
        try:
            if self._is_continued:
                self._continue()
            elif self._kept.is_removed(self.base):
                self._make_segments_again()
            while self._held or self._lost.rows:
                self._begin_any_segment(len(self._held[0]) if self._held else 0)
                self._drain()
            self.trouble = None
            self.is_helpless = False
        except OSError as error:
            if is_of_handler(error):
                raise
            self.trouble = error.strerror or str(error)
            self.is_helpless = error.errno in _OF_PROGRAM
            is_soon = self._overflow.is_promising
            self._retry_ns = now + (_RETRY_SOON_NS if is_soon else _RETRY_NS)
        finally:
            self.is_rolling = False

    def _continue(self) -> None:
        """Move what is held into the segment there is, as far as it takes it."""
        self._is_continued = False
        try:
            self._drain()
        except OSError as error:
            if is_of_handler(error):
                raise

    def _next_size(self, length: int) -> int:
        return max(min(self._size * 4, LAST_SEGMENT), _pages(length + _LAST_WORDS))

    def _begin_any_segment(self, length: int) -> None:
        """Begin a segment: in memory, for a burst on the disk, or whatever memory still has."""
        size = self._next_size(length)
        self._kept.forget_taken(self.base)
        staged = self._kept.staged
        if staged + size <= BURST and self._is_begun_in_memory(size):
            return
        if self._spare_for(length):
            self._begin_on_disk()
            return
        if staged + size > LIMIT + _RESERVE:
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        small = max(FIRST_SEGMENT, _pages(length + _LAST_WORDS))
        if small >= size or not self._is_begun_in_memory(size):
            self._begin_in_memory(min(small, size))

    def _spare_for(self, length: int) -> bool:
        """Look, for a moment, whether the disk has a file that takes a frame."""
        size = self._next_size(length)
        if self._spare is None or self._spare.size < size:
            self._drop_spare()
            try:
                self._spare = self._overflow.take(size)
            except OSError as error:
                if is_of_handler(error):
                    raise
                return False
        return self._spare is not None

    def _drop_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.segment.close()

    def _begin_on_disk(self) -> None:
        spare = self._spare
        assert spare is not None
        name = segment_name(self.end)
        path = os.path.join(self.folder, name)
        with suppress(FileNotFoundError):
            # As below.
            os.unlink(path)
        os.symlink(f"{OVERFLOW}/{spare.name}", path)
        self._overflow.place(spare.name, name)
        self._spare = None
        self._kept.add_link(name, spare.name)
        self._is_on_disk = True
        self._go_on_in(spare.segment, spare.size)

    def _is_begun_in_memory(self, size: int) -> bool:
        try:
            self._begin_in_memory(size)
        except OSError as error:
            if is_of_handler(error):
                raise
            return False
        return True

    def _begin_in_memory(self, size: int) -> None:
        self._kept.check_room()
        name = segment_name(self.end)
        path = os.path.join(self.folder, name)
        try:
            buffer = make_segment(path, size)
        except OSError as error:
            if error.errno != EEXIST:
                raise
            # A segment that was begun but took nothing, because a write to it failed.
            os.unlink(path)
            buffer = make_segment(path, size)
        try:
            self._kept.add(name, size)
        except BaseException:
            buffer.close()
            raise
        self._is_on_disk = False
        self._go_on_in(buffer, size)

    def _go_on_in(self, buffer: Segment, size: int) -> None:
        old = self.buffer
        self.buffer = buffer
        self.base += self.at
        self.at = 0
        self._room = size - _LAST_WORDS
        self._size = min(size, LAST_SEGMENT)
        if old is not None:
            old.close()

    def _drain(self) -> None:
        """Move what is held into the segment, a gap first, as far as it fits.

        Where a copy is a system call, a signal handler may run in the middle. What it logs is
        held too, so the segment stays, and nothing stands behind a frame that is not whole.
        """
        if self._lost.rows:
            gap = spool.frame(spool.encode_json(spool.GAP, self._lost.take(self.trouble)))
            self._held.insert(0, gap)
            size = len(gap)
            self._held_bytes += size
        done = 0
        buffer = self.buffer
        assert buffer is not None
        is_written = isinstance(buffer, WrittenSegment)
        is_refused = False
        try:
            while done < len(self._held):
                framed = self._held[done]
                size = len(framed)
                start, end = self.at, self.at + size
                if end > self._room:
                    is_refused = True
                    break
                # Counted as written first, as in `put`: a reader may see it before this goes on.
                self.at = end
                done += 1
                self._held_bytes -= size
                is_whole = False
                try:
                    buffer[start + 8 : end] = framed[8:]
                    buffer[start : start + 8] = framed[:8]
                    is_whole = True
                except BaseException as error:
                    is_refused = isinstance(error, OSError) and not is_of_handler(error)
                    is_whole = not is_refused and _is_completed(buffer, start, framed)
                    raise
                finally:
                    if not is_whole:
                        self.at = start
                        done -= 1
                        self._held_bytes += size
        finally:
            # Also when a signal handler raises in here: what is written is held no more, or it
            # would be written twice.
            del self._held[:done]
            self._is_continued = is_written and not is_refused
            if not self._held and is_written:
                self.reach = self._room
            elif not self._held:
                self.capacity = self._room

    def _waiting(self) -> int:
        return self._kept.staged + self._held_bytes

    def _make_segments_again(self) -> None:
        size = self._room + _LAST_WORDS if self.buffer is not None else 0
        fresh = self._kept.restore(self.end, self.base, size)
        self.restored += 1
        if fresh is not None and self.buffer is not None:
            self.buffer.close()
            self.buffer = fresh


def _is_completed(buffer: Segment, at: int, framed: bytes) -> bool:
    """Write a frame whose writing a signal handler ended with an exception; tell if it is whole.

    What a reader may have seen is not taken back. The handler may be called again in here: the
    caller raises what came first.
    """
    while True:
        try:
            buffer[at + 8 : at + len(framed)] = framed[8:]
            buffer[at : at + 8] = framed[:8]
            return True
        except BaseException as error:  # noqa: BLE001
            if isinstance(error, OSError) and not is_of_handler(error):
                return False


def _pages(length: int) -> int:
    return -(-length // 4096) * 4096


def _kind_of(framed: bytes) -> int:
    return framed[8] if len(framed) > 8 else 0


def _points_in(framed: bytes) -> int:
    """Return how many values a frame holds."""
    kind = _kind_of(framed)
    if kind == spool.ROW:
        return (len(framed) - 8 - _ROW_HEAD_BYTES) // 8
    if kind in (spool.LOOSE_ROW, spool.MIXED_ROW):
        return int.from_bytes(framed[9:13], "little")
    return 0


def _points_of(offset: int, data: bytes) -> int:
    """Return how many values a piece of the stream holds."""
    frames = spool.whole_frames(data, offset=offset)
    return sum(_points_in(data[one.offset - offset : one.end - offset]) for one in frames)
