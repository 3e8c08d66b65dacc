"""`./dev test` and `./dev test-all`: runs the suites and adds up what they report."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from tools.environment import browser_path, node_environment
from tools.paths import CACHE, WEB, in_venv
from tools.steps import Board, Step

_REPORTS = CACHE / "reports"


class Tally(NamedTuple):
    """What became of a number of tests."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        text = f"{self.passed} passed, {self.failed} failed"
        return f"{text}, {self.skipped} skipped" if self.skipped else text


class Suite(NamedTuple):
    """Tests that pytest runs in one go.

    Attributes:
        workers: how many processes share them; 0 for those whose timing others would disturb.
    """

    name: str
    log: str
    folders: tuple[str, ...]
    workers: int


QUICK = (Suite("unit and contract tests", "test-unit", ("unit", "contract"), 2),)
CAREFUL = (
    Suite("golden tests", "test-golden", ("golden",), 2),
    Suite("fault tests", "test-faults", ("faults",), 0),
    Suite("browser tests", "test-e2e", ("e2e",), 0),
)


def run_quick(board: Board) -> Tally:
    """Run what takes a minute or two."""
    return _sum([_pytest(board, suite, slow=False) for suite in QUICK])


def run_usual(board: Board) -> Tally:
    """Run all but the slow tests."""
    suites = (*QUICK, *CAREFUL)
    return _sum([*(_pytest(board, suite, slow=False) for suite in suites), _vitest(board)])


def run_slow(board: Board) -> Tally:
    """Run the tests that are marked slow."""
    slow = Suite("slow tests", "test-slow", ("unit", "contract", "golden", "faults", "e2e"), 0)
    return _pytest(board, slow, slow=True)


def read_junit(path: Path) -> Tally:
    """Read what pytest wrote. An error counts as a failure; so does a report that is missing."""
    if not path.exists():
        return Tally(failed=1)
    passed = failed = skipped = 0
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        total = int(suite.get("tests", 0))
        bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        left = int(suite.get("skipped", 0))
        passed, failed, skipped = passed + total - bad - left, failed + bad, skipped + left
    return Tally(passed, failed, skipped)


def read_vitest(path: Path) -> Tally:
    """Read what vitest wrote; a file that could not be loaded counts as a failure."""
    if not path.exists():
        return Tally(failed=1)
    report = json.loads(path.read_text())
    failed = int(report["numFailedTests"])
    unloaded = sum(
        file["status"] == "failed" and not file["assertionResults"]
        for file in report["testResults"]
    )
    skipped = int(report["numPendingTests"]) + int(report.get("numTodoTests", 0))
    return Tally(int(report["numPassedTests"]), failed + unloaded, skipped)


def _pytest(board: Board, suite: Suite, *, slow: bool) -> Tally:
    folders = [f"tests/{name}" for name in suite.folders]
    report = _fresh_report(f"{suite.log}.xml")
    command = [in_venv("python"), "-m", "pytest", "-m", "slow" if slow else "not slow"]
    command += ["-rfEs", f"--junitxml={report}", *_workers(suite.workers), *folders]
    step = Step(
        name=suite.name,
        log=suite.log,
        command=command,
        environment=_test_environment(),
        detail=lambda _: str(read_junit(report)),
        timeout_s=3600 if slow else 900,
    )
    return _settle(board.attempt(step), read_junit(report))


def _vitest(board: Board) -> Tally:
    report = _fresh_report("vitest.json")
    step = Step(
        name="page: unit tests",
        log="test-page",
        command=["npx", "vitest", "run", "--reporter=default", "--reporter=json"]
        + [f"--outputFile.json={report}"],
        cwd=WEB,
        environment=node_environment(),
        detail=lambda _: str(read_vitest(report)),
        timeout_s=300,
    )
    return _settle(board.attempt(step), read_vitest(report))


def _settle(succeeded: bool, tally: Tally) -> Tally:
    """A suite that ended badly has a failure, even if its report names none."""
    return tally if succeeded or tally.failed else tally._replace(failed=1)


def _sum(tallies: Sequence[Tally]) -> Tally:
    return Tally(*(sum(column) for column in zip(*tallies, strict=True)))


def _workers(count: int) -> list[str]:
    return ["-n", str(count)] if count and (os.cpu_count() or 1) > 1 else ["-p", "no:xdist"]


def _fresh_report(name: str) -> Path:
    path = _REPORTS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path


def _test_environment() -> dict[str, str]:
    """Keep the tests away from what the person has: no setting of theirs, no data of theirs."""
    home = CACHE / "test-home"
    shutil.rmtree(home, ignore_errors=True)
    browser = browser_path()
    return {
        **dict.fromkeys((name for name in os.environ if name.startswith("RUNLORE_")), ""),
        "RUNLORE_HOME": str(home),
        **({"RUNLORE_CHROMIUM": browser} if browser else {}),
    }
