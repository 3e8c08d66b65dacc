"""What a busy server costs: 256 writers that log 20 keys once a second each, and 20 open pages.

Run it as `python benchmarks/writers.py`; `--chromium 1` opens a real page beside the simulated
ones and prints how often each of both kinds asks for what.

A writer does by the wire what a sender does: on a connection of its own it posts the frames of
its row, packed as the sender packs them, at its own moment of every second. A page does what
`web/src/api` does: it holds the live stream; when that tells of runs that have grown it asks for
their series in all 20 panels, at the earliest 450 ms after the answer before, or as long after it
as that took; and every 2.5 s for runs and keys. It draws nothing, so it asks rather more often
than a browser. Each page looks at one project; runs and projects are spread evenly.

The CPU is that of all threads of the server, over the time after a warm-up. Any answer other than
200 is counted; 429 and 503 are back-pressure.
"""

import argparse
import asyncio
import collections
import json
import math
import random
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from runlore.core.run import RunRef
from runlore.testing.serving import SPOOL_TYPE, ServerProcess, spool_path
from runlore.testing.spools import SpoolBuilder
from runlore.wire.series import MEDIA_TYPE

_KEYS = [f"{prefix}/key-{number}" for prefix in ("train", "eval") for number in range(10)]
_SMALL_BYTES = 300
_ACCEPTED = {"Accept-Encoding": "gzip, deflate, br, zstd"}
_JSON = {**_ACCEPTED, "Content-Type": "application/json"}
# From web/src: api/series.ts, api/queries.ts, lib/view.ts, features/panels/source.ts.
_MIN_PAUSE_S = 0.45
_LATER_S = 2.5
_FIRST_RUNS = 100
_MANY_RUNS = 40
_MOST_POINTS = 500_000
_PANEL_BUCKETS = 512


class Load(NamedTuple):
    """How many of each there are."""

    writers: int
    runs: int
    projects: int
    pages: int

    def project_of(self, run: int) -> str:
        """Return the project of a run."""
        return f"project-{run % self.projects}"


class Count:
    """What was answered, and how late."""

    def __init__(self) -> None:
        self.statuses: collections.Counter[int] = collections.Counter()
        self.took: dict[str, list[float]] = {}
        self.bytes = 0

    def add(self, kind: str, status: int, took: float, size: int) -> None:
        """Count one answer."""
        self.statuses[status] += 1
        self.took.setdefault(kind, []).append(took)
        self.bytes += size

    def clear(self) -> None:
        """Forget everything: the warm-up is over."""
        self.statuses.clear()
        self.took.clear()
        self.bytes = 0


