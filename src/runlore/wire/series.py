"""Binary series: columns of float64 behind a JSON header, as docs/design/http-api.md says."""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence

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

_HEAD = struct.Struct("<4sII4x")
_VERSION = 1
_WHOLE_BYTES, _PIECE_BYTES = 2**20, 2**18


def encode_series(
    header: Mapping[str, JsonValue], columns: Sequence[memoryview]
) -> Iterator[bytes]:
    """Encode the header and, in the order of its series and groups, their columns of bytes.

    A large answer comes in pieces, so that it is nowhere in memory as a whole once more.
    """
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(_HEAD.size + len(text)) % 8)
    held: list[bytes | memoryview] = [_HEAD.pack(b"RLSR", _VERSION, len(text)), text]
    size = _HEAD.size + len(text)
    is_small = size + sum(column.nbytes for column in columns) <= _WHOLE_BYTES
    for column in columns:
        held.append(column)
        size += column.nbytes
        if size >= _PIECE_BYTES and not is_small:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)
