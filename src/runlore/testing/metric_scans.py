"""What every metric store keeps, as tests: scans of all points."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from runlore.core.metric import Kind, Value
from runlore.core.run import RunRef
from runlore.store.metrics import MetricStore
from runlore.testing.metric_contract import StoreContract, a_curve
from runlore.testing.spools import SpoolBuilder, a_run


class ScannedRow(NamedTuple):
    """One row of a scan; values as `repr`, so that NaN equals NaN."""

    step: int
    writer: str
    time_ns: int
    superseded: bool
    values: dict[tuple[str, Kind], str]


def scanned(
    store: MetricStore, run: RunRef, keys: Sequence[str] | None = None
) -> tuple[list[tuple[str, Kind]], list[ScannedRow]]:
    """Read a scan to its end as rows, and the cells that it spoke of."""
    scan = store.scan(run, keys=keys)
    rows = []
    for batch in scan.batches:
        assert len(batch.steps)
        for at in range(len(batch.steps)):
            values: dict[tuple[str, Kind], str] = {}
            for column in batch.columns:
                if column.present[at]:
                    value: Value = column.values[at]
                    shown = value if column.kind == "string" else float(value)
                    values[column.key, column.kind] = repr(shown)
            rows.append(
                ScannedRow(
                    step=int(batch.steps[at]),
                    writer=scan.writers[int(batch.writers[at])],
                    time_ns=int(batch.times_ns[at]),
                    superseded=bool(batch.superseded[at]),
                    values=values,
                )
            )
    return list(scan.cells), rows


class ScanContract(StoreContract):
    """All points as columns."""

    def test_a_scan_holds_every_frame_with_its_own_time_and_kinds(
        self, store: MetricStore
    ) -> None:
        builder = SpoolBuilder(a_run())
        builder.log({"loss": 1.0, "ok": True}, step=3, time_ns=30)
        builder.log({"acc": float("nan")}, step=3, time_ns=40)
        builder.log({"loss": "é"}, step=1, time_ns=50)
        store.append([builder.piece()])
        cells, rows = scanned(store, builder.run)
        assert cells == [
            ("acc", "number"),
            ("loss", "number"),
            ("loss", "string"),
            ("ok", "bool"),
        ]
        assert rows == [
            ScannedRow(1, "w-1", 50, False, {("loss", "string"): "'é'"}),
            ScannedRow(3, "w-1", 30, False, {("loss", "number"): "1.0", ("ok", "bool"): "1.0"}),
            ScannedRow(3, "w-1", 40, False, {("acc", "number"): "nan"}),
        ]
        assert [row.time_ns for row in scanned(store, builder.run, ["acc", "no"])[1]] == [40]

    def test_a_scan_marks_what_is_superseded(self, store: MetricStore) -> None:
        first = SpoolBuilder(a_run(), "w-1", started_ns=0)
        for step in range(3):
            first.log({"loss": float(step), "acc": 0.5}, step=step)
        first.end(time_ns=10_000)
        second = SpoolBuilder(a_run(), "w-2", started_ns=20_000)
        second.log({"loss": 9.0}, step=1)
        store.append([first.piece(), second.piece()])
        _, rows = scanned(store, a_run())
        loss, acc = ("loss", "number"), ("acc", "number")
        assert [(row.step, row.writer, row.superseded, row.values) for row in rows] == [
            (0, "w-1", False, {loss: "0.0", acc: "0.5"}),
            (1, "w-1", False, {acc: "0.5"}),
            (1, "w-1", True, {loss: "1.0"}),
            (1, "w-2", False, {loss: "9.0"}),
            (2, "w-1", False, {acc: "0.5"}),
            (2, "w-1", True, {loss: "2.0"}),
        ]

    def test_a_scan_is_one_snapshot_and_may_be_left_at_any_time(self, store: MetricStore) -> None:
        builder = a_curve([0.5] * 10)
        store.append([builder.piece()])
        abandoned, closed = store.scan(builder.run), store.scan(builder.run)
        next(closed.batches)
        closed.close()
        closed.close()
        builder.log({"loss": 1.0}, step=10)
        store.append([builder.piece()])
        assert sum(len(batch.steps) for batch in abandoned.batches) == 10
        store.scan(builder.run).close()
        assert len(scanned(store, builder.run)[1]) == 11
        store.delete(builder.run)
        assert scanned(store, builder.run) == ([], [])

    def test_a_scan_of_nothing_is_empty(self, store: MetricStore) -> None:
        store.append([a_curve([0.5]).piece()])
        assert scanned(store, a_run("unknown")) == ([], [])
        assert scanned(store, a_run(), ["unknown"]) == ([], [])
        assert scanned(store, a_run(), []) == ([], [])

    def test_a_long_scan_comes_in_batches_in_the_order_of_steps(self, store: MetricStore) -> None:
        builders = [SpoolBuilder(a_run(), f"w-{n}", started_ns=n) for n in range(2)]
        for step in range(6000):
            builders[step % 2].log({"loss": float(step)}, step=step)
            if step % 100 == 0:
                builders[1].log({"val": 1.0}, step=step)
        store.append([builder.piece() for builder in builders])
        steps = [row.step for row in scanned(store, a_run())[1]]
        assert len(steps) == 6060
        assert (np.diff(steps) >= 0).all()
