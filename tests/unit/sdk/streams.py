"""Reading back what a program has logged, for the tests of the SDK."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from runlore.core.json import JsonObject
from runlore.core.metric import Value
from runlore.sdk.places import segment_names
from runlore.sdk.rows import Rows
from runlore.sdk.spool import Stream
from runlore.wire import spool

_numbers = itertools.count()


class Read(NamedTuple):
    """What one stream says, in order."""

    rows: list[tuple[int, dict[str, Value]]]
    objects: list[tuple[int, JsonObject]]
    kinds: list[int]

    def of(self, kind: int) -> list[JsonObject]:
        return [content for found, content in self.objects if found == kind]

    @property
    def role(self) -> str:
        return str(self.of(spool.HEADER)[0]["role"])


def staged(folder: Path) -> bytes:
    """Join a writer's segments; each is as long as the next one's name says."""
    names = segment_names(str(folder))
    parts = []
    for name, following in zip(names, [*names[1:], None], strict=True):
        data = (folder / name).read_bytes()
        parts.append(data if following is None else data[: int(following) - int(name)])
    return b"".join(parts)


def read(data: bytes) -> Read:
    table = spool.KeyTable()
    found = Read([], [], [])
    for frame in spool.whole_frames(data, offset=0):
        found.kinds.append(frame.kind)
        if frame.kind in (spool.KEYS, spool.KEY_SET):
            table.declare(frame.payload)
        elif frame.kind in spool.ROWS:
            row = table.row(frame.payload)
            found.rows.append((row.step, dict(zip(row.keys, row.values, strict=True))))
        else:
            found.objects.append((frame.kind, spool.decode_json(frame.payload)))
    return found


def settled(home: Path) -> list[Read]:
    """Read the streams on the disk that have begun, the main writer's first."""
    paths = sorted((home / "spool").glob("*/*/*/*/*.rlspool"))
    begun = [found for found in (read(path.read_bytes()) for path in paths) if found.kinds]
    return sorted(begun, key=lambda found: found.role != "main")


def until(what: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def ended(home: Path, count: int) -> list[Read]:
    """Wait until so many streams have come to their end, and read them."""
    until(
        lambda: (
            sum(bool(spool.ENDS.intersection(found.kinds[-1:])) for found in settled(home))
            >= count
        )
    )
    return settled(home)


def some_rows(folder: Path, *, step: int = 0) -> Rows:
    """Open rows in a folder of their own."""
    folder = folder / str(next(_numbers))
    folder.mkdir()
    return Rows(
        Stream(str(folder), {"run": "r"}),
        step=step,
        on_tick=lambda: None,
        on_skipped=lambda key: None,
        on_trouble=lambda trouble: None,
    )


def read_back(rows: Rows) -> Read:
    """End rows and read what their stream holds."""
    rows.close(None)
    rows.release()
    return read(staged(Path(rows.stream.folder)))
