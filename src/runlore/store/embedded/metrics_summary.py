"""What is kept up to date of each key of a writer, so that nobody counts its points again."""

import json
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from runlore.core.metric import Kind, Value
from runlore.store.embedded.metrics_blob import Floats, Ints, seal, unseal
from runlore.store.embedded.metrics_decode import Block, Columns

_HEAD = struct.Struct("<II")
_INTS, _FLOATS = 4, 3


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
        self._places: dict[tuple[str, Kind], int] = {}
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

    def cells(self) -> Iterator[Cell]:
        """Yield every key and kind."""
        known = len(self._places)
        ints, floats = self._ints[:, :known].T.tolist(), self._floats[:, :known].T.tolist()
        for (key, kind), place in self._places.items():
            count, first_step, last_step, _ = ints[place]
            number, low, high = floats[place]
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

    def copy(self) -> "Summary":
        """Return one that can be folded into without changing this."""
        other = Summary()
        other._places, other._texts = dict(self._places), dict(self._texts)
        other._ints, other._floats = self._ints.copy(), self._floats.copy()
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
        """Decode what `encode` made."""
        body = unseal(blob, name)
        size, count = _HEAD.unpack_from(body)
        cells, texts = json.loads(body[_HEAD.size : _HEAD.size + size])
        found = cls()
        found._places = {(key, kind): place for place, (key, kind) in enumerate(cells)}
        found._texts = {int(place): text for place, text in texts.items()}
        at = _HEAD.size + size
        ints = np.frombuffer(body, np.int64, _INTS * count, at)
        floats = np.frombuffer(body, np.float64, _FLOATS * count, at + 8 * _INTS * count)
        found._ints = ints.reshape(_INTS, count).copy()
        found._floats = floats.reshape(_FLOATS, count).copy()
        return found

    def _place(self, columns: Columns) -> Ints:
        if columns not in self._of_columns:
            known = self._places
            at = [known.setdefault(cell, len(known)) for cell in columns.cells]
            self._of_columns[columns] = np.array(at, dtype=np.int64)
            if len(known) > self._ints.shape[1]:
                more = max(len(known) - self._ints.shape[1], len(known) // 2)
                self._ints = np.hstack([self._ints, np.zeros((_INTS, more), dtype=np.int64)])
                empty = np.repeat([[0.0], [np.inf], [-np.inf]], more, axis=1)
                self._floats = np.hstack([self._floats, empty])
        return self._of_columns[columns]
