"""What charts and exports cost over HTTP: one long run, several, a thousand, and under load.

Run it as `python benchmarks/series.py`. Each request is made cold: by a server that has just been
started, with no query repeated. Times of the server are CPU of all its threads.
"""

import argparse
import http.client
import json
import os
import random
import statistics
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runlore.core.json import JsonValue
from runlore.core.run import RunRef
from runlore.testing.serving import SPOOL_TYPE, ServerProcess, spool_path
from runlore.testing.spools import SpoolBuilder
from runlore.wire.series import MEDIA_TYPE

_TICK = os.sysconf("SC_CLK_TCK")
_PROJECT = "/api/v1/projects/local/bench"
_HEADERS = {"Content-Type": "application/json", "Accept": MEDIA_TYPE}
_LONG = [f"long-{n}" for n in range(20)]
_MEDIUM = [f"medium-{n}" for n in range(60)]
_WIDE = "wide"
_PIECE_FRAMES = 20_000
_MANY = [f"many-{n}" for n in range(1000)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="how many runs of 10,000 steps")
    many = _MANY[: parser.parse_args().runs]
    with tempfile.TemporaryDirectory() as home:
        _fill(Path(home), many)
        _latencies(Path(home), "1 x 100 k steps, 1000 buckets", [[run] for run in _LONG], 2)
        medium = [_MEDIUM[first : first + 20] for first in range(0, len(_MEDIUM), 20)]
        _latencies(Path(home), "20 x 10 k steps, 1000 buckets", medium, 6)
        _many(Path(home), many)
        _under_load(Path(home))
        for format in ("parquet", "csv"):
            _export(Path(home), format)


def _fill(home: Path, many: Sequence[str]) -> None:
    """Deliver runs as senders would; those of one length log the same noise."""
    began = time.perf_counter()
    with ServerProcess(home) as server:
        for runs, steps, keys in (
            (_LONG, 100_000, 1),
            (_MEDIUM, 10_000, 1),
            (many, 10_000, 1),
            ([_WIDE], 1_000_000, 5),
        ):
            _deliver(server, runs, steps, keys)
        _until_idle(server)
    print(f"filled in {time.perf_counter() - began:.0f} s")


def _deliver(server: ServerProcess, runs: Sequence[str], steps: int, keys: int) -> None:
    noise = random.Random(0)
    template = SpoolBuilder(RunRef("local", "bench", "template"))
    heads = [SpoolBuilder(RunRef("local", "bench", run)) for run in runs]
    offsets = [len(head.data) for head in heads]
    for head in heads:
        _post(server, head, 0, zlib.compress(head.data))
    names = ["loss"] if keys == 1 else [f"wide/{key}" for key in range(keys)]
    done, at = 1, 0
    for step in range(steps):
        template.log({name: noise.random() for name in names}, step=step)
        if step == steps - 1:
            template.end()
        if len(template.frames) - done >= _PIECE_FRAMES or step == steps - 1:
            piece = b"".join(template.frames[done:])
            packed = zlib.compress(piece, 1)
            for head, offset in zip(heads, offsets, strict=True):
                _post(server, head, offset + at, packed)
            at += len(piece)
            template.frames = template.frames[:1]


def _post(server: ServerProcess, builder: SpoolBuilder, offset: int, body: bytes) -> None:
    headers = {"Content-Type": SPOOL_TYPE, "Content-Encoding": "deflate"}
    answer = server.request("POST", spool_path(builder, offset), body, headers)
    if answer.status != 200:
        raise AssertionError(answer)


def _until_idle(server: ServerProcess) -> None:
    """Wait until the server has used no CPU to speak of for some seconds."""
    used, since = _cpu(server), time.monotonic()
    deadline = since + 300
    while time.monotonic() - since < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
        now = _cpu(server)
        if now > used + 0.05:
            used, since = now, time.monotonic()


def _latencies(home: Path, name: str, asked: Sequence[Sequence[str]], goal: float) -> None:
    """Ask for each set of runs once, of a fresh server."""
    with _served(home) as (server, client):
        client.ask(runs=["nobody"], keys=["loss"])
        before = _cpu(server)
        times = [client.ask(runs=list(runs), keys=["loss"], buckets=1000) for runs in asked]
        cpu = (_cpu(server) - before) / len(times)
    median, most = statistics.median(times) * 1e3, max(times) * 1e3
    print(f"{name:32} {median:8.2f} ms median, {most:.2f} most, {cpu * 1e3:.2f} CPU (goal {goal})")


