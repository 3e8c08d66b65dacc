"""Writes a stream into staging in the plainest way: frames from `wire.spool`, one file write each.

For tests of what reads staging, whatever the SDK does.
"""

import json
import os
import time
from pathlib import Path

from runlore.core.metric import Value
from runlore.sdk.places import segment_name
from runlore.sdk.staging import start_of
from runlore.wire import spool


def a_tree(root: Path, pid: int | None = None) -> Path:
    """Make a staging tree for a process, this one by default."""
    pid = os.getpid() if pid is None else pid
    tree = root / f"{pid}-{start_of(pid) or 1}"
    tree.mkdir(parents=True, mode=0o700)
    os.mkfifo(tree / "wake", 0o600)
    return tree


class StagedWriter:
    """One writer in a tree. It fills each segment with `segment_bytes` and begins the next."""

    def __init__(
        self,
        tree: Path,
        *,
        url: str,
        home: Path,
        writer: str = "w1",
        run: str = "run1",
        mode: str = "online",
        pid: int | None = None,
        segment_bytes: int = 65536,
    ) -> None:
        self.tree = tree
        self.folder = tree / writer
        self.writer = writer
        self.pid = os.getpid() if pid is None else pid
        self.path = home / "spool" / "box" / "local" / "digits" / run / f"{writer}.rlspool"
        self._segment_bytes = segment_bytes
        self._keys: dict[str, int] = {}
        self.tail = 0
        self._start = 0
        self._fd = -1
        hidden = tree / f".{writer}"
        hidden.mkdir(mode=0o700)
        names: dict[str, object] = {
            "host": "box",
            "owner": "local",
            "project": "digits",
            "run": run,
            "writer": writer,
            "pid": self.pid,
            "role": "main",
        }
        target = {
            "url": url,
            "api_key": "",
            "mode": mode,
            "home": str(home),
            "start": start_of(self.pid) or 1,
            **names,
        }
        (hidden / "target").write_text(json.dumps(target))
        hidden.rename(self.folder)
        head = spool.encode_json(
            spool.HEADER,
            {
                "owner": "local",
                "project": "digits",
                "run": run,
                "writer": writer,
                "host": "box",
                "pid": self.pid,
                "started_ns": time.time_ns(),
                "role": "main",
            },
        )
        self._begin(len(spool.PREAMBLE) + len(head) + 8)
        self._put(spool.PREAMBLE + spool.frame(head))

    def log(self, values: dict[str, Value], step: int) -> None:
        """Write one row."""
        fresh = [key for key in values if key not in self._keys]
        if fresh:
            self.frame(spool.encode_keys(len(self._keys), fresh))
            self._keys.update({key: len(self._keys) + i for i, key in enumerate(fresh)})
        ids = [self._keys[key] for key in values]
        self.frame(spool.encode_mixed_row(step, step, ids, list(values.values())))

    def frame(self, payload: bytes) -> None:
        """Write any frame."""
        self.raw(spool.frame(payload))

    def raw(self, data: bytes) -> None:
        """Write the bytes of a frame as they are."""
        if self.tail + len(data) > self._start + self._segment_bytes:
            self._begin(len(data))
        self._put(data)

    def finish(self, exit_code: int = 0) -> None:
        """End the run and wake the sender."""
        self.frame(
            spool.encode_json(spool.FINISH, {"exit_code": exit_code, "time_ns": 1, "boot_ns": 1})
        )
        self.wake()

    def wake(self) -> None:
        """Ask the sender to settle and deliver now."""
        fd = os.open(self.tree / "wake", os.O_RDWR | os.O_NONBLOCK)
        os.write(fd, b"w")
        os.close(fd)

    def ack(self) -> dict[str, object]:
        """Return what the sender says."""
        try:
            found: dict[str, object] = json.loads((self.folder / "ack").read_text())
        except FileNotFoundError:
            return {}
        return found

    def _begin(self, size: int) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._start = self.tail
        path = self.folder / segment_name(self._start)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(self._fd, max(size, self._segment_bytes))

    def _put(self, data: bytes) -> None:
        os.pwrite(self._fd, data[8:], self.tail - self._start + 8)
        os.pwrite(self._fd, data[:8], self.tail - self._start)
        self.tail += len(data)
