"""What waits in staging: trees, targets and the segments of each writer's stream.

This is the reading side, for the sender and for `runlore sync`; docs/design/spool.md draws it.
No file is kept open between two calls, so that 64 writers need no more descriptors than one.
"""

import json
import os
import stat
import struct
import threading
import zlib
from bisect import bisect_right
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from typing import NamedTuple

from runlore.errors import DamageError
from runlore.sdk.places import ACK_BYTES, ACKS, OVERFLOW, segment_name, segment_names
from runlore.wire import spool

FIRST_READ_BYTES = 4096
READ_BYTES = 256 * 1024
HEAD_BYTES = 64
"""Enough to see the length of the first frame, however small a piece is wanted."""
PIECE_BYTES = 1024 * 1024
"""How much to post at once: larger pieces are no faster and swell the process."""

_LENGTH = struct.Struct("<I")
_FRAME_HEAD = spool.FRAME_HEAD


class Target(NamedTuple):
    """Whose stream it is and where it goes: the writer's file `target`."""

    url: str
    api_key: str
    mode: str
    home: str
    host: str
    owner: str
    project: str
    run: str
    writer: str
    pid: int
    start: int
    role: str


def read_target(folder: str) -> Target:
    """Read the target of a writer's folder.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what a program writes there.
    """
    with open(os.path.join(folder, "target"), "rb") as file:
        found = json.loads(file.read())
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object in {folder}/target")
    missing = [name for name in Target._fields if name not in found]
    if missing:
        raise ValueError(f"expected {missing[0]!r} in {folder}/target")
    url, key, mode, home, host, owner, project, run, writer, pid, start, role = (
        str(found[name]) for name in Target._fields
    )
    numbers = int(pid), int(start)
    return Target(url, key, mode, home, host, owner, project, run, writer, *numbers, role)


def start_of(pid: int) -> int | None:
    """Return when a process started, in ticks since boot; None if it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def staging_roots(staging: str, home: str) -> list[str]:
    """Return the folders in which trees of this user lie, the likeliest first.

    What others may enter is left out: who can write there could name any file as a tree's.
    """
    name = f"runlore-{os.getuid()}"
    folders = [os.path.join(staging, name)] if staging else [f"/dev/shm/{name}"]
    return [path for path in (*folders, os.path.join(home, "staging")) if is_private(path)]


def is_private(path: str) -> bool:
    """Tell whether a path is a folder, no link, which belongs to this user alone."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and found.st_mode & 0o077 == 0
    )


def is_gone(pid: int, start: int) -> bool:
    """Tell whether a process has ended; another one may bear its number by now."""
    found = start_of(pid)
    if found is not None or os.path.isdir("/proc/self"):
        return found != start
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    except (OSError, OverflowError):
        return True
    return False


def remove_files(folder: str) -> None:
    """Remove a writer's folder on the disk, which `log` fills when memory has no room."""
    with suppress(OSError):
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)


def overflow_of(folder: str) -> str | None:
    """Return the folder on the disk that belongs to a writer's folder in staging, if any."""
    try:
        return os.readlink(os.path.join(folder, OVERFLOW))
    except OSError:
        return None


def write_whole(path: str, content: bytes) -> None:
    """Put a small file in place at once: a reader sees the old one or the new one."""
    fresh = f"{path}.new{os.getpid()}"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)
    os.replace(fresh, path)


def read_object(path: str) -> dict[str, object]:
    """Read a small JSON file; what is missing or damaged counts as empty."""
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def cut(data: bytes, *, offset: int, limit: int) -> int:
    """Return how many bytes of a piece to take: whole frames, at most `limit` but one at least.

    Returns more than there are when the first frame alone reaches beyond the piece; ends before
    a later one that does, and before a length that no frame has.
    """
    at = len(spool.PREAMBLE) if offset == 0 else 0
    size = len(data)
    taken = 0
    while at + _FRAME_HEAD.size <= size:
        length = int(_LENGTH.unpack_from(data, at)[0])
        if length == 0 or length > spool.MAX_PAYLOAD:
            # Nothing more, a hole, or damage.
            break
        at += _FRAME_HEAD.size + length
        if at > min(limit, size) and taken:
            break
        taken = at
        if at >= limit:
            break
    return taken


