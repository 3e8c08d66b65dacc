"""Settling: bringing what lies in staging to the spool on disk, and reading it back.

Everything that touches the disk happens here, in one thread, so that a disk that hangs stops
nothing else.
"""

import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from runlore.errors import DamageError
from runlore.sdk.staging import (
    HEAD_BYTES,
    Fetched,
    Stream,
    Target,
    cut,
    is_private,
    read_object,
    write_whole,
)
from runlore.wire import spool

SETTLE_SECONDS = 0.25
SYNC_SECONDS = 5.0
STUCK_SECONDS = 1.0
MAX_DELAY_SECONDS = 5.0
KEEP_SECONDS = 24 * 3600
TIDY_SECONDS = 10.0
CLOSE_SECONDS = 2.0
TIDY_EVERY_SECONDS = 3600
COPY_BYTES = 256 * 1024

MOUNTS = "/proc/mounts"
NETWORK_FILESYSTEMS = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "ceph", "9p", "afs", "beegfs", "gpfs")
)


def spool_path(target: Target) -> str:
    """Return the path of a writer's spool file on disk. May wait for the disk."""
    home = spool_folder(target.home, is_online=target.mode == "online")
    folder = os.path.join(home, target.host, target.owner, target.project, target.run)
    return os.path.join(folder, f"{target.writer}.rlspool")


def spool_folder(home: str, *, is_online: bool) -> str:
    """Return the folder of the spools of a home.

    With a network filesystem as home, and a server to deliver to, it is on this machine's own
    disk: the spool is then only a buffer, and a busy file server should not see every point.
    """
    if is_online and is_network_path(home):
        return local_spool_folder()
    return os.path.join(home, "spool")


def local_spool_folder() -> str:
    """Return the folder for spools whose home is on a network filesystem."""
    return f"/var/tmp/runlore-{os.getuid()}/spool"


def is_network_path(path: str) -> bool:
    """Tell whether a path lies on a network filesystem."""
    try:
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            mounts = file.read()
    except OSError:
        return False
    kind = filesystem_of(os.path.realpath(path), mounts)
    return kind in NETWORK_FILESYSTEMS or kind.startswith("fuse.")


def filesystem_of(path: str, mounts: str) -> str:
    """Return the kind of the filesystem of a path, by the text of /proc/mounts; else empty."""
    best, kind = "", ""
    for line in mounts.splitlines():
        _, mount, filesystem, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        is_inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        # Of two mounts on one place the later one is seen.
        if is_inside and len(mount) >= len(best):
            best, kind = mount, filesystem
    return kind


def make_private_folder(path: str) -> None:
    """Make the folder of a spool file; refuse a local temporary one that others may enter."""
    # os.makedirs would leave those between open to others.
    missing = []
    folder = path
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for folder in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
    root = os.path.dirname(local_spool_folder())
    if path.startswith(root + "/") and not is_private(root):
        raise PermissionError(1, f"{root} must belong to you alone, with mode 0700")


def ack_path(spool: str) -> str:
    """Return the path of the small file beside a spool file that says how far a server has it."""
    return spool.removesuffix(".rlspool") + ".ack"


def write_disk_ack(
    spool: str, *, url: str, server: str | None, next_byte: int, points: int, is_finished: bool
) -> None:
    """Note on disk how far a server has a spool."""
    content = {
        "url": url,
        "server": server,
        "next": next_byte,
        "points": points,
        "finished": is_finished,
    }
    write_whole(ack_path(spool), json.dumps(content).encode())


