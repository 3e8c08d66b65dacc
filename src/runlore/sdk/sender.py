"""The sender: a small process that follows one program's staging, settles and delivers it.

Started as `python -E -S sender.py <tree>`; docs/design/sender.md tells how it works. The main
thread looks into staging and at the program, and never waits for the disk or the network; one
thread settles and one delivers.
"""

import errno
import fcntl
import os
import select
import signal
import struct
import sys
import time
from contextlib import suppress

if __name__ == "__main__":
    # Nothing else knows where the package is: see -S. It comes without its door, which would
    # load all that a program logs with.
    package = sys.modules["runlore"] = type(sys)("runlore")
    package.__path__ = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]

from runlore.sdk.deliver import Deliverer
from runlore.sdk.lost import append_lost
from runlore.sdk.settle import Settler
from runlore.sdk.staging import Stream, is_gone, overflow_of, remove_files

BUSY_SECONDS = 0.2
IDLE_SECONDS = 0.5
LINGER_SECONDS = 60.0
FOLDER_SECONDS = 2.0
TERM_SECONDS = 10.0
EXIT_INFO_SECONDS = 0.3
MAX_PIDFD = 100
"""More processes than this are looked at by their number, to leave descriptors for the rest."""

_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3


class Process:
    """A process that is followed by its number and start, and by a pidfd where there is one.

    Attributes:
        was_there: whether it still ran when somebody began to follow it.
    """

    def __init__(self, pid: int, start: int) -> None:
        self.pid = pid
        self.start = start
        self.fd: int | None = None
        self.has_ended = False
        self._signal: int | None = None
        self._is_signal_known = False
        self.was_there = not is_gone(pid, start)
        try:
            self.fd = os.pidfd_open(pid)
        except (OSError, AttributeError):
            return
        if self.fd > MAX_PIDFD or is_gone(pid, start):
            self.close()

    @property
    def is_gone(self) -> bool:
        """Whether it has ended; with a pidfd, whether that has said so."""
        if not self.has_ended and self.fd is None:
            self.has_ended = is_gone(self.pid, self.start)
        return self.has_ended

    def death_signal(self) -> int | None:
        """Return the signal that ended it, where the kernel tells (6.15 and newer)."""
        if not self._is_signal_known:
            self._signal = self._ask_signal()
            self._is_signal_known = True
        return self._signal

    def _ask_signal(self) -> int | None:
        if self.fd is None:
            return None
        deadline = time.monotonic() + EXIT_INFO_SECONDS
        # The kernel knows only after the parent has waited for it.
        while time.monotonic() < deadline:
            asked = bytearray(struct.pack("<Q", _PIDFD_INFO_EXIT).ljust(64, b"\0"))
            try:
                fcntl.ioctl(self.fd, _PIDFD_GET_INFO, asked)
            except OSError as error:
                if error.errno != errno.ESRCH:
                    return None
            else:
                mask = struct.unpack_from("<Q", asked)[0]
                if mask & _PIDFD_INFO_EXIT:
                    status = struct.unpack_from("<i", asked, 60)[0]
                    return int(status & 0x7F) or None
            time.sleep(0.01)
        return None

    def close(self) -> None:
        """Close the pidfd."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class Tree:
    """A staging tree, locked: the streams of one program and its children."""

    def __init__(self, folder: str, lock: int) -> None:
        self.folder = folder
        self.lock = lock
        pid, _, start = os.path.basename(folder).partition("-")
        self.program = Process(int(pid), int(start))
        self.streams: dict[str, Stream] = {}
        self.processes: dict[tuple[int, int], Process] = {}

    def find_streams(self) -> bool:
        """Look for new writers; tell whether there are any.

        Raises:
            FileNotFoundError: somebody removed the tree. Perhaps the program has made it again:
                then another sender follows that.
        """
        if not os.fstat(self.lock).st_nlink:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.folder)
        found = False
        for name in _writers_in(self.folder):
            if name in self.streams:
                continue
            try:
                stream = Stream(os.path.join(self.folder, name))
            except (OSError, ValueError):
                continue
            self.streams[name] = stream
            identity = (stream.target.pid, stream.target.start)
            if identity not in self.processes:
                self.processes[identity] = Process(*identity)
            found = True
        return found

    def process_of(self, stream: Stream) -> Process:
        """Return the process that writes a stream."""
        return self.processes[(stream.target.pid, stream.target.start)]

    def everybody(self) -> list[Process]:
        """Return the program and the processes whose streams are still here."""
        return [self.program, *(self.process_of(stream) for stream in self.streams.values())]

    def drop(self, stream: Stream) -> None:
        """Remove a writer's folder from staging."""
        folder = stream.staged.folder
        gone = os.path.join(self.folder, f".{os.path.basename(folder)}.gone")
        on_disk = overflow_of(folder)
        os.rename(folder, gone)
        if on_disk is not None:
            remove_files(on_disk)
        _remove_folder(gone)
        del self.streams[os.path.basename(folder)]

    def remove(self) -> bool:
        """Remove the tree, unless somebody joined it meanwhile; tell whether it is gone.

        Raises:
            OSError: it cannot be removed.
        """
        gone = os.path.join(os.path.dirname(self.folder), f".{os.path.basename(self.folder)}.gone")
        if os.path.isdir(gone) and not _writers_in(gone):
            # A sender was killed while it did this.
            _remove_folder(gone)
        os.rename(self.folder, gone)
        if _writers_in(gone):
            os.rename(gone, self.folder)
            return False
        _remove_folder(gone)
        return True


