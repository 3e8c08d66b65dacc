"""The history file of one project: packed blocks of columns.

Every pack has a number. A block was `born` in one and may be replaced (`dead`) in another, so a
reader who knows which packs count sees exactly one version of everything.
"""

import json
import logging
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from runlore.errors import DamageError
from runlore.store.embedded.metrics_blob import (
    Floats,
    Ints,
    pack_floats,
    pack_ints,
    pack_texts,
    seal,
    unseal,
)
from runlore.store.embedded.metrics_decode import Block, Columns
from runlore.store.embedded.metrics_layers import TABLE as SUMMARY_TABLE
from runlore.store.embedded.metrics_layers import UPGRADE as UPGRADE_SUMMARY
from runlore.store.embedded.metrics_layers import (
    Layer,
    NewLayer,
    a_layer,
    forget_layers,
    worth_taking,
    write_layer,
)
from runlore.store.embedded.metrics_levels import TABLES as TOWER_TABLES
from runlore.store.embedded.metrics_levels import (
    Raiser,
    TowerKey,
    delete_tower,
    delete_towers,
    towers_of,
)
from runlore.store.embedded.metrics_log import (
    decode_progress,
    encode_progress,
    give_back,
    open_database,
    transaction,
)
from runlore.store.embedded.metrics_programs import Progress
from runlore.store.embedded.metrics_reader import SEGMENT_BITS, BlockRow, HistoryReader, counted
from runlore.store.embedded.metrics_sizes import Sizes
from runlore.store.embedded.metrics_summary import Summary, merged
from runlore.store.embedded.presence import Presence

_logger = logging.getLogger(__name__)

_TABLES = """
CREATE TABLE columns (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER, body BLOB, digest INTEGER
) STRICT;
CREATE TABLE block (
    id INTEGER PRIMARY KEY, run INTEGER, writer INTEGER, columns INTEGER, n INTEGER,
    first_step INTEGER, last_step INTEGER, per_segment INTEGER, born INTEGER, dead INTEGER,
    frames BLOB, raised INTEGER
) STRICT;
CREATE TABLE segment (id INTEGER PRIMARY KEY, body BLOB) STRICT;
CREATE TABLE applied (writer INTEGER PRIMARY KEY, run INTEGER, progress TEXT) STRICT;
CREATE INDEX block_dead ON block (dead) WHERE dead NOT NULL;
"""
_MORE_TABLES = TOWER_TABLES + SUMMARY_TABLE
_INDICES = """
CREATE INDEX block_span ON block (run, last_step, first_step);
CREATE INDEX block_loose ON block (run, writer, columns) WHERE raised IS NOT 1;
CREATE INDEX columns_digest ON columns (run, digest);
"""
_UPGRADE_1 = (
    "ALTER TABLE block ADD COLUMN raised INTEGER; DROP INDEX block_run;"
    "ALTER TABLE columns ADD COLUMN digest INTEGER; DROP INDEX columns_run;"
    + _INDICES
    + TOWER_TABLES
    + UPGRADE_SUMMARY
)
_UPGRADES = {1: _UPGRADE_1, 2: UPGRADE_SUMMARY}
_SEGMENT_VALUES = 8192
_RAISE_VALUES = 2**22
_SMALL_TEXT_BYTES = 1024 * 1024
_IDLE_READERS = 4
_KNOWN_SETS = 256


class Raising(NamedTuple):
    """A writer whose packed blocks may go into towers.

    Attributes:
        eras: for each rewind of it, in order, the bytes that had been stored.
    """

    run: int
    run_name: str
    writer: int
    has_ended: bool
    eras: Sequence[int]


class Packing(NamedTuple):
    """Unpacked blocks of one writer, and what was known of its stream behind them."""

    run: int
    run_name: str
    writer: int
    progress: Progress
    blocks: Sequence[Block]


class _Ready(NamedTuple):
    """What a pack writes of one writer: blocks, one for each set of columns, and a layer.

    Attributes:
        layers: those that count until then.
    """

    packing: Packing
    blocks: Sequence[Block]
    layers: Sequence[Layer]
    layer: NewLayer


