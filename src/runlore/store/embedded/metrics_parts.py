"""Some frames of one writer in a snapshot: a packed block or one of the tail."""

from collections.abc import Collection, Sequence

import numpy as np

from runlore.core.metric import Value
from runlore.store.embedded.metrics_blob import Floats, Ints
from runlore.store.embedded.metrics_decode import Block, Columns
from runlore.store.embedded.metrics_reader import BlockRow, HistoryReader

_WINDOW_FRAMES = 4096
_WINDOW_TEXT_BYTES = 4 * 1024 * 1024
"""Parts are opened together up to about as many frames, or bytes of texts."""

_WHOLE_CELLS = 65_536
"""Up to so many numbers of a tail are put together for all keys, once a second one is asked."""


class Part:
    """Some frames of one writer: a packed block or one of the tail, decoded as far as asked."""

    def __init__(
        self, writer: int, columns: Columns, first_step: int, last_step: int, n: int
    ) -> None:
        self.writer = writer
        self.columns = columns
        self.first_step = first_step
        self.last_step = last_step
        self.n = n

    def frames(self) -> Ints:
        """Return steps, offsets, times, back and late, a row each."""
        raise NotImplementedError

    def numbers(self, column: int) -> Floats:
        raise NotImplementedError

    def texts(self, column: int) -> list[str]:
        raise NotImplementedError

    def text_bytes(self) -> int:
        """Return about how many bytes its texts have, without reading those that are packed."""
        raise NotImplementedError

    def release(self) -> None:
        """Forget what was decoded; it will be decoded again if it is asked for."""

    def values(self, column: int) -> list[Value]:
        """Return one column as values of its kind."""
        kind = self.columns.kinds[column]
        if kind == "string":
            return list(self.texts(column))
        numbers: list[Value] = self.numbers(column).tolist()
        return [bool(number) for number in numbers] if kind == "bool" else numbers


def share_of_window(part: Part, keys: Collection[str] | None) -> float:
    """Return how much of what is opened together a part is, for some keys or for all."""
    share = part.n / _WINDOW_FRAMES
    columns = part.columns
    if any(keys is None or columns.keys[at] in keys for at in columns.text_columns):
        share = max(share, part.text_bytes() / _WINDOW_TEXT_BYTES)
    return share


class TailPart(Part):
    """Blocks of the tail with the same columns: a request is answered from few parts, not many."""

    def __init__(self, writer: int, blocks: Sequence[Block]) -> None:
        self._frames = np.concatenate(
            [(one.steps, one.offsets, one.times, one.back, one.late) for one in blocks], axis=1
        )
        steps = self._frames[0]
        super().__init__(writer, blocks[0].columns, int(steps.min()), int(steps.max()), len(steps))
        self._blocks = blocks
        self._whole: Floats | None = None
        self._was_asked = False

    def frames(self) -> Ints:
        return self._frames

    def numbers(self, column: int) -> Floats:
        slot = self.columns.slots[column]
        is_small = self.n * len(self.columns.number_columns) <= _WHOLE_CELLS
        if self._whole is None and self._was_asked and is_small:
            self._whole = np.concatenate([block.numbers.T for block in self._blocks], axis=1)
        if self._whole is not None:
            row: Floats = self._whole[slot]
            return row
        self._was_asked = True
        return np.concatenate([block.numbers[:, slot] for block in self._blocks])

    def texts(self, column: int) -> list[str]:
        slot = self.columns.slots[column]
        return [text for block in self._blocks for text in block.texts[slot]]

    def text_bytes(self) -> int:
        return sum(len(text) for one in self._blocks for texts in one.texts for text in texts)


class PackedPart(Part):
    def __init__(self, reader: HistoryReader, row: BlockRow, run_name: str) -> None:
        columns = reader.columns(row.columns, run_name)
        super().__init__(row.writer, columns, row.first_step, row.last_step, row.n)
        self._reader, self._row, self._run_name = reader, row, run_name
        self._frames: Ints | None = None
        self._segments: dict[int, Floats] = {}

    def frames(self) -> Ints:
        if self._frames is None:
            self._frames = self._reader.frames(self._row, self._run_name)
        return self._frames

    def numbers(self, column: int) -> Floats:
        slot = self.columns.slots[column]
        first = slot - slot % self._row.per_segment
        if first not in self._segments:
            self._segments[first] = self._reader.numbers(
                self._row, self.columns, first, self._run_name
            )
        found: Floats = self._segments[first][slot - first]
        return found

    def texts(self, column: int) -> list[str]:
        slot = self.columns.slots[column]
        return self._reader.texts(self._row, self.columns, slot, self._run_name)

    def text_bytes(self) -> int:
        return self._reader.text_bytes(self._row, self.columns) if self.columns.text_columns else 0

    def release(self) -> None:
        """Forget what was decoded."""
        self._frames = None
        self._segments = {}
