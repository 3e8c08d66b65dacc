"""Checks the towers of one history file: against each other, their blocks, and all points."""

import json
import sqlite3
from pathlib import Path

import numpy as np

from runlore.errors import DamageError
from runlore.store.embedded.metrics_blob import Floats, Ints
from runlore.store.embedded.metrics_buckets import (
    COUNT,
    FIRST,
    LAST,
    MEAN,
    SHARED,
    Buckets,
    aggregated,
    combined,
)
from runlore.store.embedded.metrics_check_history import HistoryState, StoredBlock
from runlore.store.embedded.metrics_check_log import LogState
from runlore.store.embedded.metrics_decode import Columns
from runlore.store.embedded.metrics_findings import (
    BROKEN,
    Finding,
    Findings,
    Remedy,
    rows_of,
    told,
)
from runlore.store.embedded.metrics_levels import SEGMENT_BITS, Leaf, Level, read_leaf
from runlore.store.embedded.metrics_log import ALIVE
from runlore.store.embedded.metrics_reader import HistoryReader

_VALUES_AT_ONCE = 2**22
_MEANS = "charts are drawn from the points, which takes longer, or may be wrong in places"


class TowerCheck:
    """Looks at all towers of one `history/<project>.db`."""

    def __init__(self, path: Path, log: LogState, findings: Findings) -> None:
        self._path = path
        self._file = f"{path.parent.name}/{path.name}"
        self._log = log
        self._findings = findings

    def check(self, db: sqlite3.Connection, history: HistoryState) -> None:
        """Name every tower that is damaged or disagrees with its blocks."""
        if history.version < 2:
            return
        reader = HistoryReader(self._path, set(), db)
        names = "id, run, writer, columns, era, points, first_step, last_step, levels"
        leaves = self._leaves(db)
        raised: dict[tuple[int, int, int], list[StoredBlock]] = {}
        for block in history.counted:
            if block.raised == 1:
                place = (block.run, block.row.writer, block.row.columns)
                raised.setdefault(place, []).append(block)
        found: dict[tuple[int, int, int], set[int]] = {}
        towers = set()
        for number, run, writer, columns, era, *said in self._rows(db, "tower", names):
            towers.add(number)
            owner = (run, writer, columns)
            title = f"tower {number}"
            try:
                if not isinstance(run, int) or not isinstance(writer, int):
                    raise DamageError(f"belongs to run {run!r}, writer {writer!r}", offset=0)
                if not isinstance(columns, int) or not isinstance(era, int):
                    raise DamageError(f"has columns {columns!r}, era {era!r}", offset=0)
                eras = found.setdefault((run, writer, columns), set())
                if era in eras:
                    raise DamageError(f"stands beside another of era {era}", offset=0)
                eras.add(era)
                points, first, last, levels = said
                text = [Level(*one) for one in json.loads(str(levels))]
                known = history.columns.get(columns)
                if known is None or self._is_buried(run):
                    continue
                blocks = raised.get((run, writer, columns), [])
                has_all = not any(b.row.id in history.broken for b in blocks)
                frames = self._frames(reader, blocks, writer, era) if has_all else None
                if frames is not None:
                    steps = frames[0]
                    held = (len(steps), int(steps.min(initial=2**62)), int(steps.max(initial=-1)))
                    if not len(steps) or held[:2] != (points, first) or int(steps.max()) != last:
                        raise DamageError(
                            f"says {points} points from step {first} to {last}, its blocks hold "
                            f"{held[0]} from {held[1]} to {held[2]}",
                            offset=0,
                        )
                self._levels(
                    db, reader, leaves.pop(number, {}), text, points, known, blocks, frames
                )
            except BROKEN as error:
                text_of = told(error)
                self._tower(text_of if title in text_of else f"{title} {text_of}", owner)
        for place, blocks in raised.items():
            columns_of = history.columns.get(place[2])
            is_due = columns_of is not None and bool(columns_of.number_columns)
            if is_due and place not in found and not self._is_buried(place[0]):
                self._tower(f"{len(blocks)} blocks count as raised, but there is no tower", place)
        loose = sum(
            len(level) for t, by in leaves.items() if t not in towers for level in by.values()
        )
        if loose:
            self._add(f"{loose} leaves belong to no tower", "they take space", remedy="orphan")

    def _is_buried(self, run: int) -> bool:
        """Tell whether the next start removes a run, whose rewinds the log forgot."""
        known = self._log.runs.get(run)
        return known is not None and known.state != ALIVE

    def _leaves(
        self, db: sqlite3.Connection
    ) -> dict[object, dict[object, list[tuple[Leaf, bytes]]]]:
        """Return all leaves by tower and level; name their segments that no leaf has."""
        found: dict[object, dict[object, list[tuple[Leaf, bytes]]]] = {}
        known = set()
        names = "tower, level, id, first, last, n, per_segment, body"
        for tower, level, number, *about, body in self._rows(db, "leaf", names, "ORDER BY first"):
            leaf = Leaf(number, *about)  # type: ignore[arg-type]
            known.add(number)
            blob = body if isinstance(body, bytes) else b""
            found.setdefault(tower, {}).setdefault(level, []).append((leaf, blob))
        segments = self._rows(db, "leaf_segment", "id")
        loose = [
            n for (n,) in segments if not isinstance(n, int) or n >> SEGMENT_BITS not in known
        ]
        if loose:
            self._add(
                f"{len(loose)} chunks belong to no leaf, the first is {loose[0]!r}",
                "they take space",
                remedy="orphan",
            )
        return found

    def _frames(
        self, reader: HistoryReader, blocks: list[StoredBlock], writer: int, era: int
    ) -> Ints | None:
        """Return steps, offsets of rows, times and places of the frames of an era."""
        known = self._log.runs.get(blocks[0].run) if blocks else None
        if known is None:
            return np.zeros((4, 0), dtype=np.int64) if not blocks else None
        borders = [r.stored[writer] for r in known.rewinds if r.stored.get(writer, 0) > 0]
        read = np.hstack([reader.frames(block.row, known.name) for block in blocks])
        steps, offsets, times, back, late = read
        inside = np.searchsorted(np.array(borders, dtype=np.int64), offsets, side="right") == era
        places = np.flatnonzero(inside)
        frames: Ints = np.array([steps, offsets - back, times - late, np.arange(len(steps))])
        frames = frames[:, places]
        return frames[:, np.lexsort((frames[1], frames[0]))]

    def _levels(
        self,
        db: sqlite3.Connection,
        reader: HistoryReader,
        leaves: dict[object, list[tuple[Leaf, bytes]]],
        levels: list[Level],
        points: object,
        columns: Columns,
        blocks: list[StoredBlock],
        frames: Ints | None,
    ) -> None:
        """Compare each level with the one below it, and the finest with all points."""
        if sorted(map(str, leaves)) != sorted(str(level) for level, _ in levels) or not levels:
            raise DamageError(f"has leaves of levels {list(leaves)}, not of {levels}", offset=0)
        keys = len(columns.number_columns)
        assert isinstance(points, int)
        step = max(1, _VALUES_AT_ONCE // max(points, 1))
        for begin in range(0, keys, step):
            end = min(begin + step, keys)
            below: Buckets | None = None
            if frames is not None:
                values = self._values(reader, blocks, columns, begin, end)[:, frames[3]]
                below = aggregated(levels[0].level, frames[0], frames[1], frames[2], values)
            for level, buckets in levels:
                part = _level(db, leaves[level], level, begin, end, keys)
                if len(part) != buckets or int(part.shared[COUNT].sum()) != points:
                    raise DamageError(
                        f"holds {len(part)} buckets and {int(part.shared[COUNT].sum())} points "
                        f"at level {level}, it says {buckets} and {points}",
                        offset=0,
                    )
                if below is not None:
                    _compare(combined(level, [below]), part, level)
                below = part
                self._findings.looked["buckets"] += len(part) * (end - begin)

    def _values(
        self,
        reader: HistoryReader,
        blocks: list[StoredBlock],
        columns: Columns,
        begin: int,
        end: int,
    ) -> Floats:
        found = []
        for block in blocks:
            size = block.row.per_segment
            firsts = range(begin - begin % size, end, size)
            read = np.vstack([reader.numbers(block.row, columns, first, "") for first in firsts])
            found.append(read[begin - firsts[0] : end - firsts[0]])
        return np.hstack(found)

    def _tower(self, what: str, place: tuple[object, ...]) -> None:
        target = tuple(number for number in place if isinstance(number, int))
        self._add(
            what, _MEANS, run=place[0], remedy="tower", target=target if len(target) == 3 else ()
        )

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
        remedy: Remedy = "none",
        target: tuple[int, ...] = (),
    ) -> None:
        self._findings.add(
            Finding(
                file=self._file,
                what=what,
                means=means,
                run="" if run is None else self._log.name(run),
                remedy=remedy,
                target=target,
            )
        )


