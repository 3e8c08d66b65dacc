"""Folders that earlier versions wrote are opened, migrated, and answer as they did."""

import json
import math
import sqlite3
import zipfile
from pathlib import Path

import pytest

from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.embedded.metrics_check import check_store
from runlore.store.embedded.metrics_log import SCHEMA_VERSION
from runlore.store.metrics import Stored
from runlore.testing.spools import SpoolBuilder
from tests.golden.store.write import FORKS, RUNS, answers, builders

FOLDER = Path(__file__).parent / "store"
VERSIONS = sorted(path.stem for path in FOLDER.glob("v*.zip"))
_MOST_BYTES = 60_000


def unpacked(version: str, folder: Path) -> Path:
    with zipfile.ZipFile(FOLDER / f"{version}.zip") as packed:
        packed.extractall(folder)
    return folder


def assert_alike(found: object, expected: object) -> None:
    """Compare what JSON holds; means differ in their last digits, and NaN is like NaN."""
    if isinstance(expected, dict):
        assert isinstance(found, dict)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_alike(found[key], value)
    elif isinstance(expected, list):
        assert isinstance(found, list)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(expected, float) and not isinstance(found, bool):
        assert isinstance(found, int | float)
        assert math.isclose(found, expected, rel_tol=1e-12) or repr(found) == repr(expected)
    else:
        assert (type(found), found) == (type(expected), expected)


def test_there_is_a_folder_of_every_schema_version() -> None:
    assert [f"v{number}" for number in range(1, SCHEMA_VERSION + 1)] == VERSIONS
    for version in VERSIONS:
        for end in (".zip", ".json"):
            assert (FOLDER / f"{version}{end}").stat().st_size < _MOST_BYTES


@pytest.mark.parametrize("version", VERSIONS)
def test_a_folder_of_every_version_answers_as_it_did_before_and_after_it_is_migrated(
    tmp_path: Path, version: str
) -> None:
    folder = unpacked(version, tmp_path)
    expected = json.loads((FOLDER / f"{version}.json").read_text())
    runs = [*RUNS, *FORKS] if int(version[1:]) >= 3 else RUNS
    assert len(expected) == len(runs)
    looked = check_store(folder)
    assert looked.found == []
    assert looked.looked["block"] > 0
    store = EmbeddedMetricStore(folder)
    found = json.loads(json.dumps(answers(store, runs)))
    assert_alike(found, expected)
    store.settle()
    assert_alike(json.loads(json.dumps(answers(store, runs))), expected)
    store.close()
    checked = check_store(folder)
    assert checked.found == []
    assert checked.looked["tower"] >= 2
    for path in folder.rglob("*.db"):
        db = sqlite3.connect(path)
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        db.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_folder_of_every_version_is_logged_to_again(tmp_path: Path, version: str) -> None:
    store = EmbeddedMetricStore(unpacked(version, tmp_path))
    waiting = next(one for one in builders() if one.run == RUNS[3])
    done = len(waiting.frames)
    waiting.log({"loss": 99.0}, step=99)
    assert store.append([waiting.piece(done)]) == [Stored(next=len(waiting.data), points=41)]
    fresh = SpoolBuilder(RUNS[3], "w-9")
    fresh.log({"new": 1.0}, step=5)
    (answer,) = store.append([fresh.piece()])
    assert isinstance(answer, Stored)
    store.settle()
    assert [(one.key, one.count) for one in store.keys(RUNS[3])] == [("loss", 41), ("new", 1)]
    store.close()
    assert check_store(tmp_path).found == []
