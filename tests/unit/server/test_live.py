"""The live bus: events are gathered, and a page that does not read is let go."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator

import pytest

from runlore.server import live
from runlore.server.live import LiveBus
from runlore.server.problems import StatusError
from runlore.services.ingest import Change
from runlore.testing.spools import a_run


async def opened(bus: LiveBus) -> AsyncIterator[bytes]:
    stream = bus.subscribe()
    assert await anext(stream) == b": open\n\n"
    return stream


def changes_of(event: bytes) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(event.partition(b"data: ")[2])["changes"]
    return found


def test_changes_from_other_threads_are_gathered_to_few_events() -> None:
    async def scene() -> None:
        bus = LiveBus()
        bus.open()
        stream = await opened(bus)
        ended = threading.Event()

        def tell() -> None:
            for _ in range(5000):
                bus.tell([Change(a_run(), "points")])
                bus.tell([Change(a_run("run-2"), "run")])
            ended.set()
            bus.tell([Change(a_run(), "points")])

        began = time.monotonic()
        thread = threading.Thread(target=tell)
        thread.start()
        events: list[bytes] = []
        while not ended.is_set() or not events:
            events.append(await asyncio.wait_for(anext(stream), 30))
        thread.join()
        # As many as fit into the time that it took, however long that was.
        seconds = time.monotonic() - began
        assert len(events) <= seconds / live.GATHER_SECONDS + 2
        for event in events[1:]:
            assert {str(change["run"]) for change in changes_of(event)} <= {"run-1", "run-2"}
        bus.close()

    asyncio.run(scene())


def test_a_page_that_does_not_read_is_let_go_and_the_others_are_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "GATHER_SECONDS", 0.0)

    async def scene() -> None:
        bus = LiveBus()
        bus.open()
        slow, good = await opened(bus), await opened(bus)
        for number in range(100):
            bus.tell([Change(a_run(f"run-{number}"), "points")])
            assert changes_of(await asyncio.wait_for(anext(good), 5))
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(slow), 5)

    asyncio.run(scene())


def test_closing_ends_every_stream_and_too_many_pages_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "MAX_PAGES", 2)

    async def scene() -> None:
        bus = LiveBus()
        bus.open()
        streams = [await opened(bus), await opened(bus)]
        with pytest.raises(StatusError, match="2 pages"):
            bus.subscribe()
        bus.close()
        for stream in streams:
            with pytest.raises(StopAsyncIteration):
                await asyncio.wait_for(anext(stream), 5)

    asyncio.run(scene())
