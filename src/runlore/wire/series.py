"""Binary series: columns of float64 behind a JSON header, as docs/design/http-api.md says."""

import json
import struct
from collections.abc import Iterator, Mapping

from runlore.core.json import JsonValue

MEDIA_TYPE = "application/vnd.runlore.series"
MAX_BUCKETS = 10_000
MAX_SERIES = 20_000
"""Runs × keys in one request."""
MAX_POINTS = 2_000_000
"""Runs × keys × buckets in one request."""
COLUMNS = (
    "step",
    "step_last",
    "count",
    "min",
    "max",
    "mean",
    "last",
    "nan",
    "posinf",
    "neginf",
)

GROUP_COLUMNS = (
    "step",
    "step_last",
    "runs",
    "mean",
    "median",
    "min",
    "max",
    "std",
    "stderr",
    "low",
    "high",
)
X_COLUMNS = ("x_min", "x_max", "x_last")
"""Behind the other columns of series and groups where an x axis other than the step was asked."""

VERSION = 2

_HEAD = struct.Struct("<4sII4x")
_WHOLE_BYTES, _PIECE_BYTES = 2**20, 2**18


class Pool:
    """Columns one behind the other, each content once.

    Runs that log together share their steps and counts, most columns of NaN and infinities hold
    zeros alone, and buckets of one point have the same least, greatest, mean and last value.
    """

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self._size = 0

    def place(self, column: bytes) -> int:
        """Return how many numbers stand before a column of float64, adding it if it is new."""
        at = self._places.setdefault(column, self._size)
        if at == self._size:
            self._size += len(column) // 8
        return at

    def encode(self, header: Mapping[str, JsonValue]) -> Iterator[bytes]:
        """Encode the header, which names the places, and the columns behind it.

        A large answer comes in pieces, so that it is nowhere in memory as a whole once more.
        """
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-(_HEAD.size + len(text)) % 8)
        held = [_HEAD.pack(b"RLSR", VERSION, len(text)), text]
        size = _HEAD.size + len(text)
        is_small = size + 8 * self._size <= _WHOLE_BYTES
        for column in self._places:
            held.append(column)
            size += len(column)
            if size >= _PIECE_BYTES and not is_small:
                yield b"".join(held)
                held, size = [], 0
        yield b"".join(held)
