"""A real server, real programs that log to it, and a real browser that looks."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import IO

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_BROWSER_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PAGE = Path(__file__).parents[2] / "src/runlore/server/page/index.html"
_READY = "Runlore is ready at "
# What a step of a test may take; long, because the machine may be busy with other tests.
_PATIENCE_MS = 20_000

# What a whole test may take: a page that hangs fails its test rather than the suite.
_LIMIT_S = 120
_SLOW_LIMIT_S = 900

OpenPage = Callable[..., Page]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server in a process of its own, with folders of its own."""

    url: str
    environment: dict[str, str]

    def run(self, code: str) -> None:
        """Run a Python program that logs to this server, to its end."""
        subprocess.run(
            [sys.executable, "-c", code],
            env=self.environment,
            check=True,
            timeout=60,
            stdout=subprocess.DEVNULL,
        )

    def start(self, code: str) -> subprocess.Popen[str]:
        """Start a Python program that logs to this server, with pipes to talk to it."""
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(autouse=True)
def time_limit(request: pytest.FixtureRequest) -> Iterator[None]:
    """End a test that takes too long, whatever it waits for."""
    limit_s = _LIMIT_S if request.node.get_closest_marker("slow") is None else _SLOW_LIMIT_S

    def end(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"the test took more than {limit_s} seconds")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(limit_s)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def server() -> Iterator[Server]:
    """An empty server."""
    with TemporaryDirectory(prefix="runlore-e2e-", dir=_memory()) as folder:
        yield from _serving(Path(folder))


@pytest.fixture(scope="session")
def seeded() -> Iterator[Server]:
    """A server with a project of four runs, which tests look at and do not change."""
    with TemporaryDirectory(prefix="runlore-e2e-", dir=_memory()) as folder:
        for server in _serving(Path(folder)):
            server.run(_SEED)
            yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    assert _PAGE.exists(), "the page is not built; run './dev setup' or 'npm run build' in web/"
    path = os.environ.get("RUNLORE_CHROMIUM") or _found_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_BROWSER_OPTIONS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens addresses in a fresh browser profile; an error in the page fails the test."""
    errors: list[str] = []
    contexts = []

    def open_page(url: str, *, dark: bool = False, width: int = 1280) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light",
        )
        context.set_default_timeout(_PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def _serving(folder: Path) -> Iterator[Server]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RUNLORE_")},
        "RUNLORE_HOME": str(folder / "home"),
        "RUNLORE_STAGING": str(folder / "staging"),
    }
    (folder / "staging").mkdir(mode=0o700)
    with subprocess.Popen(
        [sys.executable, "-m", "runlore", "serve", "--port", "0", "--data", str(folder / "data")],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            url = _address(process.stdout)
            yield Server(url=url, environment={**environment, "RUNLORE_URL": url})
        finally:
            process.terminate()
            process.wait(timeout=20)


def _address(output: IO[str]) -> str:
    for line in output:
        if line.startswith(_READY):
            return line.removeprefix(_READY).strip()
    raise AssertionError("the server ended before it was ready")


def _found_browser() -> str:
    for name in _BROWSERS:
        if path := shutil.which(name):
            return path
    pytest.fail("no Chromium on PATH; './dev test' installs it")


def _memory() -> str | None:
    """Return a folder in memory, where staging belongs, if this machine has one."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


_SEED = """
import math
import runlore

for number in range(4):
    config = {"lr": 0.1 / (number + 1), "model": {"width": 32, "layers": [1, 2]}}
    name = f"run-{number}" if number else "a-diverging-run"
    with runlore.init(project="digits", name=name, config=config) as run:
        for step in range(3000):
            loss = 0.1 + math.exp(-step / (400 + 200 * number))
            # One step of 3000 that no thinning may lose.
            if number == 2 and step == 1234:
                loss = 8.0
            if number == 0 and step >= 2000:
                loss = math.nan
            values = {"train/loss": loss, "train/acc": 1 - math.exp(-step / 800), "lr": 0.1}
            if step % 50 == 0:
                values["eval/loss"] = 0.2 + math.exp(-step / 500)
            run.log(values)
"""