class Staged:
    """One writer's stream as it lies in segments. Safe for several threads.

    Attributes:
        tail: the byte behind the last whole frame seen.
        last_kind: the kind of that frame, 0 before the first.
        damage: what is wrong with the bytes at `tail`, or None.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        # Protects the list of segments: one thread reads them while another removes some.
        self._lock = threading.Lock()
        # Those up to `tail`; the next one is found by its name when the frames reach it.
        self._segments = self._first()
        self._left_on_disk: list[str] = []
        self.tail = self._segments[0] if self._segments else 0
        self.last_kind = 0
        self.damage: str | None = None

    @property
    def first(self) -> int:
        """The first byte of the stream that is still in staging."""
        with self._lock:
            return self._segments[0] if self._segments else self.tail

    @property
    def newest(self) -> int:
        """The first byte of the last segment."""
        with self._lock:
            return self._segments[-1] if self._segments else self.tail

    @property
    def is_ended(self) -> bool:
        """Whether the last frame says that nothing follows."""
        return self.last_kind in spool.ENDS

    def scan(self) -> bool:
        """Look for new frames; tell whether there were any."""
        before = self.tail
        if not self._segments:
            self._segments = self._first()
            if not self._segments:
                return False
            self.tail = max(self.tail, self._segments[0])
        # A small look first: copying the zeros behind a short row would cost more than the row.
        size = FIRST_READ_BYTES
        while not self.is_ended and (self._scan_segment(size) or self._next_segment()):
            size = READ_BYTES
        return self.tail > before

    def read(self, offset: int, limit: int) -> bytes:
        """Read whole frames from `offset` on: about `limit` bytes, one frame at least.

        Raises:
            LookupError: `offset` lies before what is still in staging.
            OSError: a segment cannot be read.
        """
        left = self.tail - offset
        data = self.copy(offset, min(max(limit, HEAD_BYTES), left))
        if len(data) >= left and left <= limit:
            return data
        taken = cut(data, offset=offset, limit=limit)
        if taken <= len(data):
            return data[:taken]
        return data + self.copy(offset + len(data), taken - len(data))

    def copy(self, offset: int, count: int) -> bytes:
        """Read so many bytes, or as many as there are, wherever frames begin and end.

        Raises:
            LookupError: `offset` lies before what is still in staging.
            OSError: a segment cannot be read.
        """
        parts: list[bytes] = []
        with self._lock:
            segments = [*self._segments, self.tail]
        if count <= 0:
            return b""
        if not segments or offset < segments[0]:
            raise LookupError(f"byte {offset} is not in staging any more")
        for start, end in zip(segments, segments[1:], strict=False):
            if end <= offset or count <= 0:
                continue
            try:
                fd = os.open(os.path.join(self.folder, segment_name(start)), os.O_RDONLY)
            except FileNotFoundError:
                raise LookupError(f"byte {offset} is not in staging any more") from None
            try:
                piece = os.pread(fd, min(count, end - offset), offset - start)
            finally:
                os.close(fd)
            parts.append(piece)
            offset += len(piece)
            count -= len(piece)
            if offset < end:
                break
        return b"".join(parts)

    def free(self, until: int) -> None:
        """Remove the segments that end at or before a byte.

        The last one stays as long as the folder: it says where the stream ends, and how.
        """
        with self._lock:
            while len(self._segments) > 1 and self._segments[1] <= until:
                path = os.path.join(self.folder, segment_name(self._segments[0]))
                with suppress(OSError):
                    # What the link leads to is on the disk, for which nobody waits here.
                    name = os.path.basename(path)
                    for one in (os.readlink(path), os.path.join(OVERFLOW, name)):
                        self._left_on_disk.append(os.path.join(self.folder, one))
                _remove_taken(path)
                del self._segments[0]

    def tidy_disk(self) -> None:
        """Remove the segments on the disk that were freed. May wait for the disk."""
        while self._left_on_disk:
            path = self._left_on_disk.pop()
            with suppress(OSError):
                os.unlink(path)

    def append(self, payload: bytes) -> None:
        """Append a frame to the stream of a process that is gone."""
        framed = spool.frame(payload)
        try:
            write_whole(os.path.join(self.folder, segment_name(self.tail)), framed)
        except OSError as error:
            if error.errno not in (ENOSPC, EDQUOT) or not self._write_at_tail(framed):
                raise
        else:
            with self._lock:
                # A writer that died at a segment's edge may have left an empty one of this name.
                if not self._segments or self._segments[-1] != self.tail:
                    self._segments.append(self.tail)
        self.damage = None
        self.scan()

    def _write_at_tail(self, framed: bytes) -> bool:
        """Write into the room that a segment keeps for its last frames; tell if there is any."""
        with self._lock:
            start = self._segments[-1] if self._segments else self.tail
        fd = os.open(os.path.join(self.folder, segment_name(start)), os.O_WRONLY)
        try:
            if self.tail - start + len(framed) > os.fstat(fd).st_size:
                return False
            os.pwrite(fd, framed, self.tail - start)
        finally:
            os.close(fd)
        return True

    def _first(self) -> list[int]:
        found = segment_names(self.folder)
        # A folder that was made again may have links to what was taken from the disk before.
        return [int(name) for name in found if os.path.exists(f"{self.folder}/{name}")][:1]

    def _scan_segment(self, size: int) -> bool:
        """Read the segment of `tail` once from there on; tell whether `tail` moved."""
        # Not the newest: a sender that comes late finds several.
        start = self._segments[bisect_right(self._segments, self.tail) - 1]
        try:
            fd = os.open(os.path.join(self.folder, segment_name(start)), os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            # Eight bytes first: most looks find nothing new.
            head = os.pread(fd, 8, self.tail - start)
            if len(head) < 8 or not _LENGTH.unpack_from(head)[0]:
                return False
            return self._walk(fd, start, size)
        finally:
            os.close(fd)

    def _walk(self, fd: int, start: int, size: int) -> bool:
        data = os.pread(fd, size, self.tail - start)
        size = len(data)
        at = len(spool.PREAMBLE) if self.tail == 0 else 0
        last = -1
        unpack = _LENGTH.unpack_from
        edge = size - _FRAME_HEAD.size
        end = at
        while at < edge:
            length = unpack(data, at)[0]
            if length == 0:
                break
            end = at + 8 + length
            if end > size:
                break
            last, at = at, end
        if last < 0:
            return self._walk_large(fd, start, data, at)
        length, crc = _FRAME_HEAD.unpack_from(data, last)
        if zlib.crc32(memoryview(data)[last + 8 : last + 8 + length]) != crc:
            # Its bytes may become visible after its length on some machines: look again later.
            at = last
            if last <= (len(spool.PREAMBLE) if self.tail == 0 else 0):
                return self._not_whole(at)
            self.tail += last
            self.last_kind = spool.ROW
            return True
        self.damage = None
        self.last_kind = data[last + 8]
        self.tail += at
        return True

    def _walk_large(self, fd: int, start: int, data: bytes, at: int) -> bool:
        """Step over a frame that is larger than one read."""
        if at + 8 > len(data):
            return False
        length = _LENGTH.unpack_from(data, at)[0]
        if length > spool.MAX_PAYLOAD:
            return self._not_whole(at)
        end = self.tail + at + 8 + length
        if length == 0 or start + os.fstat(fd).st_size < end:
            return False
        self.last_kind = data[at + 8]
        self.tail = end
        return True

    def _not_whole(self, at: int) -> bool:
        self.damage = f"the frame at byte {self.tail + at} is not whole"
        return False

    def _next_segment(self) -> bool:
        if self.tail in self._segments:
            return False
        if not os.path.exists(os.path.join(self.folder, segment_name(self.tail))):
            return False
        with self._lock:
            self._segments.append(self.tail)
        return True


def _remove_taken(path: str) -> None:
    """Remove a segment, and empty it, so that its writer, who holds it open, sees it was taken."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    except OSError:
        # A link, as those to the disk are, for which nobody waits here.
        os.unlink(path)
        return
    try:
        os.unlink(path)
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


