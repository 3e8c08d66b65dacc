"""Every store of runs keeps the contract; the embedded one also its file."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlore.core.expression import Column, Compare, Literal
from runlore.core.run import run_ref
from runlore.errors import UnavailableError, UsageError
from runlore.store.embedded.runs import EmbeddedRunStore
from runlore.store.runs import RunStore
from runlore.testing.run_list_contract import RunListContract, RunListProperties
from runlore.testing.runs import NOW_NS, ReferenceRunStore, RunStoreContract, a_record, put

GOLDEN = Path(__file__).parents[1] / "golden" / "stores"


class TestReference(RunStoreContract, RunListContract):
    @pytest.fixture
    def store(self) -> RunStore:
        return ReferenceRunStore()


class TestEmbedded(RunStoreContract, RunListContract, RunListProperties):
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


def test_a_catalog_of_version_1_gets_its_index(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with sqlite3.connect(path) as connection:
        connection.executescript((GOLDEN / "catalog-1.sql").read_text())
    connection.close()
    store = EmbeddedRunStore(path)
    assert store.server_id == "abcdef0123456789"
    ref = run_ref("local", "digits", "r2")
    record = store.get(ref)
    assert (record.number, record.name, record.config) == (3, "calm", {"lr": 0.5, "m": {"d": 2}})
    assert list(store.unsettled()) == [run_ref("local", "digits", "r1"), ref]
    columns = store.columns("local", "digits")
    assert [(c.source, c.key, c.numbers, c.texts) for c in columns] == [
        ("config", "lr", 2, 0),
        ("config", "m/d", 1, 0),
        ("config", "model", 0, 1),
        ("summary", "best", 1, 0),
    ]
    where = Compare(op="=", left=Column(key="tags"), right=Literal(value="good"))
    assert store.page("local", "digits", now_ns=NOW_NS, where=where).total == 1
    put(store, a_record(run_ref("local", "digits", "r3")))
    assert store.get(run_ref("local", "digits", "r3")).number == 4
    store.close()
    EmbeddedRunStore(path).close()


def test_a_file_that_is_no_catalog_is_named(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"not a database at all, but long enough" * 100)
    with pytest.raises(UnavailableError, match="catalog.db"):
        EmbeddedRunStore(tmp_path / "catalog.db")


@pytest.mark.parametrize("name", ["catalog.db", "catalog.db-wal"])
def test_a_catalog_that_is_removed_or_replaced_is_named_and_written_again_at_the_end(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "catalog.db"
    store = EmbeddedRunStore(path)
    ref, late = (run_ref("local", "digits", name) for name in ("r1", "r2"))
    put(store, a_record(ref))
    (tmp_path / name).rename(tmp_path / "aside")
    for _ in range(2):
        for ask in (
            lambda: put(store, a_record(late)),
            lambda: store.get(ref),
            lambda: store.page("local", "digits", now_ns=NOW_NS),
            lambda: store.delete(ref),
        ):
            with pytest.raises(UnavailableError, match=r"catalog\.db.*put the file back"):
                ask()
        (tmp_path / name).write_bytes(b"of somebody else")
    (tmp_path / "aside").rename(tmp_path / name)
    put(store, a_record(late))
    for file in tmp_path.glob("catalog.db*"):
        file.unlink()
    store.close()
    assert "written again" in caplog.text
    store = EmbeddedRunStore(path)
    assert [store.get(one).ref for one in (ref, late)] == [ref, late]
    store.close()


def test_a_pattern_that_takes_for_ever_is_stopped(tmp_path: Path) -> None:
    store = EmbeddedRunStore(tmp_path / "catalog.db")
    put(store, a_record(run_ref("local", "digits", "r1"), name="a" * 5000 + "!"))
    with pytest.raises(UsageError, match="takes longer"):
        store.page("local", "digits", now_ns=NOW_NS, search="/(a|aa)+$/")
    store.close()
