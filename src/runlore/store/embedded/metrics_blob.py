"""Blobs of metric history: arrays and texts, compressed, each with a version and a checksum."""

import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import zstandard
from numpy.typing import NDArray

from runlore.errors import DamageError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_VERSION = 1
_HEAD = struct.Struct("<BI")
_LEVEL = 1

_LONG_ROW = 4096
_LEAST_PLANE_BYTES = 256
"""Below it a block of its own costs a plane more than it gains."""

SIZE_HEAD_BYTES = 32
"""How many bytes of a blob tell the size of its body."""


class _Contexts(threading.local):
    """Buffers of zstd, which cost more to make than a small blob to compress."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_contexts = _Contexts()


def seal(body: bytes) -> bytes:
    """Compress a body and put version and checksum before it."""
    return _signed(_contexts.compressor.compress(body))


def unseal(blob: bytes, name: str) -> bytes:
    """Return the body of a blob; `name` says in an error which one it is.

    Raises:
        DamageError: the blob is not what was written, or of a newer version.
    """
    try:
        version, crc = _HEAD.unpack_from(blob)
        packed = memoryview(blob)[_HEAD.size :]
        if version == _VERSION and zlib.crc32(packed) == crc:
            return _contexts.decompressor.decompress(packed)
    except (struct.error, zstandard.ZstdError):
        version = None
    if version is not None and version > _VERSION:
        raise DamageError(
            f"{name} has version {version}, this Runlore reads version {_VERSION}; "
            "upgrade Runlore",
            offset=0,
        )
    raise DamageError(
        f"{name} is damaged: its checksum does not match its {len(blob)} bytes; "
        "restore the file from a backup or delete the run",
        offset=0,
    )


def unsealed_size(head: bytes) -> int:
    """Return the size of the body of a blob that begins so; 0 where that cannot be told."""
    try:
        return max(0, zstandard.frame_content_size(head[_HEAD.size :]))
    except zstandard.ZstdError:
        return 0


def pack_ints(columns: Sequence[Ints]) -> bytes:
    """Pack integer columns of one length as differences, byte planes apart."""
    stacked = np.array(columns, dtype=np.int64)
    stacked[:, 1:] -= stacked[:, :-1].copy()
    return _seal_planes(stacked.view(np.uint8))


def unpack_ints(blob: bytes, count: int, name: str) -> Ints:
    """Unpack `count` integer columns, one per row of the result."""
    body = np.frombuffer(unseal(blob, name), dtype=np.uint8)
    with _fitting(name, count):
        planes = body.reshape(8, count, -1)
    length = planes.shape[2]
    if length < _LONG_ROW:
        return np.cumsum(_woven(planes), axis=1)
    # The differences are mostly small: but for the first numbers most planes are empty.
    woven = np.zeros((count, length, 8), dtype=np.uint8)
    for number, plane in enumerate(planes):
        if plane[:, 1:].any():
            woven[..., number] = plane
        else:
            woven[:, 0, number] = plane[:, 0]
    return np.cumsum(woven.view(np.int64)[..., 0], axis=1)


def pack_floats(values: Floats) -> bytes:
    """Pack a matrix of floats, row by row, byte planes apart."""
    return _seal_planes(np.ascontiguousarray(values).view(np.uint8))


def unpack_floats(blob: bytes, count: int, name: str) -> Floats:
    """Unpack a matrix with `count` columns."""
    body = np.frombuffer(unseal(blob, name), dtype=np.uint8)
    with _fitting(name, count):
        return _woven(body.reshape(8, -1)).view(np.float64).reshape(-1, count)


def unwoven(bodies: Sequence[bytes], rows: int, count: int, picked: slice) -> NDArray[np.int64]:
    """Put the byte planes of several bodies together, each of `rows` rows of `count` numbers.

    The result is (bodies, picked rows, count), of the bits as they were packed.
    """
    joined = np.frombuffer(b"".join(bodies), dtype=np.uint8)
    planes = joined.reshape(len(bodies), 8, rows, count)[:, :, picked]
    return _woven(planes.transpose(1, 0, 2, 3))


def pack_texts(texts: Sequence[str]) -> bytes:
    """Pack strings: their lengths, then themselves."""
    encoded = [text.encode() for text in texts]
    return seal(struct.pack(f"<{len(encoded)}I", *map(len, encoded)) + b"".join(encoded))


def unpack_texts(blob: bytes, count: int, name: str) -> list[str]:
    """Unpack `count` strings."""
    body = unseal(blob, name)
    texts = []
    at = 4 * count
    with _fitting(name, count):
        for length in struct.unpack_from(f"<{count}I", body):
            texts.append(str(body[at : at + length], "utf-8"))
            at += length
    return texts


@contextmanager
def _fitting(name: str, count: int) -> Iterator[None]:
    """Turn a blob that does not hold `count` columns or texts into DamageError."""
    try:
        yield
    except (ValueError, struct.error, ZeroDivisionError) as error:
        raise DamageError(
            f"{name} is damaged: it does not hold {count} of what it should; "
            "restore the file from a backup or delete the run",
            offset=0,
        ) from error


def _seal_planes(flat: NDArray[np.uint8]) -> bytes:
    # The first bytes of all numbers, then the second ones: neighbours alike compress far better.
    # Each plane ends a block of zstd's, which has a code of its own: noise beside what repeats.
    planes = flat.reshape(-1, 8).T
    body = planes.tobytes()
    size = planes.shape[1]
    if size < _LEAST_PLANE_BYTES:
        return seal(body)
    stream = _contexts.compressor.compressobj(size=len(body))
    packed = []
    for begin in range(0, len(body), size):
        packed.append(stream.compress(body[begin : begin + size]))
        packed.append(stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    packed.append(stream.flush())
    return _signed(b"".join(packed))


def _signed(packed: bytes) -> bytes:
    return _HEAD.pack(_VERSION, zlib.crc32(packed)) + packed


def _woven(planes: NDArray[np.uint8]) -> Ints:
    """Put numbers together of their byte planes, which the first axis counts."""
    found = np.empty((*planes.shape[1:], 8), dtype=np.uint8)
    for plane in range(8):
        found[..., plane] = planes[plane]
    return found.view(np.int64)[..., 0]
