"""Reads one history file, in one snapshot: blocks, summaries, towers."""

import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from runlore.errors import DamageError
from runlore.store.embedded.metrics_blob import (
    SIZE_HEAD_BYTES,
    Floats,
    Ints,
    unpack_floats,
    unpack_ints,
    unpack_texts,
    unseal,
    unsealed_size,
)
from runlore.store.embedded.metrics_buckets import Buckets
from runlore.store.embedded.metrics_decode import Block, Columns
from runlore.store.embedded.metrics_layers import Layer, layers_of, parts_of
from runlore.store.embedded.metrics_levels import Leaf, Tower, leaves_of, read_leaf, towers_of
from runlore.store.embedded.metrics_log import translated
from runlore.store.embedded.metrics_summary import CellName, Summary, merged

SEGMENT_BITS = 20
"""A segment's id is its block's id shifted by this, plus its number: first numbers, then texts."""
_FRAME_COLUMNS = 5
_NEVER = 2**62
_AT_ONCE = 500
_KNOWN_KEYS = 100_000
_BLOCK = "id, writer, columns, n, first_step, last_step, per_segment"
_COUNTS = "born <= ? AND (dead IS NULL OR dead > ?)"

_logger = logging.getLogger(__name__)


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
        db: a connection to read from; None opens one.
    """

    def __init__(self, path: Path, told: set[str], db: sqlite3.Connection | None = None) -> None:
        self.path = path
        self._told = told
        with translated(path):
            # One that is gone is not made again as an empty one.
            self._db = db or sqlite3.connect(
                f"file:{quote(str(path))}?mode=rw",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
            )
        self._columns: dict[int, Columns] = {}
        self._sets: dict[bytes, Columns] = {}
        self._expected: dict[int, None] = {}
        self._towers: dict[int, list[Tower]] = {}
        self._loose: dict[int, list[BlockRow]] = {}

    def begin(self) -> None:
        """Take the snapshot."""
        with translated(self.path):
            self._db.execute("BEGIN")
            self._db.execute("SELECT 1 FROM block LIMIT 1").fetchone()

    def end(self) -> None:
        """Let go of the snapshot."""
        self.expect(())
        if sum(len(columns.keys) for columns in self._sets.values()) > _KNOWN_KEYS:
            self._columns, self._sets = {}, {}
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def expect(self, runs: Sequence[int]) -> None:
        """Prepare to be asked for the towers and loose blocks of these runs in this snapshot."""
        self._expected = dict.fromkeys(runs)
        self._towers, self._loose = {}, {}

    def blocks(
        self, run: int, published: int, low: int = -_NEVER, high: int = _NEVER
    ) -> list[BlockRow]:
        """Return a run's blocks with steps from `low` to before `high`, as of the given pack."""
        where = f"run = ? AND last_step >= ? AND first_step < ? AND {_COUNTS}"
        return self._blocks(where, (run, low, high, published, published))

    def loose_blocks(self, run: int, published: int) -> list[BlockRow]:
        """Return the blocks of a run that no tower holds, as of the given pack."""
        if run in self._expected and not self._loose:
            self._loose = {known: [] for known in self._expected}
            for some in _batches(list(self._expected)):
                rows = self._db.execute(
                    f"SELECT run, {_BLOCK} FROM block WHERE raised IS NOT 1 AND {_COUNTS} "
                    f"AND run IN ({_places(some)}) ORDER BY id",
                    (published, published, *some),
                )
                for of_run, *row in rows:
                    self._loose[of_run].append(BlockRow(*row))
        if run in self._loose:
            return self._loose[run]
        where = f"run = ? AND raised IS NOT 1 AND {_COUNTS}"
        return self._blocks(where, (run, published, published))

    def growing_block(self, run: int, writer: int, columns: int) -> BlockRow | None:
        """Return the newest block of a writer with some columns that no tower holds."""
        found = self._blocks(
            "run = ? AND writer = ? AND columns = ? AND raised IS NOT 1 AND raised IS NULL "
            "AND dead IS NULL",
            (run, writer, columns),
        )
        return found[-1] if found else None

    def waiting_blocks(self, run: int, writer: int) -> list[BlockRow]:
        """Return the blocks of a writer that may go into a tower."""
        return self._blocks(
            "run = ? AND writer = ? AND raised IS NOT 1 AND raised IS NULL AND dead IS NULL",
            (run, writer),
        )

    def raised_blocks(self, tower: Tower, low: int, high: int) -> list[BlockRow]:
        """Return the blocks with steps from `low` to before `high` that a tower may hold."""
        key = tower.key
        return self._blocks(
            "run = ? AND last_step >= ? AND first_step < ? AND writer = ? AND columns = ? "
            "AND raised = 1",
            (key.run, low, high, key.writer, key.columns),
        )

    def towers(self, run: int) -> list[Tower]:
        """Return the towers of a run."""
        if run in self._expected and not self._towers:
            self._towers = {known: [] for known in self._expected}
            for some in _batches(list(self._expected)):
                for tower in towers_of(self._db, some):
                    self._towers[tower.key.run].append(tower)
        return self._towers[run] if run in self._towers else towers_of(self._db, [run])

    def leaves(self, tower: Tower, level: int, first: int, last: int) -> list[tuple[Leaf, bytes]]:
        """Return the leaves with buckets from number `first` to `last`, and their blobs."""
        return leaves_of(self._db, tower.id, level, first, last)

    def whole_levels(
        self, wanted: Sequence[tuple[int, int, int]]
    ) -> list[tuple[int, int, int, bytes, bytes | None]]:
        """Return all leaves of some towers, each at one level and with one number column.

        Args:
            wanted: numbers of towers, levels, slots.

        Returns:
            For each leaf its place in `wanted`, how many buckets and number columns per segment
            it has, its blob, and that of the segment, in the order of `wanted`, then by step.
        """
        places = ", ".join(["(?, ?, ?, ?)"] * len(wanted))
        rows = self._db.execute(
            f"WITH wanted (place, tower, level, slot) AS (VALUES {places}) "
            "SELECT wanted.place, leaf.first, n, per_segment, leaf.body, leaf_segment.body "
            "FROM wanted CROSS JOIN leaf USING (tower, level) LEFT JOIN leaf_segment "
            f"ON leaf_segment.id = (leaf.id << {SEGMENT_BITS}) + wanted.slot / per_segment",
            [number for place, one in enumerate(wanted) for number in (place, *one)],
        )
        found = sorted(rows, key=itemgetter(0, 1))
        return [(place, *leaf) for place, _, *leaf in found]

    def buckets(
        self, tower: Tower, found: tuple[Leaf, bytes], slot: int, columns: Columns, run_name: str
    ) -> Buckets:
        """Return a leaf with one number column."""
        leaf, body = found
        key = columns.keys[columns.number_columns[slot]]
        name = self._name(f"leaf {leaf.id} of tower {tower.id}, key {key!r},", run_name)
        count = len(columns.number_columns)
        return read_leaf(self._db, leaf, body, slot, slot + 1, count, name)

    def columns(self, number: int, run_name: str) -> Columns:
        """Return a set of columns."""
        if number not in self._columns:
            row = self._db.execute("SELECT body FROM columns WHERE id = ?", (number,)).fetchone()
            name = self._name(f"columns {number}", run_name)
            self._columns[number] = self._decoded_columns(row[0] if row else b"", name)
        return self._columns[number]

    def expect_columns(self, numbers: Iterable[int]) -> None:
        """Prepare to be asked for some sets of columns; of one that is damaged `columns` tells."""
        unknown = [number for number in dict.fromkeys(numbers) if number not in self._columns]
        for some in _batches(unknown):
            rows = self._db.execute(
                f"SELECT id, body FROM columns WHERE id IN ({_places(some)})", some
            )
            for number, body in rows:
                with suppress(DamageError):
                    self._columns[number] = self._decoded_columns(body, "columns")

    def _decoded_columns(self, body: bytes, name: str) -> Columns:
        """Decode a set of columns; runs that log the same keys share one."""
        if body not in self._sets:
            cells = json.loads(unseal(body, name))
            self._sets[body] = Columns([(key, kind) for key, kind in cells])
        return self._sets[body]

    def column_sets(self, runs: Sequence[int]) -> Iterator[tuple[int, int, bytes]]:
        """Yield run, number and sealed body of every set of columns of some runs."""
        for some in _batches(runs):
            yield from self._db.execute(
                f"SELECT run, id, body FROM columns WHERE run IN ({_places(some)})", some
            )

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

    def all_numbers(self, block: BlockRow, columns: Columns, run_name: str) -> Floats:
        """Return all number columns of a block, a row each."""
        count = len(columns.number_columns)
        if count == 0:
            return np.zeros((0, block.n))
        firsts = range(0, count, block.per_segment)
        return np.vstack([self.numbers(block, columns, first, run_name) for first in firsts])

    def texts(self, block: BlockRow, columns: Columns, slot: int, run_name: str) -> list[str]:
        """Return one text column of a block."""
        number = _segments(len(columns.number_columns), block.per_segment) + slot
        key = columns.keys[columns.text_columns[slot]]
        return unpack_texts(*self._segment(block, number, [key], run_name))

    def text_bytes(self, block: BlockRow, columns: Columns) -> int:
        """Return how many bytes the texts of a block have, without reading them."""
        first = (block.id << SEGMENT_BITS) + _segments(
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
        return Block(
            columns=columns,
            steps=steps,
            offsets=offsets,
            times=times,
            back=back,
            late=late,
            numbers=self.all_numbers(row, columns, run_name).T,
            texts=[
                self.texts(row, columns, slot, run_name)
                for slot in range(len(columns.text_columns))
            ],
        )

    def layers(
        self, writer: int, run_name: str, published: int
    ) -> list[tuple[Layer, Iterator[Summary]]]:
        """Return the layers of a writer's summary as of the given pack, with their parts."""
        name = self._name(f"summary of writer {writer}", run_name)
        found = layers_of(self._db, writer, published)
        return [(layer, parts_of(self._db, writer, layer.born, name)) for layer in found]

    def summaries(self, run: int, writer: int, run_name: str, published: int) -> Iterator[Summary]:
        """Yield the summary of what is packed of a writer up to the given pack, part by part.

        One that is damaged is counted again from the blocks.
        """
        done: CellName | None = None
        try:
            for part in merged([parts for _, parts in self.layers(writer, run_name, published)]):
                yield part
                done = part.greatest
            return
        except DamageError as error:
            self.tell(error)
        for part in counted(self, run, writer, run_name, published).parts():
            behind = part if done is None else part.split(done)[1]
            if behind is not None:
                yield behind

    def tell(self, damage: DamageError) -> None:
        """Name in a warning, once, what is damaged and can be done without."""
        if str(damage) not in self._told:
            self._told.add(str(damage))
            _logger.warning("%s", damage)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _blocks(self, where: str, values: Sequence[int]) -> list[BlockRow]:
        rows = self._db.execute(f"SELECT {_BLOCK} FROM block WHERE {where} ORDER BY id", values)
        return [BlockRow(*row) for row in rows]

    def _segment(
        self, block: BlockRow, number: int, keys: Sequence[str], run_name: str
    ) -> tuple[bytes, int, str]:
        """Return the blob, the length of its columns, and what to call it in an error."""
        place = (block.id << SEGMENT_BITS) + number
        row = self._db.execute("SELECT body FROM segment WHERE id = ?", (place,)).fetchone()
        named = " to ".join(map(repr, dict.fromkeys([*keys[:1], *keys[-1:]]))) or "none"
        name = self._name(f"chunk {number} of block {block.id}, key {named},", run_name)
        return row[0] if row else b"", block.n, name

    def _name(self, what: str, run_name: str) -> str:
        return f"{what} of run {run_name} in {str(self.path)!r}"


def counted(
    reader: HistoryReader, run: int, writer: int, run_name: str, published: int
) -> Summary:
    """Count the summary of what is packed of a writer from its blocks."""
    found = Summary()
    for block in reader.blocks(run, published):
        if block.writer == writer:
            columns = reader.columns(block.columns, run_name)
            found.fold(reader.block(block, columns, run_name))
    return found


def _segments(count: int, per_segment: int) -> int:
    return -(-count // per_segment)


def _batches(runs: Sequence[int]) -> Iterator[Sequence[int]]:
    for begin in range(0, len(runs), _AT_ONCE):
        yield runs[begin : begin + _AT_ONCE]


def _places(runs: Sequence[int]) -> str:
    return ", ".join("?" * len(runs))
