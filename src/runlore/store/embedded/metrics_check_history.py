"""Checks one history file: what is in its blobs, and that its tables agree with each other."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from runlore.errors import DamageError
from runlore.store.embedded.metrics_blob import unseal
from runlore.store.embedded.metrics_check_log import LogState
from runlore.store.embedded.metrics_decode import Block, Columns
from runlore.store.embedded.metrics_findings import (
    BROKEN,
    Finding,
    Findings,
    Remedy,
    check_database,
    read_only,
    rows_of,
    told,
)
from runlore.store.embedded.metrics_layers import LAYERS_SINCE, Layer, chain
from runlore.store.embedded.metrics_log import ALIVE, SCHEMA_VERSION, decode_progress, is_unmade
from runlore.store.embedded.metrics_programs import Progress
from runlore.store.embedded.metrics_reader import SEGMENT_BITS, BlockRow, HistoryReader
from runlore.store.embedded.metrics_summary import Summary


class StoredBlock(NamedTuple):
    """A block as its table has it, with what says when it counts."""

    row: BlockRow
    run: int
    born: int
    dead: int | None
    raised: int | None


@dataclass(kw_only=True)
class HistoryState:
    """What a check has read of one history file.

    Attributes:
        version: its schema version, 0 where that is none or unknown.
        is_empty: whether the file has been begun, and nothing more.
        broken: blocks of which something cannot be read.
        applied: per writer, how far it is packed.
    """

    version: int = 0
    is_empty: bool = False
    columns: dict[int, Columns] = field(default_factory=dict)
    blocks: list[StoredBlock] = field(default_factory=list)
    broken: set[int] = field(default_factory=set)
    applied: dict[int, Progress] = field(default_factory=dict)

    @property
    def counted(self) -> list[StoredBlock]:
        """The blocks that no other has replaced."""
        return [block for block in self.blocks if block.dead is None]


class HistoryCheck:
    """Looks at all of one `history/<project>.db`."""

    def __init__(self, path: Path, log: LogState, findings: Findings) -> None:
        self._path = path
        self._file = f"{path.parent.name}/{path.name}"
        self._log = log
        self._findings = findings
        self.state = HistoryState()
        self._damaged: set[object] = set()

    def check(self, more: Callable[[sqlite3.Connection, HistoryState], None]) -> HistoryState:
        """Name every damage; `more` looks at what stands on the blocks."""
        with read_only(self._path) as db:
            if not check_database(db, self._file, self._findings):
                return self.state
            if is_unmade(db):
                self.state.is_empty = True
                return self.state
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if not 0 < version <= SCHEMA_VERSION:
                self._add(
                    f"has schema version {version}, this Runlore reads up to {SCHEMA_VERSION}",
                    "no server opens this folder; upgrade Runlore",
                )
                return self.state
            self.state.version = version
            reader = HistoryReader(self._path, set(), db)
            self._applied(db)
            self._columns(db)
            self._blocks(db)
            self._segments(db)
            summaries = {
                writer: Summary() for writer in {b.row.writer for b in self.state.counted}
            }
            offsets: dict[tuple[int, int], list[np.ndarray[tuple[int], np.dtype[np.int64]]]] = {}
            for block in self.state.blocks:
                whole = self._block(reader, block)
                if whole is not None and block.dead is None:
                    summaries[block.row.writer].fold(whole)
                    place = (block.row.writer, block.row.columns)
                    offsets.setdefault(place, []).append(whole.offsets)
            self._twice(offsets)
            self._declared()
            self._summaries(db, summaries)
            more(db, self.state)
        return self.state

    def _applied(self, db: sqlite3.Connection) -> None:
        for writer, run, text in self._rows(db, "applied", "writer, run, progress"):
            try:
                assert isinstance(writer, int)
                if not isinstance(text, str):
                    raise DamageError(f"progress is {type(text).__name__}", offset=0)
                self.state.applied[writer] = decode_progress(text)
            except BROKEN as error:
                self._add(
                    f"progress of writer {self._writer(writer)} cannot be decoded: {told(error)}",
                    "how far it is packed is unknown; its run cannot be read",
                    run=run,
                )

    def _columns(self, db: sqlite3.Connection) -> None:
        for number, run, body in self._rows(db, "columns", "id, run, body"):
            try:
                assert isinstance(number, int)
                cells = json.loads(unseal(_blob(body), f"columns {number}"))
                self.state.columns[number] = Columns([(key, kind) for key, kind in cells])
            except BROKEN as error:
                self._damaged.add(number)
                self._add(
                    told(error),
                    "which keys the blocks with these columns have is unknown; they cannot be "
                    "read",
                    run=run,
                    size=_size(body),
                    remedy="columns",
                    target=(number,) if isinstance(number, int) else (),
                )

    def _blocks(self, db: sqlite3.Connection) -> None:
        raised = "raised" if self.state.version > 1 else "NULL"
        names = (
            "id, writer, columns, n, first_step, last_step, per_segment, run, born, dead, "
            f"{raised}"
        )
        for number, *fields in self._rows(db, "block", names):
            *about, run, born, dead, is_raised = fields
            is_whole = all(isinstance(one, int) for one in (number, *about, run, born))
            if not is_whole or not all(isinstance(v, int | None) for v in (dead, is_raised)):
                self._add(
                    f"block {number} has {fields}: not what was written",
                    "its points are not shown; restore the file from a backup",
                    run=run,
                )
                continue
            row = BlockRow(number, *about)  # type: ignore[arg-type]
            self.state.blocks.append(StoredBlock(row, run, born, dead, is_raised))  # type: ignore[arg-type]
            self._owner(f"block {number}", run, row.writer)

    def _owner(self, what: str, run: object, writer: int) -> None:
        """Name what belongs to nobody; deletions that a crash interrupted are no damage."""
        if not self._log.is_known:
            return
        known = self._log.runs.get(run) if isinstance(run, int) else None
        if known is not None and known.state != ALIVE:
            return
        found = self._log.writers.get(writer)
        if known is None or found is None or found.run != run:
            self._add(
                f"{what} belongs to run {run!r} and writer {writer!r}, which are not there",
                "nobody sees it; its points are missing where they belong",
                run=run,
            )

    def _segments(self, db: sqlite3.Connection) -> None:
        """Name segments that no block has; those that a block lacks are named with it."""
        known = {block.row.id for block in self.state.blocks}
        loose = []
        for (number,) in self._rows(db, "segment", "id"):
            if not isinstance(number, int) or number >> SEGMENT_BITS not in known:
                loose.append(number)
        if loose:
            self._add(
                f"{len(loose)} chunks belong to no block, the first is {loose[0]!r}",
                "they take space; points of theirs are missing if a block was lost",
                remedy="orphan",
            )

    def _block(self, reader: HistoryReader, block: StoredBlock) -> Block | None:
        """Read all of a block, and compare it with what its table says."""
        row, run_name = block.row, self._log.name(block.run)
        if (columns := self.state.columns.get(row.columns)) is None:
            self.state.broken.add(row.id)
            return None
        troubles: list[tuple[str, tuple[str, ...]]] = []
        steps = self._frames(reader, row, run_name, troubles)
        if row.per_segment < 1:
            troubles.append((f"has {row.per_segment} keys in a chunk", ()))
        whole = self._values(reader, row, columns, run_name, troubles)
        for trouble, keys in troubles:
            self.state.broken.add(row.id)
            self._add(
                trouble if f"block {row.id}" in trouble else f"block {row.id} {trouble}",
                "the points of these keys and steps cannot be read"
                if keys
                else "all points of this block cannot be read",
                run=block.run,
                keys=keys or tuple(columns.keys),
                steps=(row.first_step, row.last_step),
                remedy="block",
                target=(row.id,),
            )
        if steps is None or whole is None or troubles:
            return None
        return whole

    def _frames(
        self,
        reader: HistoryReader,
        row: BlockRow,
        run_name: str,
        troubles: list[tuple[str, tuple[str, ...]]],
    ) -> object:
        try:
            frames = reader.frames(row, run_name)
            steps = frames[0]
            said = (row.n, row.first_step, row.last_step)
            held = (len(steps), int(steps.min()), int(steps.max()))
            if said != held:
                troubles.append(
                    (f"has {held} as frames, first and last step, its table says {said}", ())
                )
            if not (np.diff(frames[1]) > 0).all():
                troubles.append(("has frames twice or in another order than they came", ()))
            return steps
        except BROKEN as error:
            troubles.append((told(error), ()))
            return None

    def _values(
        self,
        reader: HistoryReader,
        row: BlockRow,
        columns: Columns,
        run_name: str,
        troubles: list[tuple[str, tuple[str, ...]]],
    ) -> Block | None:
        """Read the values of a block chunk by chunk, naming each that cannot be read."""
        if row.per_segment < 1 or row.n < 1:
            return None
        count = len(columns.number_columns)
        before = len(troubles)
        for first in range(0, count, row.per_segment):
            last = min(first + row.per_segment, count)
            keys = tuple(columns.keys[c] for c in columns.number_columns[first:last])
            try:
                shape = reader.numbers(row, columns, first, run_name).shape
                if shape != (last - first, row.n):
                    troubles.append((f"has a chunk of {shape[0]} keys × {shape[1]} points", keys))
            except BROKEN as error:
                troubles.append((told(error), keys))
        for slot, column in enumerate(columns.text_columns):
            try:
                reader.texts(row, columns, slot, run_name)
            except BROKEN as error:
                troubles.append((told(error), (columns.keys[column],)))
        if len(troubles) > before:
            return None
        try:
            return reader.block(row, columns, run_name)
        except BROKEN:
            return None

    def _declared(self) -> None:
        """Name sets of columns that are gone, and keys that the log does not know any more."""
        keys: dict[int, set[str]] = {}
        gone: dict[int, StoredBlock] = {}
        for block in self.state.counted:
            columns = self.state.columns.get(block.row.columns)
            if columns is not None:
                keys.setdefault(block.row.writer, set()).update(columns.keys)
            elif block.row.columns not in self._damaged:
                gone[block.row.columns] = block
        for number, block in gone.items():
            self._add(
                f"columns {number} are missing",
                "which keys the blocks with these columns have is unknown; they cannot be read",
                run=block.run,
            )
        for number, used in keys.items():
            writer = self._log.writers.get(number)
            if writer is not None and writer.declared is not None:
                lacking = used - writer.keys()
                if lacking:
                    self._add(
                        f"declarations of writer {writer.name!r} are missing in log.db",
                        "nothing can be added to this writer",
                        run=writer.run,
                        keys=tuple(sorted(lacking)),
                    )

    def _twice(
        self,
        offsets: dict[tuple[int, int], list[np.ndarray[tuple[int], np.dtype[np.int64]]]],
    ) -> None:
        """Name frames that stand in two blocks which both count."""
        for (writer, columns), parts in offsets.items():
            whole = np.concatenate(parts)
            doubled = len(whole) - len(np.unique(whole))
            if doubled:
                self._add(
                    f"{doubled} frames of writer {self._writer(writer)} with columns {columns} "
                    "stand in two blocks",
                    "their points are counted twice",
                    run=self._run_of(writer),
                    keys=tuple(self.state.columns[columns].keys),
                )

    def _summaries(self, db: sqlite3.Connection, counted: dict[int, Summary]) -> None:
        """Compare the newest summary of each writer with its blocks."""
        newest, told_of = self._newest(db)
        whole = {b.row.writer for b in self.state.blocks if b.row.id in self.state.broken}
        for writer, summary in counted.items():
            blocks = [b for b in self.state.counted if b.row.writer == writer]
            born, found = newest.get(writer, (-1, Summary()))
            title = f"summary of writer {self._writer(writer)}"
            if born < max(b.born for b in blocks):
                self._summary(
                    f"{title} is missing or older than its blocks", writer, blocks[0].run
                )
            elif writer not in whole | told_of:
                held, said = _cells(summary), _cells(found)
                for key in sorted(held.keys() | said.keys()):
                    if held.get(key) != said.get(key):
                        text = f"{title} says {said.get(key)} of key {key[0]!r}, its blocks hold "
                        self._summary(f"{text}{held.get(key)}", writer, blocks[0].run)
                        break
            self._points(writer, blocks)

    def _newest(self, db: sqlite3.Connection) -> tuple[dict[int, tuple[int, Summary]], set[int]]:
        """Return the number and summary of each writer, and the writers whose one is damaged."""
        hurt: set[int] = set()
        has_layers = self.state.version >= LAYERS_SINCE
        columns = "writer, born, since, cells" if has_layers else "writer, born, 0, 0"
        layers: dict[int, dict[int, tuple[Layer, list[Summary]]]] = {}
        order = "ORDER BY writer, born DESC"
        for row in self._rows(db, "summary", f"{columns}, run, body", order):
            writer, born, since, cells, run, body = row
            if not isinstance(writer, int) or not isinstance(born, int):
                self._add(f"summary of writer {writer!r} has number {born!r}", _SUMMARY, run=run)
                continue
            name = f"summary {born} of writer {self._writer(writer)}"
            found = Summary()
            try:
                found = Summary.decode(_blob(body), name)
            except BROKEN as error:
                hurt.add(writer)
                self._summary(told(error), writer, run, _size(body))
            else:
                if cells not in (0, len(found)) or not isinstance(since, int):
                    hurt.add(writer)
                    text = f"{name} says {cells!r} keys since {since!r}, it holds {len(found)}"
                    self._summary(text, writer, run)
            layer = Layer(born, since if isinstance(since, int) else 0, 0)
            layers.setdefault(writer, {}).setdefault(born, (layer, []))[1].append(found)
        newest: dict[int, tuple[int, Summary]] = {}
        for writer, known in layers.items():
            whole = Summary()
            counting = chain(layer for layer, _ in known.values())
            for layer in counting:
                for part in known[layer.born][1]:
                    whole.merge(part)
            newest[writer] = (counting[0].born, whole)
        return newest, hurt

    def _points(self, writer: int, blocks: Sequence[StoredBlock]) -> None:
        applied = self.state.applied.get(writer)
        if applied is None or any(b.row.columns not in self.state.columns for b in blocks):
            return
        held = sum(b.row.n * len(self.state.columns[b.row.columns].cells) for b in blocks)
        if held != applied.points:
            self._add(
                f"blocks of writer {self._writer(writer)} hold {held} points, "
                f"{applied.points} were packed",
                "points are missing or counted twice; restore the file from a backup",
                run=blocks[0].run,
            )

    def _summary(self, what: str, writer: int, run: object, size: int | None = None) -> None:
        self._add(what, _SUMMARY, run=run, size=size, remedy="summary", target=(writer,))

    def _writer(self, number: object) -> str:
        known = self._log.writers.get(number) if isinstance(number, int) else None
        return repr(known.name) if known is not None else f"number {number!r}"

    def _run_of(self, writer: int) -> object:
        known = self._log.writers.get(writer)
        return known.run if known is not None else None

    def _rows(
        self, db: sqlite3.Connection, table: str, columns: str, order: str = ""
    ) -> list[tuple[object, ...]]:
        return rows_of(db, table, columns, order, file=self._file, findings=self._findings)

    def _add(
        self,
        what: str,
        means: str,
        *,
        run: object = None,
        keys: tuple[str, ...] = (),
        steps: tuple[int, int] | None = None,
        remedy: Remedy = "none",
        target: tuple[int, ...] = (),
        size: int | None = None,
    ) -> None:
        self._findings.add(
            Finding(
                file=self._file,
                what=what,
                means=means,
                run="" if run is None else self._log.name(run),
                keys=keys,
                steps=steps,
                remedy=remedy,
                target=target,
                size=size,
            )
        )


_SUMMARY = "lists of keys, counts and last values may be wrong until it is counted again"


def _cells(summary: Summary) -> dict[tuple[str, str], str]:
    # Compared as text, in which NaN is like NaN.
    return {(cell.key, cell.kind): str(tuple(cell[2:])) for cell in summary.cells()}


def _blob(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _size(value: object) -> int | None:
    return len(value) if isinstance(value, bytes) else None