class Settler:
    """Settles streams, from a thread of its own, since the disk may hang."""

    def __init__(self) -> None:
        self.streams: tuple[Stream, ...] = ()
        self._busy_since: float | None = None
        self._retry_at = 0.0
        self._delay = SETTLE_SECONDS
        # Wakes this thread; guards nothing else.
        self._news = threading.Condition()
        self._has_news = False
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def wake(self) -> None:
        """Say that there is something to settle, now; a disk that refused is tried again soon."""
        self._retry_at = min(self._retry_at, time.monotonic() + SETTLE_SECONDS)
        with self._news:
            self._has_news = True
            self._news.notify()

    def ask(self, stream: Stream, offset: int) -> None:
        """Ask for bytes that are only on the disk; see `Disk`."""
        stream.fetch_at = offset
        self.wake()

    def refuses(self, stream: Stream) -> bool:
        """Tell whether the disk does not take this stream at present: full, or hanging."""
        since = self._busy_since
        is_stuck = since is not None and time.monotonic() - since > STUCK_SECONDS
        return is_stuck or stream.disk_error is not None

    def close(self) -> None:
        """End the thread after the stream that it is at, and wait for that, but not for long."""
        self._is_closing = True
        self.wake()
        self._thread.join(CLOSE_SECONDS)

    def nudge(self) -> None:
        """Say that there is something to settle, together with what comes soon after it."""
        with self._news:
            self._news.notify()

    def has_noted(self, stream: Stream) -> bool:
        """Tell whether the file beside the spool says how far a server has it."""
        return stream.noted == self._state(stream)

    def _run(self) -> None:
        tidy_at = time.monotonic() + TIDY_SECONDS
        target: Target | None = None
        while not self._is_closing:
            with self._news:
                if not self._has_news and not self._has_backlog():
                    self._news.wait()
                if not self._has_news:
                    self._news.wait(SETTLE_SECONDS)
                self._has_news = False
            for stream in self.streams:
                target = stream.target
                self._busy_since = time.monotonic()
                self.attend(stream)
                self._busy_since = None
            if target is not None and tidy_at <= time.monotonic():
                tidy_at = float("inf")
                remove_finished(target)
        if target is not None and tidy_at < float("inf"):
            remove_finished(target)

    def _has_backlog(self) -> bool:
        return any(
            stream.settled < stream.staged.tail or not self.has_noted(stream)
            for stream in self.streams
        )

    @staticmethod
    def _state(stream: Stream) -> tuple[int, bool]:
        tail = stream.staged.tail
        is_finished = stream.staged.is_ended and (stream.next >= tail or stream.is_deleted)
        return stream.next, is_finished

    def attend(self, stream: Stream) -> None:
        """Settle what is new of a stream, note its delivery, read back what is asked for."""
        stream.staged.tidy_disk()
        offset = stream.fetch_at
        if offset is not None:
            stream.fetch_at = None
            stream.fetched = self._read_back(stream, offset)
        had_error = stream.disk_error
        if had_error and time.monotonic() < self._retry_at:
            return
        try:
            if stream.settled < stream.staged.tail:
                self._settle(stream)
            self._note_delivery(stream)
        except OSError as error:
            where = stream.path or stream.target.home
            stream.disk_error = f"cannot write {where}: {error.strerror}"
            self._delay = min(self._delay * 2, MAX_DELAY_SECONDS) if had_error else SETTLE_SECONDS
            self._retry_at = time.monotonic() + self._delay
        else:
            stream.disk_error = None
        if had_error != stream.disk_error or stream.settled >= stream.staged.tail:
            stream.write_ack()

    def _path(self, stream: Stream) -> str:
        if stream.path is None:
            path = spool_path(stream.target)
            make_private_folder(os.path.dirname(path))
            stream.path = path
        return stream.path

    def _settle(self, stream: Stream) -> None:
        path = self._path(stream)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        except FileNotFoundError:
            # Somebody removed the folder meanwhile.
            make_private_folder(os.path.dirname(path))
            fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            staged = stream.staged
            # A sender that was killed may have written more than it could note; what stands behind
            # that which this one wrote is somebody else's.
            at = min(os.fstat(fd).st_size, staged.tail)
            if stream.settled:
                at = min(at, stream.settled)
            while at < staged.tail:
                # What was freed while the disk refused leaves a hole: offsets are identities.
                at = max(at, staged.first)
                try:
                    # A disk that was full may have taken half a frame.
                    data = staged.copy(at, COPY_BYTES)
                except LookupError as error:
                    if at < staged.first:
                        continue
                    raise OSError(errno.ENOENT, str(error)) from error
                if not data:
                    break
                written = 0
                while written < len(data):
                    written += os.pwrite(fd, memoryview(data)[written:], at + written)
                at += len(data)
                stream.settled = at
            stream.settled = at
            is_due = time.monotonic() - stream.synced_at > SYNC_SECONDS
            if is_due or staged.is_ended:
                stream.synced_at = time.monotonic()
                os.fdatasync(fd)
        finally:
            os.close(fd)

    def _note_delivery(self, stream: Stream) -> None:
        """Write the ack on disk, at once at the end of a stream and now and then before it."""
        if self.has_noted(stream):
            return
        reached, is_finished = self._state(stream)
        now = time.monotonic()
        if not is_finished and now - stream.noted_at < SYNC_SECONDS:
            return
        path = self._path(stream)
        stream.noted, stream.noted_at = (reached, is_finished), now
        if not os.path.exists(path):
            # Somebody removed the spool: there is nothing to note it for.
            return
        write_disk_ack(
            path,
            url=stream.target.url,
            server=stream.server,
            next_byte=reached,
            points=stream.points,
            is_finished=is_finished,
        )

    def _read_back(self, stream: Stream, offset: int) -> Fetched:
        try:
            with open(self._path(stream), "rb") as file:
                data = _good(read_piece(file.fileno(), offset, stream.limit), offset)
        except OSError as error:
            return Fetched(offset, b"", f"cannot read the spool: {error.strerror}")
        if not data:
            return Fetched(
                offset,
                b"",
                f"{stream.target.url} wants the stream from byte {offset} on, which is neither in "
                "memory nor on the disk any more: a server had it; is this another server or an "
                "older backup?",
            )
        return Fetched(offset, data)