def _many(home: Path, runs: Sequence[str]) -> None:
    with _served(home) as (server, client):
        client.ask(runs=["nobody"], keys=["loss"])
        before = _cpu(server)
        took = client.ask(runs=list(runs), keys=["loss"], buckets=200)
        cpu = _cpu(server) - before
        groups: JsonValue = [{"name": "all", "runs": list(runs)}]
        before = _cpu(server)
        client.ask(groups=groups, keys=["loss"], buckets=150)
        grouped = _cpu(server) - before
    name = f"{len(runs)} x 10 k steps"
    print(f"{name}, 200 buckets {cpu * 1e3:8.1f} ms CPU, {took * 1e3:.1f} ms (goal 80)")
    print(f"{name}, one group {grouped * 1e3:8.1f} ms CPU")


def _under_load(home: Path) -> None:
    """Ask while 100,000 points a second come in: 50 keys, 2,000 rows a second."""
    with _served(home) as (server, client):
        stop = threading.Event()
        sent: list[int] = []
        writer = threading.Thread(target=_write, args=(server, stop, sent))
        writer.start()
        times = []
        began = time.perf_counter()
        for number in range(150):
            runs = [_LONG[number % 20]] if number % 2 else _MEDIUM[:20]
            start = -number  # no query is repeated
            times.append(client.ask(runs=list(runs), keys=["loss"], buckets=1000, start=start))
            time.sleep(0.05)
        rate = sum(sent) / (time.perf_counter() - began)
        stop.set()
        writer.join()
    late, median = sorted(times)[int(len(times) * 0.95)] * 1e3, statistics.median(times) * 1e3
    print(
        f"series under load, 95 %          {late:8.2f} ms, median {median:.2f}, while {rate:,.0f} "
        "points/s came in (goal 50)"
    )


def _write(server: ServerProcess, stop: threading.Event, sent: list[int]) -> None:
    builder = SpoolBuilder(RunRef("local", "bench", "incoming"))
    bodies = []
    for number in range(200):
        first = len(builder.frames) if number else 0
        for step in range(number * 200, number * 200 + 200):
            builder.log({f"group/key-{key}": step * 0.5 + key for key in range(50)}, step=step)
        piece = builder.piece(first)
        bodies.append((piece.offset, zlib.compress(piece.data, 1)))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"Content-Type": SPOOL_TYPE, "Content-Encoding": "deflate"}
    due = time.perf_counter()
    for offset, body in bodies:
        if stop.is_set():
            break
        connection.request("POST", spool_path(builder, offset), body, headers)
        connection.getresponse().read()
        sent.append(200 * 50)
        due += 0.1
        time.sleep(max(0.0, due - time.perf_counter()))
    connection.close()


def _export(home: Path, format: str) -> None:
    with _served(home) as (server, client):
        before, began = _cpu(server), time.perf_counter()
        size = client.fetch(f"{_PROJECT}/runs/{_WIDE}/export?format={format}")
        took, cpu = time.perf_counter() - began, _cpu(server) - before
        memory = _memory(server)
    print(
        f"export {format:8} {5 / took:8.2f} M points/s, {cpu:.2f} s CPU, {size / 5e6:.1f} bytes a "
        f"point, server {memory / 1e6:.0f} MB (goal 1)"
    )


class _Client:
    """One connection that stays open, as a page's does."""

    def __init__(self, server: ServerProcess) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)

    def ask(self, **body: JsonValue) -> float:
        """Ask for series, and return the seconds that it took."""
        text = json.dumps(body).encode()
        began = time.perf_counter()
        self._connection.request("POST", f"{_PROJECT}/series", text, _HEADERS)
        answer = self._connection.getresponse()
        content = answer.read()
        took = time.perf_counter() - began
        if answer.status != 200:
            raise AssertionError((answer.status, content[:500]))
        return took

    def fetch(self, path: str) -> int:
        """Take a file, and return its size."""
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        if answer.status != 200:
            raise AssertionError((answer.status, answer.read()[:500]))
        size = 0
        while piece := answer.read(1024 * 1024):
            size += len(piece)
        return size

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextmanager
def _served(home: Path) -> Iterator[tuple[ServerProcess, _Client]]:
    with ServerProcess(home) as server:
        client = _Client(server)
        time.sleep(2)  # what a start does in the background is none of the measure
        yield server, client
        client.close()


def _cpu(server: ServerProcess) -> float:
    """Return the CPU seconds of all threads."""
    fields = _proc(server, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _memory(server: ServerProcess) -> int:
    return int(_proc(server, "statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _proc(server: ServerProcess, name: str) -> str:
    if server.process is None:
        raise AssertionError("the server was not started")
    return Path(f"/proc/{server.process.pid}/{name}").read_text()


if __name__ == "__main__":
    main()
