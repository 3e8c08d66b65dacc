"""The history file of one project: packed blocks of columns.

Every pack has a number. A block was `born` in one and may be replaced (`dead`) in another, so a
reader who knows which packs count sees exactly one version of everything.
"""

import json
import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from runlore.errors import DamageError
from runlore.store.embedded.metrics_blob import (
    SIZE_HEAD_BYTES,
    Floats,
    Ints,
    pack_floats,
    pack_ints,
    pack_texts,
    seal,
    unpack_floats,
    unpack_ints,
    unpack_texts,
    unseal,
    unsealed_size,
)
from runlore.store.embedded.metrics_decode import Block, Columns
from runlore.store.embedded.metrics_log import (
    decode_progress,
    encode_progress,
    open_database,
    transaction,
)
from runlore.store.embedded.metrics_programs import Progress
from runlore.store.embedded.metrics_summary import Summary

_logger = logging.getLogger(__name__)

_TABLES = """
CREATE TABLE columns (id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER, body BLOB) STRICT;
CREATE TABLE block (
    id INTEGER PRIMARY KEY, run INTEGER, writer INTEGER, columns INTEGER, n INTEGER,
    first_step INTEGER, last_step INTEGER, per_segment INTEGER, born INTEGER, dead INTEGER,
    frames BLOB
) STRICT;
CREATE TABLE segment (id INTEGER PRIMARY KEY, body BLOB) STRICT;
CREATE TABLE summary (
    writer INTEGER, born INTEGER, run INTEGER, body BLOB, PRIMARY KEY (writer, born)
) STRICT;
CREATE TABLE applied (writer INTEGER PRIMARY KEY, run INTEGER, progress TEXT) STRICT;
CREATE INDEX block_run ON block (run);
CREATE INDEX block_dead ON block (dead) WHERE dead NOT NULL;
CREATE INDEX columns_run ON columns (run);
"""
# A segment's id is its block's id shifted by this, plus its number: first numbers, then texts.
_SEGMENT_BITS = 20
_FRAME_COLUMNS = 5
_SEGMENT_VALUES = 8192
_BLOCK_FRAMES = 8192
_SMALL_FRAMES = 1024
_SMALL_TEXT_BYTES = 1024 * 1024
_IDLE_READERS = 4
_KNOWN_SETS = 256


class Packing(NamedTuple):
    """Unpacked blocks of one writer, and what was known of its stream behind them."""

    run: int
    run_name: str
    writer: int
    progress: Progress
    blocks: Sequence[Block]


class BlockRow(NamedTuple):
    """A packed block as its table has it, without its blobs."""

    id: int
    writer: int
    columns: int
    n: int
    first_step: int
    last_step: int
    per_segment: int


