"""Threads that begin and end runs at the same time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TypeAlias

import pytest

import runlore
from runlore.wire import spool
from tests.unit.sdk.streams import ended

AtOnce: TypeAlias = Callable[[Callable[[], runlore.Run]], list[runlore.Run]]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> AtOnce:
    """Two threads that call something which begins a run, and meet in the middle of it."""
    both = Barrier(2)

    def name() -> str:
        both.wait(20)
        return "brave-otter"

    monkeypatch.setattr("runlore.sdk.names.run_name", name)

    def call(begin: Callable[[], runlore.Run]) -> list[runlore.Run]:
        with ThreadPoolExecutor(2) as pool:
            return [one.result(20) for one in [pool.submit(begin), pool.submit(begin)]]

    return call


def test_two_threads_that_begin_a_run_at_once_have_the_same(home: Path, at_once: AtOnce) -> None:
    first, second = at_once(runlore.init)
    runlore.finish()
    assert first is second


def test_runs_of_two_threads_are_each_ended(home: Path, at_once: AtOnce) -> None:
    for run in at_once(lambda: runlore.init(reinit="create_new")):
        run.log({"loss": 1.0})
        run.finish()
    assert [one.of(spool.FINISH)[0]["exit_code"] for one in ended(home, 2)] == [0, 0]
