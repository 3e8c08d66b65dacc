"""Sync: bringing to a server what lies on this machine and no sender is at work on."""

import fcntl
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from runlore.core.run import RunRef, run_ref
from runlore.errors import DamageError, UnavailableError, UsageError
from runlore.sdk.deliver import Encoder, Server, judge
from runlore.sdk.places import writer_folders
from runlore.sdk.resume import first_edge
from runlore.sdk.sender import find_orphans
from runlore.sdk.settle import (
    KEEP_SECONDS,
    ack_path,
    local_spool_folder,
    read_piece,
    spools_in,
    write_disk_ack,
)
from runlore.sdk.staging import (
    PIECE_BYTES,
    Target,
    is_gone,
    is_private,
    read_header,
    read_object,
    start_of,
)
from runlore.sdk.tree import boot_id
from runlore.wire import spool

PATIENCE_SECONDS = 5.0
_REFUSALS = (400, 401, 403, 413, 415, 422)
"""Answers with which a server that works refuses a key or a piece."""


class Delivery(NamedTuple):
    """What became of one writer's spool.

    Attributes:
        path: the spool file.
        run: whose it is; None when the file does not say.
        writer: its writer.
        size: bytes of the file.
        sent: bytes that the server took now.
        reached: the byte up to which the server has it.
        points: points of this writer on the server, None if it was not asked.
        is_ended: whether nothing follows: the stream says so, or its writer is gone for a day.
        notice: what is odd about the file, as a sentence, or None.
        is_whole: whether all that stands in the file could be read.
        trouble: why the server did not take all that is good, or None.
        is_away: whether the trouble passes: a server that is away, busy or failing, or another
            delivery of the same file.
        is_noted: whether the file beside it says that a server has had all of it.
        is_gone: whether its process is known to be gone.
        is_deleted: whether the run was deleted on the server.
        unwanted: bytes of a deleted run that the server never took and takes no more.
    """

    path: str
    run: RunRef | None
    writer: str
    size: int
    sent: int = 0
    reached: int = 0
    points: int | None = None
    is_ended: bool = False
    notice: str | None = None
    is_whole: bool = True
    trouble: str | None = None
    is_away: bool = False
    is_noted: bool = False
    is_gone: bool = False
    is_deleted: bool = False
    unwanted: int = 0


class Extent(NamedTuple):
    """What a spool file holds: whole frames up to `end`, then perhaps something else.

    `last_kind` is the kind of the last frame walked over, 0 for none; `is_cut` says that what
    follows is zeros or the beginning of a frame, which its writer or whoever copies the file may
    still finish; `is_whole` that no byte which may be the user's is left out.
    """

    end: int
    last_kind: int
    notice: str | None = None
    is_cut: bool = False
    is_whole: bool = True


def spool_files(paths: Sequence[str]) -> list[str]:
    """Return the spool files in folders and below, or named themselves, each once.

    Those in which nothing stands yet are left out.

    Raises:
        UsageError: there is no such file or folder.
    """
    found: dict[str, None] = {}
    for path in paths:
        if os.path.isdir(path):
            found.update(dict.fromkeys(spools_in(os.path.abspath(path))))
        elif path.endswith(".rlspool") and os.path.isfile(path):
            found[os.path.abspath(path)] = None
        else:
            raise UsageError(
                f"expected a folder with spools or a file ending in .rlspool, got {path!r}"
            )
    return [path for path in found if _size(path)]


def own_folders(home: str) -> list[str]:
    """Return the folders of this user's spools, as they are without links."""
    local = local_spool_folder()
    found = [os.path.join(home, "spool")]
    if is_private(os.path.dirname(local)):
        found.append(local)
    return [os.path.realpath(folder) for folder in found if os.path.isdir(folder)]


def waiting_writers(folders: Sequence[str], roots: Sequence[str]) -> int:
    """Count the writers of which no server has acknowledged all, on the disk or in memory."""
    waiting = set()
    for folder in folders:
        for path in spools_in(folder):
            if _size(path) and read_object(ack_path(path)).get("finished") is not True:
                waiting.add(os.path.basename(path).removesuffix(".rlspool"))
    for root in roots:
        for tree in find_orphans(root):
            tree.find_streams()
            targets = [stream.target for stream in tree.streams.values()]
            waiting.update(t.writer for t in targets if is_gone(t.pid, t.start))
            os.close(tree.lock)
    return len(waiting)


