"""The spool stream: frames that one writer logs, as docs/design/spool.md lays them out.

The encoders run in the user's program for every `log`, so they build bytes with as few Python
operations as they can; `runlore.sdk` keeps the tables of keys and key sets.
"""

import json
import struct
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from runlore.core.json import JsonObject, JsonValue
from runlore.core.metric import MAX_STEP, Value
from runlore.errors import DamageError

VERSION = 1
PREAMBLE = b"RLSP" + bytes([VERSION, 0, 0, 0])
FRAME_HEAD = struct.Struct("<II")
MAX_PAYLOAD = 16 * 1024 * 1024

HEADER, KEYS, KEY_SET, ROW, LOOSE_ROW, MIXED_ROW = 1, 2, 3, 4, 5, 6
RUN, CONFIG, SUMMARY, DEFINE, GAP, FINISH, CLOSED, LOST = 7, 8, 9, 10, 11, 12, 13, 14
DECLARING = frozenset((KEYS, KEY_SET))
ROWS = frozenset((ROW, LOOSE_ROW, MIXED_ROW))
ENDS = frozenset((FINISH, CLOSED, LOST))

_ROW_HEAD = struct.Struct("<BIqq")
_TWO = struct.Struct("<BII")
_NUMBER, _BOOL, _STRING = 0, 1, 2


class Frame(NamedTuple):
    """One frame as it stands in a stream.

    `offset` is the stream's byte at which the frame begins, `end` the byte behind it.
    """

    offset: int
    end: int
    kind: int
    payload: memoryview


class Row(NamedTuple):
    """Values that were logged together. `keys` and `values` are parallel."""

    step: int
    time_ns: int
    keys: Sequence[str]
    values: Sequence[Value]


class RowHead(NamedTuple):
    """What the first bytes of a row tell, without its keys; `points` is how many values it has."""

    points: int
    step: int
    time_ns: int


def frame(payload: bytes) -> bytes:
    """Put length and checksum before a payload."""
    return FRAME_HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def row_struct(count: int) -> struct.Struct:
    """Return the layout of a row's payload, for `pack(ROW, set_id, step, time_ns, *values)`."""
    return struct.Struct(f"<BIqq{count}d")


