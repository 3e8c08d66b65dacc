"""The embedded store under kill -9, full disks, damaged files, second processes."""

import contextlib
import functools
import os
import pickle
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runlore.core.metric import Value
from runlore.errors import ConflictError, DamageError, DeletedError, UnavailableError
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.metrics import SpoolPiece, Stored
from runlore.testing.metric_contract import a_curve, steps_and_values
from runlore.testing.metrics import ReferenceMetricStore
from runlore.testing.spools import SpoolBuilder, a_run

ROWS = 700
WRITERS = 3

CHILD = """
import pickle, random, sys, threading
from pathlib import Path
from runlore.core.run import RunRef
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.metrics import SpoolPiece

folder, turn = Path(sys.argv[1]), int(sys.argv[2])
rng = random.Random(turn)
store = EmbeddedMetricStore(folder)
streams = pickle.loads(sys.stdin.buffer.read())
places = [0] * len(streams)

def piece(stream, first, last):
    run, writer, edges, frames = stream
    data = b"".join(frames[first:last])
    return SpoolPiece(run=RunRef(*run), writer=writer, offset=edges[first], data=data)

def settle():
    while True:
        store.settle()

threading.Thread(target=settle, daemon=True).start()
calls = 0
while any(place < len(stream[3]) for place, stream in zip(places, streams)):
    ends = [min(p + rng.randint(0, 40), len(s[3])) for p, s in zip(places, streams)]
    pieces = [piece(s, p, e) for s, p, e in zip(streams, places, ends) if e > p]
    answers = store.append(pieces)
    places = ends
    for sent, answer in zip(pieces, answers):
        print("stored", sent.writer, answer.next, flush=True)
    calls += 1
    if calls == 4 and turn >= 2:
        store.delete(RunRef("local", "digits", f"run-{turn - 2}"))
        print("deleted", f"run-{turn - 2}", 0, flush=True)
print("done", "-", 0, flush=True)
"""


@functools.cache
def a_killed_stream(turn: int, number: int) -> SpoolBuilder:
    """Build the stream that writer `number` of the given turn delivers."""
    builder = SpoolBuilder(a_run(f"run-{turn}"), f"w-{number}")
    for step in range(ROWS):
        values: dict[str, Value] = {"a": float(step), "b": step / 4}
        if step % 7 == 0:
            values["note"] = f"{number}/{step}"
        builder.log(values, step=step)
    return builder


def kill_many_times(folder: Path, times: int, seed: int) -> None:
    rng = random.Random(seed)
    data = folder / "metrics"
    deleted: set[str] = set()
    acknowledged_rows = 0
    for turn in range(times):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(data), str(turn)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        streams = [a_killed_stream(turn, number) for number in range(WRITERS)]
        child.stdin.write(
            pickle.dumps([(tuple(s.run), s.writer, s.edges, s.frames) for s in streams])
        )
        child.stdin.close()
        lines = [child.stdout.readline()]
        time.sleep(rng.random() * 0.15)
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
        child.stdout.close()
        assert child.wait() in (-signal.SIGKILL, 0)
        acknowledged: dict[str, int] = {}
        for line in lines:
            if line.endswith(b"\n"):
                what, name, offset = line.decode().split()
                if what == "stored":
                    acknowledged[name] = int(offset)
                elif what == "deleted":
                    deleted.add(name)
        assert acknowledged, lines
        acknowledged_rows += check(data, turn, acknowledged, deleted)
    assert acknowledged_rows > 0


def check(data: Path, turn: int, acknowledged: dict[str, int], deleted: set[str]) -> int:
    """Open the folder after a kill and compare it with what was acknowledged."""
    store = EmbeddedMetricStore(data)
    try:
        found = 0
        for number in range(WRITERS):
            builder = a_killed_stream(turn, number)
            stored = store.stored(builder.run, builder.writer)
            assert stored.next >= acknowledged.get(builder.writer, 0)
            assert stored.next in builder.edges
            expected = whole_rows(builder, stored.next)
            rows = [
                (row.step, dict(row.values))
                for row in store.rows(builder.run)
                if row.writer == builder.writer
            ]
            assert rows == expected
            assert stored.points == sum(len(values) for _, values in expected)
            found += len(rows)
        counts = {key.key: key.count for key in store.keys(a_run(f"run-{turn}"))}
        assert counts.get("a", 0) == found
        for name in deleted:
            assert store.keys(a_run(name)) == []
            (gone,) = store.append([a_curve([1.0], run=a_run(name)).piece()])
            assert isinstance(gone, DeletedError)
        # What was not acknowledged is delivered again, as a sender would.
        for number in range(WRITERS):
            builder = a_killed_stream(turn, number)
            (stored_all,) = store.append([builder.piece()])
            assert isinstance(stored_all, Stored)
            assert stored_all.next == len(builder.data)
        assert sum(1 for _ in store.rows(a_run(f"run-{turn}"))) == WRITERS * ROWS
        return found
    finally:
        store.close()


def whole_rows(builder: SpoolBuilder, stop: int) -> list[tuple[int, dict[str, Value]]]:
    """Return the rows of a stream's first `stop` bytes, by the naive way."""
    reference = ReferenceMetricStore()
    piece = SpoolPiece(run=builder.run, writer=builder.writer, offset=0, data=builder.data[:stop])
    reference.append([piece])
    return [(row.step, dict(row.values)) for row in reference.rows(builder.run)]


def test_nothing_acknowledged_is_lost_or_doubled_by_thirty_kills(tmp_path: Path) -> None:
    kill_many_times(tmp_path, 30, seed=1)


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_or_doubled_by_two_hundred_kills(tmp_path: Path) -> None:
    kill_many_times(tmp_path, 200, seed=int(time.time()))


