"""How long a newcomer waits: from `git clone` and `./dev demo` to the first live curve.

Run it as `python benchmarks/demo.py`, with Chromium on PATH. It clones what is committed here;
packages come from the caches of this machine as far as they are there.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

_ROOT = Path(__file__).parents[1]
_GOAL_S = 90
_PATIENCE_S = 600
_LEARNING = "eight networks are learning"
_ADDRESS = "runlore: watch them at "
# A chart says how many runs it has drawn.
_CURVE = '.chart[data-drawn]:not([data-drawn="0"])'
_ARRIVED = "have arrived"


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        clone = Path(name) / "runlore"
        began = time.monotonic()
        subprocess.run(["git", "clone", "--quiet", str(_ROOT), str(clone)], check=True)
        cloned = _told("git clone", began)
        return _demo(clone, began, cloned)


def _demo(clone: Path, began: float, cloned: float) -> int:
    staging = _staging(clone)
    demo = subprocess.Popen(
        ["./dev", "demo"],
        cwd=clone,
        env={**_variables(), "RUNLORE_STAGING": str(staging)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    # Whoever waits for a line of a demo that hangs gets the end of its output instead.
    impatience = threading.Timer(_PATIENCE_S, demo.kill)
    impatience.start()
    try:
        said: list[str] = []
        if _wait_for(demo, _LEARNING, said) is None:
            return _ended(said)
        learning = _told("to the start of training", cloned)
        line = _wait_for(demo, _ADDRESS, said)
        if line is None:
            return _ended(said)
        ready = _told("to the address", learning)
        opened = _first_curve(line.removeprefix(_ADDRESS).strip())
        _told("to the first curve, in Chromium", ready)
    finally:
        impatience.cancel()
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=60)
        shutil.rmtree(staging, ignore_errors=True)
    total = opened - began
    live = "still learning" if _ARRIVED not in rest else "all had been learnt"
    print(f"clone to first live curve   {total:8.1f} s      (goal {_GOAL_S}; {live})")
    return 0


def _first_curve(url: str) -> float:
    """Open the page and return when a chart has drawn a line."""
    path = os.environ.get("RUNLORE_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1680, "height": 1280})
        page.goto(url)
        page.wait_for_selector(_CURVE, timeout=60_000)
        seen = time.monotonic()
        browser.close()
    return seen


def _wait_for(demo: "subprocess.Popen[str]", word: str, said: list[str]) -> str | None:
    """Read on to the line with this word, or to the end."""
    assert demo.stdout is not None
    for line in demo.stdout:
        said.append(line)
        if word in line:
            return line
    return None


def _told(phase: str, since: float) -> float:
    now = time.monotonic()
    print(f"{phase:32}{now - since:8.1f} s", flush=True)
    return now


def _ended(said: list[str]) -> int:
    print("./dev demo ended too early; it said:", *said, sep="\n", file=sys.stderr)
    return 1


def _variables() -> dict[str, str]:
    """Return the environment of a newcomer, who has set nothing."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RUNLORE_")}


def _staging(clone: Path) -> Path:
    """Make the folder in memory where programs log first, apart from the user's own."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else str(clone.parent)
    return Path(tempfile.mkdtemp(prefix="runlore-bench-", dir=memory))


if __name__ == "__main__":
    sys.exit(main())
