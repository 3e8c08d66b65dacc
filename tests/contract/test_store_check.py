"""A check of the store's files names every damage, and repairs what it can."""

import hashlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runlore.core.metric import Value
from runlore.core.run import Fork
from runlore.errors import ConflictError
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.embedded.metrics_check import check_store, repair_store
from runlore.store.embedded.metrics_sizes import Sizes
from runlore.store.metrics import MetricStore
from runlore.testing.metric_restarts import assert_same_answers
from runlore.testing.metrics import ReferenceMetricStore
from runlore.testing.spools import SpoolBuilder, a_run

LARGE = Sizes(pack_frames=10**6)
SMALL = Sizes(
    pack_frames=10**6,  # only settle packs: what comes behind it waits in the log
    block_frames=16,
    small_frames=4,
    raise_frames=16,
    finest_level=1,
    leaf_buckets=4,
    top_buckets=2,
)
TABLES = ("project", "run", "writer", "piece", "declared", "rewind", "fork")
HISTORY_TABLES = ("columns", "block", "segment", "summary", "applied", "tower", "leaf")
DERIVED = [("leaf", "body"), ("leaf_segment", "body"), ("summary", "body")]
BLOBS = [("columns", "body"), ("block", "frames"), ("segment", "body"), *DERIVED]


def a_stream(run_id: str, writer: str, *, began: int, rows: int = 60) -> SpoolBuilder:
    """Build a stream of several key sets and kinds, with what is not finite."""
    builder = SpoolBuilder(a_run(run_id), writer, started_ns=began)
    for step in range(rows):
        values: dict[str, Value] = {"a": step / 8, "b": float(-step)}
        if step % 5 == 0:
            values = {"a": float("nan") if step % 2 else float(step), "ok": step % 2 == 0}
        if step % 7 == 0:
            values["note"] = f"{writer}/{step}"
        builder.log(values, step=step if step % 11 else step * 1000)
    return builder


def fill(*stores: MetricStore) -> list[SpoolBuilder]:
    """Fill stores with what makes every table of the files."""
    builders = [
        a_stream("run-1", "w-1", began=1000),
        a_stream("run-1", "w-2", began=2000),
        a_stream("run-2", "w-3", began=3000),
    ]
    for store in stores:
        for builder in builders[:2]:
            store.append([builder.piece(0, 40)])
        store.rewind(a_run("run-1"), 20)
        for builder in builders[:2]:
            store.append([builder.piece(40)])
        if isinstance(store, EmbeddedMetricStore):
            store.settle()
        store.append([builders[2].piece()])
        store.fork(a_run("run-2"), Fork(run="run-1", step=15))
        store.delete(a_run("run-3"))
    return builders


def a_filled(folder: Path) -> ReferenceMetricStore:
    """Fill a folder whose run-2 waits in the log; return what it must answer."""
    reference, store = ReferenceMetricStore(), EmbeddedMetricStore(folder, SMALL)
    fill(store, reference)
    store.close()
    return reference


def assert_right(folder: Path, reference: ReferenceMetricStore) -> None:
    store = EmbeddedMetricStore(folder, SMALL)
    try:
        for run in ("run-1", "run-2", "run-3"):
            assert_same_answers(store, reference, a_run(run))
        store.settle()
        for run in ("run-1", "run-2", "run-3"):
            assert_same_answers(store, reference, a_run(run))
    finally:
        store.close()


def change(folder: Path, file: str, *statements: str) -> None:
    db = sqlite3.connect(folder / file, isolation_level=None)
    for statement in statements:
        assert db.execute(statement).rowcount > 0, statement
    db.close()


def flipped(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1])


