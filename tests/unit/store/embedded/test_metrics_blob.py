"""Blobs of metric history: what is packed comes back, what is damaged does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runlore.errors import DamageError
from runlore.store.embedded import metrics_blob as blob

ints = st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=20)


@given(ints, st.integers(1, 5))
def test_integer_columns_come_back(numbers: list[int], count: int) -> None:
    columns = [np.array(numbers) + place for place in range(count)]
    found = blob.unpack_ints(blob.pack_ints(columns), count, "x")
    np.testing.assert_array_equal(found, columns)


@given(st.lists(st.floats(), min_size=1, max_size=20), st.integers(1, 3))
def test_floats_come_back_bit_by_bit(numbers: list[float], rows: int) -> None:
    matrix = np.array([numbers] * rows)
    found = blob.unpack_floats(blob.pack_floats(matrix), len(numbers), "x")
    assert found.tobytes() == matrix.tobytes()


def test_noise_takes_its_own_bytes_and_what_repeats_beside_it_nearly_none() -> None:
    rng = np.random.default_rng(0)
    noise = rng.random((2, 4096), dtype=np.float32).astype(np.float64)
    packed = blob.pack_floats(noise)
    assert blob.unpack_floats(packed, 4096, "x").tobytes() == noise.tobytes()
    assert len(packed) < 3.5 * noise.size
    times = np.cumsum(10**7 + rng.integers(0, 2**16, 4096))
    columns = [np.arange(4096), times, np.zeros(4096, dtype=np.int64)]
    packed = blob.pack_ints(columns)
    np.testing.assert_array_equal(blob.unpack_ints(packed, 3, "x"), columns)
    assert len(packed) < 2.5 * len(times)


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=9))
def test_texts_come_back(texts: list[str]) -> None:
    assert blob.unpack_texts(blob.pack_texts(texts), len(texts), "x") == texts


def test_any_changed_byte_is_found_and_the_blob_named() -> None:
    whole = blob.pack_floats(np.arange(50.0).reshape(1, -1))
    assert len(whole) > 20
    for at in range(len(whole)):
        broken = bytearray(whole)
        broken[at] ^= 0x55
        with pytest.raises(DamageError, match="chunk 7"):
            blob.unpack_floats(bytes(broken), 50, "chunk 7")
    for cut in range(len(whole)):
        with pytest.raises(DamageError, match="chunk 7"):
            blob.unpack_floats(whole[:cut], 50, "chunk 7")
