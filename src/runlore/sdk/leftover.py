"""What memory had no room for, of writers whose staging is gone: brought from the disk to spools.

A restart of the machine empties staging. The files on the disk, to which it led, stay; each has a
name that says where in the stream it begins.
"""

import fcntl
import json
import os
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from runlore.errors import DamageError, UsageError
from runlore.sdk.places import OVERFLOW, listed, segment_name, segment_names, writer_folders
from runlore.sdk.settle import (
    KEEP_SECONDS,
    make_private_folder,
    read_piece,
    spool_path,
    spools_in,
)
from runlore.sdk.staging import (
    PIECE_BYTES,
    is_private,
    read_header,
    remove_files,
    start_of,
)
from runlore.sdk.sync import measure, target_of
from runlore.sdk.tree import boot_id
from runlore.wire import spool

_FILLER_BYTES = 4 * 1024 * 1024


class Piece(NamedTuple):
    """Whole frames of a stream from a byte on, as one file on the disk holds them."""

    offset: int
    data: bytes

    @property
    def end(self) -> int:
        """The byte behind them."""
        return self.offset + len(self.data)


class Leftover(NamedTuple):
    """A folder on the disk of a writer that is gone and whose staging is.

    Attributes:
        folder: where it is.
        path: the writer's spool file, if there is one.
        head: how its stream begins, empty if nothing tells.
    """

    folder: str
    path: str | None
    head: bytes


def leftovers(home: str, folders: Sequence[str], roots: Sequence[str]) -> list[Leftover]:
    """Find what staging led to on the disk before it went.

    Args:
        home: whose.
        folders: where its spools lie.
        roots: where trees lie that may still be at work.
    """
    root = os.path.join(home, "staging", OVERFLOW)
    names = listed(root)
    if not names:
        return []
    staged = {os.path.basename(path) for place in roots for path in writer_folders(place)}
    spools = (path for folder in folders for path in spools_in(folder))
    known = {os.path.basename(path).removesuffix(".rlspool"): path for path in spools}
    found = []
    for name in sorted(names):
        folder, path = os.path.join(root, name), known.get(name)
        if name in staged or not is_private(folder):
            continue
        with suppress(OSError):
            head = _head_of(path) or _head_of(os.path.join(folder, segment_name(0)))
            if _is_left(folder, path, head):
                found.append(Leftover(folder, path, head))
    return found


