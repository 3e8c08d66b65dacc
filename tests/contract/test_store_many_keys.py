"""Keys nobody expects: kinds that change, more in a row or in a run than anybody looks at."""

import sqlite3
from pathlib import Path

from runlore.core.metric import Value
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.embedded.metrics_check import check_store, repair_store
from runlore.store.metrics import Stored
from runlore.testing.metric_restarts import assert_same_answers, assert_same_series
from runlore.testing.metrics import ReferenceMetricStore
from runlore.testing.spools import SpoolBuilder, a_run
from tests.contract.test_store_check import SMALL


def test_a_key_whose_kind_changes_with_every_row_has_a_history_of_each_kind(
    tmp_path: Path,
) -> None:
    store, reference = EmbeddedMetricStore(tmp_path, SMALL), ReferenceMetricStore()
    builder = SpoolBuilder(a_run())
    kinds: list[Value] = [1.5, True, "text", float("nan"), False, "", -0.0]
    for step in range(120):
        builder.log({"a": kinds[step % 7], "b": kinds[step % 5], "c": float(step)}, step=step)
        if step == 60:
            store.append([builder.piece()])
            store.settle()
    builder.end()
    for each in (store, reference):
        each.append([builder.piece()])
    for _ in range(2):
        assert_same_answers(store, reference, a_run())
        for buckets in (2, 9, 500):
            assert_same_series(
                store.series([a_run()], ["a", "b", "c"], buckets=buckets),
                reference.series([a_run()], ["a", "b", "c"], buckets=buckets),
            )
        store.settle()
    assert {one.kind for one in store.keys(a_run()) if one.key == "a"} == {
        "number",
        "bool",
        "string",
    }
    store.close()
    assert check_store(tmp_path).found == []


def test_a_hundred_thousand_keys_in_a_row_come_back(tmp_path: Path) -> None:
    store = EmbeddedMetricStore(tmp_path)
    builder = SpoolBuilder(a_run())
    for step in range(2):
        builder.log({f"k{n}": float(n + step) for n in range(100_000)}, step=step)
    (answer,) = store.append([builder.piece()])
    assert answer == Stored(next=len(builder.data), points=200_000)
    for _ in range(2):
        keys = store.keys(a_run())
        assert len(keys) == 100_000
        assert all(one.count == 2 for one in keys)
        (found,) = store.series([a_run()], ["k99999"], buckets=10)
        assert found.last.tolist() == [99_999.0, 100_000.0]
        store.settle()
    store.close()
    assert check_store(tmp_path).found == []


def test_twenty_thousand_keys_of_which_each_row_has_others_come_back(tmp_path: Path) -> None:
    store = EmbeddedMetricStore(tmp_path)
    builder = SpoolBuilder(a_run())
    for step in range(2000):
        builder.log({f"k{10 * step + n}": float(n) for n in range(10)}, step=step)
    for first in range(0, len(builder.frames), 500):
        (answer,) = store.append([builder.piece(first, first + 500)])
        assert isinstance(answer, Stored)
    for _ in range(2):
        assert len(store.keys(a_run())) == 20_000
        (found,) = store.series([a_run()], ["k12345"], buckets=10)
        assert (found.step.tolist(), found.last.tolist()) == ([1234.0], [5.0])
        store.settle()
    store.close()
    assert check_store(tmp_path).found == []


def test_a_pack_writes_little_of_the_summary_of_a_run_with_ever_new_keys(tmp_path: Path) -> None:
    store, reference = EmbeddedMetricStore(tmp_path), ReferenceMetricStore()
    builder = SpoolBuilder(a_run())
    written, packs, new, done = 0, 24, 3000, 0
    for step in range(packs):
        first = (step * 7 % packs) * new
        # Some keys of every row were there before, and one is in all of them.
        builder.log({f"k{first + n:06}": float(n) for n in range(new)}, step=step)
        builder.log({f"k{max(0, first - 50 + n):06}": -1.0 for n in range(100)}, step=step)
        builder.log({"same": float(step), "text": str(step)}, step=step)
        store.append([builder.piece(done)])
        done = len(builder.frames)
        store.settle()
        written += cells_of_the_newest_pack(tmp_path)
    reference.append([builder.piece()])
    keys = store.keys(a_run())
    assert keys == reference.keys(a_run())
    assert len(keys) == packs * new + 2
    assert store.keys(a_run(), limit=100) == keys[:100]
    assert store.key_counts([a_run()]) == reference.key_counts([a_run()])
    assert store.last_step(a_run()) == packs - 1
    # All of it with every pack would be twelve times as much as there is in the end.
    assert written < 5 * len(keys)
    store.close()
    assert check_store(tmp_path).found == []
    db = sqlite3.connect(tmp_path / "history" / "1.db")
    assert db.execute("SELECT count(DISTINCT born) FROM summary").fetchone()[0] > 1
    db.execute("UPDATE summary SET body = x'00' WHERE rowid = (SELECT min(rowid) FROM summary)")
    db.commit()
    db.close()
    store = EmbeddedMetricStore(tmp_path)
    assert store.keys(a_run()) == keys
    assert store.keys(a_run(), limit=70_000) == keys[:70_000]
    store.close()
    assert {found.remedy for found in check_store(tmp_path).found} == {"summary"}
    assert repair_store(tmp_path)[1] == []
    store = EmbeddedMetricStore(tmp_path)
    assert store.keys(a_run()) == keys
    store.close()


def cells_of_the_newest_pack(folder: Path) -> int:
    db = sqlite3.connect(folder / "history" / "1.db")
    query = "SELECT sum(cells) FROM summary WHERE born = (SELECT max(born) FROM summary)"
    (cells,) = db.execute(query).fetchone()
    db.close()
    return int(cells)
