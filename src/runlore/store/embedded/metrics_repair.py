"""Mends what a check found: from blocks what is derived of them, blocks from the log."""

import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np

from runlore.core.metric import Kind
from runlore.store.embedded.metrics_blob import Ints, pack_floats, pack_ints, pack_texts, seal
from runlore.store.embedded.metrics_check_history import HistoryState, StoredBlock
from runlore.store.embedded.metrics_check_log import LogState
from runlore.store.embedded.metrics_decode import Block, Columns
from runlore.store.embedded.metrics_findings import BROKEN, Findings
from runlore.store.embedded.metrics_history import joined, taken
from runlore.store.embedded.metrics_layers import LAYERS_SINCE, a_layer, write_layer
from runlore.store.embedded.metrics_levels import delete_tower
from runlore.store.embedded.metrics_log import transaction
from runlore.store.embedded.metrics_reader import SEGMENT_BITS, HistoryReader
from runlore.store.embedded.metrics_summary import Summary
from runlore.wire import spool

_Cells = tuple[tuple[str, Kind], ...]


class Repair:
    """Mends the files of one store, each in one transaction."""

    def __init__(self, folder: Path, log: LogState, findings: Findings) -> None:
        self._folder = folder
        self._log = log
        self._findings = findings

    def log(self) -> None:
        """Remove damaged pieces that nobody needs, and make indices again."""
        path = self._folder / "log.db"
        pieces = self._findings.remedies(path.name, "piece")
        reindex = self._findings.remedies(path.name, "reindex")
        if not path.exists() or not (pieces or reindex):
            return
        with _opened(path) as db, transaction(db, path):
            if reindex:
                _try(db, "REINDEX")
            db.executemany("DELETE FROM piece WHERE seq = ?", pieces)

    def history(self, path: Path, state: HistoryState) -> None:
        """Mend one history file."""
        file = f"{path.parent.name}/{path.name}"
        if not state.version or not any(f.file == file for f in self._findings.found):
            return
        wanted = self._findings.remedies
        with _opened(path) as db, transaction(db, path):
            if wanted(file, "reindex"):
                _try(db, "REINDEX")
            mending = _HistoryRepair(db, path, state, self._log)
            mending.columns([target[0] for target in wanted(file, "columns") if target])
            mending.blocks()
            for target in wanted(file, "tower"):
                if len(target) == 3:
                    mending.raze(*target)
            mending.summaries([writer for (writer,) in wanted(file, "summary")])
            if wanted(file, "orphan"):
                mending.orphans()


