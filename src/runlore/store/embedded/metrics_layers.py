"""Summaries in a history file: layers of parts, so that a pack writes little of a large one.

A layer summarises the points of a writer that some packs in a row brought. A pack writes a layer
of its own and takes into it those before it that are small or not much larger: a writer of few
keys has one layer, one of a million a handful, each a multiple of the next.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from runlore.store.embedded.metrics_summary import Summary, repacked

TABLE = """
CREATE TABLE summary (
    writer INTEGER, born INTEGER, part INTEGER, since INTEGER, cells INTEGER, run INTEGER,
    body BLOB, PRIMARY KEY (writer, born, part)
) STRICT;
"""
UPGRADE = (
    "ALTER TABLE summary RENAME TO whole_summary;"
    + TABLE
    + "INSERT INTO summary SELECT writer, born, 0, 0, 0, run, body FROM whole_summary;"
    "DROP TABLE whole_summary;"
)
LAYERS_SINCE = 3
"""The first schema version that has them; before, a writer had one summary as a whole."""
_SMALL_CELLS = 16_384
_LARGER = 2


class Layer(NamedTuple):
    """The packs from `since` to `born` of a writer, and about how many keys and kinds they have.

    Of one that an earlier version wrote, `since` and `cells` are 0.
    """

    born: int
    since: int
    cells: int


class NewLayer(NamedTuple):
    """A layer to be written: its parts, sealed, with how many cells each has."""

    since: int
    parts: Sequence[tuple[int, bytes]]


def layers_of(db: sqlite3.Connection, writer: int, published: int) -> list[Layer]:
    """Return the layers of a writer that count as of a pack, the newest first."""
    rows = db.execute(
        "SELECT born, since, sum(cells) FROM summary WHERE writer = ? AND born <= ? "
        "GROUP BY born, since ORDER BY born DESC",
        (writer, published),
    )
    return chain([Layer(*row) for row in rows])


def chain(layers: Iterable[Layer]) -> list[Layer]:
    """Leave out the layers that newer ones have taken in; the newest stands first."""
    found: list[Layer] = []
    for layer in layers:
        if not found or layer.born < found[-1].since:
            found.append(layer)
    return found


def parts_of(db: sqlite3.Connection, writer: int, born: int, name: str) -> Iterator[Summary]:
    """Yield the parts of a layer in ascending order, one in memory at a time."""
    place = (writer, born)
    parts = db.execute("SELECT part FROM summary WHERE writer = ? AND born = ?", place).fetchall()
    for (part,) in sorted(parts):
        (body,) = db.execute(
            "SELECT body FROM summary WHERE writer = ? AND born = ? AND part = ?", (*place, part)
        ).fetchone()
        yield from Summary.decode(body, name).parts()


def worth_taking(layers: Sequence[Layer], cells: int) -> list[Layer]:
    """Return those of the newest layers that a new one with so many cells takes in."""
    found: list[Layer] = []
    for layer in layers:
        if cells + layer.cells > _SMALL_CELLS and layer.cells > _LARGER * cells:
            break
        found.append(layer)
        cells += layer.cells
    return found


def a_layer(parts: Iterable[Summary], since: int) -> NewLayer:
    """Seal the parts of a layer."""
    return NewLayer(since, [(len(part), part.encode()) for part in repacked(parts)])


def write_layer(db: sqlite3.Connection, writer: int, run: int, born: int, layer: NewLayer) -> None:
    """Write a layer as that of a pack."""
    db.executemany(
        "INSERT INTO summary VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (writer, born, number, layer.since, cells, run, body)
            for number, (cells, body) in enumerate(layer.parts)
        ],
    )


def forget_layers(db: sqlite3.Connection, writer: int, counted: Sequence[Layer]) -> None:
    """Remove the layers of a writer but those that count."""
    kept = {layer.born for layer in counted}
    rows = db.execute("SELECT DISTINCT born FROM summary WHERE writer = ?", (writer,)).fetchall()
    db.executemany(
        "DELETE FROM summary WHERE writer = ? AND born = ?",
        [(writer, born) for (born,) in rows if born not in kept],
    )
