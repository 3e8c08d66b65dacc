"""Binary series: columns of float64 behind a JSON header, as docs/design/http-api.md says."""

import json
import struct
from collections.abc import Iterable, Mapping, Sequence

from runlore.core.json import JsonValue

MEDIA_TYPE = "application/vnd.runlore.series"
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

_HEAD = struct.Struct("<4sII4x")
_VERSION = 1


def encode_series(
    series: Sequence[Mapping[str, JsonValue]], columns: Iterable[bytes | memoryview]
) -> bytes:
    """Encode the heads of all series and, in their order, each one's columns of bytes."""
    text = json.dumps({"series": list(series), "columns": COLUMNS}, separators=(",", ":"))
    header = text.encode()
    header += b" " * (-(_HEAD.size + len(header)) % 8)
    return b"".join([_HEAD.pack(b"RLSR", _VERSION, len(header)), header, *columns])