class _HistoryRepair:
    """Mends one history file inside a transaction."""

    def __init__(
        self, db: sqlite3.Connection, path: Path, state: HistoryState, log: LogState
    ) -> None:
        self._db = db
        self._state = state
        self._log = log
        self._reader = HistoryReader(path, set(), db)
        self._kept: dict[int, dict[_Cells, list[Block]]] = {}

    def columns(self, damaged: list[int]) -> None:
        """Write sets of columns again whose cells the log tells, as their digests prove."""
        for number in damaged:
            row = self._db.execute(
                "SELECT run, digest FROM columns WHERE id = ?", (number,)
            ).fetchone()
            if row is None or row[1] is None:
                continue
            run, digest = row
            for cells in self._signatures(run):
                body = json.dumps(cells).encode()
                if zlib.crc32(body) == digest and self._fits(number, len(cells)):
                    self._db.execute(
                        "UPDATE columns SET body = ? WHERE id = ?", (seal(body), number)
                    )
                    self._state.columns[number] = Columns(cells)
                    self._state.broken |= {
                        b.row.id for b in self._state.blocks if b.row.columns == number
                    }
                    break

    def blocks(self) -> None:
        """Restore damaged blocks from the pieces that the log still holds."""
        broken = [b for b in self._state.counted if b.row.id in self._state.broken]
        for block in broken:
            columns = self._state.columns.get(block.row.columns)
            if columns is None:
                continue
            try:
                frames: Ints | None = self._reader.frames(block.row, "")
            except BROKEN:
                frames = None
            kept = self._pieces_of(block.row.writer).get(columns.cells, [])
            if frames is not None and frames.shape[1]:
                self._metadata(block, frames)
                self._segments(block, columns, frames, kept)
            elif kept:
                self._all_of(block, columns, kept)

    def raze(self, run: int, writer: int, columns: int) -> None:
        """Remove the towers of some columns of a writer; a server raises them again."""
        rows = self._db.execute(
            "SELECT id FROM tower WHERE run = ? AND writer = ? AND columns = ?",
            (run, writer, columns),
        ).fetchall()
        for (tower,) in rows:
            delete_tower(self._db, tower)
        self._db.execute(
            "UPDATE block SET raised = NULL WHERE run = ? AND writer = ? AND columns = ? "
            "AND raised = 1",
            (run, writer, columns),
        )

    def summaries(self, writers: list[int]) -> None:
        """Count summaries again from the blocks, where all of these can be read."""
        for writer in writers:
            blocks = [b for b in self._state.counted if b.row.writer == writer]
            summary = Summary()
            try:
                for block in blocks:
                    columns = self._state.columns[block.row.columns]
                    summary.fold(self._reader.block(block.row, columns, ""))
            except BROKEN:
                continue
            (born,) = self._db.execute("SELECT max(born) FROM summary").fetchone()
            newest = self._db.execute(
                "SELECT max(born) FROM summary WHERE writer = ?", (writer,)
            ).fetchone()[0]
            born = max([newest or 0, *(b.born for b in blocks)], default=born or 0)
            known = self._log.writers.get(writer)
            if known is None:
                continue
            self._db.execute("DELETE FROM summary WHERE writer = ?", (writer,))
            if self._state.version >= LAYERS_SINCE:
                layer = a_layer(summary.parts(), 0)
                write_layer(self._db, writer, known.run, born, layer)
            else:
                self._db.execute(
                    "INSERT INTO summary VALUES (?, ?, ?, ?)",
                    (writer, born, known.run, summary.encode()),
                )

    def orphans(self) -> None:
        """Remove chunks and leaves that belong to nothing."""
        self._db.execute(
            f"DELETE FROM segment WHERE id >> {SEGMENT_BITS} NOT IN (SELECT id FROM block)"
        )
        if self._state.version > 1:
            self._db.execute("DELETE FROM leaf WHERE tower NOT IN (SELECT id FROM tower)")
            self._db.execute(
                f"DELETE FROM leaf_segment WHERE id >> {SEGMENT_BITS} NOT IN (SELECT id FROM leaf)"
            )

    def _metadata(self, block: StoredBlock, frames: Ints) -> None:
        self._db.execute(
            "UPDATE block SET n = ?, first_step = ?, last_step = ? WHERE id = ?",
            (frames.shape[1], int(frames[0].min()), int(frames[0].max()), block.row.id),
        )

    def _segments(
        self, block: StoredBlock, columns: Columns, frames: Ints, kept: list[Block]
    ) -> None:
        """Write the damaged chunks of a block whose frames are known again."""
        whole = _at(columns, kept, frames[1])
        if whole is None or not (whole.steps == frames[0]).all():
            return
        row = block.row._replace(n=frames.shape[1])
        count = len(columns.number_columns)
        per_segment = row.per_segment
        for number, first in enumerate(range(0, count, per_segment)):
            try:
                if self._reader.numbers(row, columns, first, "").shape[1] == row.n:
                    continue
            except BROKEN:
                pass
            part = whole.numbers.T[first : first + per_segment]
            self._write(row.id, number, pack_floats(part))
        numbers = -(-count // per_segment)
        for slot, texts in enumerate(whole.texts):
            try:
                self._reader.texts(row, columns, slot, "")
            except BROKEN:
                self._write(row.id, numbers + slot, pack_texts(texts))

    def _all_of(self, block: StoredBlock, columns: Columns, kept: list[Block]) -> None:
        """Write a block again whose frames are those that no other block of its columns has."""
        row = block.row
        whole = joined(columns, kept)
        elsewhere: list[Ints] = []
        for other in self._state.counted:
            same = (other.row.writer, other.row.columns) == (row.writer, row.columns)
            if same and other.row.id != row.id:
                try:
                    elsewhere.append(self._reader.frames(other.row, "")[1])
                except BROKEN:
                    return
        packed = self._state.applied.get(row.writer)
        loose = ~np.isin(whole.offsets, np.concatenate([*elsewhere, np.zeros(0, np.int64)]))
        if packed is not None:
            loose &= whole.offsets < packed.next
        found = taken(whole, np.flatnonzero(loose))
        said = (row.n, row.first_step, row.last_step)
        if not len(found) or said != (
            len(found),
            int(found.steps.min()),
            int(found.steps.max()),
        ):
            return
        blob = pack_ints([found.steps, found.offsets, found.times, found.back, found.late])
        self._db.execute("UPDATE block SET frames = ? WHERE id = ?", (blob, row.id))
        frames = np.array([found.steps, found.offsets])
        self._segments(block, columns, frames, kept)

    def _write(self, block: int, number: int, body: bytes) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO segment VALUES (?, ?)",
            ((block << SEGMENT_BITS) + number, body),
        )

    def _pieces_of(self, writer: int) -> dict[_Cells, list[Block]]:
        """Return what the log still holds of a writer, by columns."""
        if writer not in self._kept:
            found: dict[_Cells, list[Block]] = {}
            known = self._log.writers.get(writer)
            for block in known.blocks() if known is not None else ():
                found.setdefault(block.columns.cells, []).append(block)
            self._kept[writer] = found
        return self._kept[writer]

    def _signatures(self, run: int) -> Iterator[_Cells]:
        """Yield the columns that frames of a run can have had, likely ones first."""
        kinds: tuple[Kind, ...] = ("number", "bool", "string")
        for number, writer in self._log.writers.items():
            if writer.run != run:
                continue
            yield from self._pieces_of(number)
            table = spool.KeyTable()
            for frames in writer.declared or ():
                for frame in spool.whole_frames(frames, offset=len(spool.PREAMBLE)):
                    table.declare(frame.payload)
            for ids in table.sets.values():
                yield tuple((table.keys[one], "number") for one in ids)
            yield from (((key, kind),) for key, kind in product(table.keys.values(), kinds))

    def _fits(self, number: int, cells: int) -> bool:
        """Tell whether a set of so many columns can be that of the blocks that name it."""
        for block in self._state.counted:
            if block.row.columns == number:
                (count,) = self._db.execute(
                    "SELECT count(*) FROM segment WHERE id >= ? AND id < ?",
                    (block.row.id << SEGMENT_BITS, (block.row.id + 1) << SEGMENT_BITS),
                ).fetchone()
                if count > cells:
                    return False
        return True


def _at(columns: Columns, kept: list[Block], offsets: Ints) -> Block | None:
    """Return the frames at some offsets of the stream; None unless all are there."""
    if not kept:
        return None
    whole = joined(columns, kept)
    places = np.searchsorted(whole.offsets, offsets)
    if (places >= len(whole)).any() or (whole.offsets[places] != offsets).any():
        return None
    return taken(whole, places)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        yield db
    finally:
        db.close()


def _try(db: sqlite3.Connection, statement: str) -> None:
    try:
        db.execute(statement)
    except sqlite3.DatabaseError:
        # Damage that is no matter of an index; the second check names it.
        return