def _level(
    db: sqlite3.Connection,
    leaves: list[tuple[Leaf, bytes]],
    level: int,
    begin: int,
    end: int,
    keys: int,
) -> Buckets:
    """Read some keys of a level from all of its leaves, and see that these stand in order."""
    parts = []
    before: int | None = None
    for leaf, body in leaves:
        part = read_leaf(db, leaf, body, begin, end, keys, f"leaf {leaf.id}")
        ids = part.shared[FIRST] >> level
        said = (leaf.n, leaf.first, leaf.last)
        held = (part.shared.shape[1], int(ids[0]), int(ids[-1]))
        if part.shared.shape[0] != SHARED or said != held:
            raise DamageError(f"has leaf {leaf.id}, which says {said} and holds {held}", offset=0)
        is_late = before is not None and before >= int(ids[0])
        if is_late or not (np.diff(ids) > 0).all() or (part.shared[LAST] >> level != ids).any():
            raise DamageError(f"has leaf {leaf.id} in disorder", offset=0)
        before = int(ids[-1])
        parts.append(part)
    return combined(level, parts)


def _compare(expected: Buckets, held: Buckets, level: int) -> None:
    """Raise DamageError unless both are the same; means may differ in their last digits."""
    same = expected.shared.shape == held.shared.shape and (expected.shared == held.shared).all()
    if same:
        odd = [
            np.zeros((3, *one.values.shape[1:])) if one.odd is None else one.odd
            for one in (expected, held)
        ]
        exact = [row for row in range(len(held.values)) if row != MEAN]
        good = held.shared[COUNT] - odd[1].sum(axis=0) > 0
        means = np.isclose(expected.values[MEAN], held.values[MEAN], rtol=1e-6, atol=1e-300)
        wide = np.maximum(np.abs(held.values[0]), np.abs(held.values[1]))
        with np.errstate(invalid="ignore", over="ignore"):
            near = np.abs(expected.values[MEAN] - held.values[MEAN]) <= 1e-9 * wide
        same = (
            np.array_equal(odd[0], odd[1])
            and np.array_equal(expected.values[exact], held.values[exact], equal_nan=True)
            and bool((means | near | ~good).all())
        )
    if not same:
        raise DamageError(
            f"differs at level {level} from what is below it or from its points", offset=0
        )
