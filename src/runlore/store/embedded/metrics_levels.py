"""The pyramid in a history file: towers of levels of buckets, raised from packed blocks.

A tower belongs to the frames of one writer that share their columns and no rewind divides, so
nothing in it ever changes its meaning: readers clip it, and nobody rebuilds it. Its levels are a
factor of four apart where steps are dense. The buckets of a level stand in leaves, which split
when they are full, as those of a B-tree do.
"""

import json
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from runlore.store.embedded.metrics_blob import (
    Floats,
    Ints,
    pack_floats,
    pack_ints,
    unpack_floats,
    unpack_ints,
)
from runlore.store.embedded.metrics_buckets import (
    FIRST,
    ODD,
    SHARED,
    VALUES,
    Buckets,
    aggregated,
    combined,
    counts_of,
)
from runlore.store.embedded.metrics_sizes import Sizes

TABLES = """
CREATE TABLE tower (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER, writer INTEGER, columns INTEGER,
    era INTEGER, points INTEGER, first_step INTEGER, last_step INTEGER, levels TEXT
) STRICT;
CREATE TABLE leaf (
    id INTEGER PRIMARY KEY AUTOINCREMENT, tower INTEGER, level INTEGER, first INTEGER,
    last INTEGER, n INTEGER, per_segment INTEGER, body BLOB
) STRICT;
CREATE TABLE leaf_segment (id INTEGER PRIMARY KEY, body BLOB) STRICT;
CREATE INDEX tower_run ON tower (run);
CREATE INDEX leaf_place ON leaf (tower, level, first);
"""
SEGMENT_BITS = 20
SLICE_KEYS = 512
_SEGMENT_BUCKETS = 1024
_BASE_SHARE, _LEVEL_SHARE, _MOST_SHARE, _LONG_SHARE = 8, 3, 4, 32


class TowerKey(NamedTuple):
    """What a tower belongs to; `era` counts the rewinds that its frames came after."""

    run: int
    writer: int
    columns: int
    era: int


class Level(NamedTuple):
    """Buckets of 2**level steps, and how many there are."""

    level: int
    buckets: int


class Tower(NamedTuple):
    """One tower as its table has it; levels from the finest on."""

    id: int
    key: TowerKey
    points: int
    first_step: int
    last_step: int
    levels: list[Level]


class Leaf(NamedTuple):
    """One leaf as its table has it, without its blobs; `first` and `last` number buckets."""

    id: int
    first: int
    last: int
    n: int
    per_segment: int


def towers_of(db: sqlite3.Connection, runs: Sequence[int]) -> list[Tower]:
    """Return the towers of some runs."""
    rows = db.execute(
        "SELECT id, run, writer, columns, era, points, first_step, last_step, levels "
        f"FROM tower WHERE run IN ({', '.join('?' * len(runs))}) ORDER BY id",
        runs,
    )
    # Runs of one length have the same levels.
    levels: dict[str, list[Level]] = {}
    found = []
    for number, run, writer, columns, era, points, first, last, text in rows:
        if text not in levels:
            levels[text] = [Level(*one) for one in json.loads(text)]
        key = TowerKey(run, writer, columns, era)
        found.append(Tower(number, key, points, first, last, levels[text]))
    return found


def leaves_of(
    db: sqlite3.Connection, tower: int, level: int, first: int, last: int
) -> list[tuple[Leaf, bytes]]:
    """Return the leaves that hold buckets from number `first` to `last`, and their steps."""
    rows = db.execute(
        "SELECT id, first, last, n, per_segment, body FROM leaf "
        "WHERE tower = ?1 AND level = ?2 AND first <= ?4 AND first >= ifnull("
        "(SELECT max(first) FROM leaf WHERE tower = ?1 AND level = ?2 AND first <= ?3), ?3) "
        "ORDER BY first",
        (tower, level, first, last),
    )
    return [(Leaf(*row), body) for *row, body in rows if row[2] >= first]


def read_leaf(
    db: sqlite3.Connection, leaf: Leaf, body: bytes, first: int, stop: int, keys: int, name: str
) -> Buckets:
    """Return a leaf with the number columns from slot `first` up to before `stop` of `keys`.

    Raises:
        DamageError: it is not what was written; it calls the leaf `name`.
    """
    shared = unpack_ints(body, SHARED, name)
    values, odds = [], []
    for slot in range(first - first % leaf.per_segment, stop, leaf.per_segment):
        place = (leaf.id << SEGMENT_BITS) + slot // leaf.per_segment
        row = db.execute("SELECT body FROM leaf_segment WHERE id = ?", (place,)).fetchone()
        count = min(leaf.per_segment, keys - slot)
        table = unpack_floats(row[0] if row else b"", leaf.n, name)
        inside = slice(max(first - slot, 0), min(stop - slot, count))
        values.append(table[: VALUES * count].reshape(VALUES, count, leaf.n)[:, inside])
        odd = table[VALUES * count :].reshape(-1, count, leaf.n)[:, inside]
        odds.append(odd if len(odd) else np.zeros((ODD, *values[-1].shape[1:])))
    odd = np.concatenate(odds, axis=1)
    return Buckets(
        shared=shared, values=np.concatenate(values, axis=1), odd=odd if odd.any() else None
    )


