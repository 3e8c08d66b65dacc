"""Keys nobody expects: kinds that change, more in a row or in a run than anybody looks at."""

from pathlib import Path

from runlore.core.metric import Value
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.embedded.metrics_check import check_store
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