class Fetched(NamedTuple):
    """Bytes of a stream read back from the disk, or why they are not there."""

    offset: int
    data: bytes
    error: str | None = None


class Stream:
    """One writer's stream on its way: what staging, the disk and a server have of it.

    The sender's three threads share it: one looks into staging, one settles, one delivers. Each
    field has one thread that writes it.

    Attributes:
        settled: the byte up to which it is on the disk.
        path: its spool file, once there is one.
        synced_at: the monotonic time of its last fdatasync.
        noted: what `.ack` says: `next`, and whether that is the end; `noted_at` is when.
        next: the byte up to which a server has it; `reached` is the furthest that ever was.
        knock_at: where to try instead of `next`, whose bytes are not here any more.
        knocked: when that was done or will be.
        urgent: deliver up to this byte without waiting for more.
        stopped: why nothing more of it is delivered, or None.
        is_server_busy: whether the server that is in trouble answers that it will go on later.
        fetch_at: the byte that the delivering thread wants read back from the disk.
        fetched: the answer to that.
    """

    def __init__(self, folder: str) -> None:
        self.target = read_target(folder)
        self.staged = Staged(folder)
        known = read_object(os.path.join(folder, "ack"))
        self.next = _int(known.get("next"))
        self.reached = self.next
        self.points = _int(known.get("points"))
        server = known.get("server")
        self.server: str | None = server if isinstance(server, str) else None
        self.settled = 0
        self.path: str | None = None
        self.synced_at = 0.0
        self.noted = (0, False)
        self.noted_at = 0.0
        self.urgent = 0
        self.limit = PIECE_BYTES
        self.knock_at: int | None = None
        self.knocked = float("-inf")
        self.stopped: str | None = None
        self.is_deleted = False
        self.disk_error: str | None = None
        self.look_error: str | None = None
        self.server_error: str | None = None
        self.is_server_busy = False
        self.fetch_at: int | None = None
        self.fetched: Fetched | None = None
        self.posted_at = 0.0
        self.wait_until = 0.0
        self.resolved_at: float | None = None
        self.owes_ack = False
        self._said = b""
        # Two threads may have news for the file `ack` at once.
        self._ack_lock = threading.Lock()

    @property
    def is_delivered(self) -> bool:
        """Whether nothing is left to deliver just now."""
        return (
            self.next >= self.staged.tail
            or self.stopped is not None
            or self.target.mode == "offline"
        )

    @property
    def error(self) -> str | None:
        """The last trouble, as a sentence."""
        seen = self.look_error or self.staged.damage
        troubles = (self.stopped or self.server_error, self.disk_error, seen)
        return "; ".join(text for text in troubles if text) or None

    @property
    def is_away(self) -> bool:
        """Whether no server takes it at present, and none asked us to wait."""
        has_trouble = self.server_error is not None and not self.is_server_busy
        return has_trouble or self.stopped is not None

    def write_ack(self) -> None:
        """Tell the program how far its stream has come, if there is news."""
        with self._ack_lock:
            content = json.dumps(
                {
                    "next": self.next,
                    "points": self.points,
                    "settled": self.settled,
                    "server": self.server,
                    "error": self.error,
                    "is_away": self.is_away,
                    "is_full": self.disk_error is not None,
                    "is_deleted": self.is_deleted,
                }
            ).encode()
            if content == self._said:
                return
            try:
                write_ack(self.staged.folder, content)
            except OSError:
                self.owes_ack = True
                return
            self._said = content
            self.owes_ack = False