def cut(body: bytes) -> bytes:
    return body[: len(body) // 2]


def of_unknown_version(body: bytes) -> bytes:
    return b"\x63" + body[1:]


def spoil(
    folder: Path,
    file: str,
    table: str,
    column: str,
    how: Callable[[bytes], bytes],
    where: str = "1",
) -> None:
    """Spoil the first blob of a column."""
    db = sqlite3.connect(folder / file)
    row, body = db.execute(f"SELECT rowid, {column} FROM {table} WHERE {where} LIMIT 1").fetchone()
    db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (how(body), row))
    db.commit()
    db.close()


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_sound_store_is_looked_at_as_a_whole_and_left_as_it_is(tmp_path: Path) -> None:
    a_filled(tmp_path)
    before = digests(tmp_path)
    findings = check_store(tmp_path)
    assert findings.found == []
    for table in (*TABLES, *HISTORY_TABLES):
        db = sqlite3.connect(
            f"file:{tmp_path}/{'log.db' if table in TABLES else 'history/1.db'}?immutable=1",
            uri=True,
        )
        (rows,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
        db.close()
        assert rows > 0
        assert findings.looked[table] == rows
    assert findings.looked["buckets"] > 0
    assert digests(tmp_path) == before


def test_a_folder_of_a_killed_server_is_checked_with_what_its_journal_holds(
    tmp_path: Path,
) -> None:
    code = (
        "import os, sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path\n"
        "from tests.contract.test_store_check import SMALL, fill\n"
        "from runlore.store.embedded.metrics import EmbeddedMetricStore\n"
        f"fill(EmbeddedMetricStore(Path({str(tmp_path)!r}), SMALL)); os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert (tmp_path / "log.db-wal").stat().st_size > 0
    before = {name: seen for name, seen in digests(tmp_path).items() if "-shm" not in name}
    findings = check_store(tmp_path)
    assert findings.found == []
    assert findings.looked["piece"] > 0
    after = {name: seen for name, seen in digests(tmp_path).items() if "-shm" not in name}
    assert after == before


@pytest.mark.parametrize("how", [flipped, cut, of_unknown_version])
@pytest.mark.parametrize(("table", "column"), BLOBS)
def test_a_damaged_blob_of_a_history_is_named_with_its_run_and_mended_where_it_can_be(
    tmp_path: Path, table: str, column: str, how: Callable[[bytes], bytes]
) -> None:
    reference = a_filled(tmp_path)
    spoil(tmp_path, "history/1.db", table, column, how)
    before = digests(tmp_path)
    found = check_store(tmp_path).found
    assert found
    assert all(one.file == "history/1.db" for one in found)
    assert found[0].run == "local/digits/run-1"
    assert found[0].means
    assert digests(tmp_path) == before
    _, left = repair_store(tmp_path)
    if (table, column) in DERIVED:
        assert left == []
        assert check_store(tmp_path).found == []
        assert_right(tmp_path, reference)
    else:
        assert len(left) >= 1
        named = {key for one in left for key in one.keys}
        assert named <= {"a", "b", "ok", "note"}
        if table != "columns":
            assert named
            assert any(one.steps is not None for one in left)


@pytest.mark.parametrize("how", [flipped, cut, of_unknown_version])
def test_damaged_columns_of_a_declared_key_set_are_restored(
    tmp_path: Path, how: Callable[[bytes], bytes]
) -> None:
    reference, store = ReferenceMetricStore(), EmbeddedMetricStore(tmp_path, SMALL)
    builder = SpoolBuilder(a_run("run-1"))
    for step in range(40):
        builder.log({"a": float(step), "b": 1.0}, step=step)
    for each in (store, reference):
        each.append([builder.piece()])
    store.settle()
    store.close()
    spoil(tmp_path, "history/1.db", "columns", "body", how)
    first, left = repair_store(tmp_path)
    assert len(first.found) == 1
    assert left == []
    assert_right(tmp_path, reference)


@pytest.mark.parametrize("how", [flipped, cut, of_unknown_version])
@pytest.mark.parametrize("column", ["body", "frames"])
def test_a_damaged_blob_of_the_log_is_named_with_its_writer(
    tmp_path: Path, column: str, how: Callable[[bytes], bytes]
) -> None:
    a_filled(tmp_path)
    table = "piece" if column == "body" else "declared"
    spoil(tmp_path, "log.db", table, column, how)
    (found,) = check_store(tmp_path).found
    assert found.file == "log.db"
    assert found.run == f"local/digits/{'run-2' if table == 'piece' else 'run-1'}"
    assert ("'w-3'" if table == "piece" else "'w-1'") in found.what
    _, left = repair_store(tmp_path)
    assert left == [found]


@pytest.mark.parametrize("how", [flipped, cut, of_unknown_version])
@pytest.mark.parametrize(
    ("table", "column"), [("segment", "body"), ("block", "frames"), ("columns", "body")]
)
def test_what_the_log_still_holds_is_restored(
    tmp_path: Path, table: str, column: str, how: Callable[[bytes], bytes]
) -> None:
    reference = ReferenceMetricStore()
    builder = a_stream("run-2", "w-3", began=3000)
    reference.append([builder.piece()])
    store = EmbeddedMetricStore(tmp_path, LARGE)
    for first in range(0, len(builder.frames), 10):
        store.append([builder.piece(first, first + 10)])
    store.close()
    log = sqlite3.connect(tmp_path / "log.db")
    pieces = log.execute("SELECT * FROM piece").fetchall()
    log.close()
    store = EmbeddedMetricStore(tmp_path, SMALL)
    store.settle()
    store.close()
    # Removing pieces needs no fsync: a crash may bring them back.
    log = sqlite3.connect(tmp_path / "log.db")
    log.executemany("INSERT INTO piece VALUES (?, ?, ?, ?)", pieces)
    log.execute("UPDATE writer SET progress = NULL")
    log.commit()
    log.close()
    assert check_store(tmp_path).found == []
    for where in ("1", "rowid = (SELECT max(rowid) FROM {})"):
        spoil(tmp_path, "history/1.db", table, column, how, where.format(table))
    findings, left = repair_store(tmp_path)
    assert len(findings.found) >= 2
    assert left == []
    assert_right(tmp_path, reference)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE block SET n = n + 1 WHERE id = 1",
        "UPDATE block SET first_step = first_step - 1 WHERE id = 1",
        "UPDATE block SET last_step = last_step + 1 WHERE id = 1",
        "UPDATE tower SET points = points + 1",
        "UPDATE tower SET last_step = last_step + 1",
        "UPDATE tower SET levels = '[[1, 2]]'",
        "UPDATE tower SET levels = 'nothing'",
        "UPDATE tower SET era = 9",
        "DELETE FROM tower",
        "DELETE FROM leaf WHERE id = (SELECT max(id) FROM leaf)",
        "DELETE FROM leaf_segment WHERE id = (SELECT max(id) FROM leaf_segment)",
        "UPDATE leaf SET n = n + 1",
        "UPDATE leaf SET first = first - 1 WHERE id = (SELECT max(id) FROM leaf)",
        "DELETE FROM summary",
    ],
)
def test_what_does_not_agree_is_named_and_mended_where_it_is_derived(
    tmp_path: Path, statement: str
) -> None:
    reference = a_filled(tmp_path)
    change(tmp_path, "history/1.db", statement)
    first, left = repair_store(tmp_path)
    assert first.found
    assert left == []
    assert check_store(tmp_path).found == []
    assert_right(tmp_path, reference)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM block WHERE id = (SELECT max(id) FROM block)",
        "UPDATE block SET dead = 1 WHERE id = (SELECT max(id) FROM block)",
        "UPDATE block SET writer = 999 WHERE id = (SELECT max(id) FROM block)",
        "UPDATE applied SET progress = 'nothing'",
        "DELETE FROM segment WHERE id = (SELECT min(id) FROM segment)",
        "DELETE FROM columns",
    ],
)
def test_what_is_lost_is_named_again_after_a_repair(tmp_path: Path, statement: str) -> None:
    a_filled(tmp_path)
    change(tmp_path, "history/1.db", statement)
    assert check_store(tmp_path).found
    _, left = repair_store(tmp_path)
    assert left
    assert check_store(tmp_path).found == left