def settle_leftovers(home: str, found: Sequence[Leftover]) -> Iterator[str]:
    """Bring what such folders hold to the spools, and remove them; yield what is odd."""
    for one in found:
        try:
            fd = os.open(one.folder, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield from _bring_home(one, home)
        except BlockingIOError:
            # Another sync is at work on it.
            continue
        except OSError as error:
            yield f"{one.folder} stays on the disk: {error.strerror}"
        except (DamageError, UsageError) as error:
            yield f"{one.folder} stays on the disk: {error}"
        finally:
            os.close(fd)


def _bring_home(found: Leftover, home: str) -> Iterator[str]:
    folder, path, head = found
    pieces, unnamed = _pieces(folder)
    if unnamed or (pieces and not head):
        size = unnamed + (0 if head else sum(len(piece.data) for piece in pieces))
        yield (
            f"{folder} holds {size:,} bytes of which nothing says where in the stream of their "
            "writer they belong, as a machine that stops leaves them; remove the folder"
        )
    if pieces and head:
        target = target_of(head, "")._replace(home=home)
        lost = _append(path or spool_path(target), pieces)
        if lost:
            yield (
                f"{lost:,} bytes of run {target.owner}/{target.project}/{target.run} were in "
                "memory alone when this machine stopped; the run counts them as a gap"
            )
    if not unnamed and (head or not pieces):
        remove_files(folder)
    elif head:
        for piece in pieces:
            _remove_piece(folder, piece.offset)


def _append(path: str, pieces: Sequence[Piece]) -> int:
    """Write pieces where they belong in a spool file, gaps between them; return the bytes lost.

    A server stops at a row whose keys it was not told. Those that were told in a gap are lost with
    it, so their rows are counted as one, too.
    """
    make_private_folder(os.path.dirname(path))
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    lost = 0
    table: spool.KeyTable | None = None
    try:
        # A writer that settled last may have been stopped in the middle of a frame.
        extent, size = measure(fd, 0), os.fstat(fd).st_size
        end = extent.end
        if end < size and not extent.is_cut:
            raise DamageError(f"its spool file {path} is {extent.notice}", offset=end)
        for piece in pieces:
            if piece.end <= end:
                continue
            if piece.offset > end:
                lost += piece.offset - end
                table = table or _declared(fd, end)
                size = piece.offset - end
                _write(fd, _gap(size, _estimate(size, piece)), end)
                end = piece.offset
            if table is not None:
                piece, unread = _told(piece, table)
                lost += unread
            _write(fd, piece.data[end - piece.offset :], end)
            end = piece.end
        os.fdatasync(fd)
    finally:
        os.close(fd)
    return lost


def _declared(fd: int, end: int) -> spool.KeyTable:
    """Return the keys that a spool file declares up to a byte."""
    table = spool.KeyTable()
    at = 0
    while at < end:
        before = at
        for frame in spool.whole_frames(read_piece(fd, at, PIECE_BYTES), offset=at):
            if frame.kind in spool.DECLARING:
                table.declare(frame.payload)
            at = frame.end
        if at == before:
            break
    return table


def _told(piece: Piece, table: spool.KeyTable) -> tuple[Piece, int]:
    """Put gaps in place of frames that speak of keys nobody was told; return their bytes, too."""
    parts: list[bytes] = []
    dark: list[spool.Frame] = []
    lost = 0
    if piece.offset == 0:
        parts.append(spool.PREAMBLE)
    for frame in spool.whole_frames(piece.data, offset=piece.offset):
        if not _is_told(frame, table):
            dark.append(frame)
            continue
        parts.append(_dark_gap(dark))
        lost += len(parts[-1])
        dark = []
        parts.append(piece.data[frame.offset - piece.offset : frame.end - piece.offset])
    parts.append(_dark_gap(dark))
    return Piece(piece.offset, b"".join(parts)), lost + len(parts[-1])


def _is_told(frame: spool.Frame, table: spool.KeyTable) -> bool:
    try:
        if frame.kind in spool.DECLARING:
            table.declare(frame.payload)
        elif frame.kind in spool.ROWS:
            table.row(frame.payload)
    except (ValueError, struct.error):
        return False
    return True


def _dark_gap(dark: Sequence[spool.Frame]) -> bytes:
    if not dark:
        return b""
    return _gap(dark[-1].end - dark[0].offset, _count(dark))


def _gap(size: int, count: tuple[int, int]) -> bytes:
    """Return frames that fill so many bytes of a stream and count the rows and points of them."""
    rows, points = count
    reason = "only memory had it when the machine stopped; the counts may be estimates"
    content = {"rows": rows, "points": points, "reason": reason}
    frames = []
    while size:
        length = size if size <= _FILLER_BYTES else _FILLER_BYTES // 2
        text = json.dumps(content).encode()
        kind = spool.GAP
        if len(text) > length - 9:
            # Too little room for words: a kind that every reader passes over.
            kind, text = 255, b""
        frames.append(spool.frame((bytes([kind]) + text).ljust(length - 8)))
        content = {"rows": 0, "points": 0, "reason": reason}
        size -= length
    return b"".join(frames)


def _estimate(size: int, behind: Piece) -> tuple[int, int]:
    """Guess how many rows and points stood in so many bytes, by what stands behind them."""
    share = size / len(behind.data)
    rows, points = _count(list(spool.whole_frames(behind.data, offset=behind.offset)))
    return max(1, round(rows * share)), max(1, round(points * share))


def _count(frames: Sequence[spool.Frame]) -> tuple[int, int]:
    rows = points = 0
    for frame in frames:
        head = spool.row_head(frame.payload) if frame.kind in spool.ROWS else None
        if head:
            rows += 1
            points += head.points
    return rows, points


def _pieces(folder: str) -> tuple[list[Piece], int]:
    """Return what the files hold in the order of the stream, and the bytes of those without place.

    A file that was made but never taken holds nothing.
    """
    names = os.listdir(folder)
    places = segment_names(folder)
    pieces, placed = [], set()
    for place in places:
        placed.add(os.path.basename(os.path.realpath(os.path.join(folder, place))))
        data = _whole_part(os.path.join(folder, place), int(place))
        if data:
            pieces.append(Piece(int(place), data))
    rest = [name for name in names if name not in places and name not in placed]
    return pieces, sum(len(_whole_part(os.path.join(folder, name), 1)) for name in rest)


def _whole_part(path: str, offset: int) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return b""
    end = offset
    with suppress(DamageError):
        for frame in spool.whole_frames(data, offset=offset):
            end = frame.end
    return data[: end - offset]


def _is_left(folder: str, path: str | None, head: bytes) -> bool:
    """Tell whether what was in memory is gone, and nobody writes any more.

    After a restart of this machine that is sure. Another one, or a container, may share the home
    and have a memory of its own: then a day of silence tells.
    """
    try:
        header = read_header(head)
    except DamageError:
        header = {}
    boot, pid = header.get("boot"), header.get("pid")
    if header.get("host") == os.uname().nodename and boot:
        if boot != boot_id():
            return True
        if isinstance(pid, int) and start_of(pid) is not None:
            # Its staging may be where nobody told us to look.
            return False
    files = [os.path.join(folder, name) for name in os.listdir(folder)]
    times = [os.lstat(one).st_mtime for one in (folder, *files, *([path] if path else ()))]
    return time.time() - max(times) > KEEP_SECONDS


def _remove_piece(folder: str, offset: int) -> None:
    place = os.path.join(folder, segment_name(offset))
    for path in (os.path.realpath(place), place):
        with suppress(OSError):
            os.unlink(path)


def _head_of(path: str | None) -> bytes:
    if path is None or not os.path.exists(path):
        return b""
    with open(path, "rb") as file:
        return file.read(65536)


def _write(fd: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written