class Line:
    """One connection that stays open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, where that was not done before."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self._reader, self._writer

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        """Send a request."""
        _, writer = await self.open()
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, bytes]:
        """Send a request and read the whole answer."""
        await self.send(method, path, headers, body)
        reader, _ = await self.open()
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        _, found, rest = head.partition(b"\r\ncontent-length:")
        if found:
            return status, await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
        pieces = []
        while size := int(await reader.readline(), 16):
            pieces.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return status, b"".join(pieces)

    async def read_events(self) -> bytes:
        """Read on in a stream of events; return what has come."""
        reader, _ = await self.open()
        data = await reader.read(1 << 20)
        if not data:
            raise ConnectionError("the live stream has ended")
        return data

    def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()


async def _write(port: int, builder: SpoolBuilder, phase: float, count: Count) -> None:
    """Log a row and post it, once a second."""
    line = Line(port)
    noise = random.Random(builder.writer)
    due = time.monotonic() + phase
    first, step = 0, 0
    try:
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            # A row for each second that has passed: a sender that was late sends several at once.
            while due <= time.monotonic():
                row = {key: math.exp(-step / 99) + 0.1 * noise.random() for key in _KEYS}
                builder.log(row, step=step, time_ns=time.time_ns())
                due, step = due + 1.0, step + 1
            piece = builder.piece(first)
            first = len(builder.frames)
            headers = {"Content-Type": SPOOL_TYPE, "Accept": "application/json"}
            body, headers["Content-Encoding"] = piece.data, "identity"
            if len(body) >= _SMALL_BYTES:
                body, headers["Content-Encoding"] = zlib.compress(body, 1), "deflate"
            began = time.monotonic()
            status, answer = await line.ask(
                "POST", spool_path(builder, piece.offset), headers, body
            )
            count.add("post", status, time.monotonic() - began, len(answer))
            if status != 200:
                raise AssertionError((status, answer[:500]))
    finally:
        line.close()


class Page:
    """One open project page."""

    def __init__(self, port: int, project: str, count: Count) -> None:
        self._port = port
        self._path = f"/api/v1/projects/local/{project}"
        self._project = project
        self._count = count
        self._grown = asyncio.Event()
        # Runs whose series are older than the server's, as the stream told.
        self._stale: set[str] = set()
        self._news = asyncio.Event()
        self._runs: list[str] = []

    async def look(self) -> None:
        """Look at the project, for ever."""
        async with asyncio.TaskGroup() as group:
            for part in (self._follow, self._list, self._draw):
                group.create_task(part())

    async def _follow(self) -> None:
        line = Line(self._port)
        try:
            await line.send("GET", "/api/v1/live", {"Accept": "text/event-stream"}, b"")
            rest = b""
            while True:
                *blocks, rest = (rest + await line.read_events()).split(b"\n\n")
                for block in blocks:
                    _, _, data = block.partition(b"event: change\ndata: ")
                    self._take(json.loads(data.partition(b"\r\n")[0])["changes"] if data else [])
        finally:
            line.close()

    def _take(self, changes: Sequence[Mapping[str, str]]) -> None:
        grown = {one["run"] for one in changes if one["project"] == self._project}
        if grown:
            self._stale |= grown
            self._grown.set()
            self._news.set()

    async def _list(self) -> None:
        lines = [Line(self._port), Line(self._port)]
        try:
            while True:
                self._news.clear()
                answers = await asyncio.gather(
                    self._ask(lines[0], "runs", "GET", "/runs?limit=200", _ACCEPTED),
                    self._ask(lines[1], "keys", "GET", "/keys", _ACCEPTED),
                )
                runs = json.loads(_unpacked(answers[0]))["runs"]
                self._runs = [run["id"] for run in runs[:_FIRST_RUNS]]
                await asyncio.sleep(_LATER_S)
                await self._news.wait()
        finally:
            for line in lines:
                line.close()

    async def _draw(self) -> None:
        line = Line(self._port)
        try:
            while True:
                await self._grown.wait()
                self._grown.clear()
                began = time.monotonic()
                for body in self._questions():
                    headers = {**_JSON, "Accept": MEDIA_TYPE}
                    await self._ask(line, "series", "POST", "/series", headers, body)
                await asyncio.sleep(max(_MIN_PAUSE_S, time.monotonic() - began))
        finally:
            line.close()

    def _questions(self) -> list[bytes]:
        runs = [run for run in self._runs if run in self._stale]
        self._stale.clear()
        if not runs:
            return []
        buckets = 256 if len(self._runs) > _MANY_RUNS else _PANEL_BUCKETS
        most = max(1, _MOST_POINTS // (len(runs) * buckets))
        return [
            json.dumps(
                {
                    "runs": runs,
                    "keys": _KEYS[first : first + most],
                    "buckets": buckets,
                    "start": None,
                    "stop": None,
                }
            ).encode()
            for first in range(0, len(_KEYS), most)
        ]

    async def _ask(
        self,
        line: Line,
        kind: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
    ) -> bytes:
        began = time.monotonic()
        status, answer = await line.ask(method, self._path + path, headers, body)
        self._count.add(kind, status, time.monotonic() - began, len(answer))
        if status not in (200, 201):
            raise AssertionError((status, path, answer[:500]))
        return answer


def _unpacked(answer: bytes) -> bytes:
    return zlib.decompress(answer, 31) if answer[:2] == b"\x1f\x8b" else answer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writers", type=int, default=256)
    parser.add_argument("--runs", type=int, default=256, help="that the writers share")
    parser.add_argument("--projects", type=int, default=16, help="that the runs share")
    parser.add_argument("--pages", type=int, default=20)
    parser.add_argument("--warm", type=float, default=15.0, help="seconds before the measure")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--chromium", type=int, default=0, help="real pages beside them")
    chosen = parser.parse_args()
    load = Load(chosen.writers, chosen.runs, chosen.projects, chosen.pages)
    with tempfile.TemporaryDirectory() as home, ServerProcess(Path(home)) as server:
        asyncio.run(_measure(server, load, chosen.warm, chosen.seconds, chosen.chromium))


async def _measure(
    server: ServerProcess, load: Load, warm: float, seconds: float, chromium: int
) -> None:
    count = Count()
    chance = random.Random(0)
    tasks = []
    for number in range(load.writers):
        run = number % load.runs
        builder = SpoolBuilder(
            RunRef("local", load.project_of(run), f"run-{run}"),
            f"writer-{number}",
            started_ns=time.time_ns(),
        )
        tasks.append(_write(server.port, builder, 2.0 + chance.random(), count))
    pages = [
        Page(server.port, load.project_of(number % load.projects), count)
        for number in range(load.pages)
    ]
    working = [asyncio.create_task(task) for task in tasks]
    while sum(len(times) for times in count.took.values()) < load.writers:
        await _still(working, 0.1)
    working += [asyncio.create_task(page.look()) for page in pages]
    browsers = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _BROWSE,
            f"{server.url}/local/{load.project_of(number)}",
            str(warm),
            str(seconds),
            stdout=asyncio.subprocess.PIPE,
        )
        for number in range(chromium)
    ]
    await _still(working, warm)
    count.clear()
    before, own, began = _cpu(server), time.process_time(), time.monotonic()
    await _still(working, seconds)
    took = time.monotonic() - began
    used, own = (_cpu(server) - before) / took, (time.process_time() - own) / took
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    _tell(load, count, used, own, took)
    for browser in browsers:
        said, _ = await browser.communicate()
        print(said.decode().strip())


async def _still(working: Sequence["asyncio.Task[None]"], seconds: float) -> None:
    """Wait, and fail as soon as a writer or a page does."""
    done, _ = await asyncio.wait(working, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


def _tell(load: Load, count: Count, used: float, own: float, took: float) -> None:
    bad = {status: n for status, n in count.statuses.items() if status not in (200, 201)}
    busy = sum(bad.get(status, 0) for status in (429, 503))
    print(
        f"{load.writers} writers of {load.runs} runs in {load.projects} projects, "
        f"{load.pages} pages: server {100 * used:.1f} % of a core over {took:.0f} s (goal 60), "
        f"back-pressure {busy} answers (goal 0), others {bad or 'none'}; this driver "
        f"{100 * own:.0f} %"
    )
    for kind, times in sorted(count.took.items()):
        late = sorted(times)[int(len(times) * 0.99)]
        each = f"{len(times) / took / load.pages:.2f} a page" if kind != "post" else "all writers"
        print(
            f"  {kind:7} {len(times) / took:8.1f} /s ({each}), median "
            f"{1e3 * statistics.median(times):.1f} ms, 99 % {1e3 * late:.1f} ms"
        )
    print(f"  answers {count.bytes / took / 1e6:.1f} MB/s")


# Opens a page in Chromium, and tells what it asked for after the warm-up.
_BROWSE = """
import collections, json, os, shutil, sys
from playwright.sync_api import sync_playwright
url, warm, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
path = os.environ.get("RUNLORE_CHROMIUM") or shutil.which("chromium")
asked, last = collections.Counter(), {}
def note(request):
    kind = request.url.split("?")[0].rpartition("/")[2]
    asked[kind] += 1
    if request.method == "POST":
        last[kind] = {
            name: len(value) if isinstance(value, list) else value
            for name, value in json.loads(request.post_data).items()
        }
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(
        executable_path=path, args=["--no-sandbox", "--disable-gpu"]
    )
    page = browser.new_page(viewport={"width": 1680, "height": 1280})
    page.goto(url)
    page.wait_for_timeout(1000 * warm)
    page.on("request", note)
    page.wait_for_timeout(1000 * seconds * 0.9)
    for kind, number in sorted(asked.items()):
        rate = number / seconds / 0.9
        print(f"  a real page asks for {kind}: {rate:.2f} /s", last.get(kind, ""))
    browser.close()
"""


def _cpu(server: ServerProcess) -> float:
    """Return the CPU seconds of all threads, finer than the clock ticks of `stat`."""
    if server.process is None:
        raise AssertionError("the server was not started")
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


if __name__ == "__main__":
    main()