def test_declarations_that_are_gone_are_named(tmp_path: Path) -> None:
    a_filled(tmp_path)
    change(tmp_path, "log.db", "DELETE FROM declared")
    found = check_store(tmp_path).found
    assert any("'w-1'" in one.what and one.keys == ("a", "b", "note", "ok") for one in found)


def test_a_missing_history_file_is_named_with_the_writers_that_it_had(tmp_path: Path) -> None:
    a_filled(tmp_path)
    (tmp_path / "history" / "1.db").unlink()
    found = check_store(tmp_path).found
    assert {one.run for one in found} == {"local/digits/run-1"}
    assert any("'w-1'" in one.what and "missing" in one.what for one in found)


def unmade(path: Path) -> None:
    """Leave a database as somebody does who is killed before it has tables."""
    path.unlink(missing_ok=True)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL")
    db.close()
    assert path.stat().st_size > 0


def test_a_history_that_was_begun_and_not_made_is_no_damage_and_is_made_later(
    tmp_path: Path,
) -> None:
    reference, store = ReferenceMetricStore(), EmbeddedMetricStore(tmp_path, LARGE)
    builder = a_stream("run-1", "w-1", began=1000)
    for each in (store, reference):
        each.append([builder.piece()])
    store.close()
    (tmp_path / "history").mkdir(exist_ok=True)
    unmade(tmp_path / "history" / "1.db")
    assert check_store(tmp_path).found == []
    assert_right(tmp_path, reference)
    assert check_store(tmp_path).found == []


