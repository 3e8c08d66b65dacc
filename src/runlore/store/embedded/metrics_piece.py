"""Where the frames of a piece stand, and the numbers at many places of it, read at once."""

import struct
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from runlore.store.embedded.metrics_blob import Floats, Ints
from runlore.wire import spool

Bytes = NDArray[np.uint8]

ROW_HEAD_BYTES = 8 + 21
WIDE_BYTES = 4096
_LENGTH = struct.Struct("<I")
_BATCH = 64


class PieceReader:
    """Reads numbers at many places of a piece at once."""

    def __init__(self, data: bytes, base: int) -> None:
        self.view = memoryview(data)
        self.base = base
        self.rows: dict[int, spool.Row] = {}

    @cached_property
    def bytes(self) -> Bytes:
        return np.frombuffer(self.view, dtype=np.uint8)

    def int64(self, places: Ints) -> Ints:
        return self._gather(places, 8).view("<i8")[:, 0].astype(np.int64)

    def uint32(self, places: Ints) -> Ints:
        return self._gather(places, 4).view("<u4")[:, 0].astype(np.int64)

    def floats(self, starts: Ints, length: int) -> Floats:
        """Return the values of rows of one set, a row each."""
        size = length - (ROW_HEAD_BYTES - 8)
        if size > WIDE_BYTES:
            found = np.empty((len(starts), size // 8))
            for index, start in enumerate(starts.tolist()):
                found[index] = np.frombuffer(
                    self.view, "<f8", size // 8, offset=start + ROW_HEAD_BYTES
                )
            return found
        return self._gather(starts + ROW_HEAD_BYTES, size).view("<f8").astype(np.float64)

    def _gather(self, places: Ints, size: int) -> Bytes:
        """Return `size` bytes from each place, a row each."""
        count = len(places)
        apart = int(places[1] - places[0]) if count > 1 else 1
        if count == 1 or (np.diff(places) == apart).all():
            # Frames of one length follow each other: one strided view instead of an index.
            spread: Bytes = np.ndarray(
                (count, size),
                np.uint8,
                buffer=self.view,
                offset=int(places[0]),
                strides=(apart, 1),
            )
            return np.ascontiguousarray(spread)
        found: Bytes = self.bytes[places[:, None] + np.arange(size)]
        return found


def end_of(data: bytes, at: int) -> int:
    """Return where the frame at `at` ends; -1 if there is none."""
    (length,) = _LENGTH.unpack_from(data, at) if len(data) > at + 8 else (0,)
    return at + 8 + int(length) if length else -1


def walk(data: bytes, at: int) -> tuple[Ints, Ints]:
    """Return where the whole frames of a piece begin, and the lengths of their payloads."""
    starts: list[Ints] = []
    lengths: list[Ints] = []
    some_starts: list[int] = []
    some_lengths: list[int] = []
    size = len(data)
    unpack = _LENGTH.unpack_from
    before = -1
    patience = 0
    while at + 8 < size:
        (length,) = unpack(data, at)
        end = at + 8 + length
        if length == 0 or end > size:
            break
        if length == before and patience <= 0:
            count = _equal_frames(data, at, length)
            starts += [np.array(some_starts, dtype=np.int64)]
            starts += [at + np.arange(count, dtype=np.int64) * (length + 8)]
            lengths += [np.array(some_lengths, dtype=np.int64)]
            lengths += [np.full(count, length, dtype=np.int64)]
            some_starts, some_lengths = [], []
            at += count * (length + 8)
            # After a short batch, look at single frames for a while: batches cost more.
            patience = 0 if count >= _BATCH // 4 else _BATCH
            continue
        some_starts.append(at)
        some_lengths.append(length)
        before = length
        patience -= 1
        at = end
    starts.append(np.array(some_starts, dtype=np.int64))
    lengths.append(np.array(some_lengths, dtype=np.int64))
    return np.concatenate(starts), np.concatenate(lengths)


def _equal_frames(data: bytes, at: int, length: int) -> int:
    """Count how many whole frames of this length follow each other from `at` on."""
    most = (len(data) - at) // (length + 8)
    count = 0
    look = _BATCH
    while count < most:
        look = min(look, most - count)
        begin = at + count * (length + 8)
        found: NDArray[np.uint32] = np.ndarray(
            (look,), "<u4", buffer=data, offset=begin, strides=(length + 8,)
        )
        others = np.flatnonzero(found != length)
        if len(others):
            return count + int(others[0])
        count += look
        look *= 4
    return count