def encode_json(kind: int, content: Mapping[str, JsonValue]) -> bytes:
    """Encode the payload of a frame that holds a JSON object."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return bytes([kind]) + text.encode()


def encode_keys(first_id: int, keys: Sequence[str]) -> bytes:
    """Encode the payload that declares ids for keys, from `first_id` on."""
    encoded = [key.encode() for key in keys]
    lengths = array("H", map(len, encoded))
    return _TWO.pack(KEYS, first_id, len(encoded)) + lengths.tobytes() + b"".join(encoded)


def encode_key_set(set_id: int, key_ids: Sequence[int]) -> bytes:
    """Encode the payload that declares a set of keys, so that rows need only name the set."""
    return _TWO.pack(KEY_SET, set_id, len(key_ids)) + array("I", key_ids).tobytes()


def encode_loose_row(
    step: int, time_ns: int, key_ids: Sequence[int], values: Sequence[float]
) -> bytes:
    """Encode the payload of a row of numbers whose keys form no declared set."""
    head = _ROW_HEAD.pack(LOOSE_ROW, len(key_ids), step, time_ns)
    return head + array("I", key_ids).tobytes() + array("d", values).tobytes()


def encode_mixed_row(
    step: int, time_ns: int, key_ids: Sequence[int], values: Sequence[Value]
) -> bytes:
    """Encode the payload of a row that holds bools or strings, perhaps beside numbers."""
    kinds = bytearray()
    numbers = array("d")
    bools = bytearray()
    strings: list[bytes] = []
    for value in values:
        if isinstance(value, bool):
            kinds.append(_BOOL)
            bools.append(value)
        elif isinstance(value, str):
            kinds.append(_STRING)
            strings.append(value.encode())
        else:
            kinds.append(_NUMBER)
            numbers.append(value)
    parts: list[bytes | bytearray] = [
        _ROW_HEAD.pack(MIXED_ROW, len(key_ids), step, time_ns),
        array("I", key_ids).tobytes(),
        kinds,
        numbers.tobytes(),
        bools,
        array("I", map(len, strings)).tobytes(),
        *strings,
    ]
    return b"".join(parts)


def whole_frames(data: bytes | memoryview, *, offset: int) -> Iterator[Frame]:
    """Walk the frames of a piece of a stream that begins at `offset`, a frame's edge.

    Ends quietly where the piece ends, also inside a frame, and at a length of 0.

    Raises:
        DamageError: a length is out of range or a checksum is wrong; its `offset` is the first
            byte of the damaged frame. Frames before it have been yielded.
    """
    view = memoryview(data)
    at = 0
    if offset == 0:
        if len(view) < len(PREAMBLE):
            return
        check_preamble(view)
        at = len(PREAMBLE)
    size = len(view)
    unpack = FRAME_HEAD.unpack_from
    crc32 = zlib.crc32
    while at + 8 < size:
        length, crc = unpack(view, at)
        if length == 0:
            return
        start = offset + at
        if length > MAX_PAYLOAD:
            raise DamageError(
                f"damaged frame at byte {start}: its length is {length}, at most {MAX_PAYLOAD} "
                "are written; what stands before it is good",
                offset=start,
            )
        end = at + 8 + length
        if end > size:
            return
        payload = view[at + 8 : end]
        if crc32(payload) != crc:
            raise DamageError(
                f"damaged frame at byte {start}: its checksum does not match its {length} "
                "bytes; what stands before it is good",
                offset=start,
            )
        yield Frame(start, offset + end, payload[0], payload)
        at = end


def check_preamble(data: bytes | memoryview) -> None:
    """Check the first eight bytes of a stream.

    Raises:
        DamageError: this is not a spool, or one of a newer version.
    """
    if bytes(data[:4]) != PREAMBLE[:4]:
        raise DamageError(
            f"expected a spool, which begins with {PREAMBLE[:4]!r}, got {bytes(data[:4])!r}",
            offset=0,
        )
    if data[4] != VERSION:
        raise DamageError(
            f"this spool has version {data[4]}, this Runlore reads version {VERSION}; "
            "upgrade Runlore where it is read",
            offset=0,
        )


def decode_json(payload: memoryview) -> JsonObject:
    """Decode the JSON object of a frame of a JSON kind."""
    content: JsonValue = json.loads(bytes(payload[1:]))
    if not isinstance(content, dict):
        raise ValueError(f"expected a JSON object, got {type(content).__name__}")
    return content


def row_head(payload: memoryview) -> RowHead | None:
    """Read the beginning of a frame of a kind in ROWS; None if it is too short to have one."""
    if len(payload) < _ROW_HEAD.size:
        return None
    kind, count, step, time_ns = _ROW_HEAD.unpack_from(payload)
    points = (len(payload) - _ROW_HEAD.size) // 8 if kind == ROW else count
    return RowHead(points, step, time_ns)


class KeyTable:
    """The keys and key sets that a stream has declared so far; decodes its rows.

    Feed it every frame of kinds KEYS and KEY_SET in order. Declaring the same again changes
    nothing, so a stream may be read again from an earlier byte; an id never changes its meaning.
    """

    def __init__(self) -> None:
        self.keys: dict[int, str] = {}
        self.sets: dict[int, tuple[int, ...]] = {}

    def declare(self, payload: memoryview) -> None:
        """Take in a frame of kind KEYS or KEY_SET."""
        kind, first, count = _TWO.unpack_from(payload)
        at = _TWO.size
        if kind == KEY_SET:
            self._check_size(payload, at + 4 * count)
            ids = struct.unpack_from(f"<{count}I", payload, at)
            self._check_known(ids)
            if self.sets.setdefault(first, ids) != ids:
                raise ValueError(f"key set {first} was declared before as other keys")
            return
        lengths = struct.unpack_from(f"<{count}H", payload, at)
        at += 2 * count
        self._check_size(payload, at + sum(lengths))
        for key_id, length in enumerate(lengths, first):
            key = str(payload[at : at + length], "utf-8")
            if self.keys.setdefault(key_id, key) != key:
                raise ValueError(f"key id {key_id} was declared before as another key")
            at += length

    def row(self, payload: memoryview) -> Row:
        """Decode a frame of kind ROW, LOOSE_ROW or MIXED_ROW."""
        kind, count, step, time_ns = _ROW_HEAD.unpack_from(payload)
        at = _ROW_HEAD.size
        if kind == ROW:
            ids = self.sets.get(count)
            if ids is None:
                raise ValueError(f"key set {count} was not declared before it was used")
        else:
            ids = struct.unpack_from(f"<{count}I", payload, at)
            at += 4 * count
            self._check_known(ids)
        keys = [self.keys[key_id] for key_id in ids]
        if len(set(keys)) < len(keys):
            raise ValueError("a key stands twice in one row")
        if abs(step) > MAX_STEP:
            raise ValueError(f"step {step} is beyond ±{MAX_STEP}")
        if kind == MIXED_ROW:
            return Row(step, time_ns, keys, _mixed_values(payload, at, count))
        self._check_size(payload, at + 8 * len(ids))
        return Row(step, time_ns, keys, struct.unpack_from(f"<{len(ids)}d", payload, at))

    def _check_known(self, ids: Sequence[int]) -> None:
        for key_id in ids:
            if key_id not in self.keys:
                raise ValueError(f"key id {key_id} was not declared before it was used")

    def _check_size(self, payload: memoryview, size: int) -> None:
        if len(payload) != size:
            raise ValueError(f"the frame should have {size} bytes, it has {len(payload)}")


def _mixed_values(payload: memoryview, at: int, count: int) -> list[Value]:
    kinds = bytes(payload[at : at + count])
    if max(kinds, default=0) > _STRING:
        raise ValueError(f"{max(kinds)} is no kind of value; there are 0, 1 and 2")
    at += count
    numbers = iter(struct.unpack_from(f"<{kinds.count(_NUMBER)}d", payload, at))
    at += 8 * kinds.count(_NUMBER)
    bools = iter(bytes(payload[at : at + kinds.count(_BOOL)]))
    at += kinds.count(_BOOL)
    lengths = struct.unpack_from(f"<{kinds.count(_STRING)}I", payload, at)
    at += 4 * len(lengths)
    if at + sum(lengths) != len(payload):
        raise ValueError(f"the frame should have {at + sum(lengths)} bytes, it has {len(payload)}")
    values: list[Value] = []
    strings = iter(lengths)
    for kind in kinds:
        if kind == _STRING:
            length = next(strings)
            values.append(str(payload[at : at + length], "utf-8"))
            at += length
        else:
            values.append(next(numbers) if kind == _NUMBER else bool(next(bools)))
    return values
