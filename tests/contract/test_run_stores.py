"""Every store of runs keeps the contract; the embedded one also its file."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlore.core.run import run_ref
from runlore.errors import UnavailableError, UsageError
from runlore.store.embedded.runs import EmbeddedRunStore
from runlore.store.runs import RunStore
from runlore.testing.run_list_contract import RunListContract
from runlore.testing.runs import NOW_NS, ReferenceRunStore, RunStoreContract, a_record, put


class TestReference(RunStoreContract, RunListContract):
    @pytest.fixture
    def store(self) -> RunStore:
        return ReferenceRunStore()


class TestEmbedded(RunStoreContract, RunListContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[RunStore]:
        store = EmbeddedRunStore(tmp_path / "catalog.db")
        yield store
        store.close()


def test_runs_and_the_server_id_survive_closing(tmp_path: Path) -> None:
    store = EmbeddedRunStore(tmp_path / "catalog.db")
    put(store, a_record(run_ref("local", "digits", "r1")))
    server_id = store.server_id
    store.close()
    again = EmbeddedRunStore(tmp_path / "catalog.db")
    assert again.server_id == server_id
    assert again.get(run_ref("local", "digits", "r1")).number == 1
    again.close()


def test_a_catalog_of_a_newer_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    EmbeddedRunStore(tmp_path / "catalog.db").close()
    with sqlite3.connect(tmp_path / "catalog.db") as connection:
        connection.execute("UPDATE about SET value = '3' WHERE key = 'version'")
    connection.close()
    with pytest.raises(UsageError, match="version 3.*upgrade Runlore"):
        EmbeddedRunStore(tmp_path / "catalog.db")


def test_a_file_that_is_no_catalog_is_named(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"not a database at all, but long enough" * 100)
    with pytest.raises(UnavailableError, match="catalog.db"):
        EmbeddedRunStore(tmp_path / "catalog.db")


def test_a_pattern_that_takes_for_ever_is_stopped(tmp_path: Path) -> None:
    store = EmbeddedRunStore(tmp_path / "catalog.db")
    put(store, a_record(run_ref("local", "digits", "r1"), name="a" * 5000 + "!"))
    with pytest.raises(UsageError, match="takes longer"):
        store.page("local", "digits", now_ns=NOW_NS, search="/(a|aa)+$/")
    store.close()
