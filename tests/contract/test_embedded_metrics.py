"""The embedded store keeps the contract of metric history, and answers as the naive one does."""

import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from runlore.errors import ConflictError
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.embedded.metrics_sizes import Sizes
from runlore.store.metrics import MetricStore, SpoolPiece, Stored
from runlore.testing.metric_contract import a_curve
from runlore.testing.metric_fork_histories import ForksAgainstReference
from runlore.testing.metric_restarts import (
    MetricStoreAgainstReference,
    MetricStoreContract,
    MetricStoreDurability,
)
from runlore.testing.spools import SpoolBuilder, a_run


def settle(store: MetricStore) -> None:
    assert isinstance(store, EmbeddedMetricStore)
    store.settle()


class TestEmbeddedMetricStore(
    MetricStoreContract, MetricStoreDurability, MetricStoreAgainstReference, ForksAgainstReference
):
    after_calls = fork_calls = (settle,)

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], MetricStore]:
        return lambda: EmbeddedMetricStore(tmp_path / "metrics")


class PackedMetricStore(EmbeddedMetricStore):
    """One that packs all before `append` returns."""

    def append(self, pieces: Sequence[SpoolPiece]) -> list[Stored | Exception]:
        answers = super().append(pieces)
        self.settle()
        return answers


class TestPackedMetricStore(MetricStoreContract, MetricStoreDurability):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], MetricStore]:
        return lambda: PackedMetricStore(tmp_path / "metrics")


class TestTowersOfMetricStore(
    MetricStoreContract, MetricStoreDurability, MetricStoreAgainstReference, ForksAgainstReference
):
    """With sizes so small that a few points make blocks, towers, levels and leaves that split."""

    after_calls = fork_calls = (settle,)
    sizes = Sizes(
        pack_frames=3,
        block_frames=4,
        small_frames=2,
        raise_frames=3,
        finest_level=1,
        leaf_buckets=3,
        top_buckets=2,
    )

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], MetricStore]:
        return lambda: PackedMetricStore(tmp_path / "metrics", self.sizes)


@pytest.mark.slow
class TestTowersOfMetricStoreManyTimes(MetricStoreAgainstReference, ForksAgainstReference):
    """The same with thousands of random histories; some minutes."""

    examples = 2000
    fork_examples = 1000
    after_calls = fork_calls = (settle,)

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], MetricStore]:
        return lambda: PackedMetricStore(tmp_path / "metrics", TestTowersOfMetricStore.sizes)


def test_rows_of_one_step_come_in_the_order_in_which_they_were_sent(tmp_path: Path) -> None:
    """Also those of one piece that hold the same key in two forms, one among the other."""
    builder = SpoolBuilder(a_run(), "w-1")
    for value in (1.0, 2.0, 3.0, 4.0, 5.0):
        builder.log({"loss": value}, step=0, form="mixed" if value % 2 == 0 else "row")
    store = EmbeddedMetricStore(tmp_path)
    store.append([builder.piece()])

    shown = [row.values["loss"] for row in store.rows(a_run())]
    (series,) = store.series([a_run()], ["loss"], buckets=10)
    (summary,) = store.keys(a_run())

    assert shown == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert series.last.tolist() == shown
    batches = store.scan(a_run()).batches
    assert [value for one in batches for value in one.columns[0].values] == shown
    assert summary.last == 5.0
    store.close()


def test_what_is_packed_leaves_the_log_whoever_packs_it(tmp_path: Path) -> None:
    store = EmbeddedMetricStore(tmp_path)
    for number in range(0, 1200, 300):
        builders = [a_curve([1.0], run=a_run(f"run-{n}")) for n in range(number, number + 300)]
        for builder in builders:
            builder.end()  # now it is due, and the store's own thread packs it, too
        store.append([builder.piece() for builder in builders])
        store.settle()
    store.close()
    log = sqlite3.connect(tmp_path / "log.db")
    assert log.execute("SELECT count(*) FROM piece").fetchone() == (0,)
    log.close()


def test_rows_that_are_being_read_when_the_store_is_closed_come_to_their_end(
    tmp_path: Path,
) -> None:
    store = EmbeddedMetricStore(tmp_path)
    packed, waiting = a_curve([1.0, 2.0]), a_curve([3.0], writer="w-2")
    store.append([packed.piece()])
    store.settle()
    store.append([waiting.piece()])
    rows = store.rows(a_run())
    first = next(rows)
    store.close()
    assert [row.values["loss"] for row in (first, *rows)] == [1.0, 3.0, 2.0]
    with pytest.raises(ConflictError, match="closed"):
        store.keys(a_run())
    EmbeddedMetricStore(tmp_path).close()


def test_what_is_deleted_or_packed_gives_its_space_back_to_the_disk(tmp_path: Path) -> None:
    store = EmbeddedMetricStore(tmp_path)
    noise = random.Random(0)
    builders = [SpoolBuilder(a_run(f"run-{number}")) for number in range(3)]
    for builder in builders:
        for step in range(4000):
            builder.log({f"key-{number}": noise.random() for number in range(20)}, step=step)
        builder.end()
        store.append([builder.piece()])
    store.settle()
    (history,) = (tmp_path / "history").glob("*.db")
    look = sqlite3.connect(history)
    look.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    look.close()
    packed_bytes = history.stat().st_size
    freed_bytes = sum(store.delete(builder.run) for builder in builders[:2])
    assert freed_bytes > packed_bytes / 2
    deadline = time.monotonic() + 60
    while (
        history.stat().st_size > packed_bytes / 2 or (tmp_path / "log.db").stat().st_size > 200_000
    ):
        assert time.monotonic() < deadline, "the files are as long as before"
        time.sleep(0.05)
    (kept,) = store.series([builders[2].run], ["key-7"], buckets=100)
    assert kept.points == 4000
    store.close()


def test_long_texts_are_not_written_again_by_the_packs_behind_them(tmp_path: Path) -> None:
    store = EmbeddedMetricStore(tmp_path)
    builder, first = SpoolBuilder(a_run()), 0
    texts = [letter * size for letter in "abc" for size in (2_000_000, 10)]
    for step, text in enumerate(texts):
        builder.log({"sample": text, "loss": 0.5}, step=step)
        store.append([builder.piece(first)])
        first = len(builder.frames)
        store.settle()
    assert [row.values["sample"] for row in store.rows(a_run())] == texts
    store.close()
    history = sqlite3.connect(tmp_path / "history" / "1.db")
    blocks = history.execute("SELECT n FROM block WHERE dead IS NULL ORDER BY id").fetchall()
    history.close()
    assert blocks == [(1,), (2,), (2,), (1,)]
