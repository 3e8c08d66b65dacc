"""What the page costs: first draws, moves of the pointer, toggles, and from `log` to the picture.

Run it as `python benchmarks/page.py`, with the page built and Chromium on PATH. Times are those
of a browser that draws without a GPU.
"""

import argparse
import asyncio
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from runlore.core.run import RunRef
from runlore.testing.serving import SPOOL_TYPE, ServerProcess, spool_path
from runlore.testing.spools import SpoolBuilder

_ROOT = Path(__file__).parents[1]
_ASSETS = _ROOT / "src/runlore/server/page/assets"
_KEYS = [f"{prefix}/{leaf}" for leaf in ("a", "b", "c", "d", "e") for prefix in ("train", "eval")]
_ROUND_TRIP_S = 0.05
_SIZE = {"width": 1680, "height": 1280}
_DRAWN = """(runs) => {
  const all = [...document.querySelectorAll('[data-metric]')];
  const drawn = all.filter((one) => one.querySelector(`.chart[data-drawn="${runs}"]`));
  return all.length === 10 && drawn.length === 10 ? performance.now() : 0;
}"""
# Presses a key and waits until the button tells the new state and the charts' frame is over.
_TOGGLE = """async () => {
  const button = document.querySelector('.toggle[title^="Log y"]');
  const before = button.getAttribute('aria-pressed');
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  const began = performance.now();
  document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'l', bubbles: true }));
  while (button.getAttribute('aria-pressed') === before) await frame();
  await frame();
  await frame();
  return performance.now() - began;
}"""
# Notes when each value of the only run is first told beside its chart.
_WATCH = """() => {
  window.seen = [];
  new MutationObserver(() => {
    const told = document.querySelector('.panel-head .num');
    if (told === null) return;
    window.seen.push([Number(told.title.replaceAll(',', '')), Date.now() / 1000]);
  }).observe(document.body, { subtree: true, childList: true, attributes: true });
}"""
_FIRST = """
import time, runlore
run = runlore.init(project="first")
input()
print(time.time(), flush=True)
run.log({"loss": 0.5})
input()
run.finish()
"""
_LIVE = """
import sys, time, runlore
base = float(sys.argv[1])
with runlore.init(project="live", id="live") as run:
    run.log({"clock": 0.0})
    input()
    for _ in range(int(sys.argv[2])):
        run.log({"clock": time.time() - base})
        time.sleep(1 / 15)
    time.sleep(2)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000, help="steps of each run")
    parser.add_argument("--values", type=int, default=220, help="values logged live, at 15 Hz")
    arguments = parser.parse_args()
    size = sum(len(zlib.compress(path.read_bytes(), 9)) for path in _ASSETS.glob("*.[cj]s*"))
    print(f"bundle, gzip                {size / 1024:8.1f} KiB    (goal 168)")
    with _servers() as server, _browsers() as browser:
        _first_point(server, browser)
        _live(server, browser, arguments.values)
        for runs in (8, 100):
            _post(server, runs, arguments.steps, keys=_KEYS)
            _look(server, browser, runs)
        _far(server, browser)
        _post(server, 1000, 1000, keys=_KEYS[:1])
        _crowd(server, browser, 1000)


def _first_point(server: ServerProcess, browser: Browser) -> None:
    page = browser.new_page(viewport=_SIZE, bypass_csp=True)
    page.goto(server.url)
    page.get_by_text("Waiting for your first point").wait_for()
    with _program(server, _FIRST) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        time.sleep(1)
        program.stdin.write("log\n")
        program.stdin.flush()
        logged = float(program.stdout.readline())
        page.wait_for_function("document.querySelector('.chart[data-drawn=\"1\"]')", polling="raf")
        print(f"first point to its chart    {(time.time() - logged) * 1e3:8.0f} ms")
        program.communicate("finish\n", timeout=60)
    page.close()


def _live(server: ServerProcess, browser: Browser, values: int) -> None:
    base = time.time()
    with _program(server, _LIVE, str(base), str(values)) as program:
        page = browser.new_page(viewport=_SIZE, bypass_csp=True)
        _until(lambda: page.goto(f"{server.url}/local/live/runs/live") is not None)
        page.wait_for_selector('.chart[data-drawn="1"]', timeout=20_000)
        page.evaluate(_WATCH)
        program.communicate("go\n", timeout=120)
    seen = page.evaluate("window.seen")
    history = page.request.get(f"{server.url}/api/v1/projects/local/live/runs/live/history").json()
    logged = [row["values"]["clock"] for row in history["rows"] if row["values"]["clock"]]
    waits = sorted(
        next(at for told, at in seen if told >= value) - base - value
        for value in logged
        if value <= seen[-1][0]
    )
    page.close()
    p50, p99 = statistics.median(waits), waits[int(len(waits) * 0.99)]
    print(
        f"logged to visible, p50/p99  {p50 * 1e3:8.0f} / {p99 * 1e3:.0f} ms (goal p99 1000; "
        f"{len(waits)} values)"
    )


def _look(server: ServerProcess, browser: Browser, runs: int) -> None:
    page = browser.new_page(viewport=_SIZE, bypass_csp=True)
    page.goto(f"{server.url}/local/of-{runs}")
    drawn = page.wait_for_function(_DRAWN, arg=runs, polling="raf", timeout=60_000).json_value()
    name = f"{runs} runs x 10 panels"
    print(f"{name:20}, drawn {drawn:8.0f} ms")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.wait_for_timeout(1000)
    _moves(page, session)
    took, count = _moves(page, session)
    print(f"{name:20}, move  {took / count * 1e3:8.1f} ms     (goal 16; CPU of the main thread)")
    before = _busy(session)
    toggles = [page.evaluate(_TOGGLE) for _ in range(6)]
    cost = (_busy(session) - before) / len(toggles)
    print(
        f"{name:20}, log y {statistics.median(toggles):8.0f} ms     (goal 300; "
        f"most {max(toggles):.0f}; CPU of the main thread {cost * 1e3:.0f})"
    )
    page.close()


def _far(server: ServerProcess, browser: Browser) -> None:
    """Open charts from far away, each time as a browser that has never seen the page."""
    times = []
    with _far_away(server.port, _ROUND_TRIP_S) as port:
        for _ in range(7):
            page = browser.new_page(viewport=_SIZE, bypass_csp=True)
            page.goto(f"http://127.0.0.1:{port}/local/of-8", wait_until="commit")
            drawn = page.wait_for_function(_DRAWN, arg=8, polling="raf", timeout=60_000)
            times.append(drawn.json_value())
            page.close()
    name = f"{_ROUND_TRIP_S * 1e3:.0f} ms away, 8 runs"
    print(
        f"{name:20}, drawn {statistics.median(times):8.0f} ms     "
        f"(goal 700; cold cache; least {min(times):.0f}, most {max(times):.0f})"
    )


@contextmanager
def _far_away(port: int, round_trip_s: float) -> Iterator[int]:
    """Serve a port behind a line on which every piece takes half a round trip.

    A connection takes a whole one to stand, as its handshake would.
    """
    way_s = round_trip_s / 2
    loop = asyncio.new_event_loop()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, data = await pieces.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if data == b"":
                    writer.close()
                    return
                writer.write(data)

        delivery = loop.create_task(deliver())
        with suppress(OSError):
            while data := await reader.read(65_536):
                pieces.put_nowait((loop.time() + way_s, data))
        pieces.put_nowait((loop.time() + way_s, b""))
        with suppress(OSError):
            await delivery

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(round_trip_s)
        from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
        with suppress(asyncio.CancelledError):
            await asyncio.gather(carry(reader, to_server), carry(from_server, writer))

    async def serve(ready: list[int], stopped: asyncio.Event) -> None:
        door = await asyncio.start_server(meet, "127.0.0.1", 0)
        ready.append(door.sockets[0].getsockname()[1])
        await stopped.wait()
        door.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    ready: list[int] = []
    stopped = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(ready, stopped),))
    thread.start()
    _until(lambda: bool(ready))
    try:
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()


def _crowd(server: ServerProcess, browser: Browser, runs: int) -> None:
    """Show many lines in one panel, zoom in, and zoom out again."""
    page = browser.new_page(viewport=_SIZE, bypass_csp=True)
    page.goto(f"{server.url}/local/of-{runs}?most={runs}")
    page.wait_for_selector(f'.chart[data-drawn="{runs}"]', timeout=60_000)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.wait_for_timeout(1000)
    name = f"{runs} runs x 1 panel"
    _moves(page, session)
    took, count = _moves(page, session)
    print(f"{name:20}, move  {took / count * 1e3:8.1f} ms     (goal 16; CPU of the main thread)")
    box = page.locator(".chart-plot").bounding_box()
    assert box is not None
    ins, outs = [], []
    for share in (0.2, 0.4, 0.6):
        middle = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] * share, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * (share + 0.3), middle, steps=2)
        page.wait_for_timeout(500)
        before = _busy(session)
        with page.expect_response("**/series"):
            page.mouse.up()
        page.wait_for_timeout(1000)
        ins.append(_busy(session) - before)
        before = _busy(session)
        with page.expect_response("**/series"):
            page.keyboard.press("r")
        page.wait_for_timeout(1000)
        outs.append(_busy(session) - before)
    print(
        f"{name:20}, zoom  {statistics.median(ins) * 1e3:8.0f} ms     "
        f"(goal 150; out again {statistics.median(outs) * 1e3:.0f}; CPU of the main thread)"
    )
    page.close()


def _moves(page: Page, session: CDPSession) -> tuple[float, int]:
    """Return the main thread's time for moves over a chart, and their number."""
    box = page.locator(".chart-plot").last.bounding_box()
    assert box is not None
    chance = random.Random(7)
    before, count = _busy(session), 120
    for number in range(count):
        across = box["x"] + box["width"] * (number + 1) / (count + 2)
        page.mouse.move(across, box["y"] + box["height"] * chance.uniform(0.1, 0.9))
        page.evaluate("new Promise((resolve) => requestAnimationFrame(resolve))")
    return _busy(session) - before, count


