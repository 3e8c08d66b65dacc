"""Writes a folder of a metric store and what it must answer, once for each schema version."""

import json
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from runlore.core.run import Fork, RunRef
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.metrics import MetricStore
from runlore.testing.metrics import ReferenceMetricStore
from runlore.testing.spools import SpoolBuilder, a_run

RUNS = [a_run(name) for name in ("long", "mixed", "sparse", "waiting", "deleted")]
RUNS.append(a_run("far", project="other"))
FORKS = [a_run(name) for name in ("fork", "fork-of-fork", "fork-of-nothing")]
"""Since version 3."""
KEYS = ("loss", "acc", "note", "ok", "é/ü")


def deliver(*stores: MetricStore) -> None:
    """Deliver streams of every kind: long, rewound, superseded, forked, deleted, unpacked."""
    long, mixed, again, sparse, waiting, deleted, far, fork, deeper = builders()
    for store in stores:
        store.append([long.piece(), far.piece(), deleted.piece()])
        store.append([mixed.piece(0, 60)])
        store.rewind(mixed.run, 30)
        store.append([mixed.piece(60), sparse.piece()])
        store.append([again.piece()])
        store.fork(fork.run, Fork(run=mixed.run.run_id, step=57))
        store.fork(FORKS[2], Fork(run="unknown", step=3))
        store.append([fork.piece()])
        if isinstance(store, EmbeddedMetricStore):
            store.settle()
        store.rewind(mixed.run, 70)
        store.fork(deeper.run, Fork(run=fork.run.run_id, step=61))
        store.append([waiting.piece(), deeper.piece()])
        store.delete(deleted.run)


def builders() -> list[SpoolBuilder]:
    """Build the streams; they end, so that their blocks may go into towers."""
    odd = [float("nan"), float("inf"), float("-inf"), -0.0, 1e308, 5e-324]
    long = SpoolBuilder(RUNS[0], "w-1")
    for step in range(1300):
        loss = odd[step % 6] if step % 97 == 0 else (step * 7 % 128) / 8
        long.log({"loss": loss, "acc": step / 1024}, step=step - 100)
    mixed = SpoolBuilder(RUNS[1], "w-2", started_ns=5_000, boot="boot-2")
    for step in range(80):
        mixed.log({"loss": float(step), "é/ü": 0.5}, step=step)
        if step % 3 == 0:
            mixed.log({"note": f"n{step}", "ok": step % 2 == 0}, step=step)
    again = SpoolBuilder(
        RUNS[1], "w-3", started_ns=9_000_000, boot="boot-3", resumed=True, program="w-3"
    )
    for step in range(50, 70):
        again.log({"loss": -float(step), "acc": "text" if step == 60 else 1.0}, step=step)
    sparse = SpoolBuilder(RUNS[2], "w-4")
    for number in range(1100):
        sparse.log({"loss": number / 16}, step=1_700_000_000_000 + number * 977)
    waiting = SpoolBuilder(RUNS[3], "w-5")
    for step in range(40):
        waiting.log({"loss": float(step)}, step=step, form="loose" if step % 4 else "mixed")
    deleted = SpoolBuilder(RUNS[4], "w-6")
    deleted.log({"loss": 1.0}, step=0)
    far = SpoolBuilder(RUNS[5], "w-7")
    far.log({"loss": 3.0}, step=3)
    fork = SpoolBuilder(FORKS[0], "w-8", started_ns=20_000_000, boot="boot-4")
    for step in range(56, 90):
        fork.log({"loss": 0.25 * step}, step=step)
    deeper = SpoolBuilder(FORKS[1], "w-9", started_ns=30_000_000, boot="boot-5")
    deeper.log({"loss": 1.0, "note": "deep"}, step=62)
    for builder in (long, mixed, sparse, deleted, far, fork):
        builder.end(boot_ns=None)
    return [long, mixed, again, sparse, waiting, deleted, far, fork, deeper]


def answers(store: MetricStore, runs: Sequence[RunRef]) -> dict[str, object]:
    """Ask everything, and return what JSON can hold; floats as `repr` writes them."""
    return {
        str(run): {
            "stored": [
                [f"w-{n}", store.stored(run, f"w-{n}").next, store.stored(run, f"w-{n}").points]
                for n in range(1, 10)
                if store.stored(run, f"w-{n}").next
            ],
            "keys": [[getattr(one, name) for name in SUMMARY] for one in store.keys(run)],
            "rows": [
                [row.writer, row.step, row.time_ns, dict(row.values)]
                for row in store.rows(run)
                if row.step % 41 == 0
            ],
            "row count": sum(1 for _ in store.rows(run)),
            "series": [
                [one.key, one.width, one.points, start]
                + [getattr(one, name).tolist() for name in COLUMNS]
                for buckets, start, stop in ((8, None, None), (20, None, None), (10, 25, 600))
                for one in store.series([run], KEYS, buckets=buckets, start=start, stop=stop)
            ],
        }
        for run in runs
    }


SUMMARY = ("key", "kind", "count", "last_step", "last", "minimum", "maximum")
COLUMNS = ("step", "step_last", "count", "min", "max", "mean", "last", "nan", "posinf", "neginf")


def main(target: Path) -> None:
    """Write `<target>.zip` and `<target>.json`."""
    reference = ReferenceMetricStore()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        store = EmbeddedMetricStore(folder)
        deliver(store, reference)
        store.close()
        with zipfile.ZipFile(target.with_suffix(".zip"), "x", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(folder.rglob("*.db")):
                packed.write(path, path.relative_to(folder))
    target.with_suffix(".json").write_text(
        json.dumps(answers(reference, [*RUNS, *FORKS]), ensure_ascii=False)
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