def test_a_log_that_was_begun_and_not_made_is_no_damage(tmp_path: Path) -> None:
    EmbeddedMetricStore(tmp_path, SMALL).close()
    unmade(tmp_path / "log.db")
    assert check_store(tmp_path).found == []
    EmbeddedMetricStore(tmp_path, SMALL).close()
    assert check_store(tmp_path).found == []


def test_an_empty_file_in_the_place_of_a_history_is_named_with_what_it_had(
    tmp_path: Path,
) -> None:
    a_filled(tmp_path)
    unmade(tmp_path / "history" / "1.db")
    found = check_store(tmp_path).found
    assert any("'w-1'" in one.what and "does not know this writer" in one.what for one in found)
    assert repair_store(tmp_path)[1] == found


def test_a_file_that_is_no_database_is_named_and_the_others_are_looked_at(
    tmp_path: Path,
) -> None:
    a_filled(tmp_path)
    (tmp_path / "history" / "1.db").write_bytes(b"nothing of a database" * 1000)
    findings = check_store(tmp_path)
    assert any("no database" in one.what for one in findings.found)
    assert findings.looked["piece"] > 0


def test_a_folder_that_a_store_holds_is_not_checked(tmp_path: Path) -> None:
    store = EmbeddedMetricStore(tmp_path, SMALL)
    for check in (check_store, repair_store):
        with pytest.raises(ConflictError, match=r"in use by process \d+; stop it"):
            check(tmp_path)
    store.close()


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE fork SET parent = 'run-2'", "'run-2' inherits from itself"),
        ("UPDATE fork SET step = NULL", "at step None"),
        ("INSERT INTO fork VALUES (999, 'run-1', 1, 0)", "there is no run 999"),
    ],
)
def test_a_fork_that_cannot_be_is_named(tmp_path: Path, statement: str, named: str) -> None:
    a_filled(tmp_path)
    change(tmp_path, "log.db", statement)
    (found,) = check_store(tmp_path).found
    assert named in found.what
    _, left = repair_store(tmp_path)
    assert left == [found]


def test_a_fork_of_a_run_that_never_came_is_no_damage(tmp_path: Path) -> None:
    a_filled(tmp_path)
    change(tmp_path, "log.db", "UPDATE fork SET parent = 'unknown'")
    assert check_store(tmp_path).found == []