def write_ack(folder: str, content: bytes) -> None:
    """Put a writer's ack in place, in the room that the program has set aside for it.

    Two files take turns, so that it needs no more room in a staging that is full.
    """
    ack, spare, other = (os.path.join(folder, name) for name in ACKS)
    if len(content) > ACK_BYTES or not os.path.exists(spare):
        write_whole(ack, content)
        return
    fd = os.open(spare, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        os.pwrite(fd, content.ljust(ACK_BYTES), 0)
    finally:
        os.close(fd)
    with suppress(FileNotFoundError):
        # A sender was killed between the next two.
        os.unlink(other)
    try:
        os.link(ack, other)
    except OSError:
        # Not every filesystem has links.
        write_whole(ack, content)
        return
    os.rename(spare, ack)
    os.rename(other, spare)


def read_header(data: bytes) -> dict[str, object]:
    """Read the header frame at the beginning of a stream.

    Raises:
        DamageError: the stream does not begin with one.
    """
    for frame in spool.whole_frames(data, offset=0):
        if frame.kind == spool.HEADER:
            try:
                return dict(spool.decode_json(frame.payload))
            except (ValueError, RecursionError) as error:
                raise DamageError(
                    f"expected a JSON object in the header frame, got {type(error).__name__}",
                    offset=frame.offset,
                ) from error
        break
    raise DamageError("expected the header frame at byte 8", offset=len(spool.PREAMBLE))


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0