class HistoryReader:
    """Reads blocks in one snapshot; belongs to one thread at a time.

    Args:
        told: what was named as damaged in a warning, so that it is named once.
    """

    def __init__(self, path: Path, told: set[str]) -> None:
        self.path = path
        self._told = told
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._columns: dict[int, Columns] = {}

    def begin(self) -> None:
        """Take the snapshot."""
        self._db.execute("BEGIN")
        self._db.execute("SELECT 1 FROM block LIMIT 1").fetchone()

    def end(self) -> None:
        """Let go of the snapshot."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def blocks(self, run: int, published: int) -> list[BlockRow]:
        """Return the blocks of a run that count in the given pack."""
        rows = self._db.execute(
            "SELECT id, writer, columns, n, first_step, last_step, per_segment FROM block "
            "WHERE run = ? AND born <= ? AND (dead IS NULL OR dead > ?) ORDER BY id",
            (run, published, published),
        )
        return [BlockRow(*row) for row in rows]

    def columns(self, number: int, run_name: str) -> Columns:
        """Return a set of columns."""
        if number not in self._columns:
            name = self._name(f"columns {number}", run_name)
            row = self._db.execute("SELECT body FROM columns WHERE id = ?", (number,)).fetchone()
            cells = json.loads(unseal(row[0] if row else b"", name))
            self._columns[number] = Columns([(key, kind) for key, kind in cells])
        return self._columns[number]

    def frames(self, block: BlockRow, run_name: str) -> Ints:
        """Return steps, offsets, times, back and late of a block, a row each."""
        row = self._db.execute("SELECT frames FROM block WHERE id = ?", (block.id,)).fetchone()
        name = self._name(f"block {block.id}", run_name)
        return unpack_ints(row[0] if row else b"", _FRAME_COLUMNS, name)

    def numbers(self, block: BlockRow, columns: Columns, first: int, run_name: str) -> Floats:
        """Return the segment of a block that begins with number column `first`, a row each."""
        number = first // block.per_segment
        last = min(first + block.per_segment, len(columns.number_columns))
        keys = [columns.keys[c] for c in columns.number_columns[first:last]]
        return unpack_floats(*self._segment(block, number, keys, run_name))

    def texts(self, block: BlockRow, columns: Columns, slot: int, run_name: str) -> list[str]:
        """Return one text column of a block."""
        number = _segments(len(columns.number_columns), block.per_segment) + slot
        key = columns.keys[columns.text_columns[slot]]
        return unpack_texts(*self._segment(block, number, [key], run_name))

    def text_bytes(self, block: BlockRow, columns: Columns) -> int:
        """Return how many bytes the texts of a block have, without reading them."""
        first = (block.id << _SEGMENT_BITS) + _segments(
            len(columns.number_columns), block.per_segment
        )
        heads = self._db.execute(
            "SELECT substr(body, 1, ?) FROM segment WHERE id >= ? AND id < ?",
            (SIZE_HEAD_BYTES, first, first + len(columns.text_columns)),
        )
        return sum(unsealed_size(head) for (head,) in heads)

    def block(self, row: BlockRow, columns: Columns, run_name: str) -> Block:
        """Return all of a block."""
        steps, offsets, times, back, late = self.frames(row, run_name)
        numbers = [
            self.numbers(row, columns, first, run_name)
            for first in range(0, len(columns.number_columns), row.per_segment)
        ]
        return Block(
            columns=columns,
            steps=steps,
            offsets=offsets,
            times=times,
            back=back,
            late=late,
            numbers=np.vstack(numbers).T if numbers else np.zeros((row.n, 0)),
            texts=[
                self.texts(row, columns, slot, run_name)
                for slot in range(len(columns.text_columns))
            ],
        )

    def summary(self, run: int, writer: int, run_name: str, published: int) -> Summary | None:
        """Return the summary of what is packed of a writer up to the given pack.

        One that is damaged is counted again from the blocks.
        """
        row = self._db.execute(
            "SELECT body FROM summary WHERE writer = ? AND born <= ? ORDER BY born DESC LIMIT 1",
            (writer, published),
        ).fetchone()
        if row is None:
            return None
        try:
            return Summary.decode(row[0], self._name(f"summary of writer {writer}", run_name))
        except DamageError as error:
            self.tell(error)
        counted = Summary()
        for block in self.blocks(run, published):
            if block.writer == writer:
                counted.fold(self.block(block, self.columns(block.columns, run_name), run_name))
        return counted

    def tell(self, damage: DamageError) -> None:
        """Name in a warning, once, what is damaged and can be done without."""
        if str(damage) not in self._told:
            self._told.add(str(damage))
            _logger.warning("%s", damage)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _segment(
        self, block: BlockRow, number: int, keys: Sequence[str], run_name: str
    ) -> tuple[bytes, int, str]:
        """Return the blob, the length of its columns, and what to call it in an error."""
        place = (block.id << _SEGMENT_BITS) + number
        row = self._db.execute("SELECT body FROM segment WHERE id = ?", (place,)).fetchone()
        named = repr(keys[0]) if len(keys) == 1 else f"{keys[0]!r} to {keys[-1]!r}"
        name = self._name(f"chunk {number} of block {block.id}, key {named},", run_name)
        return row[0] if row else b"", block.n, name

    def _name(self, what: str, run_name: str) -> str:
        return f"{what} of run {run_name} in {str(self.path)!r}"


class History:
    """Writes one history file and lends out readers of it.

    Only one thread at a time may pack or delete; readers may be borrowed by any.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._db = open_database(path, _TABLES)
        self._told: set[str] = set()
        self._own = HistoryReader(path, self._told)
        self._sets: dict[tuple[int, tuple[tuple[str, str], ...]], tuple[int, Columns]] = {}
        self._dead: list[int] = [
            block for (block,) in self._db.execute("SELECT id FROM block WHERE dead NOT NULL")
        ]
        self._idle: list[HistoryReader] = []
        self._closed = False
        self._lock = threading.Lock()  # protects _idle and _closed
        # Every pack writes a summary, and each is kept until the next pack of its writer.
        (number,) = self._db.execute("SELECT ifnull(max(born), 0) FROM summary").fetchone()
        self.published = int(number)

    def applied(self, writer: int) -> Progress:
        """Return how far a writer is packed."""
        rows = self._db.execute("SELECT progress FROM applied WHERE writer = ?", (writer,))
        (progress,) = rows.fetchone() or (None,)
        return decode_progress(progress)

    def borrow(self) -> HistoryReader:
        """Lend a reader with a fresh snapshot; give it back with `give_back`."""
        with self._lock:
            reader = self._idle.pop() if self._idle else None
        reader = reader or HistoryReader(self.path, self._told)
        reader.begin()
        return reader

    def give_back(self, reader: HistoryReader) -> None:
        """Take a reader back."""
        reader.end()
        with self._lock:
            if len(self._idle) < _IDLE_READERS and not self._closed:
                self._idle.append(reader)
                return
        reader.close()

    def pack(self, packings: Sequence[Packing]) -> tuple[int, dict[int, DamageError]]:
        """Write blocks durably in one commit; return the number of the pack.

        Its caller publishes the number; until then readers do not count the new blocks. Beside
        it stand the writers that cannot be packed, because what is packed of them is damaged.
        """
        number = self.published + 1
        damaged: dict[int, DamageError] = {}
        with self._reading():
            ready: list[tuple[Packing, Summary]] = []
            for packing in packings:
                try:
                    ready.append((packing, self._summary(packing)))
                except DamageError as error:
                    damaged[packing.writer] = error
            with self._writing():
                for block in self._dead:
                    self._remove(block)
                dead: list[int] = []
                for packing, summary in ready:
                    dead += self._pack(packing, summary, number)
        self._dead = dead
        return number, damaged

    def delete(self, run: int) -> int:
        """Delete all of a run; return the bytes that its blobs took."""
        freed = 0
        with self._writing():
            blocks = self._db.execute("SELECT id FROM block WHERE run = ?", (run,)).fetchall()
            for (block,) in blocks:
                freed += self._remove(block)
            for table in ("columns", "summary", "applied"):
                self._db.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
        self._dead = []
        self._sets = {key: found for key, found in self._sets.items() if key[0] != run}
        return freed

    def close(self) -> None:
        """Close the file, but for the readers that are lent out."""
        with self._lock:
            self._closed = True
            for reader in self._idle:
                reader.close()
        self._own.close()
        self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with transaction(self._db, self.path):
                yield
        except BaseException:
            # What was noted of new columns was rolled back with them.
            self._sets.clear()
            raise

    @contextmanager
    def _reading(self) -> Iterator[None]:
        self._own.begin()
        try:
            yield
        finally:
            self._own.end()

    def _remove(self, block: int) -> int:
        low, high = block << _SEGMENT_BITS, (block + 1) << _SEGMENT_BITS
        (freed,) = self._db.execute(
            "SELECT ifnull(sum(length(body)), 0) FROM segment WHERE id >= ? AND id < ?",
            (low, high),
        ).fetchone()
        self._db.execute("DELETE FROM segment WHERE id >= ? AND id < ?", (low, high))
        row = self._db.execute("SELECT length(frames) FROM block WHERE id = ?", (block,))
        (frames,) = row.fetchone() or (0,)
        self._db.execute("DELETE FROM block WHERE id = ?", (block,))
        return int(freed) + int(frames)

    def _summary(self, packing: Packing) -> Summary:
        known = self._own.summary(packing.run, packing.writer, packing.run_name, self.published)
        return known or Summary()

    def _pack(self, packing: Packing, summary: Summary, number: int) -> list[int]:
        """Write one writer's blocks; return the small old ones that they replace."""
        writer = packing.writer
        by_columns: dict[tuple[tuple[str, str], ...], list[Block]] = {}
        for block in packing.blocks:
            by_columns.setdefault(block.columns.cells, []).append(block)
        small = {
            row.columns: row
            for row in self._own.blocks(packing.run, self.published)
            if row.writer == packing.writer and row.n < _SMALL_FRAMES
        }
        dead = []
        for parts in by_columns.values():
            set_id, columns = self._set(packing.run, parts[0].columns)
            whole = joined(columns, parts)
            summary.fold(whole)
            old = small.get(set_id)
            # What is joined is written again; of long texts that is not worth it.
            if old is not None and self._own.text_bytes(old, columns) < _SMALL_TEXT_BYTES:
                try:
                    before = self._own.block(old, columns, packing.run_name)
                except DamageError as error:
                    # It stays as it is; whoever reads it is told.
                    self._own.tell(error)
                else:
                    dead.append(old.id)
                    whole = joined(columns, [before, whole])
            for begin in range(0, len(whole), _BLOCK_FRAMES):
                self._write(packing, number, set_id, part_of(whole, begin, begin + _BLOCK_FRAMES))
        self._db.executemany(
            "UPDATE block SET dead = ? WHERE id = ?", [(number, block) for block in dead]
        )
        # The summary before this one stays until the next pack: readers may still count it.
        self._db.execute(
            "DELETE FROM summary WHERE writer = ?1 AND born < "
            "(SELECT max(born) FROM summary WHERE writer = ?1)",
            (writer,),
        )
        self._db.execute(
            "INSERT INTO summary VALUES (?, ?, ?, ?)",
            (writer, number, packing.run, summary.encode()),
        )
        self._db.execute(
            "INSERT OR REPLACE INTO applied VALUES (?, ?, ?)",
            (writer, packing.run, encode_progress(packing.progress)),
        )
        return dead

    def _set(self, run: int, columns: Columns) -> tuple[int, Columns]:
        """Return the number of a run's set of columns, writing it when it is new."""
        wanted = (run, columns.cells)
        if len(self._sets) > _KNOWN_SETS:
            self._sets.clear()
        if wanted not in self._sets:
            rows = self._db.execute("SELECT id FROM columns WHERE run = ?", (run,)).fetchall()
            known = {number for number, _ in self._sets.values()}
            for (number,) in rows:
                if number not in known:
                    try:
                        found = self._read_columns(number)
                    except DamageError as error:
                        self._own.tell(error)
                        continue
                    self._sets[(run, found.cells)] = (number, found)
        if wanted not in self._sets:
            body = seal(json.dumps(columns.cells).encode())
            cursor = self._db.execute("INSERT INTO columns (run, body) VALUES (?, ?)", (run, body))
            assert cursor.lastrowid is not None
            self._sets[wanted] = (cursor.lastrowid, columns)
        return self._sets[wanted]

    def _read_columns(self, number: int) -> Columns:
        (body,) = self._db.execute("SELECT body FROM columns WHERE id = ?", (number,)).fetchone()
        cells = json.loads(unseal(body, f"columns {number} in {str(self.path)!r}"))
        return Columns([(key, kind) for key, kind in cells])

    def _write(self, packing: Packing, number: int, set_id: int, block: Block) -> None:
        n = len(block)
        per_segment = max(1, _SEGMENT_VALUES // n)
        frames = pack_ints([block.steps, block.offsets, block.times, block.back, block.late])
        owner = (packing.run, packing.writer, set_id, n)
        steps = (int(block.steps.min()), int(block.steps.max()))
        cursor = self._db.execute(
            "INSERT INTO block (run, writer, columns, n, first_step, last_step, per_segment, "
            "born, frames) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*owner, *steps, per_segment, number, frames),
        )
        assert cursor.lastrowid is not None
        base = cursor.lastrowid << _SEGMENT_BITS
        upright = block.numbers.T
        bodies = [
            pack_floats(upright[first : first + per_segment])
            for first in range(0, len(upright), per_segment)
        ]
        bodies += [pack_texts(texts) for texts in block.texts]
        self._db.executemany(
            "INSERT INTO segment VALUES (?, ?)",
            [(base + i, body) for i, body in enumerate(bodies)],
        )


def joined(columns: Columns, parts: Sequence[Block]) -> Block:
    """Put blocks of the same columns together, in the order of the stream."""
    if len(parts) == 1:
        return parts[0]
    whole = Block(
        columns=columns,
        steps=np.concatenate([part.steps for part in parts]),
        offsets=np.concatenate([part.offsets for part in parts]),
        times=np.concatenate([part.times for part in parts]),
        back=np.concatenate([part.back for part in parts]),
        late=np.concatenate([part.late for part in parts]),
        numbers=np.concatenate([part.numbers for part in parts]),
        texts=[
            [text for part in parts for text in part.texts[slot]]
            for slot in range(len(columns.text_columns))
        ],
    )
    if (whole.offsets[1:] > whole.offsets[:-1]).all():
        return whole
    # One piece may hold the same columns twice: as rows of a key set and as mixed rows.
    return taken(whole, np.argsort(whole.offsets, kind="stable"))


def taken(block: Block, places: Ints) -> Block:
    """Return the frames of a block at some places."""
    return Block(
        columns=block.columns,
        steps=block.steps[places],
        offsets=block.offsets[places],
        times=block.times[places],
        back=block.back[places],
        late=block.late[places],
        numbers=block.numbers[places],
        texts=[[texts[place] for place in places.tolist()] for texts in block.texts],
    )


def part_of(block: Block, begin: int, end: int) -> Block:
    """Return some frames of a block."""
    return Block(
        columns=block.columns,
        steps=block.steps[begin:end],
        offsets=block.offsets[begin:end],
        times=block.times[begin:end],
        back=block.back[begin:end],
        late=block.late[begin:end],
        numbers=block.numbers[begin:end],
        texts=[texts[begin:end] for texts in block.texts],
    )


def _segments(count: int, per_segment: int) -> int:
    return -(-count // per_segment)
