"""What the server costs: its start, its memory, a tiny post, a point, a series.

Run it as `python benchmarks/server.py`. Times of the server are CPU of all its threads.
"""

import argparse
import http.client
import json
import os
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runlore.core.run import RunRef
from runlore.testing.serving import SPOOL_TYPE, ServerProcess, spool_path
from runlore.testing.spools import SpoolBuilder

_TICK = os.sysconf("SC_CLK_TCK")
_SERIES = {"Content-Type": "application/json", "Accept": "application/vnd.runlore.series"}


class Client:
    """One connection that stays open, as a sender's does."""

    def __init__(self, server: ServerProcess) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        """Send a request, fail unless it is answered with 200."""
        self._connection.request(method, path, body=body, headers=headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise AssertionError((answer.status, content[:500]))
        return content

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40_000, help="steps of 50 keys to ingest")
    steps = parser.parse_args().steps
    starts = [_start() for _ in range(5)]
    ready = statistics.median(start for start, _ in starts)
    memory = statistics.median(memory for _, memory in starts)
    print(f"ready, median of 5          {ready:8.3f} s      (goal 0.8)")
    print(f"idle memory, resident       {memory / 1e6:8.1f} MB     (goal 100)")
    with _server() as server:
        _tiny_posts(server, 1000)
    with _server() as server:
        _points(server, steps)
        _reads(server, steps)


def _start() -> tuple[float, int]:
    with tempfile.TemporaryDirectory() as home:
        server = ServerProcess(Path(home))
        began = time.perf_counter()
        server.start()
        ready = time.perf_counter() - began
        time.sleep(0.3)
        memory = _memory(server)
        server.stop()
    return ready, memory


@contextmanager
def _server() -> Iterator[ServerProcess]:
    with tempfile.TemporaryDirectory() as home, ServerProcess(Path(home)) as server:
        yield server


def _tiny_posts(server: ServerProcess, count: int) -> None:
    """Send rows one by one, as a program that logs seldom does."""
    builder = SpoolBuilder(RunRef("local", "bench", "tiny"))
    builder.log({"loss": 1.0}, step=0)
    client = Client(server)
    first = builder.edges[-1]
    client.send("POST", spool_path(builder, 0), builder.data, {"Content-Type": SPOOL_TYPE})
    frame_start = len(builder.frames)
    for step in range(1, count + 1):
        builder.log({"loss": 1.0}, step=step)
    _until_idle(server)
    before = _cpu(server)
    latencies = []
    at = first
    for frame in builder.frames[frame_start:]:
        began = time.perf_counter()
        client.send("POST", spool_path(builder, at), frame, {"Content-Type": SPOOL_TYPE})
        latencies.append(time.perf_counter() - began)
        at += len(frame)
    _until_idle(server)
    cost = (_cpu(server) - before) / count
    client.close()
    print(f"tiny post, CPU              {cost * 1e3:8.2f} ms     (goal 1.5)")
    print(
        f"tiny post, median / p99     {statistics.median(latencies) * 1e3:8.2f} ms   / "
        f"{sorted(latencies)[int(count * 0.99)] * 1e3:.2f} ms"
    )


def _points(server: ServerProcess, steps: int) -> None:
    """Send 50 keys a step in pieces of a thousand steps."""
    builder = SpoolBuilder(RunRef("local", "bench", "wide"))
    for step in range(steps):
        builder.log({f"group/key-{k}": step * 0.5 + k for k in range(50)}, step=step)
    client = Client(server)
    headers = {"Content-Type": SPOOL_TYPE, "Content-Encoding": "deflate"}
    pieces = []
    for first in range(0, len(builder.frames), 1000):
        piece = builder.piece(first, first + 1000)
        pieces.append((spool_path(builder, piece.offset), zlib.compress(piece.data, 1)))
    before, began = _cpu(server), time.perf_counter()
    for path, body in pieces:
        client.send("POST", path, body, headers)
    durable = time.perf_counter() - began
    _until_idle(server, seconds=3.0)
    cost = (_cpu(server) - before) / (steps * 50)
    client.close()
    print(f"point, CPU until idle       {cost * 1e6:8.3f} us     (goal 1)")
    print(f"points taken                {steps * 50 / durable:8,.0f} /s")
    print(f"memory after {steps * 50:,} points {_memory(server) / 1e6:6.1f} MB")


def _reads(server: ServerProcess, steps: int) -> None:
    client = Client(server)
    base = "/api/v1/projects/local/bench"
    one = {"runs": ["wide"], "keys": ["group/key-7"], "buckets": 800}
    many = {"runs": ["wide"], "keys": [f"group/key-{k}" for k in range(20)], "buckets": 800}
    for name, query in ((f"series of {steps:,} steps", one), ("twenty of them", many)):
        body = json.dumps(query).encode()
        _time(name, lambda body=body: client.send("POST", f"{base}/series", body, _SERIES))  # type: ignore[misc]
    _time("run list", lambda: client.send("GET", f"{base}/runs", b"", {}))
    _time(
        "1,000 rows of history", lambda: client.send("GET", f"{base}/runs/wide/history", b"", {})
    )
    client.close()


def _time(name: str, ask: Callable[[], bytes]) -> None:
    times = []
    for _ in range(20):
        began = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began)
    print(f"{name:27} {times[0] * 1e3:8.2f} ms cold, {statistics.median(times) * 1e3:.2f} ms")


def _until_idle(server: ServerProcess, *, seconds: float = 0.5) -> None:
    """Wait until the server has used no CPU to speak of for a while."""
    deadline = time.monotonic() + 120
    used, since = _cpu(server), time.monotonic()
    while time.monotonic() - since < seconds and time.monotonic() < deadline:
        time.sleep(0.05)
        now = _cpu(server)
        if now > used + 0.02:
            used, since = now, time.monotonic()


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
