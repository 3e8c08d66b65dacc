"""One flipped bit anywhere in the store's files: an error or the right answer, and a name."""

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from runlore.errors import RunloreError
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.embedded.metrics_check import check_store
from runlore.testing.metric_restarts import assert_same_answers, assert_same_series
from runlore.testing.metrics import ReferenceMetricStore
from runlore.testing.spools import a_run
from tests.contract.test_store_check import SMALL, a_filled

KEYS = ("a", "b", "ok", "note")
BLOBS = (
    *(("columns", "body"), ("block", "frames"), ("segment", "body")),
    *(("summary", "body"), ("leaf", "body"), ("leaf_segment", "body")),
)


def answer(folder: Path, reference: ReferenceMetricStore) -> str:
    """Ask everything: 'right', 'error' or 'wrong'; nothing but the errors of Runlore may come."""
    try:
        store = EmbeddedMetricStore(folder, SMALL)
    except RunloreError:
        return "error"
    met = "right"
    try:
        for run in (a_run("run-1"), a_run("run-2")):
            try:
                assert_same_answers(store, reference, run)
                for buckets, start in ((2, None), (9, None), (7, 12), (500, None)):
                    assert_same_series(
                        store.series([run], KEYS, buckets=buckets, start=start),
                        reference.series([run], KEYS, buckets=buckets, start=start),
                    )
            except RunloreError:
                met = "error"
            except AssertionError:
                return "wrong"
    finally:
        store.close()
    return met


def flip(path: Path, rng: random.Random) -> None:
    """Flip a bit of a byte that is not 0: most of a small file is free space."""
    body = bytearray(path.read_bytes())
    at = rng.choice([place for place, byte in enumerate(body) if byte])
    body[at] ^= 1 << rng.randrange(8)
    path.write_bytes(body)


def outcomes(tmp_path: Path, file: str, flips: int, seed: int) -> dict[str, int]:
    sound, copy = tmp_path / "sound", tmp_path / "copy"
    reference = a_filled(sound)
    rng = random.Random(seed)
    met = dict.fromkeys(("right", "error", "wrong"), 0)
    for _ in range(flips):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(sound, copy)
        flip(copy / file, rng)
        is_named = bool(check_store(copy).found)
        outcome = answer(copy, reference)
        met[outcome] += 1
        # Names in the log have no second place to be compared with.
        assert is_named or outcome == "right" or file == "log.db"
    return met


def spoil_blobs(tmp_path: Path, flips: int, seed: int) -> None:
    """Flip bits inside blobs alone, where checksums leave nothing wrong to be read."""
    sound, copy = tmp_path / "sound", tmp_path / "copy"
    reference = a_filled(sound)
    rng = random.Random(seed)
    for _ in range(flips):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(sound, copy)
        table, column = rng.choice(BLOBS)
        db = sqlite3.connect(copy / "history" / "1.db")
        rows = db.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
        number, body = rng.choice(rows)
        spoiled = bytearray(body)
        spoiled[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
        db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (spoiled, number))
        db.commit()
        db.close()
        assert check_store(copy).found
        assert answer(copy, reference) in ("right", "error")


def test_a_flip_in_a_blob_is_never_read_as_a_number_and_always_named(tmp_path: Path) -> None:
    spoil_blobs(tmp_path, 60, seed=1)


@pytest.mark.parametrize("file", ["history/1.db", "log.db"])
def test_a_flip_anywhere_crashes_nothing_and_is_named_where_it_changes_an_answer(
    tmp_path: Path, file: str
) -> None:
    met = outcomes(tmp_path, file, 40, seed=1)
    assert met["error"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("file", ["history/1.db", "log.db"])
def test_six_hundred_flips_crash_nothing_and_are_named_where_they_change_an_answer(
    tmp_path: Path, file: str
) -> None:
    met = outcomes(tmp_path, file, 600, seed=2)
    assert met["error"] > 0


@pytest.mark.slow
def test_six_hundred_flips_in_blobs_are_never_read_as_numbers(tmp_path: Path) -> None:
    spoil_blobs(tmp_path, 600, seed=2)