def _busy(session: CDPSession) -> float:
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(float(one["value"]) for one in metrics if one["name"] == "TaskDuration")


def _post(server: ServerProcess, runs: int, steps: int, *, keys: Sequence[str]) -> None:
    """Send runs through the API that takes spools."""
    chance = random.Random(1)
    for number in range(runs):
        builder = SpoolBuilder(RunRef("local", f"of-{runs}", f"run-{number}"))
        speed, noise = chance.uniform(0.5, 4), chance.uniform(0.01, 0.1)
        for step in range(steps):
            value = math.exp(-speed * step / steps)
            builder.log({key: value + noise * chance.gauss(0, 1) for key in keys}, step=step)
        for first in range(0, len(builder.frames), 2000):
            piece = builder.piece(first, first + 2000)
            answer = server.request(
                "POST",
                spool_path(builder, piece.offset),
                zlib.compress(piece.data, 1),
                {"Content-Type": SPOOL_TYPE, "Content-Encoding": "deflate"},
            )
            assert answer.status == 200, answer.body[:500]


def _until(is_done: object) -> None:
    assert callable(is_done)
    deadline = time.monotonic() + 20
    while not is_done() and time.monotonic() < deadline:
        time.sleep(0.1)


@contextmanager
def _servers() -> Iterator[ServerProcess]:
    with tempfile.TemporaryDirectory() as home, ServerProcess(Path(home)) as server:
        yield server


@contextmanager
def _browsers() -> Iterator[Browser]:
    path = os.environ.get("RUNLORE_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextmanager
def _program(server: ServerProcess, code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    # The sender may still be tidying up behind the program.
    with tempfile.TemporaryDirectory(dir="/dev/shm", ignore_cleanup_errors=True) as folder:
        places = {"RUNLORE_HOME": f"{folder}/home", "RUNLORE_STAGING": f"{folder}/staging"}
        (Path(folder) / "staging").mkdir(mode=0o700)
        with subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, **places, "RUNLORE_URL": server.url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as program:
            yield program


if __name__ == "__main__":
    main()
