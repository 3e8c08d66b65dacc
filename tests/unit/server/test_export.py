"""An export that nobody takes lets go of the store."""

import asyncio
import sys
import time

import pytest

from runlore.errors import UnavailableError, UsageError
from runlore.server.routes.export import sent
from runlore.services.export import export
from runlore.store.metrics import Scan
from runlore.testing.metric_contract import a_curve
from runlore.testing.metrics import ReferenceMetricStore


def a_scan(closed: list[bool]) -> Scan:
    store = ReferenceMetricStore()
    builder = a_curve([1.0, 2.0, 3.0])
    store.append([builder.piece()])
    scan = store.scan(builder.run)
    return Scan(
        cells=scan.cells,
        writers=scan.writers,
        batches=scan.batches,
        close=lambda: closed.append(True),
    )


async def wait_for(closed: list[bool]) -> None:
    deadline = time.monotonic() + 30
    while not closed:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


def test_a_client_that_takes_nothing_has_its_export_closed() -> None:
    async def stall() -> None:
        closed: list[bool] = []
        pieces = sent(export(a_scan(closed), "csv"), stall_s=0.01)
        assert (await anext(pieces)).startswith(b"step,")
        await wait_for(closed)
        with pytest.raises(UnavailableError, match="closed before its end"):
            await anext(pieces)

    asyncio.run(stall())


def test_a_client_that_goes_away_or_takes_all_has_its_export_closed() -> None:
    async def take(pieces: int | None) -> None:
        closed: list[bool] = []
        coming = sent(export(a_scan(closed), "csv"), stall_s=60)
        if pieces is None:
            assert len([piece async for piece in coming]) == 4
        else:
            await anext(coming)
            await coming.aclose()  # type: ignore[attr-defined]
        await wait_for(closed)

    asyncio.run(take(None))
    asyncio.run(take(1))


def test_without_pyarrow_parquet_is_refused_with_the_way_out_and_csv_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    closed: list[bool] = []
    with pytest.raises(UsageError, match="pip install"):
        export(a_scan(closed), "parquet")
    assert closed == [True]
    assert export(a_scan([]), "csv").piece() is not None
