"""Texts of a run that memory could not hold all at once: they are read a few at a time."""

import tracemalloc
from pathlib import Path

import pytest

from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.testing.spools import SpoolBuilder, a_run

ROWS, TEXT_BYTES = 240, 500_000


@pytest.fixture
def store(tmp_path: Path) -> EmbeddedMetricStore:
    """A store with 120 MB of texts, in blocks of a few."""
    store = EmbeddedMetricStore(tmp_path)
    builder, first = SpoolBuilder(a_run()), 0
    for step in range(ROWS):
        builder.log({"text": f"{step:05}" * (TEXT_BYTES // 5), "loss": 0.5}, step=step)
        if step % 8 == 7:
            store.append([builder.piece(first)])
            store.settle()
            first = len(builder.frames)
    return store


def test_rows_and_scans_of_long_texts_open_a_few_blocks_at_a_time(
    store: EmbeddedMetricStore,
) -> None:
    tracemalloc.start()
    try:
        for start in (0, 100):
            first = next(store.rows(a_run(), start=start))
            assert (first.step, str(first.values["text"])[:5]) == (start, f"{start:05}")
        steps = [row.step for row in store.rows(a_run())]
        with_scan = store.scan(a_run())
        scanned = [step for batch in with_scan.batches for step in batch.steps.tolist()]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    store.close()
    assert steps == scanned == list(range(ROWS))
    assert peak < ROWS * TEXT_BYTES // 3
