"""Reading back what a program has staged, for the tests of the SDK."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from runlore.core.json import JsonObject
from runlore.core.metric import Value
from runlore.wire import spool

ROWS = (spool.ROW, spool.LOOSE_ROW, spool.MIXED_ROW)


class Read(NamedTuple):
    """What one stream says, in order."""

    rows: list[tuple[int, dict[str, Value]]]
    objects: list[tuple[int, JsonObject]]
    kinds: list[int]

    def of(self, kind: int) -> list[JsonObject]:
        return [content for found, content in self.objects if found == kind]


def writer_folders(staging: Path) -> list[Path]:
    return sorted(path.parent for path in staging.glob("runlore-*/*/*/target"))


def stream_of(folder: Path) -> bytes:
    """Join a writer's segments; each is as long as the next one's name says."""
    names = sorted(name for name in os.listdir(folder) if len(name) == 20 and name.isdigit())
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
        elif frame.kind in ROWS:
            row = table.row(frame.payload)
            found.rows.append((row.step, dict(zip(row.keys, row.values, strict=True))))
        else:
            found.objects.append((frame.kind, spool.decode_json(frame.payload)))
    return found


def read_all(staging: Path) -> list[Read]:
    return [read(stream_of(folder)) for folder in writer_folders(staging)]


def losses(reads: Sequence[Read]) -> Iterator[float]:
    for found in reads:
        for _, values in found.rows:
            yield float(values["loss"])