class Syncer:
    """Delivers spool files to one server."""

    def __init__(self, url: str, api_key: str, staging: Sequence[str]) -> None:
        self.url = url
        self._server = Server(url, api_key)
        self._encoder = Encoder()
        self._staging = staging
        self._is_given_up = False
        self._identity: str | None = None

    def belongs_elsewhere(self, path: str) -> str | None:
        """Return the address of the other server that has some of a spool already, or None."""
        known = read_object(ack_path(path))
        url = known.get("url")
        if not isinstance(url, str) or not known.get("next"):
            return None
        # An unfinished run follows its address, as its sender does.
        if url == self.url and known.get("finished") is not True:
            return None
        return None if self._has_taken(known) else url

    def deliver(self, path: str) -> Delivery:
        """Deliver what of one file the server does not have."""
        size = _size(path)
        name = os.path.basename(path).removesuffix(".rlspool")
        run: RunRef | None = None
        try:
            # For reading only: a file may lie where nobody may write, or still be copied.
            with open(path, "rb") as file:
                head = read_piece(file.fileno(), 0, 65536) or os.pread(file.fileno(), 65536, 0)
                target = target_of(head, self.url)
                run = RunRef(target.owner, target.project, target.run)
                _lock(file.fileno())
                # Whoever had the lock before has noted how far it came.
                known = read_object(ack_path(path))
                is_same = bool(known) and self._has_taken(known)
                is_noted = known.get("finished") is True
                reached = known.get("next") if is_same else None
                # The server may have more, which went there from memory.
                start = min(reached, size) if isinstance(reached, int) and reached >= 0 else 0
                # Asked first: between the two its sender may write more.
                writer = self._writer(file.fileno(), target)
                extent = measure(file.fileno(), start)
                if extent.is_cut and writer == "there":
                    # It is being written at this moment: the rest is on its way.
                    extent = extent._replace(notice=None, is_whole=True)
                is_left = writer == "gone" and not extent.is_cut and _is_old(file.fileno())
                found = Delivery(
                    path=path,
                    run=run,
                    writer=target.writer,
                    size=os.fstat(file.fileno()).st_size,
                    reached=start,
                    points=_count(known.get("points")) if is_same else None,
                    is_ended=is_noted or extent.last_kind in spool.ENDS or is_left,
                    notice=extent.notice,
                    is_whole=extent.is_whole,
                    is_noted=is_noted,
                    is_gone=writer == "gone",
                )
                return self._post_all(file.fileno(), target, extent, found)
        except (DamageError, UsageError) as error:
            notice = f"not delivered: {error}"
            return Delivery(path, None, name, size, notice=notice, is_whole=False)
        except BlockingIOError:
            trouble = "another sync, or the server itself, delivers it at this moment"
            return Delivery(path, run, name, size, trouble=trouble, is_away=True)
        except OSError as error:
            return Delivery(path, None, name, size, trouble=f"cannot read it: {error.strerror}")

    def close(self) -> None:
        """Close the connection."""
        self._server.close()

    def _has_taken(self, known: Mapping[str, object]) -> bool:
        """Tell whether an ack on the disk speaks of this server; absent, by its address."""
        if self._identity is None:
            self._identity = self._server.ask_identity() or ""
        if not self._identity:
            return known.get("url") == self.url
        return known.get("server") == self._identity

    def _post_all(self, fd: int, target: Target, extent: Extent, found: Delivery) -> Delivery:
        at, sent, limit = found.reached, 0, PIECE_BYTES
        points, server, trouble = found.points, None, None
        furthest = at
        patient_until = time.monotonic() + (0.0 if self._is_given_up else PATIENCE_SECONDS)
        # With nothing to send an empty piece asks whether the server still has it all: the run
        # may be deleted there, or an older backup be in the server's place.
        is_asking, is_away = at >= extent.end, False
        if is_asking and self._is_given_up:
            return _unasked(found, self._server.error)
        while (at < extent.end or is_asking) and trouble is None:
            data = b"" if is_asking else read_piece(fd, at, min(limit, extent.end - at))
            if not data and not is_asking:
                trouble = f"the server wants byte {at}, which is not in this file"
                break
            body, encoding = self._encoder.encode(data)
            self._encoder.load_zstandard()
            try:
                is_last = found.is_gone and at + len(data) >= extent.end
                answer = self._server.post(target, body, encoding, offset=at, is_gone=is_last)
            except UnavailableError as error:
                if is_asking:
                    self._is_given_up = True
                    self._server.fails(str(error))
                    return _unasked(found, str(error))
                trouble, is_away = self._wait(str(error), None, patient_until), True
                continue
            verdict = judge(answer, url=self.url, offset=at, length=len(data), tail=2**63)
            if is_asking and (verdict.is_trouble or verdict.is_too_large):
                return _unasked(found, verdict.error)
            is_asking = False
            is_away = answer.status not in _REFUSALS
            if verdict.is_refusal:
                trouble = verdict.error
                continue
            if verdict.is_trouble:
                trouble = self._wait(verdict.error or "", verdict.wait_seconds, patient_until)
                continue
            self._server.works()
            if verdict.is_too_large:
                trouble = verdict.error if len(data) > limit else None
                limit = max(1, len(data) // 2)
            if verdict.next is not None:
                sent += max(0, min(verdict.next, extent.end) - at)
                at = verdict.next
                if at > furthest:
                    furthest, patient_until = at, time.monotonic() + PATIENCE_SECONDS
                elif time.monotonic() > patient_until:
                    trouble = f"{self.url} sends us back to byte {at:,} again and again"
            server = verdict.server or server
            points = verdict.points if verdict.points is not None else points
            if verdict.is_deleted:
                # Asked for already: without it this spool would look like another server's.
                server = server or self._identity or None
                found = _deleted(found, verdict.error, max(0, extent.end - at))
                break
            if verdict.stop:
                trouble = verdict.error
        if extent.is_cut and at >= found.size:
            extent, found = extent._replace(is_whole=True), _completed(found)
        if server is not None or found.is_deleted:
            with suppress(OSError):
                write_disk_ack(
                    found.path,
                    url=self.url,
                    server=server,
                    next_byte=at,
                    points=points or 0,
                    is_finished=found.is_deleted
                    or (found.is_ended and extent.is_whole and at >= extent.end),
                )
        return found._replace(
            sent=sent,
            reached=at,
            points=points,
            trouble=trouble,
            is_away=is_away and trouble is not None,
        )

    def _wait(self, error: str, seconds: float | None, until: float) -> str | None:
        """Wait before the next try; return the trouble when patience is at its end."""
        self._server.fails(error, seconds)
        if self._server.ready_at > until:
            # The next file need not find out anew that nobody answers.
            self._is_given_up = True
            return error
        time.sleep(max(0.0, self._server.ready_at - time.monotonic()))
        return None

    def _writer(self, fd: int, target: Target) -> Literal["gone", "there", "elsewhere"]:
        """Tell whether somebody may still write to a file: its process, or that one's sender."""
        staged = (folder for root in self._staging for folder in writer_folders(root))
        if any(os.path.basename(folder) == target.writer for folder in staged):
            return "there"
        header = read_header(os.pread(fd, 65536, 0))
        if header.get("host") != os.uname().nodename:
            return "elsewhere"
        if header.get("boot") != boot_id():
            return "gone" if header.get("boot") else "elsewhere"
        started = start_of(target.pid)
        if started is None:
            return "gone" if is_gone(target.pid, 0) else "there"
        began_ns = header.get("boot_ns")
        # Another process bears the number if it started after the stream did.
        started_ns = started * 10**9 // os.sysconf("SC_CLK_TCK")
        is_other = isinstance(began_ns, int) and started_ns > began_ns + 10**9
        return "gone" if is_other else "there"


def _unasked(found: Delivery, error: str | None) -> Delivery:
    """Say that the server could not be asked, where it may not have all of a stream."""
    return found if found.is_noted else found._replace(trouble=error, is_away=error is not None)


def _completed(found: Delivery) -> Delivery:
    """Say that the server has what is missing in a file: it went there from memory."""
    is_ended = found.is_ended or found.is_gone
    return found._replace(notice=None, is_whole=True, is_ended=is_ended)


def _deleted(found: Delivery, error: str | None, unwanted: int) -> Delivery:
    """Say that the run is no more, and how much of it the server never had."""
    left = f", and {unwanted:,} bytes here were not delivered" if unwanted else ""
    notice = (
        f"{error}{left}; remove this file, or bring it to another server with "
        f"'runlore sync {shlex.quote(found.path)} --url ADDRESS'"
    )
    return found._replace(is_deleted=True, unwanted=unwanted, notice=notice)


def measure(fd: int, start: int, *, piece_bytes: int = PIECE_BYTES) -> Extent:
    """Walk the frames of a spool file from a frame's edge on, and say where the good ones end."""
    size = os.fstat(fd).st_size
    at, last_kind = start, 0
    while at < size:
        before = at
        try:
            for frame in spool.whole_frames(read_piece(fd, at, piece_bytes), offset=at):
                at, last_kind = frame.end, frame.kind
        except DamageError:
            return Extent(at, last_kind, _damage(at, size), is_whole=False)
        if at == before:
            break
    if at >= size:
        return Extent(at, last_kind)
    return _with_end(fd, Extent(at, last_kind), size)


def _with_end(fd: int, found: Extent, size: int) -> Extent:
    """Say what stands behind the last good frame of a file."""
    at = found.end
    zeros = _zeros(fd, at, size)
    if at + zeros >= size:
        notice = f"{zeros:,} zeros at the end, from byte {at:,} on: nothing was written there"
        return found._replace(notice=notice, is_cut=True)
    length = int.from_bytes(os.pread(fd, 4, at), "little")
    if length == 0:
        notice = (
            f"a hole of {zeros:,} bytes at byte {at:,}, as a full disk or a machine that stopped "
            f"leaves it: {size - at - zeros:,} bytes behind it stay here"
        )
        return found._replace(notice=notice, is_whole=False)
    # A damaged length may reach beyond the end of the file, too: then good frames follow.
    rest = os.pread(fd, spool.MAX_PAYLOAD, at + 8)
    if length > spool.MAX_PAYLOAD or first_edge(rest) < len(rest):
        return found._replace(notice=_damage(at, size), is_whole=False)
    notice = f"cut off at byte {at:,}: {size - at:,} bytes of an unfinished frame left out"
    return found._replace(notice=notice, is_cut=True, is_whole=False)


def _damage(at: int, size: int) -> str:
    return f"damaged at byte {at:,}: {size - at:,} bytes from there stay here"


def _zeros(fd: int, start: int, size: int) -> int:
    """Count the zeros from a byte of a file on."""
    at = start
    while at < size:
        data = os.pread(fd, PIECE_BYTES, at)
        found = len(data) - len(data.lstrip(b"\0"))
        at += found
        if not data or found < len(data):
            break
    return at - start


def _is_old(fd: int) -> bool:
    """Tell whether nobody has written to a file for a day, as a copy that still grows has."""
    return time.time() - os.fstat(fd).st_mtime > KEEP_SECONDS


def _lock(fd: int) -> None:
    """Keep a second sync away from a file until it is closed; wait a little for one before.

    Raises:
        BlockingIOError: another one still has it.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
            continue
        except OSError:
            # A file on NFS that is open for reading cannot be locked; twice changes nothing.
            pass
        return


def target_of(head: bytes, url: str) -> Target:
    """Return whose stream begins with these bytes, on its way to a server.

    Raises:
        DamageError: no stream does.
        UsageError: its header names what cannot be.
    """
    header = read_header(head)
    texts = {name: str(header.get(name, "")) for name in ("owner", "project", "run", "writer")}
    run_ref(texts["owner"], texts["project"], texts["run"])
    run_ref("local", "writer", texts["writer"])
    return Target(
        url=url,
        api_key="",
        mode="online",
        home="",
        host=str(header.get("host", "")),
        pid=_count(header.get("pid")),
        start=0,
        role=str(header.get("role", "")),
        **texts,
    )


def _size(path: str) -> int:
    """Return the bytes of a file; none if somebody has removed it."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