def read_piece(fd: int, offset: int, limit: int) -> bytes:
    """Read whole frames of a spool file: about `limit` bytes, one frame at least, if there is.

    Where the file is cut off inside a frame, what stands before that frame is read.
    """
    data = os.pread(fd, max(limit, HEAD_BYTES), offset)
    taken = cut(data, offset=offset, limit=limit)
    if taken > len(data):
        data += os.pread(fd, taken - len(data), offset + len(data))
    return data[:taken] if taken <= len(data) else b""


def _good(data: bytes, offset: int) -> bytes:
    """Return the frames before the first damaged one: the edge of a hole is not the stream."""
    end = offset
    with suppress(DamageError):
        for frame in spool.whole_frames(data, offset=offset):
            end = frame.end
    return data[: end - offset]


def remove_finished(target: Target) -> None:
    """Remove the spools of this host that a server has had whole for a day; look once an hour."""
    home = spool_folder(target.home, is_online=target.mode == "online")
    folder = os.path.join(home, target.host)
    mark = os.path.join(folder, ".tidied")
    try:
        if os.path.exists(mark):
            age = time.time() - os.stat(mark).st_mtime
            if abs(age) < TIDY_EVERY_SECONDS:
                return
        write_whole(mark, b"")
        # By the clock that dated the files, which need not be this process's.
        now = os.stat(mark).st_mtime
    except OSError:
        return
    for path in list(spools_in(folder)):
        ack = ack_path(path)
        try:
            is_old = now - max(os.stat(ack).st_mtime, os.stat(path).st_mtime) > KEEP_SECONDS
            known = read_object(ack) if is_old else {}
            # A copy of a later state may stand beside an ack of an earlier one.
            if known.get("finished") is True and not _has_more(path, known.get("next")):
                os.unlink(path)
                os.unlink(ack)
        except OSError:
            continue


def _has_more(path: str, reached: object) -> bool:
    """Tell whether anything but zeros stands in a file behind the byte that a server has."""
    with open(path, "rb") as file:
        file.seek(reached if isinstance(reached, int) and reached > 0 else 0)
        while data := file.read(COPY_BYTES):
            if data.count(0) < len(data):
                return True
    return False


def spools_in(folder: str) -> Iterator[str]:
    """Yield the paths of the spool files in a folder and below, sorted."""
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".rlspool"):
                yield os.path.join(root, name)