class History:
    """Writes one history file and lends out readers of it.

    Only one thread at a time may pack or delete; readers may be borrowed by any.
    """

    def __init__(self, path: Path, sizes: Sizes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._sizes = sizes
        self._db = open_database(path, _TABLES + _INDICES + _MORE_TABLES, _UPGRADES)
        self._told: set[str] = set()
        self._own = HistoryReader(path, self._told)
        self._sets: dict[tuple[int, tuple[tuple[str, str], ...]], tuple[int, Columns]] = {}
        self._dead: list[int] = [
            block for (block,) in self._db.execute("SELECT id FROM block WHERE dead NOT NULL")
        ]
        self._has_holes = False
        self._idle: list[HistoryReader] = []
        self._closed = False
        self._lock = threading.Lock()  # protects _idle and _closed
        # Every pack writes a summary, and each is kept until the next pack of its writer.
        (number,) = self._db.execute("SELECT ifnull(max(born), 0) FROM summary").fetchone()
        self.published = int(number)
        self._presence = Presence(path, "history file")

    def check_present(self) -> None:
        """Raise UnavailableError if the file was removed: what goes into it now is lost."""
        self._presence.check()

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
            ready: list[_Ready] = []
            for packing in packings:
                try:
                    ready.append(self._ready(packing, number))
                except DamageError as error:
                    damaged[packing.writer] = error
            with self._writing():
                for block in self._dead:
                    self._remove(block)
                dead: list[int] = []
                for one in ready:
                    dead += self._pack(one, number)
        self._dead = dead
        return number, damaged

    def loose_writers(self) -> set[int]:
        """Return the writers of which enough is packed, but in no tower yet."""
        rows = self._db.execute(
            "SELECT writer FROM block WHERE raised IS NOT 1 AND raised IS NULL "
            "GROUP BY run, writer, columns HAVING sum(n) >= ?",
            (self._sizes.small_frames,),
        )
        return {writer for (writer,) in rows}

    def raise_towers(self, raising: Raising) -> bool:
        """Add a step's worth of a writer's blocks to its towers; tell whether more is left.

        Only blocks that nothing will be joined with any more, and of as many frames together as
        are worth it; all of it is one commit.
        """
        with self._reading():
            groups = self._worth_raising(raising)
            if not groups:
                return False
            set_id, blocks = next(iter(groups.items()))
            most = max(1, _RAISE_VALUES // max(1, self._width(set_id, raising.run_name)))
            taken = [blocks[0]]
            for block in blocks[1:]:
                if sum(one.n for one in taken) + block.n > most:
                    break
                taken.append(block)
            with self._writing():
                self._raise(raising, set_id, taken)
        return len(groups) > 1 or len(taken) < len(blocks)

    def delete(self, run: int) -> int:
        """Delete all of a run; return the bytes that its blobs took."""
        freed = 0
        with self._writing():
            blocks = self._db.execute("SELECT id FROM block WHERE run = ?", (run,)).fetchall()
            for (block,) in blocks:
                freed += self._remove(block)
            freed += delete_towers(self._db, run)
            for table in ("columns", "summary", "applied"):
                self._db.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
        self._dead = []
        self._sets = {key: found for key, found in self._sets.items() if key[0] != run}
        self._has_holes = True
        return freed

    def shrink(self, pages: int) -> bool:
        """Give up to so many pages of deleted runs back to the disk; tell if there are more."""
        if self._has_holes:
            give_back(self._db, self.path, pages)
            (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
            self._has_holes = free > 0
            if not self._has_holes:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return self._has_holes

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
        low, high = block << SEGMENT_BITS, (block + 1) << SEGMENT_BITS
        (freed,) = self._db.execute(
            "SELECT ifnull(sum(length(body)), 0) FROM segment WHERE id >= ? AND id < ?",
            (low, high),
        ).fetchone()
        self._db.execute("DELETE FROM segment WHERE id >= ? AND id < ?", (low, high))
        row = self._db.execute("SELECT length(frames) FROM block WHERE id = ?", (block,))
        (frames,) = row.fetchone() or (0,)
        self._db.execute("DELETE FROM block WHERE id = ?", (block,))
        return int(freed) + int(frames)

    def _ready(self, packing: Packing, number: int) -> "_Ready":
        """Join the blocks of a writer, and make the layer of its summary that is theirs."""
        by_columns: dict[tuple[tuple[str, str], ...], list[Block]] = {}
        for block in packing.blocks:
            by_columns.setdefault(block.columns.cells, []).append(block)
        blocks = [joined(parts[0].columns, parts) for parts in by_columns.values()]
        summary = Summary()
        for block in blocks:
            summary.fold(block)
        of_writer = (packing.writer, packing.run_name, self.published)
        known = self._own.layers(*of_writer)
        layers = [layer for layer, _ in known]
        taken = worth_taking(layers, len(summary))
        since = taken[-1].since if taken else number
        try:
            old = [parts for _, parts in known[: len(taken)]]
            layer = a_layer(merged([*old, summary.parts()]), since)
        except DamageError as error:
            self._own.tell(error)
            whole = counted(self._own, packing.run, *of_writer)
            whole.merge(summary)
            layer = a_layer(whole.parts(), 0)
        return _Ready(packing, blocks, layers, layer)

    def _pack(self, ready: "_Ready", number: int) -> list[int]:
        """Write one writer's blocks; return the small old ones that they replace."""
        packing = ready.packing
        dead = []
        for whole in ready.blocks:
            set_id, columns = self._set(packing.run, whole.columns)
            old = self._own.growing_block(packing.run, packing.writer, set_id)
            # What is joined is written again; of long texts that is not worth it.
            if (
                old is not None
                and old.n < self._few(self._sizes.small_frames, len(columns.cells))
                and self._own.text_bytes(old, columns) < _SMALL_TEXT_BYTES
            ):
                try:
                    before = self._own.block(old, columns, packing.run_name)
                except DamageError as error:
                    # It stays as it is; whoever reads it is told.
                    self._own.tell(error)
                else:
                    dead.append(old.id)
                    whole = joined(columns, [before, whole])
            size = self._sizes.block_frames
            for begin in range(0, len(whole), size):
                self._write(packing, number, set_id, part_of(whole, begin, begin + size))
        self._db.executemany(
            "UPDATE block SET dead = ? WHERE id = ?", [(number, block) for block in dead]
        )
        # The layers before this one stay until the next pack: readers may still count them.
        forget_layers(self._db, packing.writer, ready.layers)
        write_layer(self._db, packing.writer, packing.run, number, ready.layer)
        self._db.execute(
            "INSERT OR REPLACE INTO applied VALUES (?, ?, ?)",
            (packing.writer, packing.run, encode_progress(packing.progress)),
        )
        return dead

    def _worth_raising(self, raising: Raising) -> dict[int, list[BlockRow]]:
        """Return blocks that wait to be raised, by their columns."""
        sizes = self._sizes
        groups: dict[int, list[BlockRow]] = {}
        for block in self._own.waiting_blocks(raising.run, raising.writer):
            groups.setdefault(block.columns, []).append(block)
        worth = {}
        for set_id, blocks in groups.items():
            width = self._width(set_id, raising.run_name)
            small = self._few(sizes.small_frames, width)
            if not raising.has_ended:
                blocks = [block for block in blocks if block.n >= small]
            least = small if raising.has_ended else self._few(sizes.raise_frames, width)
            if sum(block.n for block in blocks) >= least:
                worth[set_id] = blocks
        return worth

    def _few(self, frames: int, width: int) -> int:
        """Return a number of frames, or fewer where they are so wide that they are many values."""
        return min(frames, max(1, _RAISE_VALUES // max(1, width)))

    def _width(self, set_id: int, run_name: str) -> int:
        try:
            return len(self._own.columns(set_id, run_name).cells)
        except DamageError:
            return 1

    def _raise(self, raising: Raising, set_id: int, blocks: Sequence[BlockRow]) -> None:
        frames: list[Ints] = []
        numbers: list[Floats] = []
        for block in blocks:
            raised = 1
            try:
                columns = self._own.columns(set_id, raising.run_name)
                read = self._own.frames(block, raising.run_name)
                if columns.number_columns:
                    numbers.append(self._own.all_numbers(block, columns, raising.run_name))
                    frames.append(read)
            except DamageError as error:
                # It stays what it is; whoever reads it is told.
                self._own.tell(error)
                raised = 0
            self._db.execute("UPDATE block SET raised = ? WHERE id = ?", (raised, block.id))
        if not frames:
            return
        steps, offsets, times, back, late = np.hstack(frames)
        values = np.hstack(numbers)
        eras = np.searchsorted(np.array(raising.eras), offsets, side="right")
        points = np.array([steps, offsets - back, times - late])
        for era in np.unique(eras).tolist():
            key = TowerKey(raising.run, raising.writer, set_id, era)
            tower = next((t for t in towers_of(self._db, [raising.run]) if t.key == key), None)
            name = f"a tower of run {raising.run_name} in {str(self.path)!r}"
            raiser = Raiser(self._db, key, len(values), name, self._sizes)
            inside = eras == era
            try:
                raiser.add(tower, points[:, inside], values[:, inside])
            except DamageError as error:
                assert tower is not None
                self._own.tell(error)
                self._raze(key)
                return

    def _raze(self, key: TowerKey) -> None:
        """Give up the towers of some columns of a writer; their blocks will be raised again."""
        for tower in towers_of(self._db, [key.run]):
            if (tower.key.writer, tower.key.columns) == (key.writer, key.columns):
                delete_tower(self._db, tower.id)
        self._db.execute(
            "UPDATE block SET raised = NULL WHERE run = ? AND writer = ? AND columns = ? "
            "AND raised = 1",
            key[:3],
        )

    def _set(self, run: int, columns: Columns) -> tuple[int, Columns]:
        """Return the number of a run's set of columns, writing it when it is new."""
        wanted = (run, columns.cells)
        if len(self._sets) > _KNOWN_SETS:
            self._sets.clear()
        if wanted not in self._sets:
            body = json.dumps(columns.cells).encode()
            digest = zlib.crc32(body)
            rows = self._db.execute(
                "SELECT id, body FROM columns WHERE run = ? AND digest = ?", (run, digest)
            )
            for number, known in rows:
                try:
                    if unseal(known, f"columns {number} in {str(self.path)!r}") == body:
                        self._sets[wanted] = (number, columns)
                except DamageError as error:
                    self._own.tell(error)
            if wanted not in self._sets:
                cursor = self._db.execute(
                    "INSERT INTO columns (run, body, digest) VALUES (?, ?, ?)",
                    (run, seal(body), digest),
                )
                assert cursor.lastrowid is not None
                self._sets[wanted] = (cursor.lastrowid, columns)
        return self._sets[wanted]

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
        base = cursor.lastrowid << SEGMENT_BITS
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