def lock_tree(folder: str) -> int | None:
    """Lock a tree; return the lock's descriptor, or None if a sender has it.

    Raises:
        OSError: there is no such tree.
    """
    fd = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    # Over what stood there: a staging that is full has no room for more.
    os.pwrite(fd, str(os.getpid()).encode().ljust(16), 0)
    return fd


def find_orphans(root: str) -> list[Tree]:
    """Lock and return the trees whose program and sender are both gone."""
    orphans: list[Tree] = []
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return orphans
    for name in names:
        pid, _, start = name.partition("-")
        if not pid.isdecimal() or not start.isdecimal() or not is_gone(int(pid), int(start)):
            continue
        folder = os.path.join(root, name)
        try:
            lock = lock_tree(folder)
        except OSError:
            continue
        if lock is not None:
            orphans.append(Tree(folder, lock))
    return orphans


class Sender:
    """Follows trees until nothing is left to do for them."""

    def __init__(self, tree: Tree) -> None:
        self.trees = [tree]
        self._root = os.path.dirname(tree.folder)
        self.settler = Settler()
        self.deliverer = Deliverer(self.settler)
        self._is_terminated = False
        self._terminated_at: float | None = None
        self._gone_at: float | None = None
        self._busy_until = 0.0
        self._adopt_at = time.monotonic() + 2.0
        self._poll = select.poll()
        wake = os.path.join(tree.folder, "wake")
        if not os.path.exists(wake):
            os.mkfifo(wake, 0o600)
        # Also open for writing, or every look would find the end of the file.
        self._wake = os.open(wake, os.O_RDWR | os.O_NONBLOCK)
        self._poll.register(self._wake, select.POLLIN)
        self._watched: dict[int, Process] = {}

    def run(self) -> bool:
        """Follow the program until it is gone and everything of it is settled and delivered.

        Returns False when a thread has died: the program then starts another sender.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._terminate)
        self.settler.start()
        self.deliverer.start()
        is_woken = True
        while True:
            self.look(hurry=is_woken)
            if self._is_over():
                break
            if not (self.settler.is_alive and self.deliverer.is_alive):
                return False
            is_woken = self._wait()
        self.deliverer.close()
        self.settler.close()
        return True

    def look(self, *, hurry: bool) -> None:
        """Take in what is new in staging, and in the life of the processes."""
        now = time.monotonic()
        if now >= self._adopt_at and not hurry:
            self._adopt_at = float("inf")
            self.trees += find_orphans(self._root)
        has_new = False
        for tree in list(self.trees):
            try:
                has_fresh = tree.find_streams()
            except FileNotFoundError:
                # Somebody removed the tree: there is nothing to follow any more.
                self.trees.remove(tree)
                has_new = True
                continue
            except OSError:
                # No descriptor is free just now: the next look finds what is new.
                continue
            if has_fresh:
                has_new = True
                self._watch(tree)
        if has_new:
            self._share_streams()
        has_grown = has_new
        for tree in self.trees:
            for stream in list(tree.streams.values()):
                has_grown = self._look_at(tree, stream, hurry=hurry) or has_grown
        if has_grown:
            self._busy_until = now + 1.0
        if hurry:
            self.settler.wake()
        elif has_grown:
            self.settler.nudge()
        if has_grown or hurry:
            self.deliverer.wake(hurry=hurry)

    def _look_at(self, tree: Tree, stream: Stream, *, hurry: bool) -> bool:
        staged = stream.staged
        is_gone = tree.process_of(stream).is_gone
        try:
            has_grown = staged.scan()
            if is_gone and not staged.is_ended:
                has_grown = staged.scan() or has_grown
                if not staged.is_ended:
                    process = tree.process_of(stream)
                    append_lost(
                        staged, signal=process.death_signal(), is_witnessed=process.was_there
                    )
                    has_grown = True
            until = stream.settled
            if stream.is_deleted or self.settler.refuses(stream):
                until = max(until, stream.next)
            staged.free(until)
        except OSError as error:
            stream.look_error = f"cannot look into staging: {error.strerror}"
            stream.write_ack()
            return False
        stream.look_error = None
        if stream.owes_ack:
            stream.write_ack()
        if hurry or staged.is_ended:
            stream.urgent = staged.tail
        self._resolve(tree, stream, is_gone=is_gone)
        return has_grown

    def _resolve(self, tree: Tree, stream: Stream, *, is_gone: bool) -> None:
        """Remove a stream's folder when nothing is left to do for it."""
        staged = stream.staged
        is_safe = stream.settled >= staged.tail or (
            self.settler.refuses(stream) and stream.next >= staged.tail
        )
        if not (staged.is_ended and is_safe and stream.is_delivered):
            stream.resolved_at = None
            return
        now = time.monotonic()
        if stream.resolved_at is None:
            stream.write_ack()
            stream.resolved_at = now
        # The program may still want to read the final ack.
        if (is_gone or now - stream.resolved_at > FOLDER_SECONDS) and (
            self.settler.has_noted(stream) or self.settler.refuses(stream)
        ):
            process = tree.process_of(stream)
            try:
                tree.drop(stream)
            except OSError:
                # Perhaps the next time; nothing depends on it.
                return
            if process.has_ended:
                self._forget(tree, process)
            self._share_streams()

    def _forget(self, tree: Tree, process: Process) -> None:
        """Let go of a process that has ended, once none of its streams is left."""
        identity = (process.pid, process.start)
        if any((s.target.pid, s.target.start) == identity for s in tree.streams.values()):
            return
        if process.fd is not None:
            self._watched.pop(process.fd, None)
        process.close()
        del tree.processes[identity]

    def _share_streams(self) -> None:
        streams = tuple(stream for tree in self.trees for stream in tree.streams.values())
        self.settler.streams = self.deliverer.streams = streams

    def _is_over(self) -> bool:
        """Tell whether this sender may end; remove the trees that are done."""
        now = time.monotonic()
        if self._terminated_at is not None and now - self._terminated_at > TERM_SECONDS:
            return True
        for tree in list(self.trees):
            if tree.program.is_gone and not tree.streams and _is_rid_of(tree):
                self.trees.remove(tree)
        if not self.trees:
            return True
        if any(not process.is_gone for tree in self.trees for process in tree.everybody()):
            self._gone_at = None
            return False
        if self._gone_at is None:
            self._gone_at = now
        if now - max(self._gone_at, self.deliverer.last_reached()) < LINGER_SECONDS:
            return False
        self._leave()
        return True

    def _leave(self) -> None:
        """Leave what no server took to `runlore sync`: on the disk, or else in staging."""
        for tree in list(self.trees):
            for stream in list(tree.streams.values()):
                if stream.staged.is_ended and stream.settled >= stream.staged.tail:
                    with suppress(OSError):
                        tree.drop(stream)
            if not tree.streams:
                _is_rid_of(tree)

    def _wait(self) -> bool:
        """Wait for a tick, a wake or a death; tell whether it was a wake."""
        now = time.monotonic()
        seconds = BUSY_SECONDS if now < self._busy_until or self._gone_at else IDLE_SECONDS
        is_woken = False
        for fd, _ in self._poll.poll(seconds * 1000):
            if fd == self._wake:
                os.read(fd, 4096)
                is_woken = True
            else:
                self._poll.unregister(fd)
                self._watched[fd].has_ended = True
                is_woken = True
        if self._is_terminated and self._terminated_at is None:
            self._terminated_at = time.monotonic()
            is_woken = True
        return is_woken

    def _watch(self, tree: Tree) -> None:
        for process in (tree.program, *tree.processes.values()):
            if process.fd is not None and process.fd not in self._watched:
                self._watched[process.fd] = process
                self._poll.register(process.fd, select.POLLIN)

    def _terminate(self, number: int, frame: object) -> None:
        self._is_terminated = True
        os.write(self._wake, b"t")


def _is_rid_of(tree: Tree) -> bool:
    """Remove a tree; tell whether there is nothing more to do about it."""
    try:
        return tree.remove()
    except OSError:
        # Gone already, or not ours to remove: a folder too many is no reason to stay.
        return True


def _writers_in(tree: str) -> list[str]:
    with os.scandir(tree) as entries:
        # A dot begins the name of a folder that is being made or removed.
        return [entry.name for entry in entries if entry.name[0] != "." and entry.is_dir()]


def _remove_folder(folder: str) -> None:
    for entry in list(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            _remove_folder(entry.path)
        else:
            if entry.is_file(follow_symlinks=False):
                # A writer that holds it open sees by that who removes it.
                os.chmod(entry.path, 0)
            os.unlink(entry.path)
    os.rmdir(folder)


def main() -> int:
    """Follow the tree named on the command line."""
    folder = os.path.abspath(sys.argv[1])
    try:
        lock = lock_tree(folder)
    except FileNotFoundError:
        # Another sender has already brought everything home and removed the tree.
        return 0
    if lock is None:
        return 0
    return 0 if Sender(Tree(folder, lock)).run() else 1


if __name__ == "__main__":
    raise SystemExit(main())