def delete_towers(db: sqlite3.Connection, run: int) -> int:
    """Delete the towers of a run; return the bytes that their blobs took."""
    freed = 0
    for tower in towers_of(db, [run]):
        freed += delete_tower(db, tower.id)
    return freed


def delete_tower(db: sqlite3.Connection, tower: int) -> int:
    """Delete one tower; return the bytes that its blobs took."""
    freed = 0
    for (leaf,) in db.execute("SELECT id FROM leaf WHERE tower = ?", (tower,)).fetchall():
        freed += _delete_leaf(db, leaf)
    db.execute("DELETE FROM tower WHERE id = ?", (tower,))
    return freed


class Raiser:
    """Adds frames to one tower, in a transaction of its caller.

    Args:
        keys: how many number columns its frames have.
        name: what to call the tower in an error.
    """

    def __init__(
        self, db: sqlite3.Connection, key: TowerKey, keys: int, name: str, sizes: Sizes
    ) -> None:
        self._db, self._key, self._keys, self._name = db, key, keys, name
        self._slices = [(at, min(at + SLICE_KEYS, keys)) for at in range(0, keys, SLICE_KEYS)]
        # A leaf of many keys is short, so that adding to it does not rewrite a thousand steps.
        self._most = min(sizes.leaf_buckets, max(16, 2**20 // keys))
        self._sizes = sizes

    def add(self, tower: Tower | None, frames: Ints, numbers: Floats) -> None:
        """Add frames to a tower or to a new one.

        Args:
            tower: the tower, if there is one.
            frames: (3, frames): steps, offsets of rows, times.
            numbers: (keys, frames).

        Raises:
            DamageError: what is there of the tower is not what was written.
        """
        if not (frames[0, 1:] >= frames[0, :-1]).all():
            order = np.lexsort((frames[1], frames[0]))
            frames, numbers = frames[:, order], numbers[:, order]
        steps, rows, times = frames
        points, first, last = len(steps), int(steps[0]), int(steps[-1])
        if tower is not None:
            points += tower.points
            first, last = min(first, tower.first_step), max(last, tower.last_step)
            number, levels = tower.id, tower.levels
        else:
            number, levels = self._new(), [Level(self._base(steps), 0)]
        base = [
            aggregated(levels[0].level, steps, rows, times, numbers[slice(*part)])
            for part in self._slices
        ]
        levels = self._add(number, levels, base)
        while levels[-1].buckets > self._sizes.top_buckets:
            top = self._level(number, levels[-1].level)
            above = _above(levels[-1], top[0].shared[FIRST])
            if above is None:
                break
            levels += self._add(number, [Level(above, 0)], top)
        share = _MOST_SHARE if points < self._sizes.long_points else _LONG_SHARE
        while len(levels) > 1 and share * levels[0].buckets > points:
            # Steps became sparse, and most of these buckets hold next to nothing; or the tower
            # became so long that a chart needs them for a small part of it only.
            self._drop(number, levels[0].level)
            del levels[0]
        self._db.execute(
            "UPDATE tower SET points = ?, first_step = ?, last_step = ?, levels = ? WHERE id = ?",
            (points, first, last, json.dumps(levels), number),
        )

    def _new(self) -> int:
        cursor = self._db.execute(
            "INSERT INTO tower (run, writer, columns, era) VALUES (?, ?, ?, ?)", self._key
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _add(self, tower: int, levels: Sequence[Level], fresh: list[Buckets]) -> list[Level]:
        """Merge fresh buckets, one for each slice of the keys, into some levels, finest first."""
        grown = []
        for level, before in levels:
            fresh = [combined(level, [part]) for part in fresh]
            grown.append(Level(level, before + self._merge(tower, level, fresh)))
        return grown

    def _merge(self, tower: int, level: int, fresh: Sequence[Buckets]) -> int:
        """Merge fresh buckets into the leaves of a level; return by how many it grew."""
        ids = fresh[0].shared[FIRST] >> level
        leaves = leaves_of(self._db, tower, level, int(ids[0]), int(ids[-1]))
        if not leaves or leaves[0][0].first > ids[0]:
            # The leaf that ends before these buckets takes them in, or else the one behind them.
            before = self._nearest(tower, level, "first <= ?", "DESC", int(ids[0]))
            leaves = before + leaves or self._nearest(
                tower, level, "first > ?", "ASC", int(ids[0])
            )
        borders = np.searchsorted(ids, [leaf.first for leaf, _ in leaves[1:]])
        edges = [0, *borders.tolist(), len(ids)]
        grown = 0
        if not leaves:
            return self._write(tower, level, fresh, is_last=True)
        for (leaf, body), begin, end in zip(leaves, edges[:-1], edges[1:], strict=True):
            if begin == end:
                continue
            parts = [part.between(begin, end) for part in fresh]
            if leaf.n >= self._most and int(ids[begin]) > leaf.last:
                grown += self._write(tower, level, parts, is_last=True)
                continue
            known = [
                read_leaf(self._db, leaf, body, *part, self._keys, self._leaf_name(leaf))
                for part in self._slices
            ]
            merged = [combined(level, both) for both in zip(known, parts, strict=True)]
            _delete_leaf(self._db, leaf.id)
            is_last = int(ids[begin]) >= leaf.last
            grown += self._write(tower, level, merged, is_last=is_last) - leaf.n
        return grown

    def _nearest(
        self, tower: int, level: int, side: str, order: str, first: int
    ) -> list[tuple[Leaf, bytes]]:
        row = self._db.execute(
            "SELECT id, first, last, n, per_segment, body FROM leaf WHERE tower = ? "
            f"AND level = ? AND {side} ORDER BY first {order} LIMIT 1",
            (tower, level, first),
        ).fetchone()
        return [] if row is None else [(Leaf(*row[:-1]), row[-1])]

    def _write(self, tower: int, level: int, parts: Sequence[Buckets], *, is_last: bool) -> int:
        """Write buckets as leaves, full ones where more will come behind them."""
        count = len(parts[0])
        leaves = -(-count // self._most)
        size = self._most if is_last else -(-count // leaves)
        for begin in range(0, count, size):
            self._write_leaf(tower, level, [part.between(begin, begin + size) for part in parts])
        return count

    def _write_leaf(self, tower: int, level: int, parts: Sequence[Buckets]) -> None:
        shared = parts[0].shared
        n = shared.shape[1]
        # A power of two, so that the slices of the keys begin with a segment.
        per_segment = min(SLICE_KEYS, 1 << (max(1, _SEGMENT_BUCKETS // n).bit_length() - 1))
        ids = (int(shared[FIRST, 0] >> level), int(shared[FIRST, -1] >> level))
        cursor = self._db.execute(
            "INSERT INTO leaf (tower, level, first, last, n, per_segment, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (tower, level, *ids, n, per_segment, pack_ints(list(shared))),
        )
        assert cursor.lastrowid is not None
        place = cursor.lastrowid << SEGMENT_BITS
        bodies = []
        for part in parts:
            for slot in range(0, part.values.shape[1], per_segment):
                table = part.values[:, slot : slot + per_segment].reshape(-1, n)
                if part.odd is not None:
                    odd = part.odd[:, slot : slot + per_segment].reshape(-1, n)
                    if odd.any():
                        table = np.vstack([table, odd])
                bodies.append(pack_floats(table))
        self._db.executemany(
            "INSERT INTO leaf_segment VALUES (?, ?)",
            [(place + number, body) for number, body in enumerate(bodies)],
        )

    def _base(self, steps: Ints) -> int:
        """Return the finest level that is worth having: an eighth of the points at most."""
        worth = counts_of(steps) * _BASE_SHARE <= max(len(steps), _BASE_SHARE)
        return max(self._sizes.finest_level, int(np.argmax(worth)))

    def _level(self, tower: int, level: int) -> list[Buckets]:
        """Return all of a level, for each slice of the keys."""
        leaves = leaves_of(self._db, tower, level, -(2**62), 2**62)
        return [
            combined(
                level,
                [
                    read_leaf(self._db, leaf, body, *part, self._keys, self._leaf_name(leaf))
                    for leaf, body in leaves
                ],
            )
            for part in self._slices
        ]

    def _drop(self, tower: int, level: int) -> None:
        leaves = self._db.execute(
            "SELECT id FROM leaf WHERE tower = ? AND level = ?", (tower, level)
        ).fetchall()
        for (leaf,) in leaves:
            _delete_leaf(self._db, leaf)

    def _leaf_name(self, leaf: Leaf) -> str:
        return f"leaf {leaf.id} of {self._name}"


def _delete_leaf(db: sqlite3.Connection, leaf: int) -> int:
    span = (leaf << SEGMENT_BITS, (leaf + 1) << SEGMENT_BITS)
    (freed,) = db.execute(
        "SELECT ifnull(sum(length(body)), 0) FROM leaf_segment WHERE id >= ? AND id < ?", span
    ).fetchone()
    db.execute("DELETE FROM leaf_segment WHERE id >= ? AND id < ?", span)
    (body,) = db.execute("SELECT length(body) FROM leaf WHERE id = ?", (leaf,)).fetchone()
    db.execute("DELETE FROM leaf WHERE id = ?", (leaf,))
    return int(freed) + int(body)


def _above(top: Level, firsts: Ints) -> int | None:
    """Return the next level that is worth having: a third of the buckets at most."""
    worth = np.flatnonzero(counts_of(firsts) * _LEVEL_SHARE <= top.buckets)
    return int(worth[0]) if len(worth) and worth[0] > top.level else None