def test_a_second_process_is_refused_and_told_which_has_the_folder(tmp_path: Path) -> None:
    store = EmbeddedMetricStore(tmp_path)
    opened = "from runlore.store.embedded.metrics import EmbeddedMetricStore as S"
    code = f"{opened}; from pathlib import Path; S(Path({str(tmp_path)!r}))"
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert second.returncode != 0
    assert f"in use by process {os.getpid()}" in second.stderr
    assert "--data" in second.stderr
    store.close()
    EmbeddedMetricStore(tmp_path).close()


@pytest.mark.parametrize("file", ["log.db", "history/1.db"])
def test_a_folder_of_a_newer_runlore_is_refused_with_the_way_out(
    tmp_path: Path, file: str
) -> None:
    store = EmbeddedMetricStore(tmp_path)
    store.append([a_curve([1.0]).piece()])
    store.settle()
    store.close()
    db = sqlite3.connect(tmp_path / file)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ConflictError, match="schema version 99.*upgrade Runlore"):
        EmbeddedMetricStore(tmp_path)


def test_a_quota_that_is_reached_refuses_the_append_and_keeps_what_was_there(
    tmp_path: Path,
) -> None:
    store = EmbeddedMetricStore(tmp_path)
    first, second = a_curve([1.0], writer="w-1"), SpoolBuilder(a_run(), "w-2")
    rng = random.Random(1)
    for step in range(20_000):
        second.log({"loss": rng.random()}, step=step)
    store.append([first.piece()])
    store.limit_pages(30)
    full, also = store.append([second.piece(), first.piece()])
    assert isinstance(full, UnavailableError)
    assert isinstance(also, UnavailableError)
    assert "free space" in str(full)
    assert store.stored(a_run(), "w-2") == Stored(next=0, points=0)
    assert steps_and_values(store, a_run(), "loss") == [(0, 1.0)]
    store.limit_pages(0)
    stored, _ = store.append([second.piece(), first.piece()])
    assert stored == Stored(next=len(second.data), points=20_000)
    store.close()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small filesystem needs root")
def test_a_full_disk_refuses_the_append_and_takes_it_when_there_is_space(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount here: {mounted.stderr.decode()}")
    store = EmbeddedMetricStore(folder / "metrics")
    try:
        builder = SpoolBuilder(a_run())
        rng = random.Random(1)
        for step in range(20_000):
            builder.log({"loss": rng.random()}, step=step)
        hole = folder / "hole"
        with hole.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while os.statvfs(folder).f_bfree > 60:
                file.write(bytes(4096))
        (answer,) = store.append([builder.piece()])
        assert isinstance(answer, UnavailableError)
        assert store.stored(a_run(), "w-1") == Stored(next=0, points=0)
        hole.unlink()
        (answer,) = store.append([builder.piece()])
        assert answer == Stored(next=len(builder.data), points=20_000)
        assert store.keys(a_run())[0].count == 20_000
    finally:
        store.close()
        subprocess.run(["umount", str(folder)], check=True)


def test_a_damaged_chunk_is_named_and_not_returned(tmp_path: Path) -> None:
    store = EmbeddedMetricStore(tmp_path)
    store.append([a_curve([1.0, 2.0, 3.0]).piece()])
    store.settle()
    store.close()
    path = tmp_path / "history" / "1.db"
    db = sqlite3.connect(path)
    (body,) = db.execute("SELECT body FROM segment").fetchone()
    db.execute("UPDATE segment SET body = ?", (body[:-1] + bytes([body[-1] ^ 1]),))
    db.commit()
    db.close()
    store = EmbeddedMetricStore(tmp_path)
    with pytest.raises(DamageError) as caught:
        store.series([a_run()], ["loss"], buckets=10)
    for named in ("local/digits/run-1", "'loss'", str(path)):
        assert named in str(caught.value)
    store.close()


ENDING = """
import signal, sys, threading
from pathlib import Path
from runlore.errors import ConflictError
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.metrics import SpoolPiece
from runlore.testing.spools import SpoolBuilder, a_run

store = EmbeddedMetricStore(Path(sys.argv[1]))
acknowledged = {}

def deliver(number):
    builder = SpoolBuilder(a_run(), f"w-{number}")
    step = first = 0
    while True:
        for _ in range(200):
            builder.log({"a": float(step), "b": 1.0}, step=step)
            step += 1
        piece = builder.piece(first)
        try:
            (answer,) = store.append([piece])
        except ConflictError:
            return
        first = len(builder.frames)
        acknowledged[builder.writer] = (answer.next, answer.points)
        if number == 0 and step == 2000:
            print("busy", flush=True)

threads = [threading.Thread(target=deliver, args=(number,)) for number in range(3)]
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
for thread in threads:
    thread.start()
signal.sigwait([signal.SIGTERM])
store.close()
for thread in threads:
    thread.join()
for writer, (stop, points) in acknowledged.items():
    print(writer, stop, points)
"""


def test_a_store_that_is_closed_under_load_ends_and_keeps_what_it_acknowledged(
    tmp_path: Path,
) -> None:
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", ENDING, str(tmp_path / "metrics")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "busy\n"
        child.terminate()
        output, _ = child.communicate(timeout=20)
        assert child.returncode == 0
        acknowledged = [line.split() for line in output.splitlines()]
        assert {writer for writer, _, _ in acknowledged} == {"w-0", "w-1", "w-2"}
        store = EmbeddedMetricStore(tmp_path / "metrics")
        for writer, stop, points in acknowledged:
            assert store.stored(a_run(), writer) == Stored(next=int(stop), points=int(points))
        counted = sum(len(row.values) for row in store.rows(a_run()))
        assert counted == sum(int(points) for _, _, points in acknowledged)
        store.close()
        shutil.rmtree(tmp_path / "metrics")
