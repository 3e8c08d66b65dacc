"""Many runs in one question: those that are read together answer as each does for itself."""

import random
import sqlite3
from pathlib import Path

import pytest

from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.embedded.metrics_many import series_at_once
from runlore.store.embedded.metrics_view import NEVER
from runlore.testing.metric_restarts import assert_same_series
from runlore.testing.metrics import ReferenceMetricStore
from runlore.testing.spools import SpoolBuilder, a_run
from tests.unit.store.embedded.test_metrics_towers import AXES, KEYS, some_sizes, some_writer


@pytest.mark.parametrize("seed", range(12))
def test_runs_that_are_read_together_answer_as_each_does_for_itself(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    store, reference = EmbeddedMetricStore(tmp_path, some_sizes(rng)), ReferenceMetricStore()
    runs = [a_run(f"run-{number}") for number in range(rng.choice([2, 5, 12]))]
    builders = [some_writer(rng, 0, run) for run in runs]
    builders += [some_writer(rng, 1, run) for run in runs if rng.random() < 0.2]
    for builder in builders:
        store.append([builder.piece()])
        reference.append([builder.piece()])
    if rng.random() < 0.5:
        for one in (store, reference):
            one.rewind(runs[0], 20)
    store.settle()
    for _ in range(10):
        start = None if rng.random() < 0.7 else rng.randrange(-100, 100)
        buckets, axis = rng.choice([2, 3, 5, 8, 20, 100]), rng.choice(AXES)
        asked = [*runs, a_run("nobody")]
        rng.shuffle(asked)
        assert_same_series(
            store.series(asked, KEYS, buckets=buckets, start=start, axis=axis),
            reference.series(asked, KEYS, buckets=buckets, start=start, axis=axis),
        )
    store.close()


def a_packed_store(folder: Path, lengths: list[int]) -> EmbeddedMetricStore:
    store = EmbeddedMetricStore(folder)
    for number, length in enumerate(lengths):
        builder = SpoolBuilder(a_run(f"run-{number}"), "w")
        for step in range(length):
            builder.log({"a": float(step % 7), "b": 1.0}, step=step)
        builder.end()
        store.append([builder.piece()])
    store.settle()
    return store


def test_finished_runs_of_any_length_are_read_together(tmp_path: Path) -> None:
    lengths = [1500, 20_000, 1500, 3000]
    store = a_packed_store(tmp_path, lengths)
    runs = [a_run(f"run-{number}") for number in range(len(lengths))]
    for buckets in (20, 50, 64):
        with store._views(runs) as views:
            found = series_at_once(
                views, ["a", "b"], buckets=buckets, low=-NEVER, high=NEVER, has_times=True
            )
        points = sorted(one.points for one in found.values())
        assert points == sorted([*lengths, *lengths])
    store.close()


def test_a_damaged_leaf_of_one_run_leaves_the_others_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = a_packed_store(tmp_path, [2000, 2000])
    runs = [a_run("run-0"), a_run("run-1")]
    before = store.series(runs, ["a"], buckets=40)
    (path,) = (tmp_path / "history").glob("*.db")
    db = sqlite3.connect(path)
    (tower,) = db.execute("SELECT min(id) FROM tower").fetchone()
    db.execute("UPDATE leaf SET body = x'0102030405060708' WHERE tower = ?", (tower,))
    db.commit()
    db.close()
    assert_same_series(store.series(runs, ["a"], buckets=40), before)
    assert "is damaged" in caplog.text
    store.close()
