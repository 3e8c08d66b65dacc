"""The metric store killed while it appends, packs, raises towers, rewinds, forks and deletes."""

import functools
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

from runlore.core.axis import STEP, Axis
from runlore.core.metric import Value
from runlore.core.run import Fork, RunRef
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.embedded.metrics_check import check_store
from runlore.store.embedded.metrics_sizes import Sizes
from runlore.store.metrics import MetricStore, SpoolPiece
from runlore.testing.metric_restarts import assert_same_answers, assert_same_series
from runlore.testing.metrics import ReferenceMetricStore
from runlore.testing.spools import SpoolBuilder, a_run

SIZES = Sizes(
    pack_frames=6,
    block_frames=16,
    small_frames=4,
    raise_frames=12,
    finest_level=1,
    leaf_buckets=4,
    top_buckets=3,
)
KEYS = ("a", "b", "c", "note")

CHILD = """
import pickle, sys, threading
from pathlib import Path
from runlore.core.run import Fork
from runlore.store.embedded.metrics import EmbeddedMetricStore

folder, sizes, calls = pickle.loads(sys.stdin.buffer.read())
store = EmbeddedMetricStore(folder, sizes)

def settle():
    while True:
        store.settle()

threading.Thread(target=settle, daemon=True).start()
for number, (what, run, step, pieces, parent) in enumerate(calls):
    if what == "append":
        wrong = [answer for answer in store.append(pieces) if isinstance(answer, Exception)]
        assert not wrong, wrong
    elif what == "rewind":
        store.rewind(run, step)
    elif what == "fork":
        store.fork(run, Fork(run=parent, step=step))
    else:
        store.delete(run)
    print(number, flush=True)
"""


class Call(NamedTuple):
    """One call of a store."""

    what: Literal["append", "rewind", "fork", "delete"]
    run: RunRef
    step: int = 0
    pieces: Sequence[SpoolPiece] = ()
    parent: str = ""


def apply(store: MetricStore, call: Call) -> None:
    if call.what == "append":
        store.append(call.pieces)
    elif call.what == "rewind":
        store.rewind(call.run, call.step)
    elif call.what == "fork":
        store.fork(call.run, Fork(run=call.parent, step=call.step))
    else:
        store.delete(call.run)


def a_writer(run: RunRef, name: str, rng: random.Random, began: int) -> SpoolBuilder:
    """Build a writer whose key sets change and whose steps go back, stand still and leap."""
    builder = SpoolBuilder(run, name, started_ns=began, resumed=rng.random() < 0.3)
    step = 0
    sets = (("a", "b"), ("a",), ("b", "c"))
    for _ in range(rng.randrange(60, 90)):
        move = rng.random()
        step += -5 if move < 0.05 else 0 if move < 0.1 else 1000 if move < 0.12 else 1
        values: dict[str, Value] = {key: rng.random() for key in sets[int(move * 3)]}
        if move > 0.9:
            values["note"] = f"{name}/{step}"
        if move < 0.03:
            values["a"] = float("nan")
        builder.log(values, step=step)
    if rng.random() < 0.7:
        builder.end()
    return builder


@functools.cache
def a_program(turn: int, seed: int) -> tuple[Call, ...]:
    """Draw the calls of one turn: four writers of a run and its fork, rewinds, deletions."""
    rng = random.Random(seed * 10_000 + turn)
    runs = [a_run(f"run-{turn}-{number}") for number in range(2)]
    writers = [
        a_writer(runs[number % 2], f"w-{turn}-{number}", rng, 1_000 * number + 1)
        for number in range(4)
    ]
    places = [0] * len(writers)
    calls: list[Call] = []
    while any(place < len(w.frames) for place, w in zip(places, writers, strict=True)):
        ends = [
            min(place + rng.randrange(0, 9), len(w.frames))
            for place, w in zip(places, writers, strict=True)
        ]
        pieces = [
            w.piece(place, end)
            for w, place, end in zip(writers, places, ends, strict=True)
            if end > place
        ]
        places = ends
        if pieces:
            calls.append(Call("append", runs[0], pieces=pieces))
        if rng.random() < 0.1:
            calls.append(Call("rewind", rng.choice(runs), step=rng.randrange(60)))
    fork = Call("fork", runs[0], step=rng.randrange(-10, 90), parent=runs[1].run_id)
    calls.insert(rng.randrange(len(calls)), fork)
    calls.append(Call("delete", runs[0]))
    if turn > 0:
        calls.insert(rng.randrange(len(calls)), Call("delete", a_run(f"run-{turn - 1}-1")))
    return tuple(calls)


def kill_many_times(folder: Path, turns: int, seed: int) -> None:
    rng = random.Random(seed)
    kept = ReferenceMetricStore()
    seen: set[str] = set()
    looked = 0
    for turn in range(turns):
        calls = a_program(turn, seed)
        # Of the runs of earlier turns only the one that this turn deletes is looked at again.
        done = killed_after(folder, calls, rng)
        findings = check_store(folder)
        assert findings.found == [], f"seed {seed}, turn {turn}, {done} calls"
        looked += findings.looked["buckets"]
        for call in calls[:done]:
            apply(kept, call)
        runs = sorted({call.run for call in calls} | {p.run for c in calls for p in c.pieces})
        store = EmbeddedMetricStore(folder, SIZES)
        try:
            try:
                compare(store, kept, runs)
            except AssertionError:
                # The call that ran when the kill came may have been done as a whole.
                if done == len(calls):
                    raise
                apply(kept, calls[done])
                done += 1
                compare(store, kept, runs)
            for call in calls[done:]:
                apply(store, call)
                apply(kept, call)
            store.settle()
            compare(store, kept, runs)
        finally:
            store.close()
        seen |= {call.what for call in calls[: done + 1]}
    assert looked > 0
    assert seen == {"append", "rewind", "fork", "delete"}


def killed_after(folder: Path, calls: Sequence[Call], rng: random.Random) -> int:
    """Run calls in a process that is killed at a random moment; return how many it answered."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    plain = [tuple(call) for call in calls]
    child.stdin.write(pickle.dumps((folder, SIZES, plain)))
    child.stdin.close()
    lines = [child.stdout.readline() for _ in range(rng.randrange(1, len(calls) + 1))]
    time.sleep(rng.random() * 0.02)
    child.send_signal(signal.SIGKILL)
    lines += child.stdout.readlines()
    child.stdout.close()
    assert child.wait() in (-signal.SIGKILL, 0)
    answered = [int(line) for line in lines if line.endswith(b"\n")]
    assert answered == list(range(len(answered)))
    assert answered
    return len(answered)


def compare(store: MetricStore, kept: MetricStore, runs: Sequence[RunRef]) -> None:
    for run in runs:
        assert_same_answers(store, kept, run)
        for buckets, start, stop in ((2, None, None), (9, None, None), (6, 7, 45), (500, 0, None)):
            for axis in (STEP, Axis(kind="time")):
                assert_same_series(
                    store.series([run], KEYS, buckets=buckets, start=start, stop=stop, axis=axis),
                    kept.series([run], KEYS, buckets=buckets, start=start, stop=stop, axis=axis),
                )


def test_nothing_is_lost_doubled_or_damaged_by_a_dozen_kills(tmp_path: Path) -> None:
    kill_many_times(tmp_path / "store", 12, seed=3)


@pytest.mark.slow
def test_nothing_is_lost_doubled_or_damaged_by_two_hundred_kills(tmp_path: Path) -> None:
    kill_many_times(tmp_path / "store", 200, seed=int(time.time()))
