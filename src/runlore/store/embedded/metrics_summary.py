"""What is kept up to date of each key of a writer, so that nobody counts its points again."""

import json
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np

from runlore.core.metric import Kind, Value
from runlore.store.embedded.metrics_blob import Floats, Ints, seal, unseal
from runlore.store.embedded.metrics_decode import Block, Columns
from runlore.store.search import Pick

_HEAD = struct.Struct("<II")
_INTS, _FLOATS = 4, 3
_PART_CELLS = 8192

CellName: TypeAlias = tuple[str, Kind]

_names_decoder = msgspec.json.Decoder(tuple[list[CellName], dict[int, str]])


class Cell(NamedTuple):
    """One key and kind of one writer; `minimum` is above `maximum` without a finite number."""

    key: str
    kind: Kind
    points: int
    first_step: int
    last_step: int
    last: Value
    minimum: float
    maximum: float


class Summary:
    """Count, first and last step, last value, extremes of every key and kind of one writer."""

    def __init__(self) -> None:
        self._places: dict[CellName, int] = {}
        self._of_columns: dict[Columns, Ints] = {}
        self._texts: dict[int, str] = {}
        # Rows: count, first step, last step, offset of the last; then last, least, greatest.
        # There is room for more keys than there are, or each new one would copy all.
        self._ints: Ints = np.zeros((_INTS, 0), dtype=np.int64)
        self._floats: Floats = np.zeros((_FLOATS, 0))

    def fold(self, block: Block) -> None:
        """Add the points of a block."""
        columns = block.columns
        at = self._place(columns)
        last = len(block) - 1 - int(np.argmax(block.steps[::-1]))
        step, offset = int(block.steps[last]), int(block.offsets[last])
        counts, firsts, last_steps, last_offsets = self._ints
        newer = (last_steps[at] < step) | ((last_steps[at] == step) & (last_offsets[at] < offset))
        newer |= counts[at] == 0
        firsts[at] = np.where(
            counts[at] == 0, block.steps.min(), np.minimum(firsts[at], block.steps.min())
        )
        counts[at] += len(block)
        last_steps[at[newer]], last_offsets[at[newer]] = step, offset
        if columns.number_columns:
            self._fold_numbers(block, at, newer, last)
        for slot, column in enumerate(columns.text_columns):
            if newer[column]:
                self._texts[int(at[column])] = block.texts[slot][last]

    def _fold_numbers(self, block: Block, at: Ints, newer: Ints, last: int) -> None:
        picked = np.array(block.columns.number_columns)
        lasts, lows, highs = self._floats
        at, newer = at[picked], newer[picked]
        lasts[at[newer]] = block.numbers[last][newer]
        with np.errstate(invalid="ignore"):
            low, high = block.numbers.min(axis=0), block.numbers.max(axis=0)
        if not (np.isfinite(low) & np.isfinite(high)).all():
            finite = np.isfinite(block.numbers)
            low = np.where(finite, block.numbers, np.inf).min(axis=0)
            high = np.where(finite, block.numbers, -np.inf).max(axis=0)
        lows[at], highs[at] = np.minimum(lows[at], low), np.maximum(highs[at], high)

    def __len__(self) -> int:
        return len(self._places)

    def cells(self, pick: Pick | None = None) -> Iterator[Cell]:
        """Yield every key and kind, or those of the keys that `pick` leaves."""
        places = self._places
        at: slice | list[int] = slice(len(places))
        if pick is not None:
            kept = set(pick([key for key, _ in places]))
            places = {cell: place for cell, place in places.items() if cell[0] in kept}
            at = list(places.values())
        ints, floats = self._ints[:, at].T.tolist(), self._floats[:, at].T.tolist()
        for ((key, kind), place), (count, first_step, last_step, _), (number, low, high) in zip(
            places.items(), ints, floats, strict=True
        ):
            last: Value = number
            if kind == "string":
                last = self._texts[place]
            elif kind == "bool":
                last = bool(number)
            yield Cell(key, kind, count, first_step, last_step, last, low, high)

    def first_steps(self) -> dict[str, int]:
        """Return the least step of each key, of whatever kind."""
        firsts: dict[str, int] = {}
        steps = self._ints[1].tolist()
        for (key, _), place in self._places.items():
            firsts[key] = min(firsts.get(key, steps[place]), steps[place])
        return firsts

    def merge(self, other: "Summary") -> None:
        """Add the points of another summary of the same writer."""
        at = self._places_of(other._places)
        known = len(other._places)
        counts, firsts, last_steps, last_offsets = self._ints
        more, first, step, offset = other._ints[:, :known]
        newer = (last_steps[at] < step) | ((last_steps[at] == step) & (last_offsets[at] < offset))
        newer |= counts[at] == 0
        firsts[at] = np.where(counts[at] == 0, first, np.minimum(firsts[at], first))
        counts[at] += more
        last_steps[at[newer]], last_offsets[at[newer]] = step[newer], offset[newer]
        lasts, lows, highs = self._floats
        last, low, high = other._floats[:, :known]
        lasts[at[newer]] = last[newer]
        lows[at], highs[at] = np.minimum(lows[at], low), np.maximum(highs[at], high)
        for place, text in other._texts.items():
            if newer[place]:
                self._texts[int(at[place])] = text

    def parts(self) -> Iterator["Summary"]:
        """Yield it in pieces of bounded size, by key and kind in ascending order."""
        names = list(self._places)
        order = sorted(names)
        if len(names) <= _PART_CELLS and order == names:
            if names:
                yield self
            return
        for begin in range(0, len(order), _PART_CELLS):
            yield self._only(order[begin : begin + _PART_CELLS])

    def split(self, until: CellName) -> tuple["Summary", "Summary | None"]:
        """Return what stands up to a key and kind and what stands behind it, if there is any.

        This one is in ascending order, as a part is.
        """
        names = list(self._places)
        if names[-1] <= until:
            return self, None
        at = bisect_right(names, until)
        return self._only(names[:at]), self._only(names[at:])

    @property
    def greatest(self) -> CellName:
        """The last key and kind of a part."""
        return next(reversed(self._places))

    def _only(self, names: Sequence[CellName]) -> "Summary":
        other = Summary()
        at = np.array([self._places[name] for name in names], dtype=np.int64)
        other._places = {name: place for place, name in enumerate(names)}
        other._ints, other._floats = self._ints[:, at], self._floats[:, at]
        if self._texts:
            texts = ((place, self._texts.get(old)) for place, old in enumerate(at.tolist()))
            other._texts = {place: text for place, text in texts if text is not None}
        return other

    def encode(self) -> bytes:
        """Encode for storage."""
        texts = {str(place): text for place, text in self._texts.items()}
        names = json.dumps([[list(cell) for cell in self._places], texts]).encode()
        known = len(self._places)
        body = self._ints[:, :known].tobytes() + self._floats[:, :known].tobytes()
        return seal(_HEAD.pack(len(names), len(self._places)) + names + body)

    @classmethod
    def decode(cls, blob: bytes, name: str) -> "Summary":
        """Decode what `encode` made; the keys stand as they did there."""
        body = unseal(blob, name)
        size, count = _HEAD.unpack_from(body)
        cells, texts = _names_decoder.decode(body[_HEAD.size : _HEAD.size + size])
        found = cls()
        found._places = {cell: place for place, cell in enumerate(cells)}
        found._texts = texts
        at = _HEAD.size + size
        ints = np.frombuffer(body, np.int64, _INTS * count, at)
        floats = np.frombuffer(body, np.float64, _FLOATS * count, at + 8 * _INTS * count)
        found._ints = ints.reshape(_INTS, count).copy()
        found._floats = floats.reshape(_FLOATS, count).copy()
        return found

    def _place(self, columns: Columns) -> Ints:
        if columns not in self._of_columns:
            self._of_columns[columns] = self._places_of(columns.cells)
        return self._of_columns[columns]

    def _places_of(self, cells: Iterable[CellName]) -> Ints:
        known = self._places
        at = [known.setdefault(cell, len(known)) for cell in cells]
        if len(known) > self._ints.shape[1]:
            more = max(len(known) - self._ints.shape[1], len(known) // 2)
            self._ints = np.hstack([self._ints, np.zeros((_INTS, more), dtype=np.int64)])
            empty = np.repeat([[0.0], [np.inf], [-np.inf]], more, axis=1)
            self._floats = np.hstack([self._floats, empty])
        return np.array(at, dtype=np.int64)


def merged(layers: Sequence[Iterable[Summary]]) -> Iterator[Summary]:
    """Yield parts of several layers as parts of one, in ascending order, a few in memory at once.

    Each layer holds points of its own, in parts of ascending order; none of them is empty.
    """
    if len(layers) == 1:
        yield from layers[0]
        return
    heads = [(part, rest) for rest in map(iter, layers) for part in [next(rest, None)]]
    waiting = [(part, rest) for part, rest in heads if part is not None]
    while waiting:
        until = min(part.greatest for part, _ in waiting)
        whole = Summary()
        left: list[tuple[Summary, Iterator[Summary]]] = []
        for part, rest in waiting:
            below, behind = part.split(until)
            if len(below):
                whole.merge(below)
            behind = behind if behind is not None else next(rest, None)
            if behind is not None:
                left.append((behind, rest))
        waiting = left
        yield from whole.parts()


def repacked(parts: Iterable[Summary]) -> Iterator[Summary]:
    """Yield parts of the size that they should have, of a few small or large ones each."""
    gathered = Summary()
    for part in parts:
        gathered.merge(part)
        if len(gathered) >= 2 * _PART_CELLS:
            *full, gathered = gathered.parts()
            yield from full
    if len(gathered):
        yield from gathered.parts()
